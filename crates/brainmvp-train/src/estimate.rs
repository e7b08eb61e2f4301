//! The time, memory and disk space that a run will need, measured in a few of its steps.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use brainmvp_objectives::Objective;
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_volume::{FileError, Modality};

use crate::batches::CaseSource;
use crate::log::metrics::{StepMetrics, read_metrics};
use crate::purpose::Purpose;
use crate::run::{Existing, RunFolder, RunRequest};
use crate::trainer::{Observer, Trainer, Validation, ValidationConfig};
use crate::{Error, Result};

/// The needs of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Number of training cases.
    pub cases: usize,
    /// How many of them have each modality.
    pub modalities: BTreeMap<Modality, usize>,
    /// Steps that are already done, if a run is continued.
    pub done_steps: u64,
    /// The step after which the run ends.
    pub last_step: u64,
    /// Steps of the whole schedule.
    pub total_steps: u64,
    /// The median of the measured steps.
    pub seconds_per_step: f64,
    /// The number of measured steps, not including the first one.
    pub measured_steps: usize,
    /// Validation, if there is any.
    pub validation: Option<ValidationEstimate>,
    /// The size of the folder of the run.
    pub disk: DiskEstimate,
}

/// The needs of validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValidationEstimate {
    /// Cases of one validation.
    pub cases: usize,
    /// Validations still to come.
    pub times: u64,
    /// Seconds per case.
    pub seconds_per_case: f64,
}

/// The size of the folder of a run at the end, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskEstimate {
    /// A checkpoint: weights, moments and state.
    pub checkpoint: u64,
    /// How many of them are kept. While one is written, there is one more.
    pub checkpoints: u64,
    /// The best weights.
    pub best: u64,
    /// Metrics and the TensorBoard log.
    pub logs: u64,
    /// Configuration, templates, and the record of seen cases.
    pub other: u64,
}

impl Estimate {
    /// Steps still to do.
    pub fn steps(&self) -> u64 {
        self.last_step.saturating_sub(self.done_steps)
    }

    /// Remaining time, in seconds.
    pub fn seconds(&self) -> f64 {
        let validation = |v: &ValidationEstimate| v.times as f64 * v.cases as f64 * v.seconds_per_case;
        self.steps() as f64 * self.seconds_per_step + self.validation.as_ref().map_or(0.0, validation)
    }
}

impl DiskEstimate {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.checkpoint * self.checkpoints + self.best + self.logs + self.other
    }
}

/// Estimates the needs of [`crate::pretrain::pretrain`]. Only `scratch`, an empty folder, is written to.
///
/// # Errors
/// As of the run itself.
pub fn estimate_pretraining(
    request: &RunRequest,
    scratch: &Path,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<Estimate> {
    let sampler = LogSampler::new(scratch, observer);
    let purpose = ToMeasure { request, sampler: &sampler, validation_cases: 0 };
    crate::pretrain::set_up(request, stop, &sampler, purpose)
}

/// Estimates the needs of [`crate::finetune::finetune`]. Only `scratch`, an empty folder, is written to.
///
/// # Errors
/// As of the run itself.
pub fn estimate_finetuning(
    request: &RunRequest,
    scratch: &Path,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<Estimate> {
    let sampler = LogSampler::new(scratch, observer);
    let purpose = ToMeasure { request, sampler: &sampler, validation_cases: 0 };
    crate::finetune::set_up(request, stop, &sampler, purpose)
}

/// The number of steps to measure, after one to warm up, and the time after which fewer are enough.
const MEASURED_STEPS: u64 = 8;
const FEWEST_STEPS: u64 = 2;
const LONG_ENOUGH: Duration = Duration::from_mins(1);

/// Runs a few steps and discards the results.
struct ToMeasure<'a> {
    request: &'a RunRequest,
    sampler: &'a LogSampler<'a>,
    validation_cases: usize,
}

impl Purpose for ToMeasure<'_> {
    type Outcome = Estimate;

    fn folder(&self, request: &RunRequest) -> Result<RunFolder> {
        if !request.ranks.is_alone() {
            return Err(Error::Config("an estimate is made by one process, without mpirun".to_owned()));
        }
        RunFolder::create(&self.sampler.folder, Existing::Refuse)
    }

    fn stopped(&self) -> Result<Estimate> {
        Err(Error::run_folder(&self.request.out, "was stopped before a step was measured"))
    }

    /// One is enough to estimate the time for all.
    fn judged<'a>(&mut self, cases: &'a [CaseSource]) -> &'a [CaseSource] {
        self.validation_cases = cases.len();
        &cases[..cases.len().min(1)]
    }

    fn carry_out<O: Objective + 'static>(
        &self,
        trainer: &Trainer<'_>,
        objective: O,
        validation: Option<&Validation<'_, O>>,
    ) -> Result<Estimate> {
        let begun = Instant::now();
        let enough =
            |steps: u64| steps > MEASURED_STEPS || (steps > FEWEST_STEPS && begun.elapsed() > LONG_ENOUGH);
        let rehearsal = trainer.rehearse(objective, validation, enough)?;
        let count = trainer.cases.len();
        let (done_steps, last_step) = (self.done_steps()?, trainer.train.last_step(count));
        let metrics = read_metrics(&trainer.folder.metrics())?;
        let has =
            |modality: &Modality| trainer.cases.iter().filter(|c| c.modalities().contains(modality)).count();
        let modalities = Modality::ALL.into_iter().map(|m| (m, has(&m))).filter(|(_, count)| *count > 0);
        let validation = validation.zip(rehearsal.seconds_per_validation).map(|(validation, seconds)| {
            let times = validations(validation.config, trainer, done_steps, last_step);
            ValidationEstimate { cases: self.validation_cases, times, seconds_per_case: seconds }
        });
        let steps_written = last_step.div_ceil(trainer.checkpoint.every_steps.max(1));
        let disk = DiskEstimate {
            checkpoint: rehearsal.checkpoint_bytes,
            checkpoints: steps_written.clamp(1, trainer.checkpoint.keep_last.max(1) as u64),
            best: rehearsal.weights_bytes,
            logs: log_bytes(&self.sampler.sizes(), last_step, trainer.log.pictures_every_steps),
            other: files(trainer.folder.path(), |name| !is_log(name))?,
        };
        Ok(Estimate {
            cases: count,
            modalities: modalities.collect(),
            done_steps,
            last_step,
            total_steps: trainer.train.total_steps(count),
            seconds_per_step: median(metrics.iter().skip(1).map(|step| step.seconds).collect()),
            measured_steps: metrics.len().saturating_sub(1),
            validation,
            disk,
        })
    }
}

