//! DAE, disruptive auto-encoders (Valanarasu et al.): reconstruction from noise, low resolution and missing channels, with a
//! contrast between modalities.
//!
//! A patch is disrupted by noise and by a lower resolution, and the tokens that are made of it lose most of their channels.
//! The whole segmentation network reconstructs the patch. In addition, the deepest features of patches of one modality are
//! made alike, and unlike those of other modalities. A case takes part with any of its modalities, one at a time; how many
//! it has makes no difference. A patch whose modality no other of the batch has is left out of the contrast.

use brainmvp_kernels::ops::ranks::gather_rows;
use brainmvp_nets::Init;
use brainmvp_nets::layers::{LayerNorm, Pass, mean_over_voxels};
use brainmvp_nets::networks::{
    Features, Network as _, NetworkConfig, PresetName, Segment as _, Swin, SwinUnetrDecoder,
};
use brainmvp_nets::weights::Head;
use brainmvp_ranks::Ranks;
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use rand::Rng;
use rand::seq::index::sample;
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tensors::{picture, volumes};
use super::{Kept, Method, MethodPreset, Pretraining, Setup, Training, swin};
use crate::distortion::foreground_deviation;
use crate::limits;
use crate::losses::{classification, supervised_contrast, unit};
use crate::patch::{PatchSource, draw_image};
use crate::{Evaluation, Moment, Objective, Scene};

/// How modalities are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DaeContrast {
    /// By the cosines of the mean deepest features: those of one modality belong together.
    #[default]
    Supervised,
    /// As in the released program: all deepest features of a patch against those of the others, not normalised, times the
    /// exponential of the temperature; the right answer is the sample whose place in the batch is the rank of the patch's
    /// modality among those of the batch.
    Released,
}

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DaeConfig {
    /// Deviation of the noise, as a multiple of that of the voxels above 0: a variance of 0.1 where intensities are
    /// z-scores, as published.
    pub noise: f32,
    /// Factor of the lower resolution that the patch is seen at.
    pub factor: usize,
    /// Share of the tokens' channels that is zeroed.
    pub masked_channels: f64,
    /// How patches of one modality are brought together.
    pub contrast: DaeContrast,
    /// Temperature of the contrast.
    pub temperature: f32,
    /// Weight of the contrast.
    pub weight_contrast: f32,
}

impl Default for DaeConfig {
    fn default() -> Self {
        Self {
            // A variance of 0.1.
            noise: 0.316_227_77,
            factor: 4,
            masked_channels: 0.6,
            contrast: DaeContrast::default(),
            temperature: 0.5,
            weight_contrast: 0.03,
        }
    }
}

impl Method for DaeConfig {
    const TITLE: &'static str = "DAE (Valanarasu et al.)";
    const ABOUT: &'static str = "reconstruction from noise, low resolution and masked channels";
    type Objective = Dae;

    fn network() -> PresetName {
        swin::preset()
    }

