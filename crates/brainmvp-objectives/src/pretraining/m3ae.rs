//! M3AE (Liu et al., AAAI 2023): a masked auto-encoder of all modalities at once, with a learnt image that replaces what is
//! masked.
//!
//! The network sees a channel for each modality of [`Modality::ALL`]. Some modalities of a case are masked as a whole, and
//! most blocks of the others; a learnt image of each modality, in the space of the registered volumes, stands for what is
//! masked ("model inversion"). The network reconstructs the case. A modality that a case lacks is always masked, and has no
//! part in the loss. Downstream the learnt images are used as templates.

use std::collections::BTreeMap;

use brainmvp_kernels::ops::ranks::mean;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, PresetName, Segmentation};
use brainmvp_nets::weights::{Entry, Head};
use brainmvp_volume::Modality;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::seq::index::sample;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tensors::picture;
use super::{Kept, Learnt, Method, MethodPreset, Pretraining, Setup, Training};
use crate::limits;
use crate::masking::Mask;
use crate::patch::{PatchSource, draw_start};
use crate::templates::{Templates, template_start};
use crate::{Counts, Evaluation, Group, Moment, Objective, Scene};

/// Modalities, and input channels of the network.
const SLOTS: usize = Modality::ALL.len();

/// The number of modalities of a case that the published share of visible blocks refers to.
const PUBLISHED_MODALITIES: usize = 4;

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct M3aeConfig {
    /// Side of a block in voxels.
    pub block: usize,
    /// Share of the blocks of four modalities that stays visible: 108 blocks of a patch of 96^3.
    pub visible: f64,
    /// The largest number of modalities that are masked as a whole; at least one that the case has always stays.
    pub most_dropped: usize,
    /// Weight of the learnt images' deviation from their means, an L2 norm over all of their voxels.
    pub weight_deviation: f32,
    /// Learning rate of the learnt images, as a multiple of the network's: 0.005 to 3e-4.
    pub learning_rate_factor: f64,
}

impl Default for M3aeConfig {
    fn default() -> Self {
        // 0.005, with the network's 3e-4.
        Self {
            block: 16,
            visible: 0.125,
            most_dropped: 3,
            weight_deviation: 0.005,
            learning_rate_factor: 0.005 / 3e-4,
        }
    }
}

impl Method for M3aeConfig {
    const TITLE: &'static str = "M3AE (Liu et al.)";
    const ABOUT: &'static str =
        "masked reconstruction of all modalities at once, with a learnt image for what is masked";
    type Objective = M3ae;

    fn network() -> PresetName {
        PresetName::known("unet3d")
    }

    fn other_networks() -> Vec<PresetName> {
        vec![PresetName::default()]
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { epochs: 600, batch_size: 2, weight_decay: 0.0, ..Training::default() }
    }

    fn input(&self, network: &NetworkConfig) -> NetworkConfig {
        network.with_in_channels(SLOTS)
    }

    fn problem(&self, _network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        if self.block == 0 || patch.iter().any(|n| n % self.block != 0) {
            return Some(format!("method.block {} must divide patch.size {patch:?}", self.block));
        }
        if !(self.visible > 0.0 && self.visible <= 1.0) {
            return Some(format!("method.visible must lie in (0, 1], got {}", self.visible));
        }
        limits::not_negative(&[
            ("method.weight_deviation", f64::from(self.weight_deviation)),
            ("method.learning_rate_factor", self.learning_rate_factor),
        ])
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<M3ae, S::Error> {
        let grid = setup.frame.grid(None);
        let [x, y, z] = grid.shape;
        let mut templates = Templates::new(grid, 1, None, init.device);
        let has = |modality: &Modality| setup.cases.iter().any(|case| case.modalities().contains(modality));
        let learnt: Vec<Modality> = Modality::ALL.into_iter().filter(has).collect();
        for modality in &learnt {
            // A run that is continued has them in its checkpoint.
            let volume: Param<Tensor<3>> = init.normal([z, y, x], 1.0);
            templates.volumes[modality.index()] = volume;
        }
        Ok(M3ae {
            encoder: setup.network.encoder(init),
            decoder: setup.network.segmentation(SLOTS, init),
            templates,
            learnt,
            config: self.clone(),
            patch: setup.patch,
        })
    }
}

/// The network and the learnt images.
#[derive(Module, Debug)]
pub struct M3ae {
    /// What is kept after pre-training.
    pub encoder: Encoder,
    /// Reconstructs, with the encoder's features of all sizes; kept but for its last layer.
    pub decoder: Segmentation,
    /// The learnt images; kept too.
    pub templates: Templates,
    /// The modalities that some case has.
    #[module(skip)]
    learnt: Vec<Modality>,
    #[module(skip)]
    config: M3aeConfig,
    #[module(skip)]
    patch: [usize; 3],
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct M3aePlan {
    config: M3aeConfig,
    patch: [usize; 3],
    template: [usize; 3],
}

/// One case's patch of all modalities.
pub struct M3aeSample {
    /// The images that the case has, x fastest.
    images: BTreeMap<Modality, Vec<f32>>,
    /// For each of them, the blocks that stay visible, x fastest.
    visible: BTreeMap<Modality, Vec<usize>>,
    /// Where the patch starts in the learnt images.
    template_start: [isize; 3],
}

impl M3aePlan {
    fn blocks(&self) -> [usize; 3] {
        self.patch.map(|n| n / self.config.block)
    }

