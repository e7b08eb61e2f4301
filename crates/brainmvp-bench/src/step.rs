//! One pre-training step as in `brainmvp pretrain`, on cases of noise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};

use brainmvp_cohort::CaseId;
use brainmvp_kernels::precision;
use brainmvp_prep::cache::{
    CASE_VERSION, CaseContents, CaseFacts, CaseMetadata, GridRecord, Manifest, write_case,
};
use brainmvp_prep::{PrepConfig, Space, StoredType};
use brainmvp_ranks::Ranks;
use brainmvp_train::device::device;
use brainmvp_train::log::metrics::StepMetrics;
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_train::trainer::Observer;
use brainmvp_volume::{Affine, AtPath as _, Grid, Modality, Volume};

use crate::child::Sample;
use crate::memory::Memory;
use crate::work::Shape;
use crate::{Error, Result, networks};

/// Voxels of the registered volumes, which are also those of the templates, and of the cropped cases, x, y, z, for
/// patches of
/// [`PATCH`] voxels along an axis.
const REGISTERED: [usize; 3] = [240, 240, 155];
const CASE: [usize; 3] = [144, 176, 144];
const PATCH: usize = 96;

const MODALITIES: [Modality; 4] = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];

/// Trains until enough steps are measured. The first is a warm-up.
pub(crate) fn measure(shape: &Shape, folder: &Path) -> Result<Sample> {
    let data = folder.join("cache");
    write_cases(shape, &data)?;
    let options = RunRequest {
        data,
        out: folder.join("run"),
        config: None,
        settings: settings(shape),
        existing: Existing::Refuse,
        device: "cpu".to_owned(),
        ranks: Ranks::alone(),
    };
    let (sender, steps) = sync_channel(0);
    let trainer =
        std::thread::spawn(move || pretrain(&options, &AtomicBool::new(false), &Listener(sender)).map(drop));
    let measured: Vec<Step> = steps.iter().take(shape.repetitions + 1).collect();
    if measured.len() <= shape.repetitions {
        let ended = trainer.join().map_err(|_| Error::Stopped)?;
        ended?;
    }
    // The trainer is not waited for; it ends with this process.
    let peak_memory_bytes = measured.last().and_then(|step| step.peak_memory_bytes);
    let seconds = measured[1..].iter().map(|step| step.seconds).collect();
    // Not before the peak of memory was read: it makes the network again.
    let parameters = Some(networks::pretraining_parameters(&shape.network(), &device("cpu")?));
    Ok(Sample { seconds, peak_memory_bytes, parameters, voxels_alike: None })
}

/// The defaults with all three losses, and with more steps than are measured, so that none of them writes a checkpoint.
fn settings(shape: &Shape) -> Vec<String> {
    let Shape { size, batch, repetitions, .. } = shape;
    let steps = repetitions + 3;
    vec![
        // The settings of the child process.
        format!("train.precision={}", precision()),
        format!("model.preset={}", shape.model.unwrap_or_default().name()),
        format!("patch.size={size}"),
        format!("train.batch_size={batch}"),
        format!("train.max_steps={steps}"),
        format!("checkpoint.every_steps={steps}"),
        "method.contrast_from_epoch=0".to_owned(),
        "log.pictures_every_steps=0".to_owned(),
    ]
}

/// The time of a step.
struct Step {
    seconds: f64,
    peak_memory_bytes: Option<u64>,
}

/// Passes on steps. The next one does not start before this one was received.
struct Listener(SyncSender<Step>);

impl Observer for Listener {
    fn step(&self, metrics: &StepMetrics, _: u64) {
        // Nobody is listening any more once enough is measured.
        drop(
            self.0.send(Step { seconds: metrics.seconds, peak_memory_bytes: Memory::peak_of_this_process() }),
        );
    }

    fn note(&self, _: &str) {}

    fn warn(&self, _: &str) {}
}

/// A cache with as many cases as a batch.
fn write_cases(shape: &Shape, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).at(dir)?;
    let mut manifest = Manifest::new(PrepConfig::default());
    for case in 0..shape.batch {
        manifest.cases.push(write_case(dir, &contents(shape.size, case)?, StoredType::F16)?);
    }
    Ok(manifest.save(dir)?)
}

fn contents(size: usize, case: usize) -> Result<CaseContents> {
    let grid = |shape: [usize; 3]| {
        Grid::new(shape.map(|n| n * size / PATCH), Affine::from_spacing([1.0; 3], [0.0; 3]))
    };
    let (registered, cropped) = (grid(REGISTERED), grid(CASE));
    let name = format!("noise-{case:02}");
    let id = CaseId::new(name.clone())?;
    let facts = CaseFacts {
        id: id.clone(),
        subject: name,
        data_set: "noise".to_owned(),
        site: None,
        class: None,
        numbers: BTreeMap::new(),
        split: None,
    };
    let metadata = CaseMetadata {
        version: CASE_VERSION,
        id,
        grid: GridRecord::from(&cropped),
        uncropped: GridRecord::from(&registered),
        original: GridRecord::from(&registered),
        space: Space::Native,
        crop_offset: std::array::from_fn(|axis| (registered.shape[axis] - cropped.shape[axis]) / 2),
        provenance: Vec::new(),
        label_values: BTreeSet::new(),
        fingerprints: BTreeMap::new(),
        content_hash: String::new(),
    };
    let images = MODALITIES.iter().enumerate().map(|(i, modality)| {
        let seed = (MODALITIES.len() * case + i) * cropped.len();
        (*modality, Volume::new(cropped, (seed..seed + cropped.len()).map(noise).collect()))
    });
    Ok(CaseContents { case: facts, metadata, images: images.collect(), label: None, brain_mask: None })
}

/// A value in [0, 1) for a number; half of the voxels are background.
fn noise(number: usize) -> f32 {
    let mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    let value = (mixed >> 40) as f32 / (1 << 24) as f32;
    if value < 0.5 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noise_is_spread_and_half_of_it_is_background() {
        let values: Vec<f32> = (0..100_000).map(noise).collect();
        let share = |low: f32, high: f32| {
            values.iter().filter(|v| (low..high).contains(v)).count() as f64 / values.len() as f64
        };
        assert!((share(0.0, 0.5) - 0.5).abs() < 0.01 && (share(0.75, 1.0) - 0.25).abs() < 0.01);
    }
}
