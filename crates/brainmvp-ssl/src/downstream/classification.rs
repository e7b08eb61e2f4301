//! Fine-tuning for classification.

use brainmvp_nets::layers::{Linear, Pass};
use brainmvp_nets::networks::{ClassificationNetwork, Classified, Encoder};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume};
use burn::module::Module;
use burn::tensor::Tensor;
use rand::{Rng, RngExt};

use super::copies::{Copies, disagreement, shown};
use super::{Agreement, Channel, CopyLoss, CopyPlan, Inputs, MixingConfig, interleave};
use crate::losses;
use crate::objectives::{Evaluation, Moment, Objective, Scene};
use crate::patch::PatchSource;

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct ClassifyingPlan {
    /// The copies to make.
    pub copies: CopyPlan,
    /// The classes by name.
    pub classes: Vec<String>,
    /// How much a case of each class counts in the loss of a step, relative to the others.
    pub class_weights: Vec<f32>,
    /// How a case is brought to the size of the network's input.
    pub resized: Resized,
}

/// The size to which a whole case is resized, and the box that is cut out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resized {
    /// Voxels of the resized case along x, y and z.
    pub whole: [usize; 3],
    /// Voxels of the box; not larger than the resized case.
    pub patch: [usize; 3],
}

impl Resized {
    /// The central box, channels fastest, then x: a tensor `[Z, Y, X, C]`.
    ///
    /// # Errors
    /// If the case cannot be read.
    pub fn centre<S: PatchSource>(&self, case: &S, inputs: &Inputs) -> Result<Vec<f32>, S::Error> {
        let start = std::array::from_fn(|axis| (self.whole[axis] - self.patch[axis]) / 2);
        let shape = case.shape();
        let channels = inputs.read(case, [0; 3], shape)?;
        let channels: Vec<Vec<f32>> =
            channels.into_iter().map(|channel| self.cut(channel.voxels, shape, start)).collect();
        Ok(interleave(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    /// The box at `start` of the resized case, from a volume of `shape` voxels, with trilinear interpolation. Both cover
    /// the same field of view: along each axis the centre of voxel i of n is at (i + 1/2) / n.
    fn cut(&self, voxels: Vec<f32>, shape: [usize; 3], start: [usize; 3]) -> Vec<f32> {
        let spacing: [f64; 3] = std::array::from_fn(|axis| shape[axis] as f64 / self.whole[axis] as f64);
        let origin: [f64; 3] = std::array::from_fn(|axis| (start[axis] as f64 + 0.5) * spacing[axis] - 0.5);
        let volume = Volume::new(Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3])), voxels);
        let grid = Grid::new(self.patch, Affine::from_spacing(spacing, origin));
        onto_grid(&volume, &grid, Interpolation::Trilinear, 0.0).into_voxels()
    }
}

/// One case.
pub struct ClassifyingSample {
    pub(super) copies: Copies,
    /// The index in the plan's classes; `None` if the case has none of them.
    pub(super) class: Option<usize>,
    /// The weight of the class divided by the mean weight of the cases of the step.
    pub(super) share: f32,
}

impl ClassifyingPlan {
    /// Index of a case's class among those of the plan.
    fn class_of<S: PatchSource>(&self, case: &S) -> Option<usize> {
        let class = case.class()?;
        self.classes.iter().position(|known| known == class)
    }
}

/// The network that is fine-tuned.
#[derive(Module, Debug)]
pub struct Classifying {
    /// Pre-trained, except for its first layer.
    pub encoder: Encoder,
    /// From the mean features to logits.
    pub head: Linear,
    #[module(skip)]
    plan: ClassifyingPlan,
}

impl Classifying {
    /// Fine-tunes `network`, whose classes are those of the plan.
    pub fn new(network: ClassificationNetwork, plan: ClassifyingPlan) -> Self {
        Self { encoder: network.encoder, head: network.head, plan }
    }

    /// The network in its current state.
    pub fn network(&self) -> ClassificationNetwork {
        ClassificationNetwork { encoder: self.encoder.clone(), head: self.head.clone() }
    }
}

impl Objective for Classifying {
    type Plan = ClassifyingPlan;
    type Sample = ClassifyingSample;

    fn plan(&self) -> ClassifyingPlan {
        self.plan.clone()
    }

    fn draw<S: PatchSource>(
        plan: &ClassifyingPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<ClassifyingSample, S::Error> {
        let case = scene.case();
        let (inputs, resized, shape) = (&plan.copies.inputs, &plan.resized, case.shape());
        let start =
            std::array::from_fn(|axis| rng.random_range(0..=resized.whole[axis] - resized.patch[axis]));
        let cut = |voxels: Vec<f32>| resized.cut(voxels, shape, start);
        let channels = inputs.read(case, [0; 3], shape)?.into_iter();
        let channels = channels.map(|channel| Channel { voxels: cut(channel.voxels), ..channel }).collect();
        let filling = |modality| plan.copies.filling(case, modality, [0; 3], shape).map(cut);
        let copies = plan.copies.draw(channels, filling, resized.patch, rng);
        Ok(ClassifyingSample { copies, class: plan.class_of(case), share: 1.0 })
    }

    fn weight<S: PatchSource>(plan: &ClassifyingPlan, case: &S) -> f32 {
        plan.class_of(case).map_or(0.0, |class| plan.class_weights[class])
    }

    fn set_share(sample: &mut ClassifyingSample, share: f32) {
        sample.share = share;
    }

    fn forward(&self, samples: &[ClassifyingSample], _at: Moment, rng: &mut dyn Rng) -> Evaluation {
        let plan = &self.plan;
        #[expect(clippy::expect_used, reason = "every network has parameters")]
        let device = self.devices().into_iter().next().expect("parameters are on a device");
        let network = self.network();
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let inputs = plan.copies.tensors(&batch, plan.resized.patch, &device);
        let image = inputs.first().cloned();
        let outputs: Vec<Classified> =
            inputs.into_iter().map(|copy| network.forward(copy, &mut Pass::training(&mut *rng))).collect();
        let CopyLoss { total, parts } = classification_loss(&outputs, samples, &plan.copies.mixing);
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts,
            pictures: image.into_iter().map(|x| ("image", shown(x))).collect(),
        }
    }
}

/// Like [`segmentation_loss`](super::segmentation_loss), with cross-entropy.
fn classification_loss(
    outputs: &[Classified],
    samples: &[ClassifyingSample],
    mixing: &MixingConfig,
) -> CopyLoss {
    let classes: Vec<Option<usize>> = samples.iter().map(|sample| sample.class).collect();
    let shares: Vec<f32> = samples.iter().map(|sample| sample.share).collect();
    let supervise = |copies: &[Classified]| {
        let logits = Tensor::cat(copies.iter().map(|output| output.logits.clone()).collect(), 0);
        losses::classification(logits, &classes.repeat(copies.len()), &shares.repeat(copies.len()))
    };
    let disagree = |a: &Classified, b: &Classified| match mixing.agreement {
        Agreement::Features => disagreement(a.deepest.clone(), b.deepest.clone()),
        Agreement::Output => disagreement(a.logits.clone(), b.logits.clone()),
    };
    mixing.loss(outputs, "loss_classification", supervise, disagree)
}
