//! Fine-tuning for classification.

use brainmvp_nets::layers::Linear;
use brainmvp_nets::networks::{ClassificationNetwork, Classified, Encoder};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume};
use burn::module::Module;
use burn::tensor::Tensor;
use rand::{Rng, RngExt};

use super::copies::{Copies, disagreement, shown};
use super::{Agreement, Channel, CopyPlan, Inputs, MixingConfig, interleave};
use crate::losses;
use crate::objectives::{Evaluation, Objective};
use crate::patch::PatchSource;

/// What loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct ClassifyingPlan {
    /// The copies that the network sees.
    pub copies: CopyPlan,
    /// The classes by name.
    pub classes: Vec<String>,
    /// Weight of each class in the loss.
    pub class_weights: Vec<f32>,
    /// How a case becomes a box of the network's size.
    pub resized: Resized,
}

/// The whole case, brought to one size whatever its own, and a box of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resized {
    /// Voxels of the whole along x, y and z.
    pub whole: [usize; 3],
    /// Voxels of the box; at most the whole.
    pub patch: [usize; 3],
}

impl Resized {
    /// The box in the middle, channels fastest, then x: a tensor `[Z, Y, X, C]`.
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

    /// The box of a volume of `shape` voxels that starts at `start` of the whole, trilinear. Both cover the same field of
    /// view: along each axis voxel i of n has its centre at (i + 1/2) / n.
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
    copies: Copies,
    /// Place in the plan's classes; `None` where the case has none of them.
    class: Option<usize>,
}

/// The network that is fine-tuned.
#[derive(Module, Debug)]
pub struct Classifying {
    /// Pre-trained, but for its first layer.
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

    /// The network as it is now.
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
        case: &S,
        rng: &mut dyn Rng,
    ) -> Result<ClassifyingSample, S::Error> {
        let (inputs, resized, shape) = (&plan.copies.inputs, &plan.resized, case.shape());
        let start =
            std::array::from_fn(|axis| rng.random_range(0..=resized.whole[axis] - resized.patch[axis]));
        let cut = |voxels: Vec<f32>| resized.cut(voxels, shape, start);
        let channels = inputs.read(case, [0; 3], shape)?.into_iter();
        let channels = channels.map(|channel| Channel { voxels: cut(channel.voxels), ..channel }).collect();
        let template = |modality| inputs.template(case, modality, [0; 3], shape).map(cut);
        let copies = plan.copies.draw(channels, template, resized.patch, rng);
        let class = case.class().and_then(|class| plan.classes.iter().position(|known| known == class));
        Ok(ClassifyingSample { copies, class })
    }

    fn forward(&self, samples: &[ClassifyingSample], _epoch: usize, rng: &mut dyn Rng) -> Evaluation {
        let plan = &self.plan;
        #[expect(clippy::expect_used, reason = "every network has parameters")]
        let device = self.devices().into_iter().next().expect("parameters are on a device");
        let network = self.network();
        let classes: Vec<Option<usize>> = samples.iter().map(|sample| sample.class).collect();
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let inputs = plan.copies.tensors(&batch, plan.resized.patch, &device);
        let image = inputs.first().cloned();
        let outputs: Vec<Classified> =
            inputs.into_iter().map(|copy| network.forward(copy, &mut Some(&mut *rng))).collect();
        let loss = |output: &Classified| {
            losses::classification(output.logits.clone(), &classes, &plan.class_weights)
        };
        let loss = outputs.iter().map(loss).fold(Tensor::zeros([1], &device), |sum, loss| sum + loss);
        let (mut total, mut parts) = (loss.clone(), vec![("loss_classification", loss)]);
        if let [first, second] = outputs.as_slice() {
            let MixingConfig { agreement, weight_agreement: weight, .. } = plan.copies.mixing;
            let apart = match agreement {
                Agreement::Features => disagreement(first.deepest.clone(), second.deepest.clone()),
                Agreement::Output => disagreement(first.logits.clone(), second.logits.clone()),
            };
            total = total + apart.clone() * weight;
            parts.push(("loss_agreement", apart));
        }
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts,
            pictures: image.into_iter().map(|x| ("image", shown(x))).collect(),
        }
    }
}
