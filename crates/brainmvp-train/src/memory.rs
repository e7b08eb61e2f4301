//! How much memory a run will need: a step of it is too much to try, so smaller ones are measured.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_objectives::Objective;
use brainmvp_objectives::downstream::MixWith;

use crate::config::{FinetuneConfig, PretrainConfig};
use crate::pretrained::Pretrained;
use crate::purpose::Purpose;
use crate::run::{Existing, RunFolder, RunRequest};
use crate::trainer::{Observer, Trainer, Validation};
use crate::{Error, Result};

/// More than any network takes for a voxel of a patch in training, in bytes. (UniFormer-S takes 2,500, two views counted.)
const MOST_FOR_A_VOXEL: u64 = 20_000;

/// Samples in a batch of the two steps that are measured, whose patches have half the length along each axis.
const TRIED: [usize; 2] = [2, 4];

/// What a run is measured by.
pub struct Gauge<'a> {
    /// An empty folder to write to.
    pub scratch: &'a Path,
    /// The memory that is free now, in bytes.
    pub free_bytes: u64,
    /// The most that this process has had so far, in bytes; `None` where the system does not tell.
    pub peak_bytes: &'a dyn Fn() -> Option<u64>,
    /// Set to stop.
    pub stop: &'a AtomicBool,
}

/// The memory that [`crate::pretrain::pretrain`] needs, in bytes. `None` if it is little beside what is free, the run has been
/// begun before, or it cannot be told: then it is best to try.
///
/// # Errors
/// Those of the run itself.
pub fn of_pretraining(request: &RunRequest, gauge: &Gauge<'_>) -> Result<Option<u64>> {
    if is_begun(request)? {
        return Ok(None);
    }
    let config = PretrainConfig::resolve(&request.text(None::<&PretrainConfig>)?, &request.settings)?;
    let step = Step { patch: config.patch.size, samples: config.train.batch_size };
    gauge.measure(request, step, &[], &|request, trial| {
        crate::pretrain::set_up(request, gauge.stop, &Unheard, trial)
    })
}

/// The memory that [`crate::finetune::finetune`] needs; as [`of_pretraining`].
///
/// # Errors
/// Those of the run itself.
pub fn of_finetuning(request: &RunRequest, gauge: &Gauge<'_>) -> Result<Option<u64>> {
    if is_begun(request)? {
        return Ok(None);
    }
    let text = request.text(None::<&FinetuneConfig>)?;
    let pretrained = FinetuneConfig::source(&text, &request.settings)?.map(Pretrained::open).transpose()?;
    let network = pretrained.as_ref().map(|pretrained| &pretrained.about.network);
    let config = FinetuneConfig::resolve(&text, &request.settings, network)?;
    let has_templates = pretrained.is_some_and(|pretrained| pretrained.templates.is_some());
    // Copies with 0 take as much memory as others, and no template has to be laid on a case for them.
    let mixed: &[&str] = match config.mixing.with {
        MixWith::Templates if !has_templates => &[],
        MixWith::Templates | MixWith::Mean => &["mixing.with=zero"],
        MixWith::Zero | MixWith::None => &[],
    };
    let step = Step { patch: config.patch.size, samples: config.train.batch_size };
    gauge.measure(request, step, mixed, &|request, trial| {
        crate::finetune::set_up(request, gauge.stop, &Unheard, trial)
    })
}

/// Whether the run has a checkpoint, whose settings have had their memory before.
fn is_begun(request: &RunRequest) -> Result<bool> {
    Ok(request.existing == Existing::Resume && !RunFolder::stored_checkpoints(&request.out)?.is_empty())
}

/// The size of a step.
#[derive(Clone, Copy)]
struct Step {
    patch: [usize; 3],
    samples: usize,
}

impl Step {
    fn voxels(self) -> u64 {
        (self.samples * self.patch.iter().product::<usize>()) as u64
    }
}

/// Takes the step that is tried.
type Take<'a> = &'a dyn Fn(&RunRequest, Trial) -> Result<()>;

impl Gauge<'_> {
    fn measure(
        &self,
        request: &RunRequest,
        step: Step,
        more: &[&str],
        take: Take<'_>,
    ) -> Result<Option<u64>> {
        if step.voxels().saturating_mul(MOST_FOR_A_VOXEL) < self.free_bytes {
            return Ok(None);
        }
        let patch = step.patch.map(|n| n / 2);
        let mut found = Vec::new();
        for samples in TRIED {
            let tried = Step { patch, samples };
            let folder = self.scratch.join(samples.to_string());
            let settings = [
                format!("patch.size={patch:?}"),
                format!("train.batch_size={samples}"),
                "train.accumulate=1".to_owned(),
                "log.pictures_every_steps=0".to_owned(),
            ];
            let settings = settings.into_iter().chain(more.iter().map(|text| (*text).to_owned()));
            let mut small = request.clone();
            small.settings.extend(settings);
            small.existing = Existing::Refuse;
            match take(&small, Trial { folder }) {
                Ok(()) => {}
                // Not every network takes patches of every size, nor every method every batch.
                Err(Error::Config(_)) => return Ok(None),
                Err(other) => return Err(other),
            }
            let Some(peak) = (self.peak_bytes)() else { return Ok(None) };
            found.push((tried.voxels(), peak));
        }
        Ok(Some(in_line(found[0], found[1], step.voxels())))
    }
}

/// What a number of voxels takes, if two smaller numbers take this much.
fn in_line(first: (u64, u64), second: (u64, u64), voxels: u64) -> u64 {
    let rise = second.1.saturating_sub(first.1) as f64 / (second.0 - first.0) as f64;
    second.1 + (rise * voxels.saturating_sub(second.0) as f64) as u64
}

/// Takes one step and discards it.
struct Trial {
    folder: PathBuf,
}

impl Purpose for Trial {
    type Outcome = ();

    fn folder(&self, _request: &RunRequest) -> Result<RunFolder> {
        RunFolder::create(&self.folder, Existing::Refuse)
    }

    fn stopped(&self) -> Result<()> {
        Ok(())
    }

    fn learns_first(&self) -> bool {
        false
    }

    fn carry_out<O: Objective + 'static>(
        &self,
        trainer: &Trainer<'_>,
        objective: O,
        _validation: Option<&Validation<'_, O>>,
    ) -> Result<()> {
        trainer.rehearse(objective, None, |steps| steps > 0).map(drop)
    }
}

/// The run itself will say it.
struct Unheard;

impl Observer for Unheard {
    fn warn(&self, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_rises_with_voxels() {
        assert_eq!(in_line((10, 300), (20, 400), 50), 700);
        assert_eq!(in_line((10, 400), (20, 400), 50), 400, "all of it was there before");
        assert_eq!(in_line((10, 300), (20, 400), 15), 400, "no less than was measured");
    }
}