    /// The blocks of each modality that stay visible.
    fn draw_visible(&self, modalities: &[Modality], rng: &mut dyn Rng) -> BTreeMap<Modality, Vec<usize>> {
        let blocks: usize = self.blocks().iter().product();
        let dropped = rng.random_range(0..=self.config.most_dropped.min(modalities.len() - 1));
        let mut kept: Vec<usize> = sample(&mut *rng, modalities.len(), modalities.len() - dropped).into_vec();
        kept.sort_unstable();
        let share = self.config.visible * (PUBLISHED_MODALITIES * blocks) as f64;
        let count = ((share + 1e-9).floor() as usize).clamp(1, kept.len() * blocks);
        let mut visible: BTreeMap<Modality, Vec<usize>> =
            modalities.iter().map(|modality| (*modality, Vec::new())).collect();
        for chosen in sample(&mut *rng, kept.len() * blocks, count) {
            let modality = modalities[kept[chosen / blocks]];
            visible.entry(modality).or_default().push(chosen % blocks);
        }
        visible
    }
}

impl Objective for M3ae {
    type Plan = M3aePlan;
    type Sample = M3aeSample;

    fn plan(&self) -> M3aePlan {
        M3aePlan { config: self.config.clone(), patch: self.patch, template: self.templates.size() }
    }

