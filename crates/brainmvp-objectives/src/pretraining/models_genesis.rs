//! Models Genesis (Zhou et al., MICCAI 2019): a patch is distorted, and the network restores it.
//!
//! The patch may be flipped, which is part of the target. Then its texture is shuffled, its intensities are mapped by a
//! random monotonic curve, and parts of it, or all but parts of it, give way to noise; each with its own chance. Encoder and
//! decoder are kept.
//!
//! The network sees one modality at a time: of a case with several of them, each is as likely as the others; a case with a
//! single one is no different. Intensities outside `[0, 1]` are moved into it by the map.

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, PresetName, Segmentation};
use brainmvp_nets::weights::Head;
use burn::module::Module;
use burn::tensor::Device;
use burn::tensor::activation::sigmoid;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tensors::{picture, volumes};
use super::{Kept, Method, MethodPreset, Pretraining, Setup, Training};
use crate::distortion::{IntensityMap, LocalShuffle, Paint, Sides, flip_repeatedly, paint_in, paint_out};
use crate::limits;
use crate::losses::{ReconstructionNorm, reconstruction};
use crate::patch::{PatchSource, draw_start};
use crate::{Evaluation, Moment, Objective, Scene};

/// The largest number of boxes of a sample.
const MAX_BOXES: usize = 1_000_000;

/// Boxes that give way to noise.
const INSIDE: Paint = Paint { sure: 0, most: 5, go_on: 0.95, sides: |n| [n / 6, n / 3] };

/// Boxes that stay where all else gives way to noise.
const OUTSIDE: Paint = Paint { sure: 1, most: 5, go_on: 0.95, sides: |n| [n - 4 * n / 7, n - 3 * n / 7] };

/// The settings of the method: the chances of its distortions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsGenesisConfig {
    /// Chance that the patch is flipped along a random axis, and again after each flip, three in all.
    pub flip: f64,
    /// Chance that the voxels of small boxes are shuffled within their box.
    pub shuffle: f64,
    /// Number of these boxes.
    pub boxes: usize,
    /// Chance that intensities are mapped by a random monotonic curve.
    pub intensity: f64,
    /// Chance that such a curve turns bright into dark.
    pub invert: f64,
    /// Chance that a part of the patch gives way to noise.
    pub paint: f64,
    /// Chance that this part is boxes within the patch; otherwise it is all but boxes.
    pub inside: f64,
}

impl Default for ModelsGenesisConfig {
    fn default() -> Self {
        Self { flip: 0.4, shuffle: 0.5, boxes: 10_000, intensity: 0.9, invert: 0.5, paint: 0.9, inside: 0.2 }
    }
}