impl ToMeasure<'_> {
    /// Completed steps of the run that is continued.
    fn done_steps(&self) -> Result<u64> {
        if self.request.existing == Existing::Refuse || !self.request.out.is_dir() {
            return Ok(0);
        }
        let checkpoints = RunFolder::stored_checkpoints(&self.request.out)?;
        Ok(checkpoints.last().copied().unwrap_or(0))
    }
}

/// Validations from one step to another.
fn validations(config: &ValidationConfig, trainer: &Trainer<'_>, done: u64, last: u64) -> u64 {
    let due = |step: &u64| config.is_due(trainer.train, *step, trainer.cases.len(), last);
    (done + 1..=last).filter(due).count() as u64
}

/// Passes on messages, and records how the log grows.
struct LogSampler<'a> {
    folder: PathBuf,
    inner: &'a dyn Observer,
    /// Bytes of the log after each step.
    sizes: RefCell<Vec<u64>>,
}

impl<'a> LogSampler<'a> {
    fn new(folder: &Path, inner: &'a dyn Observer) -> Self {
        Self { folder: folder.to_owned(), inner, sizes: RefCell::default() }
    }

    fn sizes(&self) -> Vec<u64> {
        self.sizes.borrow().clone()
    }
}

impl Observer for LogSampler<'_> {
    fn step(&self, metrics: &StepMetrics, last: u64) {
        // If the log is inaccessible, writing to it will report the error.
        let size = files(&self.folder, is_log).unwrap_or_default();
        self.sizes.borrow_mut().push(size);
        self.inner.step(metrics, last);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn warn(&self, text: &str) {
        self.inner.warn(text);
    }
}

fn is_log(name: &str) -> bool {
    name == "metrics.jsonl" || name == "validation.jsonl" || name.contains(".tfevents.")
}

/// The total size of the files in a folder with matching names.
fn files(folder: &Path, chosen: impl Fn(&str) -> bool) -> Result<u64> {
    let failed = |e| FileError::new(folder, e);
    let mut size = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let metadata = entry.metadata().map_err(failed)?;
        if metadata.is_file() && chosen(&entry.file_name().to_string_lossy()) {
            size += metadata.len();
        }
    }
    Ok(size)
}

/// The size of the log after a number of steps, estimated from its sizes after each of the first steps. Pictures are
/// written at the first step and then at regular intervals; 0 means never.
fn log_bytes(sizes: &[u64], steps: u64, pictures_every: u64) -> u64 {
    let (Some(first), Some(last)) = (sizes.first(), sizes.last()) else { return 0 };
    let with_pictures = |steps: u64| if pictures_every == 0 { 0 } else { steps.div_ceil(pictures_every) };
    let measured = sizes.len() as u64;
    let (first, last) = (*first as f64, *last as f64);
    let without = measured - with_pictures(measured);
    if without == 0 {
        return (last / measured as f64 * steps as f64) as u64;
    }
    // The first step has pictures, if there are any: first = step + pictures.
    let shown = with_pictures(measured).max(1) as f64;
    let step = ((last - shown * first) / (measured as f64 - shown).max(1.0)).max(0.0);
    (step * steps as f64 + (first - step).max(0.0) * with_pictures(steps).max(1) as f64) as u64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_grow_by_steps_and_pictures() {
        let sizes = |steps: u64, every: u64| {
            let of = |n: u64| 100 * n + if every == 0 { 0 } else { 1000 * n.div_ceil(every) };
            (1..=steps).map(of).collect::<Vec<_>>()
        };
        for (every, expected) in [(0, 50_000), (1, 550_000), (4, 175_000), (100, 55_000)] {
            let found = log_bytes(&sizes(9, every), 500, every);
            assert_eq!(found, expected, "pictures every {every} steps");
        }
    }
}