    fn draw<S: PatchSource>(
        plan: &M3aePlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<M3aeSample, S::Error> {
        let case = scene.case();
        let modalities = case.modalities();
        let start = draw_start(case, modalities[rng.random_range(0..modalities.len())], plan.patch, rng)?;
        let mut images = BTreeMap::new();
        for &modality in modalities {
            images.insert(modality, case.patch(modality, start, plan.patch)?);
        }
        Ok(M3aeSample {
            images,
            visible: plan.draw_visible(modalities, rng),
            template_start: template_start(case, start, plan.template),
        })
    }

    fn forward(&self, samples: &[M3aeSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let device = self.templates.volumes[0].val().device();
        let targets = self.stack(samples, &device, |sample, modality| sample.images.get(&modality).cloned());
        let visible = self.stack(samples, &device, |sample, modality| {
            let mask = Mask::keeping_blocks(self.patch, self.config.block, sample.visible.get(&modality)?);
            Some(mask.voxels().iter().map(|masked| f32::from(u8::from(!masked))).collect())
        });
        let present = self.stack(samples, &device, |sample, modality| {
            sample.images.get(&modality).map(|voxels| vec![1.0; voxels.len()])
        });
        let learnt = samples.iter().map(|sample| {
            let crop = |modality| self.templates.crop(modality, sample.template_start, self.patch);
            Tensor::stack::<4>(Modality::ALL.into_iter().map(crop).collect(), 3)
        });
        let learnt = Tensor::stack::<5>(learnt.collect(), 0);
        let input = learnt.clone() + (targets.clone() - learnt) * visible;
        let output = self.decoder.forward(self.encoder.forward(input.clone(), pass), pass).logits;
        let error = (output.clone() - targets.clone()) * present.clone();
        let reconstruction = (error.clone() * error).sum() / mean(present.sum(), &pass.ranks);
        let deviation = self.deviation();
        let total = reconstruction.clone() + deviation.clone() * self.config.weight_deviation;
        let shown = samples[0].images.keys().next().map_or(0, |modality| modality.index());
        let show = |x: Tensor<5>| picture(&x.narrow(4, shown, 1), 0);
        Evaluation {
            quality: reconstruction.clone().detach(),
            total,
            parts: vec![("loss_reconstruction", reconstruction), ("loss_deviation", deviation)],
            pictures: vec![
                ("target", show(targets)),
                ("input", show(input)),
                ("reconstruction", show(output)),
            ],
        }
    }

    /// The learnt images have their own rate.
    fn group(&self, entry: Entry<'_>) -> Group {
        if entry.path.starts_with("templates.") {
            Group { rate: self.config.learning_rate_factor, decays: false }
        } else {
            Group::default()
        }
    }

    fn learnt_images(&self) -> Vec<(Modality, Tensor<3>)> {
        self.templates.images()
    }

    fn counts(&self, updates: &BTreeMap<String, usize>) -> Option<Counts> {
        Templates::counts(updates)
    }
}

impl M3ae {
    /// One channel for each modality, `[B, D, H, W, SLOTS]`; 0 where `voxels` has none.
    fn stack(
        &self,
        samples: &[M3aeSample],
        device: &Device,
        voxels: impl Fn(&M3aeSample, Modality) -> Option<Vec<f32>>,
    ) -> Tensor<5> {
        let [x, y, z] = self.patch;
        let of_sample = |sample: &M3aeSample| {
            let channel = |modality| {
                let values = voxels(sample, modality).unwrap_or_else(|| vec![0.0; x * y * z]);
                Tensor::<3>::from_data(TensorData::new(values, [z, y, x]), device)
            };
            Tensor::stack::<4>(Modality::ALL.into_iter().map(channel).collect(), 3)
        };
        Tensor::stack::<5>(samples.iter().map(of_sample).collect(), 0)
    }

    /// The L2 norm of the learnt images' deviations from their means.
    fn deviation(&self) -> Tensor<1> {
        let squares = self.learnt.iter().map(|modality| {
            let volume = self.templates.volume(*modality);
            let mean: Tensor<3> = volume.clone().mean().unsqueeze();
            let deviation = volume - mean;
            (deviation.clone() * deviation).sum()
        });
        // The root has no slope at 0.
        let sum = squares.reduce(|a, b| a + b);
        let sum = sum.unwrap_or_else(|| Tensor::zeros([1], &self.templates.volumes[0].val().device()));
        (sum + 1e-12).sqrt()
    }
}

impl Pretraining for M3ae {
    fn kept() -> Kept {
        Kept { by_modality: true, ..Kept::with_decoder(Head::Segmentation { classes: SLOTS }) }
    }

    fn templates(&self) -> Option<Learnt> {
        Some(self.templates.learnt())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn plan(patch: usize) -> M3aePlan {
        M3aePlan { config: M3aeConfig::default(), patch: [patch; 3], template: [patch; 3] }
    }

    proptest! {
        /// 108 of the 864 blocks of four modalities at 96^3, however many of them are masked as a whole.
        #[test]
        fn as_many_blocks_stay_visible_as_published(seed: u64) {
            let modalities = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];
            let visible = plan(96).draw_visible(&modalities, &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert_eq!(visible.values().map(Vec::len).sum::<usize>(), 108);
            prop_assert_eq!(visible.len(), 4);
        }

        /// Of a single modality half of the blocks stay, and the modality itself always does.
        #[test]
        fn a_single_modality_is_never_masked_as_a_whole(seed: u64) {
            let visible = plan(96).draw_visible(&[Modality::Dwi], &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert_eq!(visible[&Modality::Dwi].len(), 108);
        }
    }

    #[test]
    fn all_visible_blocks_may_be_of_one_modality() {
        let modalities = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];
        let all_in_one = (0..60).any(|seed| {
            let visible = plan(96).draw_visible(&modalities, &mut ChaCha8Rng::seed_from_u64(seed));
            visible.values().any(|blocks| blocks.len() == 108)
        });
        assert!(all_in_one, "three of four modalities are masked as a whole in a quarter of the samples");
    }
}
