//! What the training loop needs to know of what it trains.

use std::collections::BTreeMap;

use brainmvp_nets::layers::Pass;
use brainmvp_nets::weights::Entry;
use brainmvp_ranks::Ranks;
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::Tensor;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patch::PatchSource;

/// What samples are drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DrawBy {
    /// Every case is drawn once per epoch; the objective chooses among its modalities. A modality that few cases have is
    /// rarely used.
    #[default]
    Case,
    /// Every modality is the target equally often, over and over in random order, and the cases that have it take turns.
    Modality,
}

/// The case that a sample is drawn of.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a, S> {
    /// All cases of the run: some methods draw a second one.
    pub cases: &'a [S],
    /// The index of the one whose turn it is.
    pub index: usize,
    /// The modality that was drawn with it, which it has; `None` if cases are drawn by [`DrawBy::Case`].
    pub target: Option<Modality>,
}

impl<'a, S> Scene<'a, S> {
    /// The case whose turn it is.
    pub fn case(&self) -> &'a S {
        &self.cases[self.index]
    }
}

impl<'a, S> Scene<'a, S> {
    /// A single case, without a target.
    pub fn of(case: &'a S) -> Self {
        Self { cases: std::slice::from_ref(case), index: 0, target: None }
    }
}

impl<S: PatchSource> Scene<'_, S> {
    /// The target, or any modality of the case.
    pub fn modality(&self, rng: &mut dyn Rng) -> Modality {
        let modalities = self.case().modalities();
        self.target.unwrap_or_else(|| modalities[rng.random_range(0..modalities.len())])
    }
}

/// A point in a run; the default is its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Steps done.
    pub step: u64,
    /// Steps of the schedule.
    pub total_steps: u64,
    /// Passes over the cases, counted from 0.
    pub epoch: usize,
}

impl Moment {
    /// The share of the schedule that is done, 0 to 1.
    pub fn progress(&self) -> f64 {
        (self.step as f64 / self.total_steps.max(1) as f64).min(1.0)
    }
}

/// How a parameter is moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Group {
    /// Its learning rate, as a multiple of the run's.
    pub rate: f64,
    /// Whether weight decay acts on it.
    pub decays: bool,
}

impl Default for Group {
    fn default() -> Self {
        Self { rate: 1.0, decays: true }
    }
}

/// What is counted over a run, to be shown with its losses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// What: `template updates`.
    pub what: &'static str,
    /// Of which parts, and how many.
    pub of: Vec<(&'static str, usize)>,
}

/// A network with a loss: how samples of a case are drawn, and what is minimised.
///
/// Its parameters and buffers are all that a checkpoint stores of it: what must survive an interruption, such as a teacher
/// or a queue, is one of them.
pub trait Objective: Module + Sync {
    /// The data that loader threads need to draw samples.
    type Plan: Clone + Send + Sync + 'static;
    /// One case's share of a batch, as plain data.
    type Sample: Send + Sync + 'static;

    /// The plan of this objective.
    fn plan(&self) -> Self::Plan;

    /// What the cases of this plan are drawn by.
    fn draw_by(_plan: &Self::Plan) -> DrawBy {
        DrawBy::Case
    }

    /// Draws a sample: the input of the network, and the masks.
    ///
    /// # Errors
    /// If a case cannot be read.
    fn draw<S: PatchSource>(
        plan: &Self::Plan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<Self::Sample, S::Error>;

    /// Whether the samples of a batch are made of each other ([`Objective::mix`]). Of several ranks, each then draws the whole
    /// batch.
    const MIXES: bool = false;

    /// Completes the samples of a batch by what is in the others.
    fn mix(_plan: &Self::Plan, _batch: &mut [Self::Sample]) {}

    /// How much a case counts in the loss of a step, relative to the others.
    fn weight<S: PatchSource>(_plan: &Self::Plan, _case: &S) -> f32 {
        1.0
    }

    /// Tells a sample the weight of its case divided by the mean weight of the cases of its step: a batch may be a part
    /// of a step, so that it cannot tell by itself.
    fn set_share(_sample: &mut Self::Sample, _share: f32) {}

    /// Whether the samples of a step must know each other although it consists of several batches ([`Objective::meet`]). All of
    /// them are then in memory at once.
    const WHOLE_STEPS: bool = false;

    /// Tells the samples of a step, batch by batch, what they must know of each other, and of those that other ranks have. It is
    /// called before the first batch is used if there are several, or several ranks.
    fn meet(&self, _batches: &mut [&mut [Self::Sample]], _ranks: &Ranks) {}

    /// The losses of a batch, in a pass with randomness.
    ///
    /// If several ranks share the batch, the mean of their losses is that of the batch, and so is the mean of the gradients. For
    /// terms that are no means over samples, [`brainmvp_kernels::ops::ranks`] has what is needed.
    fn forward(&self, samples: &[Self::Sample], at: Moment, pass: &mut Pass<'_>) -> Evaluation;

    /// What happens after the parameters were moved: a teacher follows its student. `at` is the step just done.
    fn after_step(self, _at: Moment) -> Self {
        self
    }

    /// How a parameter is moved.
    fn group(&self, _entry: Entry<'_>) -> Group {
        Group::default()
    }

    /// Images of modalities that are learnt themselves, `[Z, Y, X]`: the templates. They are drawn with every checkpoint.
    fn learnt_images(&self) -> Vec<(Modality, Tensor<3>)> {
        Vec::new()
    }

    /// What is shown of how often each parameter was moved.
    fn counts(&self, _updates: &BTreeMap<String, usize>) -> Option<Counts> {
        None
    }
}

impl Evaluation {
    /// That of a loss of one term.
    pub fn of(total: Tensor<1>, pictures: Vec<(&'static str, Tensor<3>)>) -> Self {
        Self { quality: total.clone().detach(), total, parts: Vec::new(), pictures }
    }
}

/// The result for a batch.
pub struct Evaluation {
    /// The loss to minimise, `[1]`.
    pub total: Tensor<1>,
    /// The value by which checkpoints are compared, `[1]`: comparable over the whole run, even if terms are added to
    /// the loss during it.
    pub quality: Tensor<1>,
    /// Parts of the loss before weighting, by name, `[1]` each.
    pub parts: Vec<(&'static str, Tensor<1>)>,
    /// The first case's volumes by name, `[D, H, W]`, detached, for display.
    pub pictures: Vec<(&'static str, Tensor<3>)>,
}
