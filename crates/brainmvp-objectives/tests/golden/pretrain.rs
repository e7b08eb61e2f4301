//! One pre-training step with given masks against the reference: views, reconstruction, losses, all gradients.

use brainmvp_golden::Golden;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{NetworkConfig, Unet3dConfig, UniFormerConfig};
use brainmvp_nets::weights::{self, Head, Upstream};
use brainmvp_objectives::losses::Identity;
use brainmvp_objectives::masking::Mask;
use brainmvp_objectives::pretraining::{BrainMvp, BrainMvpConfig, BrainMvpSample, MethodPreset};
use brainmvp_objectives::templates::Templates;
use brainmvp_objectives::{Moment, Objective};
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::{Norms, assert_close, squares};

const PATCH: [usize; 3] = [32; 3];
/// Templates of the reference, x, y, z.
const TEMPLATE: [usize; 3] = [40, 48, 44];

/// The network with weights from their upstream names; the reference normalises templates by their bare range.
fn objective(network: &NetworkConfig, device: &Device) -> BrainMvp {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut init = Init { device, rng: &mut rng };
    let config = BrainMvpConfig {
        contrast_from_epoch: 0,
        cross_from_epoch: 0,
        ..BrainMvpConfig::of(MethodPreset::Released)
    };
    let grid = Grid::new(TEMPLATE, Affine::from_spacing([1.0; 3], [0.0; 3]));
    let templates = Templates::new(grid, 1, Some(1e-9), device);
    let objective = BrainMvp::new(&config, network, templates, PATCH, &mut init);
    let [x, y, z] = TEMPLATE;
    let stacked = brainmvp_golden::parameter("rep_template", &[8, x, y, z]);
    weights::load(objective, |entry| {
        let values = if let Some(index) = entry.path.strip_prefix("templates.volumes.") {
            let index: usize = index.parse().unwrap();
            x_fastest(&stacked[index * x * y * z..(index + 1) * x * y * z], TEMPLATE)
        } else {
            let upstream = Upstream::of(network, Head::Reconstruction, entry);
            upstream.to_ours(&brainmvp_golden::parameter(&upstream.key, &upstream.shape), entry.shape)
        };
        Ok::<_, ()>(Some(TensorData::new(values, entry.shape.to_vec())))
    })
    .unwrap()
}

/// Values with z fastest, turned to x fastest.
fn x_fastest(values: &[f32], [nx, ny, nz]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for z in 0..nz {
        for y in 0..ny {
            out.extend((0..nx).map(|x| values[(x * ny + y) * nz + z]));
        }
    }
    out
}

/// The reference numbers its 4 x 4 x 4 blocks with z fastest.
fn mask(golden: &Golden, name: &str, sample: usize) -> Mask {
    let (shape, blocks) = golden.tensor(name);
    let kept: Vec<usize> = blocks[sample * shape[1]..(sample + 1) * shape[1]]
        .iter()
        .map(|&block| {
            let block = block as usize;
            let [x, y, z] = [block / 16, block / 4 % 4, block % 4];
            (z * 4 + y) * 4 + x
        })
        .collect();
    Mask::keeping_blocks(PATCH, 8, &kept)
}

fn samples(golden: &Golden) -> Vec<BrainMvpSample> {
    let voxels = 32 * 32 * 32;
    // Two cases of two modalities, the target first.
    let x = brainmvp_golden::input("x", 4 * voxels);
    let volume = |i: usize| x_fastest(&x[i * voxels..(i + 1) * voxels], PATCH);
    [(Modality::T1, [3, 5, 2]), (Modality::Pd, [8, 16, 12])]
        .into_iter()
        .enumerate()
        .map(|(i, (modality, template_start))| BrainMvpSample {
            identity: Identity { person: i as u64, data_set: 0 },
            modality,
            target: volume(2 * i),
            partner: Some(volume(2 * i + 1)),
            template_start,
            mask_cross: mask(golden, "keep_blocks_cross", i),
            mask_distill: mask(golden, "keep_blocks_distill", i),
        })
        .collect()
}

