//! Twenty steps of AdamW with cosine decay against the reference optimiser.

use brainmvp_golden::Golden;
use brainmvp_train::optimizer::{NamedAdamW, OptimizerConfig};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

#[derive(Module, Debug)]
struct Parameter {
    weight: Param<Tensor<2>>,
}

#[test]
fn adamw() {
    let golden = Golden::open("adamw");
    let (_, rates) = golden.tensor("lr");
    let (_, trajectory) = golden.tensor("trajectory");
    let device = Device::flex().autodiff();
    let tensor = |name: &str, device: &Device| {
        Tensor::<2>::from_data(TensorData::new(brainmvp_golden::parameter(name, &[4, 5]), [4, 5]), device)
    };
    let mut module = Parameter { weight: Param::from_tensor(tensor("opt.weight", &device)) };
    let config = OptimizerConfig::default();
    let mut optimizer = NamedAdamW::new(&config);
    for (step, expected) in trajectory.chunks(20).enumerate() {
        let rate = config.schedule.at(step as u64, 20);
        assert!((rate - rates[step]).abs() < 1e-12, "learning rate of step {step}");
        let mut gradients = GradientsParams::new();
        gradients.register(
            module.weight.id,
            tensor(&format!("grad{step}.weight"), &device.clone().without_autodiff()),
        );
        module = optimizer.step(module, gradients, rate, 1.0);
        let values: Vec<f32> = module.weight.val().into_data().try_to_vec().unwrap();
        for (value, expected) in values.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6, "step {step}: {value}, expected {expected}");
        }
    }
}