impl Method for ModelsGenesisConfig {
    const TITLE: &'static str = "Models Genesis (Zhou et al.)";
    const ABOUT: &'static str = "restoration of patches whose texture, intensities or parts are distorted";
    const NOTICE: Option<&'static str> = Some(
        "the authors of Models Genesis (Arizona State University) say that patents on it are pending; whether your use of it \
         needs their licence is for you to find out",
    );
    type Objective = ModelsGenesis;

    fn network() -> PresetName {
        PresetName::known("unet3d-b")
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { batch_size: 6, learning_rate: 1e-3, weight_decay: 0.0, ..Training::default() }
    }

    fn problem(&self, _network: &NetworkConfig, _patch: [usize; 3]) -> Option<String> {
        limits::shares(&[
            ("method.flip", self.flip),
            ("method.shuffle", self.shuffle),
            ("method.intensity", self.intensity),
            ("method.invert", self.invert),
            ("method.paint", self.paint),
            ("method.inside", self.inside),
        ])
        .or_else(|| limits::at_most(&[("method.boxes", self.boxes as u64, MAX_BOXES as u64)]))
    }

    fn build<S: PatchSource>(
        &self,
        setup: &Setup<'_, S>,
        init: &mut Init<'_>,
    ) -> Result<ModelsGenesis, S::Error> {
        Ok(ModelsGenesis {
            encoder: setup.network.encoder(init),
            decoder: setup.network.segmentation(1, init),
            config: self.clone(),
            patch: setup.patch,
            device: init.device.clone(),
        })
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct ModelsGenesis {
    /// Kept.
    pub encoder: Encoder,
    /// Restores, with the encoder's features of all sizes; kept but for its last layer.
    pub decoder: Segmentation,
    #[module(skip)]
    config: ModelsGenesisConfig,
    #[module(skip)]
    patch: [usize; 3],
    #[module(skip)]
    device: Device,
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct ModelsGenesisPlan {
    config: ModelsGenesisConfig,
    patch: [usize; 3],
}

/// A patch and what became of it, x fastest.
pub struct ModelsGenesisSample {
    target: Vec<f32>,
    distorted: Vec<f32>,
}

impl ModelsGenesisPlan {
    /// Flips a patch, and distorts it.
    fn distort(&self, mut target: Vec<f32>, rng: &mut dyn Rng) -> ModelsGenesisSample {
        let (config, size) = (&self.config, self.patch);
        flip_repeatedly(&mut target, size, config.flip, rng);
        let mut distorted = target.clone();
        if rng.random_bool(config.shuffle) {
            let shuffle = LocalShuffle { boxes: config.boxes, sides: Sides::UpTo(10) };
            shuffle.apply(&mut distorted, size, rng);
        }
        if rng.random_bool(config.intensity) {
            IntensityMap::draw(config.invert, rng).apply(&mut distorted);
        }
        if rng.random_bool(config.paint) {
            if rng.random_bool(config.inside) {
                paint_in(&mut distorted, size, &INSIDE, rng);
            } else {
                paint_out(&mut distorted, size, &OUTSIDE, rng);
            }
        }
        ModelsGenesisSample { target, distorted }
    }
}

impl Objective for ModelsGenesis {
    type Plan = ModelsGenesisPlan;
    type Sample = ModelsGenesisSample;

    fn plan(&self) -> ModelsGenesisPlan {
        ModelsGenesisPlan { config: self.config.clone(), patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &ModelsGenesisPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<ModelsGenesisSample, S::Error> {
        let (case, modality) = (scene.case(), scene.modality(rng));
        let start = draw_start(case, modality, plan.patch, rng)?;
        Ok(plan.distort(case.patch(modality, start, plan.patch)?, rng))
    }

    fn forward(&self, samples: &[ModelsGenesisSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let stack = |of: fn(&ModelsGenesisSample) -> &[f32]| {
            volumes(samples.iter().map(of), self.patch, &self.device)
        };
        let (input, target) = (stack(|sample| &sample.distorted), stack(|sample| &sample.target));
        let features = self.encoder.forward(input.clone(), pass);
        let restored = sigmoid(self.decoder.forward(features, pass).logits);
        let total = reconstruction(restored.clone(), target.clone(), ReconstructionNorm::Squared);
        Evaluation::of(
            total,
            vec![
                ("target", picture(&target, 0)),
                ("input", picture(&input, 0)),
                ("restored", picture(&restored, 0)),
            ],
        )
    }
}

impl Pretraining for ModelsGenesis {
    fn kept() -> Kept {
        Kept::with_decoder(Head::Segmentation { classes: 1 })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const SIZE: [usize; 3] = [24, 28, 32];

    fn plan(config: ModelsGenesisConfig) -> ModelsGenesisPlan {
        ModelsGenesisPlan { config, patch: SIZE }
    }

    fn none() -> ModelsGenesisConfig {
        ModelsGenesisConfig { flip: 0.0, shuffle: 0.0, intensity: 0.0, paint: 0.0, ..Default::default() }
    }

    fn image() -> Vec<f32> {
        (0..SIZE.iter().product()).map(|i: usize| (i as f32 * 0.37).sin().abs()).collect()
    }

    fn sorted(mut values: Vec<f32>) -> Vec<f32> {
        values.sort_by(f32::total_cmp);
        values
    }

    #[test]
    fn without_distortions_there_is_nothing_to_restore() {
        let sample = plan(none()).distort(image(), &mut ChaCha8Rng::seed_from_u64(1));
        assert_eq!(sample.target, image());
        assert_eq!(sample.distorted, sample.target);
    }

    #[test]
    fn flips_are_part_of_the_target() {
        let flips = plan(ModelsGenesisConfig { flip: 1.0, ..none() });
        let sample = flips.distort(image(), &mut ChaCha8Rng::seed_from_u64(1));
        assert_ne!(sample.target, image());
        assert_eq!(sample.distorted, sample.target);
        assert_eq!(sorted(sample.target), sorted(image()));
    }

    /// Of the patches, 0.72 are painted outside, 0.18 inside and 0.1 not at all.
    #[test]
    fn parts_are_painted_as_often_as_published() {
        let painting = plan(ModelsGenesisConfig { paint: 0.9, ..none() });
        let mut counts = [0; 3];
        for seed in 0..400 {
            let blank = vec![0.0; image().len()];
            let sample = painting.distort(blank, &mut ChaCha8Rng::seed_from_u64(seed));
            let noise = sample.distorted.iter().filter(|value| **value > 0.0).count();
            // Five boxes of a third of each side are less than a fifth; what is outside of five of 4/7 is more than that,
            // as far as they overlap.
            let share = noise as f64 / image().len() as f64;
            counts[if noise == 0 { 0 } else { 1 + usize::from(share > 0.19) }] += 1;
        }
        let near = |count: i32, share: f64| (f64::from(count) / 400.0 - share).abs() < 0.07;
        assert!(near(counts[0], 0.109) && near(counts[1], 0.171) && near(counts[2], 0.72), "{counts:?}");
    }
}
