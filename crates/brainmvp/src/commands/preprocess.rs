//! `brainmvp preprocess`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use brainmvp_cohort::{CaseId, Cohort};
use brainmvp_prep::cache::{Cache, Manifest};
use brainmvp_prep::{
    CropKind, Intensity, Outcome, Pipeline, PrepConfig, PrepPreset, PrepSettings, RegisterKind, RunOptions,
    Shard, SkullStrip, StoredType, Summary, larger_than, preprocess_shard,
};
use brainmvp_train::config::Stage;
use brainmvp_view::text::{duration, size};
use brainmvp_volume::Modality;
use clap::Args;

use super::{counted, load_cohort, report};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;
use brainmvp_bench::memory::free_memory;

/// Bring every case of a cohort to one grid, orientation and scale, ready for training
///
/// The images of a case must be aligned with each other; otherwise use --register. If they show the whole head and the
/// cohort gives no brain mask for the case, the brain is found and the rest set to 0. A case that cannot be prepared is
/// named and left out. Cases in the cache that are still up to date are kept, so an interrupted run continues where it
/// stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp preprocess cohort.json --out cache
  brainmvp preprocess cohort.json --out cache --atlas sri24.nii.gz --register affine
  brainmvp preprocess cohort.json --out cache --config configs/finetune-isles22.toml
  brainmvp preprocess cohort.json --out cache-2mm --preset released --spacing 2 --memory 4G
  brainmvp preprocess cohort.json --out cache --skull-strip mask     # trust no mask but the cases' own
  brainmvp preprocess cohort.json --out cache --any-brain-size 'voxel sizes are nominal'
  brainmvp preprocess cohort.json --out cache --report report        # and look at what became of them
  sbatch --array=1-16 --wrap 'brainmvp preprocess cohort.json --out cache --shard auto'

Exit codes: 0 at least one case is prepared (cases left out are named), 1 failed or interrupted,
2 bad input, or no case could be prepared.")]
pub(crate) struct Preprocess {
    /// Cohort file
    #[arg(value_name = "COHORT")]
    cohort: PathBuf,
    /// Cache folder to write to: one file per case, and manifest.json
    #[arg(long, value_name = "CACHE")]
    out: PathBuf,
    /// Settings in a TOML file: the options below by name (spacing_mm for --spacing), or the table [preprocess] of a
    /// recipe for several stages; options override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Preset: the settings of the paper's pre-training (percentiles 1,99) or of the authors' released program (5,95)
    /// [default: paper]
    #[arg(long, value_parser = argument::choice(&[("paper", PrepPreset::Paper), ("released", PrepPreset::Released)]))]
    preset: Option<PrepPreset>,
    /// Register the images of a case to one of them, rigidly, and that one to the atlas, rigidly or affinely [default:
    /// none, or affine with --atlas]
    #[arg(long, value_parser = argument::choice(
        &[("none", RegisterKind::None), ("rigid", RegisterKind::Rigid), ("affine", RegisterKind::Affine)]))]
    register: Option<RegisterKind>,
    /// Image to register to; cases get its space and grid
    #[arg(long, alias = "template", value_name = "FILE")]
    atlas: Option<PathBuf>,
    /// Voxel size in mm, one for all axes or x,y,z [default: 1]
    #[arg(long, value_name = "MM", value_parser = argument::spacing_mm)]
    spacing: Option<[f64; 3]>,
    /// Percentiles that are mapped to 0 and 1 [default: from the preset]
    #[arg(long, value_name = "LOW,HIGH", value_parser = argument::percentiles)]
    percentiles: Option<[f64; 2]>,
    /// Skull stripping: auto (if there is a skull), mask (with the mask that every case must have), or none [default:
    /// auto]
    #[arg(long, value_parser = argument::choice(
        &[("auto", SkullStrip::Auto), ("none", SkullStrip::None), ("mask", SkullStrip::Mask)]))]
    skull_strip: Option<SkullStrip>,
    /// Accept brains of any size, and say why; the reason is recorded with the cache. Otherwise a case is left out if the
    /// brain found in it has less than 700 or more than 2200 ml
    #[arg(long, value_name = "REASON")]
    any_brain_size: Option<String>,
    /// Remove the smooth shading caused by receive coils (N4)
    #[arg(long)]
    bias_field: bool,
    /// Scaling of grey values to [0, 1]: by percentiles of the volume, 0.5 + z/8 in the brain, or the standard scale of
    /// --landmarks [default: percentile, or nyul with --landmarks]
    #[arg(long, value_parser = argument::choice(&[
        ("percentile", Intensity::Percentile), ("zscore", Intensity::ZScore), ("nyul", Intensity::Nyul)]))]
    intensity: Option<Intensity>,
    /// File with the standard scale of each modality, made by `brainmvp landmarks`
    #[arg(long, value_name = "FILE")]
    landmarks: Option<PathBuf>,
    /// How to crop around the brain: symmetrically about the centre of the volume, to the bounding box, or not at all
    /// [default: symmetric]
    #[arg(long, value_parser = argument::choice(
        &[("symmetric", CropKind::Symmetric), ("bounding-box", CropKind::BoundingBox), ("none", CropKind::None)]))]
    crop: Option<CropKind>,
    /// Number type of the stored images [default: f16]
    #[arg(long, value_parser = argument::choice(&[("f16", StoredType::F16), ("f32", StoredType::F32)]))]
    dtype: Option<StoredType>,
    /// Steps in order, instead of the preset's (see `brainmvp list steps`)
    #[arg(long, value_name = "STEP,...", value_delimiter = ',')]
    steps: Vec<String>,
    /// Memory for all cases processed at the same time, e.g. 4G; cases that need more by themselves are told beforehand
    /// and prepared alone [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = argument::bytes)]
    memory: Option<u64>,
    /// Share of the cases to prepare, if several jobs fill one cache: 2/8, or auto for that of a Slurm array or
    /// (as auto/8) an indexed Kubernetes job
    #[arg(long, value_name = "I/N", value_parser = argument::shard)]
    shard: Option<Shard>,
    /// Afterwards, write a picture of every case and a table of the cohort here (`brainmvp report`)
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Prepare every case again
    #[arg(long)]
    force: bool,
}

