//! The limits of the numbers in the sections that every run has.

use brainmvp_objectives::limits::{at_most, counts, not_negative, positive};

use super::ModelConfig;
use crate::checkpoint::CheckpointConfig;
use crate::optimizer::OptimizerConfig;
use crate::trainer::TrainConfig;

/// The largest number of voxels along an axis of a patch.
const LARGEST_PATCH: u64 = 512;

/// The sections that every run has.
pub(super) struct Common<'a> {
    pub(super) model: &'a ModelConfig,
    pub(super) patch: [usize; 3],
    pub(super) train: &'a TrainConfig,
    pub(super) optimizer: &'a OptimizerConfig,
    pub(super) checkpoint: &'a CheckpointConfig,
}

impl Common<'_> {
    /// What is wrong with them, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let Self { model, patch, train, optimizer, checkpoint } = self;
        let stride = model.network.stride();
        model
            .network
            .problem()
            .or_else(|| patch_problem(*patch, stride))
            .or_else(|| {
                counts(&[
                    ("train.epochs", train.epochs, 1_000_000_000),
                    ("train.batch_size", train.batch_size as u64, 4096),
                    ("train.accumulate", train.accumulate as u64, 65_536),
                    ("checkpoint.every_steps", checkpoint.every_steps, u64::MAX),
                    ("checkpoint.keep_last", checkpoint.keep_last as u64, u64::MAX),
                ])
            })
            .or_else(|| {
                at_most(&[
                    ("train.workers", train.workers as u64, 1024),
                    ("train.steps", train.steps, 1_000_000_000),
                ])
            })
            .or_else(|| {
                positive(&[
                    ("optimizer.schedule.learning_rate", optimizer.schedule.learning_rate),
                    ("optimizer.epsilon", f64::from(optimizer.epsilon)),
                ])
            })
            .or_else(|| {
                not_negative(&[
                    ("optimizer.weight_decay", f64::from(optimizer.weight_decay)),
                    ("optimizer.clip_norm", optimizer.clip_norm),
                ])
            })
            .or_else(|| {
                let betas = [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)];
                let wrong = betas.iter().find(|(_, beta)| !(0.0..1.0).contains(beta));
                wrong.map(|(key, beta)| format!("{key} must lie in [0, 1), got {beta}"))
            })
    }
}

/// What is wrong with a patch size for a network with this stride, if anything.
pub(crate) fn patch_problem(patch: [usize; 3], stride: usize) -> Option<String> {
    let fits = patch.iter().all(|&n| n > 0 && n.is_multiple_of(stride));
    if !fits {
        return Some(format!("patch.size {patch:?}: each must be a positive multiple of {stride}"));
    }
    at_most(&[("patch.size", patch.into_iter().fold(0, usize::max) as u64, LARGEST_PATCH)])
}
