//! Pre-training methods: one file each.

mod brainmvp;

use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::Tensor;
use rand::Rng;
use serde::{Deserialize, Serialize};

pub use brainmvp::{
    BrainMvp, BrainMvpConfig, BrainMvpPlan, BrainMvpSample, Masks, MethodPreset, Negatives, Task, Views,
};

use crate::patch::PatchSource;

/// What samples are drawn by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrawBy {
    /// Every case is drawn once per epoch; the objective chooses among its modalities. A modality that few cases have is
    /// rarely used.
    #[default]
    Case,
    /// Every modality is the target equally often, over and over in random order, and the cases that have it take turns.
    Modality,
}

/// A pre-training method: how it draws samples of a case, and its losses.
pub trait Objective: Module {
    /// The data that loader threads need to draw samples.
    type Plan: Clone + Send + Sync + 'static;
    /// One case's share of a batch, as plain data.
    type Sample: Send + 'static;

    /// What the cases of this plan are drawn by.
    fn draw_by(_plan: &Self::Plan) -> DrawBy {
        DrawBy::Case
    }

    /// Draws a sample of a case: the input of the network, and the masks. `target` is the modality that was drawn with
    /// the case, which has it; `None` if cases are drawn by [`DrawBy::Case`].
    ///
    /// # Errors
    /// If the case cannot be read.
    fn draw<S: PatchSource>(
        plan: &Self::Plan,
        case: &S,
        target: Option<Modality>,
        rng: &mut dyn Rng,
    ) -> Result<Self::Sample, S::Error>;

    /// How much a case counts in the loss of a step, relative to the others.
    fn weight<S: PatchSource>(_plan: &Self::Plan, _case: &S) -> f32 {
        1.0
    }

    /// Tells a sample the weight of its case divided by the mean weight of the cases of its step: a batch may be a part
    /// of a step, so that it cannot tell by itself.
    fn set_share(_sample: &mut Self::Sample, _share: f32) {}

    /// The plan of this objective.
    fn plan(&self) -> Self::Plan;

    /// The losses of a batch in an epoch (counted from 0). `rng` is for the network's own randomness (stochastic depth).
    fn forward(&self, samples: &[Self::Sample], epoch: usize, rng: &mut dyn Rng) -> Evaluation;
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