    fn training(_preset: MethodPreset) -> Training {
        Training {
            epochs: 1000,
            batch_size: 4,
            learning_rate: 1e-4,
            // Published are 4 epochs.
            warmup_steps: 500,
            weight_decay: 0.05,
            decay_norms_and_biases: false,
            clip_norm: 1.0,
            ..Training::default()
        }
    }

    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        if let Some(problem) = swin::problem(network) {
            return Some(problem);
        }
        if self.factor == 0 || patch.iter().any(|n| n % self.factor != 0) {
            return Some(format!("method.factor {} must divide patch.size {patch:?}", self.factor));
        }
        limits::shares(&[("method.masked_channels", self.masked_channels)])
            .or_else(|| limits::positive(&[("method.temperature", f64::from(self.temperature))]))
            .or_else(|| {
                limits::not_negative(&[
                    ("method.noise", f64::from(self.noise)),
                    ("method.weight_contrast", f64::from(self.weight_contrast)),
                ])
            })
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<Dae, S::Error> {
        let network = swin::sizes(setup.network);
        Ok(Dae {
            encoder: network.encoder(init),
            patch_norm: LayerNorm::new(network.feature, 1e-5, init),
            decoder: network.segmentation(1, init),
            config: self.clone(),
            patch: setup.patch,
        })
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Dae {
    /// What is kept after pre-training.
    pub encoder: Swin,
    /// On the tokens, in pre-training only.
    pub patch_norm: LayerNorm,
    /// Reconstructs; kept but for its last layer.
    pub decoder: SwinUnetrDecoder,
    #[module(skip)]
    config: DaeConfig,
    #[module(skip)]
    patch: [usize; 3],
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct DaePlan {
    noise: f32,
    factor: usize,
    patch: [usize; 3],
}

/// One case's patch. Voxels are x fastest.
pub struct DaeSample {
    modality: Modality,
    target: Vec<f32>,
    disrupted: Vec<f32>,
}

impl DaePlan {
    /// The patch with noise, at a lower resolution: each block has the value of its first voxel.
    fn disrupt(&self, voxels: &[f32], mut rng: &mut dyn Rng) -> Vec<f32> {
        let ([nx, ny, nz], factor) = (self.patch, self.factor);
        let deviation = self.noise * foreground_deviation(voxels);
        let mut disrupted = vec![0.0; voxels.len()];
        for z in 0..nz {
            for y in 0..ny {
                let row = (z * ny + y) * nx;
                if z % factor == 0 && y % factor == 0 {
                    for x in (0..nx).step_by(factor) {
                        let noise: f32 = StandardNormal.sample(&mut rng);
                        disrupted[row + x..][..factor].fill(voxels[row + x] + deviation * noise);
                    }
                } else {
                    let first = (z / factor * factor * ny + y / factor * factor) * nx;
                    disrupted.copy_within(first..first + nx, row);
                }
            }
        }
        disrupted
    }
}

impl Dae {
    /// The reconstruction, `[B, D, H, W, 1]`, and the deepest features, of tokens that lack these channels.
    fn reconstruct(&self, x: Tensor<5>, masked: &[usize], pass: &mut Pass<'_>) -> (Tensor<5>, Tensor<5>) {
        let tokens = self.patch_norm.forward(self.encoder.embed(x.clone()));
        let [.., channels] = tokens.dims();
        let mut visible = vec![1.0_f32; channels];
        for channel in masked {
            visible[*channel] = 0.0;
        }
        let visible = Tensor::<5>::from_data(TensorData::new(visible, [1, 1, 1, 1, channels]), &x.device());
        // Unlike downstream, the decoder sees the levels as they are.
        let features = Features { input: x, levels: self.encoder.levels(tokens * visible) };
        let segmented = self.decoder.forward(features, pass);
        (segmented.logits, segmented.deepest)
    }

    /// The channels that all samples of a batch lack.
    fn draw_channels(&self, rng: &mut dyn Rng) -> Vec<usize> {
        let channels = self.patch_norm.weight.dims()[0];
        let count = (self.config.masked_channels * channels as f64 + 1e-9).floor() as usize;
        sample(&mut *rng, channels, count).into_vec()
    }

    /// With the patches of all ranks.
    fn contrast(&self, deepest: Tensor<5>, modalities: &[Modality], ranks: &Ranks) -> Tensor<1> {
        let temperature = self.config.temperature;
        let own: Vec<u8> = modalities.iter().map(|modality| modality.index() as u8).collect();
        let groups: Vec<usize> = ranks.gather(&own).concat().into_iter().map(usize::from).collect();
        match self.config.contrast {
            DaeContrast::Supervised => {
                let rows = gather_rows(unit(mean_over_voxels(deepest)), ranks);
                supervised_contrast(rows, &groups, temperature)
            }
            DaeContrast::Released => {
                released_contrast(gather_rows(deepest.flatten(1, 4), ranks), &groups, temperature)
            }
        }
    }
}

/// See [`DaeContrast::Released`]. `rows`: `[B, F]`; `modalities`: the [`Modality::index`] of each. The logits are symmetric, so
/// that both directions are one.
fn released_contrast(rows: Tensor<2>, modalities: &[usize], temperature: f32) -> Tensor<1> {
    let mut present = modalities.to_vec();
    present.sort_unstable();
    present.dedup();
    let rank = |modality: &usize| present.iter().position(|other| other == modality);
    let answers: Vec<Option<usize>> = modalities.iter().map(rank).collect();
    let logits = rows.clone().matmul(rows.transpose()) * temperature.exp();
    classification(logits, &answers, &vec![1.0; modalities.len()])
}

impl Objective for Dae {
    type Plan = DaePlan;
    type Sample = DaeSample;

    fn plan(&self) -> DaePlan {
        DaePlan { noise: self.config.noise, factor: self.config.factor, patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &DaePlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<DaeSample, S::Error> {
        let (modality, _, target) = draw_image(scene.case(), scene.target, plan.patch, rng)?;
        Ok(DaeSample { modality, disrupted: plan.disrupt(&target, rng), target })
    }

    fn forward(&self, samples: &[DaeSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let device = self.patch_norm.weight.val().device();
        let target = volumes(samples.iter().map(|sample| sample.target.as_slice()), self.patch, &device);
        let input = volumes(samples.iter().map(|sample| sample.disrupted.as_slice()), self.patch, &device);
        let masked = pass.rng.as_mut().map_or_else(Vec::new, |rng| self.draw_channels(&mut **rng));
        let (output, deepest) = self.reconstruct(input.clone(), &masked, pass);
        let reconstruction = (output.clone() - target.clone()).abs().mean();
        let modalities: Vec<Modality> = samples.iter().map(|sample| sample.modality).collect();
        let contrast = self.contrast(deepest, &modalities, &pass.ranks);
        Evaluation {
            quality: reconstruction.clone().detach(),
            total: reconstruction.clone() + contrast.clone() * self.config.weight_contrast,
            parts: vec![("loss_reconstruction", reconstruction), ("loss_contrast", contrast)],
            pictures: vec![
                ("target", picture(&target, 0)),
                ("disrupted", picture(&input, 0)),
                ("reconstruction", picture(&output, 0)),
            ],
        }
    }
}

impl Pretraining for Dae {
    fn kept() -> Kept {
        Kept::with_decoder(Head::Segmentation { classes: 1 })
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::SwinUnetrConfig;
    use burn::tensor::{Device, Distribution as Random};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn dae(network: &SwinUnetrConfig, device: &Device) -> Dae {
        let init = &mut Init { device, rng: &mut ChaCha8Rng::seed_from_u64(1) };
        Dae {
            encoder: network.encoder(init),
            patch_norm: LayerNorm::new(network.feature, 1e-5, init),
            decoder: network.segmentation(1, init),
            config: DaeConfig::default(),
            patch: [32; 3],
        }
    }

    #[test]
    fn blocks_have_the_value_of_their_first_voxel() {
        let plan = DaePlan { noise: 0.0, factor: 4, patch: [8, 12, 4] };
        let along = |axis: usize| {
            let strides = [1, 8, 96];
            let sizes = [8, 12, 4];
            let voxels: Vec<f32> = (0..384).map(|i| (i / strides[axis] % sizes[axis]) as f32).collect();
            (voxels.clone(), plan.disrupt(&voxels, &mut ChaCha8Rng::seed_from_u64(1)))
        };
        for axis in 0..3 {
            let (voxels, disrupted) = along(axis);
            let expected: Vec<f32> = voxels.iter().map(|value| 4.0 * (value / 4.0).floor()).collect();
            assert_eq!(disrupted, expected);
        }
    }

    /// Its variance is a tenth of that of the voxels that are not background, from block to block.
    #[test]
    fn noise_is_relative_to_the_patch() {
        let plan = DaePlan { noise: DaeConfig::default().noise, factor: 4, patch: [64; 3] };
        // Half background, the rest 2 and 4: a deviation of 1.
        let voxels: Vec<f32> = (0..64 * 64 * 64)
            .map(|i| if i < 32 * 64 * 64 { 0.0 } else { 2.0 + 2.0 * (i / 4 % 2) as f32 })
            .collect();
        let disrupted = plan.disrupt(&voxels, &mut ChaCha8Rng::seed_from_u64(2));
        let noise: Vec<f64> =
            disrupted.iter().zip(&voxels).map(|(now, before)| f64::from(now - before)).collect();
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let variance = noise.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / noise.len() as f64;
        // Of 4096 blocks.
        assert!(mean.abs() < 0.02 && (variance - 0.1).abs() < 0.01, "{mean} {variance}");
        assert!(noise[..4].iter().all(|value| *value == noise[0]) && noise[3] != noise[4]);
        let blank = plan.disrupt(&vec![0.0; 64 * 64 * 64], &mut ChaCha8Rng::seed_from_u64(2));
        assert!(blank.iter().all(|value| *value == 0.0));
    }

    #[test]
    fn twenty_eight_of_48_channels_have_no_influence() {
        let device = Device::flex().autodiff();
        let network = SwinUnetrConfig {
            feature: 48,
            heads: [1; 4],
            depths: [1; 4],
            window: 2,
            ..SwinUnetrConfig::tiny()
        };
        let dae = dae(&network, &device);
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        let masked = dae.draw_channels(rng);
        assert_eq!(masked.len(), 28);
        let x = Tensor::random([1, 32, 32, 32, 1], Random::Default, &device);
        let (output, _) = dae.reconstruct(x, &masked, &mut Pass::training(rng));
        let gradients = output.powi_scalar(2).sum().backward();
        let slopes = dae.patch_norm.bias.val().grad(&gradients).unwrap();
        let slopes: Vec<f32> = slopes.into_data().try_to_vec().unwrap();
        for (channel, slope) in slopes.into_iter().enumerate() {
            assert_eq!(slope == 0.0, masked.contains(&channel), "{channel}: {slope}");
        }
    }

    #[test]
    fn released_contrast_takes_ranks_of_modalities_for_places() {
        let device = Device::flex();
        let rows = Tensor::from_data(TensorData::from([[1.0, 0.0], [0.0, 1.0]]), &device);
        let loss = |modalities: [Modality; 2]| -> f32 {
            released_contrast(rows.clone(), &modalities.map(Modality::index), 0.5).into_scalar()
        };
        let scale = 0.5f32.exp();
        let (right, wrong) = ((1.0 + (-scale).exp()).ln(), (1.0 + scale.exp()).ln());
        let [first, second] = [Modality::Flair, Modality::T1];
        assert!((loss([first, second]) - right).abs() < 1e-6);
        assert!((loss([second, first]) - wrong).abs() < 1e-6);
        // Of one modality, both have the rank 0, which is the place of the first.
        assert!((loss([second, second]) - f32::midpoint(right, wrong)).abs() < 1e-6);
    }
}