impl Preprocess {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let cohort = load_cohort(&self.cohort)?;
        argument::refuse_file_as_folder(&self.out)?;
        self.report.as_deref().map(argument::refuse_file_as_folder).transpose()?;
        let config = self.config()?;
        // Wrong settings are reported before anything else.
        let pipeline = Pipeline::new(&config)?;
        refuse_unknown_modalities(&cohort, &config)?;
        if Manifest::load(&self.out).is_ok_and(|manifest| manifest.preparation.config != config) {
            let out = self.out.display();
            ui.note(format!("note: {out} was made with other settings; every case is prepared again"));
        }
        let options = RunOptions {
            memory_bytes: self.memory.unwrap_or_else(half_of_free_memory),
            force: self.force,
            stop: interrupt::stop_flag(),
        };
        let left_out = AtomicUsize::new(0);
        let shard = self.shard.unwrap_or(Shard::WHOLE);
        let cases = shard.of(&cohort.cases).count();
        if cases == 0 {
            ui.note(format!("share {shard} of {} is empty", counted(cohort.cases.len(), "case")));
            return Ok(());
        }
        tell_larger(&larger_than(options.memory_bytes, &cohort, shard, &pipeline), &options, ui);
        let progress = Progress::new(ui, "preprocess", "cases", cases);
        let told = |told: brainmvp_prep::Progress<'_>| {
            if matches!(told.outcome, Outcome::Quarantined { .. }) {
                let count = left_out.fetch_add(1, Ordering::Relaxed) + 1;
                progress.message(format!("{count} left out"));
            }
            progress.advance(told.finished);
        };
        let summary = preprocess_shard(&cohort, shard, &self.out, &config, &options, &told).advise(advice)?;
        progress.finish();
        let told = self.tell(&summary, ui);
        if summary.prepared > 0 && summary.not_begun == 0 {
            tell_same_heads(&self.out, ui)?;
        }
        if let Some(report) = self.report.as_deref().filter(|_| summary.not_begun == 0) {
            let RunOptions { memory_bytes, force, stop } = options;
            let options = brainmvp_quality::Options { shard, memory_bytes, force, stop };
            report::write(&self.out, Some(&cohort), report, &options, ui)?;
        }
        told?;
        ui.note(format!("next: brainmvp pretrain --data {} --out RUN", self.out.display()));
        Ok(())
    }

    /// The options, completed by the file.
    fn config(&self) -> anyhow::Result<PrepConfig> {
        let options = PrepSettings {
            preset: self.preset,
            steps: (!self.steps.is_empty()).then(|| self.steps.clone()),
            register: self.register,
            atlas: self.atlas.clone(),
            spacing_mm: self.spacing,
            percentiles: self.percentiles,
            skull_strip: self.skull_strip,
            any_brain_size: self.any_brain_size.clone(),
            bias_field: self.bias_field.then_some(true),
            intensity: self.intensity,
            landmarks: self.landmarks.clone(),
            crop: self.crop,
            dtype: self.dtype,
        };
        let file = self.config.as_deref().map(settings_of).transpose()?.unwrap_or_default();
        Ok(options.over(file).config()?)
    }

    /// Prints the outcome, names each case that failed, and decides whether that is a success.
    fn tell(&self, summary: &Summary, ui: &Ui) -> anyhow::Result<()> {
        for case in &summary.quarantined {
            let reason = without_error_numbers(&case.reason);
            ui.alert(format!("warning: case '{}' is left out: {reason}", case.id));
        }
        for (id, warning) in &summary.warnings {
            ui.alert(format!("warning: case '{id}': {warning}"));
        }
        let Summary { prepared, skipped, quarantined, not_begun, seconds, .. } = summary;
        ui.result(format!(
            "{}: {} prepared in {}, {skipped} already there, {} left out",
            self.out.display(),
            counted(*prepared, "case"),
            duration(*seconds),
            quarantined.len()
        ))?;
        if *not_begun > 0 {
            let error: anyhow::Result<()> =
                Err(anyhow::anyhow!("interrupted with {} to go", counted(*not_begun, "case")));
            return error.advise(|_| "run the same command again to continue".to_owned());
        }
        if prepared + skipped == 0 {
            return Err(bad_input("no case could be prepared"))
                .advise(|_| format!("`brainmvp check {}` says more", self.cohort.display()));
        }
        Ok(())
    }
}

