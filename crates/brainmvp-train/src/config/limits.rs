//! The limits of numbers in a configuration.

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
            .or_else(|| at_most(&[("train.workers", train.workers as u64, 1024)]))
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

/// Each from 1 to its limit.
pub(super) fn counts(rows: &[(&str, u64, u64)]) -> Option<String> {
    let none = rows.iter().find(|(_, value, _)| *value == 0);
    none.map(|(key, ..)| format!("{key} must be at least 1")).or_else(|| at_most(rows))
}

/// Each up to its limit.
pub(super) fn at_most(rows: &[(&str, u64, u64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value, limit)| value > limit);
    wrong.map(|(key, _, limit)| format!("{key} must be at most {limit}"))
}

/// Each a number above 0.
pub(super) fn positive(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
    wrong.map(|(key, value)| format!("{key} must be a positive number, got {value}"))
}

/// Each a number from 0.
pub(super) fn not_negative(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0));
    wrong.map(|(key, value)| format!("{key} must be 0 or a positive number, got {value}"))
}

/// Each a share from 0 to 1.
pub(super) fn shares(rows: &[(&str, f64)]) -> Option<String> {
    let wrong = rows.iter().find(|(_, value)| !(0.0..=1.0).contains(value));
    wrong.map(|(key, value)| format!("{key} must lie in [0, 1], got {value}"))
}
