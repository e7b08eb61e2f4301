//! The segmentation network on UniFormer: logits, losses, and the gradients of one fine-tuning step.

use brainmvp_golden::Golden;
use brainmvp_nets::Init;
use brainmvp_nets::heads::Segmented;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{NetworkConfig, SegmentationNetwork, UniFormerConfig};
use brainmvp_nets::weights::{self, Head, Upstream};
use brainmvp_objectives::downstream::{CopyLoss, MixingConfig, segmentation_loss};
use brainmvp_objectives::losses::{self, SegmentationTarget};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{Norms, assert_close, squares};

const SIZE: usize = 32;

fn config() -> NetworkConfig {
    NetworkConfig::UniFormer(UniFormerConfig { in_channels: 4, ..UniFormerConfig::small() })
}

fn upstream(entry: weights::Entry<'_>) -> Upstream {
    Upstream::of(&config(), Head::Segmentation { classes: 3 }, entry)
}

/// The network with weights from their upstream names.
fn network(device: &Device) -> SegmentationNetwork {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let network = SegmentationNetwork::new(&config(), 3, &mut Init { device, rng: &mut rng });
    weights::load(network, |entry| {
        let upstream = upstream(entry);
        let values = brainmvp_golden::parameter(&upstream.key, &upstream.shape);
        Ok::<_, ()>(Some(TensorData::new(upstream.to_ours(&values, entry.shape), entry.shape.to_vec())))
    })
    .unwrap()
}

/// Values stored `[2, C, X, Y, Z]` as `[2, Z, Y, X, C]`.
fn volumes(values: Vec<f32>, channels: usize, device: &Device) -> Tensor<5> {
    let shape = [2, channels, SIZE, SIZE, SIZE];
    Tensor::<5>::from_data(TensorData::new(values, shape), device).permute([0, 4, 3, 2, 1])
}

fn input(name: &str, device: &Device) -> Tensor<5> {
    volumes(brainmvp_golden::input(name, 2 * 4 * SIZE.pow(3)), 4, device)
}

/// `[B, Z, Y, X, C]` as the reference's `[B, C, X, Y, Z]`, every `step`-th voxel.
fn upstream_values(x: Tensor<5>, step: usize) -> Vec<f32> {
    let x = x.permute([0, 4, 3, 2, 1]);
    let [batch, channels, nx, ny, nz] = x.dims();
    let values: Vec<f32> = x.into_data().try_to_vec().unwrap();
    let mut out = Vec::new();
    for volume in 0..batch * channels {
        for x in (0..nx).step_by(step) {
            for y in (0..ny).step_by(step) {
                out.extend((0..nz).step_by(step).map(|z| values[((volume * nx + x) * ny + y) * nz + z]));
            }
        }
    }
    out
}

#[test]
fn finetune_uniunet_eval() {
    let golden = Golden::open("finetune_uniunet");
    let device = Device::flex();
    let segmented = network(&device).forward(input("xa", &device), &mut Pass::evaluation());
    assert!(segmented.coarse.is_empty(), "deep supervision is for training");
    let logits = upstream_values(segmented.logits, 1);
    assert_close(&logits, golden.tensor("eval_logits").1, 1e-4, "eval_logits");
}

#[test]
fn finetune_uniunet_train() {
    let golden = Golden::open("finetune_uniunet");
    let reference = brainmvp_golden::json("finetune_uniunet");
    let device = Device::flex().autodiff();
    let network = network(&device);
    let target: Vec<f32> = golden.tensor("y").1.iter().map(|&v| v as f32).collect();
    let target = SegmentationTarget::from(volumes(target, 3, &device));
    let [copy, other] = ["xa", "xb"].map(|name| network.forward(input(name, &device), &mut Pass::still()));
    assert_eq!((copy.coarse.len(), other.coarse.len()), (2, 2), "logits of 1/4 and of 1/2 of the size");
    for (ours, name) in [(&copy.logits, "train_full_stride2"), (&copy.coarse[0], "train_scale4_stride2")] {
        assert_close(&upstream_values(ours.clone(), 2), golden.tensor(name).1, 1e-4, name);
    }
    let outputs = [copy, other];
    let CopyLoss { total, parts } = segmentation_loss(&outputs, &target, &MixingConfig::released());
    // As released, both copies are one batch for the losses of each scale.
    let both = target.repeated(2);
    let loss = |pick: &dyn Fn(&Segmented) -> Tensor<5>| {
        losses::segmentation(Tensor::cat(outputs.iter().map(pick).collect(), 0), &both)
    };
    let scales = [
        ("loss_scale4", loss(&|output| output.coarse[0].clone())),
        ("loss_scale2", loss(&|output| output.coarse[1].clone())),
        ("loss_full", loss(&|output| output.logits.clone())),
    ];
    let sums = [("consistency_mse_as_released", parts[1].1.clone()), ("loss_total", total.clone())];
    for (name, loss) in scales.into_iter().chain(sums) {
        let (ours, expected) = (f64::from(loss.into_scalar::<f32>()), reference[name].as_f64().unwrap());
        assert!((ours - expected).abs() <= 1e-5 * expected, "{name}: {ours}, expected {expected}");
    }
    // As printed, the losses of the two copies are added: about twice as much.
    let supervision = |mixing| {
        let CopyLoss { parts, .. } = segmentation_loss(&outputs, &target, &mixing);
        f64::from(parts[0].1.clone().into_scalar::<f32>())
    };
    let (sum, pooled) = (supervision(MixingConfig::default()), supervision(MixingConfig::released()));
    assert!((sum / pooled - 2.0).abs() < 0.01, "{sum} {pooled}");
    let mut norms = Norms::new(&reference);
    weights::visit_gradients(&network, &total.backward(), |entry, data| {
        norms.assert(&upstream(entry).key, squares(data.as_slice().unwrap()));
    });
    norms.assert_complete();
}
