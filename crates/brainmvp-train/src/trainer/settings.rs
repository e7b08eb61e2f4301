//! How long a run is, with which batches, and what it writes on the way.

use brainmvp_kernels::Precision;
use brainmvp_ranks::Ranks;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How long, and with which batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// The seed of all random numbers.
    pub seed: u64,
    /// Passes over the training cases: in each, every case is drawn once. The schedule runs over all of them.
    pub epochs: u64,
    /// Length of the schedule in steps, instead of epochs; 0 for epochs.
    pub steps: u64,
    /// Stop after this many steps; 0 for the whole schedule, which does not change: a run that stopped so can be
    /// resumed with more.
    pub max_steps: u64,
    /// Cases of a batch; of the whole batch, if several processes share it.
    pub batch_size: usize,
    /// Batches of a step, whose gradients are averaged. It takes time in place of memory.
    pub accumulate: usize,
    /// Whether batch norms use the statistics of the whole batch if several processes share it. Otherwise each uses those of
    /// its share, which spares an exchange for each norm; running statistics are then averaged.
    pub sync_batch_norm: bool,
    /// Threads that read and draw batches ahead of the steps, one at least. Not the computing threads (`--threads`).
    pub workers: usize,
    /// Precision of matrix products on the CPU (`--precision`); sums and everything else are fp32.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 1500,
            steps: 0,
            max_steps: 0,
            batch_size: 3,
            accumulate: 1,
            sync_batch_norm: true,
            workers: 2,
            precision: Precision::Fp32,
        }
    }
}

/// The output during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between pictures of views and reconstructions in the TensorBoard log; 0 for none.
    pub pictures_every_steps: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { pictures_every_steps: 100 }
    }
}

/// When a run is validated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Epochs between validations; there is one more at the end.
    pub every_epochs: u64,
    /// Validations without a better score after which the run ends; 0 for all epochs.
    pub patience: u64,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self { every_epochs: 10, patience: 0 }
    }
}

impl ValidationConfig {
    /// Whether a run of this many cases that ends at `last` is validated after a step (counted from 1).
    pub(crate) fn is_due(&self, train: &TrainConfig, step: u64, cases: usize, last: u64) -> bool {
        let rounds = |step| train.epoch(step, cases) / self.every_epochs.max(1);
        step == last || rounds(step) > rounds(step - 1)
    }
}

impl TrainConfig {
    /// Refuses a batch that some ranks cannot share evenly.
    pub(super) fn refuse_uneven_shares(&self, ranks: &Ranks) -> Result<()> {
        let (size, count) = (self.batch_size, ranks.count());
        if size.is_multiple_of(count) {
            return Ok(());
        }
        Err(Error::Config(format!(
            "{count} processes cannot share train.batch_size = {size} evenly; set it to a multiple of {count}, \
             {} for example, and train.accumulate so that their product, the samples of a step, is what you want",
            size.next_multiple_of(count)
        )))
    }

    /// The number of steps of the schedule.
    pub fn total_steps(&self, cases: usize) -> u64 {
        if self.steps > 0 {
            return self.steps;
        }
        self.epochs.saturating_mul(cases as u64).div_ceil((self.batch_size * self.accumulate) as u64).max(1)
    }

    /// Steps after which the run ends.
    pub fn last_step(&self, cases: usize) -> u64 {
        let total = self.total_steps(cases);
        if self.max_steps == 0 { total } else { total.min(self.max_steps) }
    }

    /// The epoch, from 0, of a step.
    pub(super) fn epoch(&self, step: u64, cases: usize) -> u64 {
        step * (self.batch_size * self.accumulate) as u64 / (cases as u64).max(1)
    }
}
