//! Fine-tuning for classification.

use brainmvp_nets::layers::{Linear, Pass};
use brainmvp_nets::networks::{ClassificationNetwork, Classified, Encoder};
use burn::module::Module;
use burn::tensor::Tensor;
use rand::Rng;

use super::copies::{Copies, agreement};
use super::{CopyLoss, CopyPlan, MixingConfig, Resized};
use crate::losses;
use crate::patch::PatchSource;
use crate::{Evaluation, Moment, Objective, Scene};

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
        let copies = plan.resized.draw(&plan.copies, case, rng)?;
        Ok(ClassifyingSample { copies, class: plan.class_of(case), share: 1.0 })
    }

    fn weight<S: PatchSource>(plan: &ClassifyingPlan, case: &S) -> f32 {
        plan.class_of(case).map_or(0.0, |class| plan.class_weights[class])
    }

    fn set_share(sample: &mut ClassifyingSample, share: f32) {
        sample.share = share;
    }

    fn forward(&self, samples: &[ClassifyingSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let plan = &self.plan;
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let (outputs, image) = plan.resized.outputs(&plan.copies, &self.network(), &batch, pass);
        classification_loss(&outputs, samples, &plan.copies.mixing).evaluation([("image", image)])
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
    let disagree = |a: &Classified, b: &Classified| agreement(a, b, mixing.agreement);
    mixing.loss(outputs, "loss_classification", supervise, disagree)
}