/// `[B, Z, Y, X, C]` against the reference's `[B, C, X, Y, Z]`.
fn assert_volume(ours: Tensor<5>, golden: &Golden, name: &str) {
    let ours: Vec<f32> = ours.permute([0, 4, 3, 2, 1]).into_data().try_to_vec().unwrap();
    assert_close(&ours, golden.tensor(name).1, 1e-4, name);
}

#[test]
fn pretrain_uniformer() {
    // UniFormer's own axes: [B, C, Z, X, Y].
    check("pretrain_uniformer", &NetworkConfig::UniFormer(UniFormerConfig::small()), [0, 4, 1, 3, 2]);
}

#[test]
fn pretrain_unet3d() {
    check("pretrain_unet3d", &NetworkConfig::Unet3d(Unet3dConfig::published()), [0, 4, 3, 2, 1]);
}

/// `deepest_axes` turn our deepest features to the reference's.
fn check(name: &str, network: &NetworkConfig, deepest_axes: [isize; 5]) {
    let golden = Golden::open(name);
    let reference = brainmvp_golden::json(name);
    let device = Device::flex().autodiff();
    let objective = objective(network, &device);
    let samples = samples(&golden);

    let [cross, distilled] = objective.views(&samples, 0).views.try_into().unwrap();
    assert_volume(cross.clone(), &golden, "input_cross");
    assert_volume(distilled.clone(), &golden, "input_distill");
    // The reference has the distilled views first in its batch.
    let (reconstruction, deepest) =
        objective.reconstruct(Tensor::cat(vec![distilled, cross], 0), &mut Pass::still());
    assert_volume(reconstruction, &golden, "reconstruction");
    let deepest: Vec<f32> = deepest.permute(deepest_axes).into_data().try_to_vec().unwrap();
    assert_close(&deepest, golden.tensor("deepest").1, 1e-4, "deepest");

    let evaluation = objective.forward(
        &samples,
        Moment::default(),
        &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)),
    );
    let mut losses = vec![("loss_total", evaluation.total.clone())];
    losses.extend(evaluation.parts);
    for (name, loss) in losses {
        let (ours, expected) = (f64::from(loss.into_scalar::<f32>()), reference[name].as_f64().unwrap());
        assert!((ours - expected).abs() <= 1e-3 * expected, "{name}: {ours}, expected {expected}");
    }
    let gradients = evaluation.total.backward();
    assert_gradients(network, &objective, &gradients, &golden, &reference);
}

fn assert_gradients(
    network: &NetworkConfig,
    objective: &BrainMvp,
    gradients: &burn::tensor::Gradients,
    golden: &Golden,
    reference: &serde_json::Value,
) {
    let mut norms = Norms::new(reference);
    let mut template_squares = 0.0;
    weights::visit_gradients(objective, gradients, |entry, data| {
        let values: &[f32] = data.as_slice().unwrap();
        if let Some(index) = entry.path.strip_prefix("templates.volumes.") {
            template_squares += squares(values);
            let modality = Modality::ALL[index.parse::<usize>().unwrap()];
            let name = format!("grad.rep_template.{modality}_stride2");
            assert_close(&every_second(values, TEMPLATE), golden.tensor(&name).1, 1e-3, &name);
        } else {
            norms.assert(&Upstream::of(network, Head::Reconstruction, entry).key, squares(values));
        }
    });
    norms.assert("rep_template", template_squares);
    norms.assert_complete();
}

/// Every second voxel along each axis, z fastest, of voxels with x fastest.
fn every_second(values: &[f32], [nx, ny, nz]: [usize; 3]) -> Vec<f32> {
    let mut out = Vec::new();
    for x in (0..nx).step_by(2) {
        for y in (0..ny).step_by(2) {
            out.extend((0..nz).step_by(2).map(|z| values[(z * ny + y) * nx + x]));
        }
    }
    out
}
