//! TransVW (Haghighi et al., 2021), transferable visual words: the network recognises places of the head, and restores
//! distorted patches.
//!
//! A first stage ([`discovery`]) draws places that have something to be seen, each in one case, and for each of them the
//! cases that look most alike: a class. In the second, a cube is cut at the place of one of the classes of a case,
//! deformed, and its texture, its intensities or a part of it are distorted. One head says the class; the decoder restores
//! the cube. Encoder and decoder are kept.
//!
//! The network sees one modality at a time: of a case with several of them, each is as likely as the others, since a class
//! is a place and not a contrast. Cases are compared by the modalities that they have in common; those that have none in
//! common are the least alike. A case that is in no class is restored, and not classified.

mod config;
mod discovery;
mod words;

use std::sync::Arc;

use brainmvp_nets::Init;
use brainmvp_nets::layers::{BatchNorm, Conv3d, Linear, Pass};
use brainmvp_nets::networks::{Encoder, Segmentation};
use brainmvp_nets::weights::Head;
use burn::module::Module;
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor};
use rand::{Rng, RngExt};

use self::words::Words;
use super::tensors::{picture, volumes};
use super::{Kept, Pretraining};
use crate::distortion::{
    Deformation, Elastic, IntensityMap, LocalShuffle, Outside, Paint, Sides, paint_in, paint_out, resize,
};
use crate::losses::{ReconstructionNorm, classification, reconstruction};
use crate::patch::{PatchSource, draw_start};
use crate::templates::template_start;
use crate::{Evaluation, Moment, Objective, Scene};

pub use config::{DiscoveryConfig, Features, TransVwConfig};

/// One box that gives way to noise.
const INSIDE: Paint = Paint { sure: 1, most: 1, go_on: 0.0, sides: |n| [n / 6, n / 3] };

/// One box that stays where all else gives way to noise.
const OUTSIDE: Paint = Paint { sure: 1, most: 1, go_on: 0.0, sides: |n| [n - 4 * n / 7, n - 3 * n / 7] };

/// Boxes whose voxels are shuffled.
const SHUFFLE: LocalShuffle = LocalShuffle { boxes: 5, sides: Sides::UpTo(10) };

/// Deviation of the Gaussian that smooths displacements, in voxels.
const SIGMA: f64 = 8.0;

/// The side of published cubes, to which their variation refers.
const PUBLISHED_CUBE: f64 = 64.0;

/// The network, its head for classes, and the classes.
#[derive(Module, Debug)]
pub struct TransVw {
    /// Kept.
    pub encoder: Encoder,
    /// Restores, with the encoder's features of all sizes; kept but for its last layer.
    pub decoder: Segmentation,
    /// Recognises; dropped.
    pub classifier: Classifier,
    /// The classes.
    pub words: Words,
    #[module(skip)]
    config: TransVwConfig,
    #[module(skip)]
    patch: [usize; 3],
    #[module(skip)]
    grid: [usize; 3],
    #[module(skip)]
    sides: [usize; 3],
    #[module(skip)]
    device: Device,
}

/// From the deepest features to a class.
#[derive(Module, Debug)]
pub struct Classifier {
    /// Doubles the channels.
    pub conv: Conv3d,
    /// Before a ReLU and the mean over all voxels.
    pub norm: BatchNorm,
    /// To logits.
    pub out: Linear,
}

