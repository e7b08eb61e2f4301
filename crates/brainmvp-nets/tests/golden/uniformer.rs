//! UniFormer-S against the reference network: forward in evaluation, forward and gradients in training.

use super::reference::{assert_close, input, strided};
use brainmvp_golden::Golden;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encode as _, NetworkConfig, UniFormer, UniFormerConfig};
use brainmvp_nets::weights::{self, Head, Upstream};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The published form of a parameter of the encoder alone.
fn upstream(entry: weights::Entry<'_>) -> Upstream {
    Upstream::of(&NetworkConfig::UniFormer(UniFormerConfig::small()), Head::None, entry)
}

/// The encoder with weights from their upstream names.
fn encoder(device: &Device) -> UniFormer {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let model = UniFormerConfig::small().init(&mut Init { device, rng: &mut rng });
    weights::load(model, |entry| {
        let upstream = upstream(entry);
        let values = brainmvp_golden::parameter(&upstream.key, &upstream.shape);
        Ok::<_, ()>(Some(TensorData::new(upstream.to_ours(&values, entry.shape), entry.shape.to_vec())))
    })
    .unwrap()
}

/// Our `[B, Z, Y, X, C]` as the reference's `[B, C, Z, X, Y]`.
fn assert_stage(ours: Tensor<5>, golden: &Golden, name: &str) {
    let ours = ours.permute([0, 4, 1, 3, 2]);
    let (shape, expected) = golden.tensor(name);
    assert_eq!(ours.dims(), shape, "{name}");
    assert_close(&ours.into_data().try_to_vec().unwrap(), expected, 1e-4, name);
}

#[test]
fn uniformer_eval() {
    uniformer_eval_on(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn uniformer_eval_on_wgpu() {
    uniformer_eval_on(&Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
}

#[cfg(feature = "vulkan")]
#[test]
fn uniformer_eval_on_vulkan() {
    uniformer_eval_on(&Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
}

fn uniformer_eval_on(device: &Device) {
    let golden = Golden::open("uniformer_eval");
    let model = encoder(device);
    let features = model.forward(input("x", [1, 1, 32, 48, 64], device), &mut Pass::evaluation());
    let [x1, x2, x3, x4] = features.levels.try_into().unwrap();
    // The reference keeps every fourth voxel of the first stage.
    let x1 = x1.slice([0..1, 0..32, 0..24, 0..16, 0..64]);
    let (every_fourth, _) = golden.tensor("x1_stride4");
    let x1 = strided(x1, 4);
    assert_eq!(x1.dims()[1..4], [every_fourth[2], every_fourth[4], every_fourth[3]]);
    assert_stage(x1, &golden, "x1_stride4");
    assert_stage(x2, &golden, "x2");
    assert_stage(x3, &golden, "x3");
    assert_stage(x4, &golden, "x4");
}

#[test]
fn uniformer_train() {
    uniformer_train_on(Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn uniformer_train_on_wgpu() {
    uniformer_train_on(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
}

#[cfg(feature = "vulkan")]
#[test]
fn uniformer_train_on_vulkan() {
    uniformer_train_on(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice));
}

fn uniformer_train_on(device: Device) {
    let golden = Golden::open("uniformer_train");
    let device = device.autodiff();
    let model = encoder(&device);
    let features = model.forward(input("x", [2, 1, 32, 32, 32], &device), &mut Pass::still());
    assert_stage(features.deepest(), &golden, "x4");
    let loss = features.levels.into_iter().map(|x| (x.clone() * x).mean()).reduce(|a, b| a + b).unwrap();
    let gradients = loss.backward();
    let norms = brainmvp_golden::json("uniformer_train_grad_norms");
    let norms = norms.as_object().unwrap();
    let largest = norms.values().filter_map(serde_json::Value::as_f64).fold(0.0, f64::max);
    let mut seen = 0;
    for_each_gradient(&model, &gradients, |upstream, ours| {
        let norm = ours.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let expected = norms[&upstream.key].as_f64().unwrap();
        let tolerance = if expected < 1e-6 * largest { 1e-2 } else { 1e-3 };
        assert!(
            (norm - expected).abs() <= (tolerance * expected).max(1e-9 * largest),
            "{}: gradient norm {norm:e}, expected {expected:e}",
            upstream.key
        );
        let name = format!("grad.{}", upstream.key);
        if golden.names().any(|n| n == name) {
            assert_close(&ours, golden.tensor(&name).1, 1e-3, &name);
        }
        seen += 1;
    });
    assert_eq!(seen, norms.len());
    weights::visit(&model, |entry, data| {
        for (buffer, name) in [
            ("blocks1.0.norm1.running_mean", "running_mean.blocks1.0.norm1"),
            ("blocks1.0.norm1.running_var", "running_var.blocks1.0.norm1"),
        ] {
            if entry.path == buffer {
                assert_close(data.as_slice().unwrap(), golden.tensor(name).1, 1e-4, name);
                seen += 1;
            }
        }
    });
    assert_eq!(seen, norms.len() + 2);
}

/// Calls `each` with every parameter's gradient in upstream order.
fn for_each_gradient(
    model: &UniFormer,
    gradients: &burn::tensor::Gradients,
    each: impl FnMut(&Upstream, Vec<f32>),
) {
    weights::visit_gradients(model, gradients, each_upstream(each));
}

fn each_upstream(mut each: impl FnMut(&Upstream, Vec<f32>)) -> impl FnMut(weights::Entry<'_>, TensorData) {
    move |entry, data| {
        let upstream = upstream(entry);
        let values = upstream.to_upstream(data.as_slice().unwrap(), entry.shape);
        each(&upstream, values);
    }
}
