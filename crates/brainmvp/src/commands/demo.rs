//! `brainmvp demo`

use std::path::{Path, PathBuf};

use brainmvp_cohort::Cohort;
use brainmvp_cohort::check::{CheckOptions, Severity, check};
use brainmvp_cohort::phantom::{DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::log::metrics::{StepMetrics, read_metrics};
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_volume::nifti;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::templates::Compared;
use super::{counted, pretrain, templates};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;

/// The settings of the demo's run.
const CONFIG: &str = include_str!("../../../../configs/demo.toml");

/// Memory for the cases prepared at the same time: phantoms are small.
const MEMORY_BYTES: u64 = 1 << 30;

/// Run everything without any data: phantoms, preprocessing, pre-training of a small network, templates
///
/// Everything is written below one folder, and each part does the same as the command of that name. With the same
/// folder, the demo continues where it stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp demo
  brainmvp demo --out /tmp/demo --cases 4 --size 48 --steps 20")]
pub(crate) struct Demo {
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Number of phantoms
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=9999))]
    cases: usize,
    /// Number of voxels along a phantom's longest side
    #[arg(long, value_name = "N", default_value_t = 96)]
    size: usize,
    /// Number of pre-training steps
    #[arg(long, value_name = "N", default_value_t = 3200, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    steps: u64,
}

impl Demo {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let (cache, run) = (self.out.join("cache"), self.out.join("run"));
        let (cohort, spacing_mm) = self.phantoms(ui)?;
        prepare(&cohort, &cache, spacing_mm, ui)?;
        let options = RunRequest {
            data: cache.clone(),
            out: run.clone(),
            config: Some(CONFIG.to_owned()),
            settings: vec![
                format!("train.max_steps={}", self.steps),
                format!("train.epochs={}", self.epochs()),
            ],
            existing: Existing::Resume,
            device: "cpu".to_owned(),
        };
        pretrain::train(
            &options,
            "pretrain",
            brainmvp_train::pretrain::pretrain,
            "continue with the same command",
            ui,
        )?;
        tell_loss(&run, ui)?;
        let compared = Compared { data: Some(cache), ..Compared::default() };
        templates::write(&(&run).into(), &self.out.join("templates"), &compared, ui)
    }

    /// The epochs of the schedule: those of the recipe, or as many as the steps need.
    fn epochs(&self) -> u64 {
        const RECIPE: u64 = 400;
        const BATCH_SIZE: u64 = 2;
        (self.steps.saturating_mul(BATCH_SIZE)).div_ceil(self.cases as u64).max(RECIPE)
    }

    /// The phantom cohort, made if it does not exist, and the spacing of its grid.
    fn phantoms(&self, ui: &Ui) -> anyhow::Result<(Cohort, [f64; 3])> {
        let config = PhantomConfig {
            cases: self.cases,
            size: self.size,
            missing_rate: 0.2,
            lesions: DiseaseMix::MIXED,
            ..PhantomConfig::default()
        };
        config.check()?;
        let folder = self.out.join("phantoms");
        let file = folder.join("cohort.json");
        let cohort = if file.is_file() {
            Cohort::load(&file)?
        } else {
            let progress = Progress::new(ui, "phantoms", "cases", config.cases);
            let cohort = write_cohort(&config, &folder, &|done| progress.advance(done))?;
            progress.finish();
            cohort
        };
        let shape = config.grid().shape;
        for path in cohort.cases.first().into_iter().flat_map(|case| case.images.values()) {
            if nifti::read_header(path)?.shape() != shape {
                let reason = format!("{}: contains phantoms of another size", folder.display());
                return Err(bad_input(reason)).advise(|_| "choose another folder with --out".to_owned());
            }
        }
        if cohort.cases.len() != self.cases {
            let found = counted(cohort.cases.len(), "phantom");
            return Err(bad_input(format!(
                "{}: contains {found}, not {}; choose another folder with --out",
                folder.display(),
                self.cases
            )));
        }
        let report = check(&cohort, &CheckOptions::default(), &|_, _| {});
        for problem in report.of(Severity::Problem) {
            ui.alert(format!("warning: {problem}"));
        }
        Ok((cohort, config.grid().affine.spacing_mm()))
    }
}

/// Prepares the phantoms on their own grid: resampling them to 1 mm would only make the demo slower.
fn prepare(cohort: &Cohort, cache: &Path, spacing_mm: [f64; 3], ui: &Ui) -> anyhow::Result<()> {
    let config = PrepConfig { spacing_mm, ..PrepConfig::default() };
    let stop = interrupt::stop_flag();
    let options = RunOptions { memory_bytes: MEMORY_BYTES, force: false, stop };
    let progress = Progress::new(ui, "preprocess", "cases", cohort.cases.len());
    let summary = preprocess(cohort, cache, &config, &options, &|told| progress.advance(told.finished))?;
    progress.finish();
    for case in &summary.quarantined {
        ui.alert(format!("warning: case '{}' is left out: {}", case.id, case.reason));
    }
    if summary.not_begun > 0 {
        anyhow::bail!("interrupted; run the same command again to continue");
    }
    Ok(())
}

/// How the loss fell: the means over the first and the last tenth of the run.
fn tell_loss(run: &Path, ui: &Ui) -> anyhow::Result<()> {
    let metrics = read_metrics(&run.join("metrics.jsonl"))?;
    let tenth = metrics.len().div_ceil(10);
    let (first, last) = (&metrics[..tenth], &metrics[metrics.len() - tenth..]);
    for name in ["loss_cross", "loss_distill"] {
        ui.result(format!(
            "{name}: {:.4} at the start, {:.4} at the end",
            mean(first, name),
            mean(last, name)
        ))?;
    }
    Ok(())
}

/// The mean of one loss over some steps.
fn mean(steps: &[StepMetrics], name: &str) -> f64 {
    let losses = steps.iter().flat_map(|step| &step.losses);
    let values: Vec<f64> = losses.filter(|(known, _)| known == name).map(|(_, value)| *value).collect();
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