/// Names the prepared cases that show one head under two subjects.
fn tell_same_heads(out: &Path, ui: &Ui) -> anyhow::Result<()> {
    let cache = Cache::open(out)?;
    let Some(found) = cache.same_heads() else {
        ui.note("note: there are too many cases to compare every head with every other");
        return Ok(());
    };
    for ([earlier, later], same) in found {
        ui.alert(format!(
            "warning: case '{}' shows the same head as case '{}' of subject '{}' of '{}' ({}); if so, give both one subject",
            later.id,
            earlier.id,
            earlier.subject,
            earlier.data_set,
            same.shown()
        ));
    }
    Ok(())
}

/// Warns of cases that exceed the memory even alone.
fn tell_larger(larger: &[(&CaseId, u64)], options: &RunOptions<'_>, ui: &Ui) {
    let Some((largest, bytes)) = larger.first() else { return };
    ui.alert(format!(
        "warning: {} {} more memory than the {} for all, up to {} (case '{largest}'); each is prepared alone",
        counted(larger.len(), "case"),
        if larger.len() == 1 { "needs" } else { "need" },
        size(options.memory_bytes),
        size(*bytes),
    ));
}

/// The settings in a file.
fn settings_of(path: &Path) -> anyhow::Result<PrepSettings> {
    let own =
        Stage::Preprocess.of(&argument::read_text(path)?).with_context(|| path.display().to_string())?;
    toml::from_str(&own).map_err(|error| {
        let reason = error.message().trim().replace('\n', " ");
        bad_input(format!("{}: [{}]: {reason}", path.display(), Stage::Preprocess))
    })
}

/// Refuses a cohort with modalities that have no standard scale: all their cases would be left out.
fn refuse_unknown_modalities(cohort: &Cohort, config: &PrepConfig) -> anyhow::Result<()> {
    let Some(landmarks) = &config.landmarks else { return Ok(()) };
    let found: BTreeSet<_> = cohort.cases.iter().flat_map(|case| case.images.keys().copied()).collect();
    let unknown: Vec<_> =
        found.into_iter().filter(|m| landmarks.of(*m).is_none()).map(Modality::name).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(bad_input(format!("the landmarks have no {}", unknown.join(", ")))).advise(|_| {
        "learn them from cases that have all modalities (`brainmvp landmarks`), or take these images out of the cohort"
            .to_owned()
    })
}

fn advice(error: &brainmvp_prep::Error) -> String {
    match error {
        brainmvp_prep::Error::Request { .. } => "replace it with --force, or choose another folder with --out",
        _ => "make room there, or choose another folder with --out; the same command continues where this one stopped",
    }
    .to_owned()
}

/// Half of the free memory.
pub(super) fn half_of_free_memory() -> u64 {
    // If nothing is known, one case at a time still runs.
    free_memory().unwrap_or(0) / 2
}