impl Classifier {
    fn new(width: usize, classes: usize, init: &mut Init<'_>) -> Self {
        Self {
            conv: Conv3d::new([width, 2 * width], 3, init).with_bias(init),
            norm: BatchNorm::new(2 * width, init),
            out: Linear::new(2 * width, classes, init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to `[B, classes]`
    fn forward(&self, deepest: Tensor<5>, pass: &Pass<'_>) -> Tensor<2> {
        let x = relu(self.norm.forward(self.conv.forward(deepest), pass));
        let [batch, d, h, w, width] = x.dims();
        let x: Tensor<2> = x.reshape([batch, d * h * w, width]).mean_dim(1).squeeze_dim(1);
        self.out.forward(x)
    }
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct TransVwPlan {
    vary: f64,
    elastic: f64,
    patch: [usize; 3],
    /// Voxels of the registered volumes.
    grid: [usize; 3],
    /// Sides of the cubes.
    sides: [usize; 3],
    /// Where the cube of each class starts in that grid.
    places: Arc<Vec<[usize; 3]>>,
    /// The classes of each case.
    of_case: Arc<Vec<Vec<usize>>>,
}

/// A cube and what became of it, x fastest.
pub struct TransVwSample {
    class: Option<usize>,
    target: Vec<f32>,
    distorted: Vec<f32>,
}

impl TransVwPlan {
    /// Cuts a cube at its place, or in another size and a little beside. In the published program, two of three are.
    fn varied(&self, start: [isize; 3], rng: &mut dyn Rng) -> ([isize; 3], [usize; 3]) {
        let (mut start, mut sides) = (start, self.sides);
        if rng.random_bool(self.vary) {
            for axis in 0..2 {
                let unit = self.sides[axis] as f64 / PUBLISHED_CUBE;
                sides[axis] = (unit * rng.random_range(50.0..=79.0)).round().max(1.0) as usize;
                let beside = (unit * rng.random_range(-10.0..=9.0)).round() as isize;
                start[axis] += (self.sides[axis] as isize - sides[axis] as isize) / 2 + beside;
            }
        }
        (start, sides)
    }

    /// Deforms a cube, and distorts it in one of four ways.
    fn distort(&self, target: &[f32], rng: &mut dyn Rng) -> Vec<f32> {
        let size = self.patch;
        let elastic = Elastic::draw(size, self.elastic, SIGMA, [true, true, false], rng);
        let mut distorted = Deformation::elastic(elastic).apply(target, size, Outside::Mirror);
        match rng.random_range(0..4) {
            0 => SHUFFLE.apply(&mut distorted, size, rng),
            1 => IntensityMap::draw(0.5, rng).apply(&mut distorted),
            2 => paint_in(&mut distorted, size, &INSIDE, rng),
            _ => paint_out(&mut distorted, size, &OUTSIDE, rng),
        }
        distorted
    }
}

impl Objective for TransVw {
    type Plan = TransVwPlan;
    type Sample = TransVwSample;

    fn plan(&self) -> TransVwPlan {
        let found = self.words.get();
        let mut of_case: Vec<Vec<usize>> = Vec::new();
        for (class, cases) in found.instances.iter().enumerate() {
            for &case in cases {
                of_case.resize_with(of_case.len().max(case + 1), Vec::new);
                of_case[case].push(class);
            }
        }
        TransVwPlan {
            vary: self.config.vary,
            elastic: self.config.elastic,
            patch: self.patch,
            grid: self.grid,
            sides: self.sides,
            places: Arc::new(found.places),
            of_case: Arc::new(of_case),
        }
    }

    fn draw<S: PatchSource>(
        plan: &TransVwPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<TransVwSample, S::Error> {
        let (case, modality) = (scene.case(), scene.modality(rng));
        let classes = plan.of_case.get(scene.index).filter(|classes| !classes.is_empty());
        let class = classes.map(|classes| classes[rng.random_range(0..classes.len())]);
        let start = match class {
            Some(class) => {
                let (place, origin) = (plan.places[class], template_start(case, [0; 3], plan.grid));
                std::array::from_fn(|axis| place[axis] as isize - origin[axis])
            }
            None => draw_start(case, modality, plan.sides, rng)?,
        };
        let (start, sides) = plan.varied(start, rng);
        let target = resize(&case.patch(modality, start, sides)?, sides, plan.patch);
        let distorted = plan.distort(&target, rng);
        Ok(TransVwSample { class, target, distorted })
    }

    fn forward(&self, samples: &[TransVwSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let stack =
            |of: fn(&TransVwSample) -> &[f32]| volumes(samples.iter().map(of), self.patch, &self.device);
        let (input, target) = (stack(|sample| &sample.distorted), stack(|sample| &sample.target));
        let decoded = self.decoder.forward(self.encoder.forward(input.clone(), pass), pass);
        let restored = sigmoid(decoded.logits);
        let restoration = reconstruction(restored.clone(), target.clone(), ReconstructionNorm::Squared);
        let classes: Vec<Option<usize>> = samples.iter().map(|sample| sample.class).collect();
        let logits = self.classifier.forward(decoded.deepest, pass);
        let recognition = classification(logits, &classes, &vec![1.0; samples.len()]);
        let total = restoration.clone() * self.config.weight_restoration
            + recognition.clone() * self.config.weight_classification;
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts: vec![("loss_restoration", restoration), ("loss_classification", recognition)],
            pictures: vec![
                ("target", picture(&target, 0)),
                ("input", picture(&input, 0)),
                ("restored", picture(&restored, 0)),
            ],
        }
    }
}

impl Pretraining for TransVw {
    fn kept() -> Kept {
        Kept::with_decoder(Head::Segmentation { classes: 1 })
    }
}

#[cfg(test)]
mod tests;
