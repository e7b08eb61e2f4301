//! `brainmvp demo`

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::check::{CheckOptions, Severity, check};
use brainmvp_cohort::phantom::{DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_cohort::{Cohort, Split};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::log::metrics::{StepMetrics, read_metrics};
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_volume::nifti;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser as _};

use super::templates::Compared;
use super::{counted, pretrain, templates};
use crate::argument;
use crate::cli::Cli;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;

/// The settings of the demo's run.
const CONFIG: &str = include_str!("../../../../configs/demo.toml");

/// Fine-tuning steps, if pre-training takes as many.
const FINETUNE_STEPS: u64 = 140;
const METRICS: &str = "dice,hd95_mm,sensitivity,precision,volume_mm3,truth_volume_mm3";
/// The share of the training cases that fine-tuning uses.
const FEW_LABELS: &str = "0.5";
/// The settings of fine-tuning. The phantoms' diseases have different lesions, so all of them are one region.
const FINETUNE: [&str; 6] = [
    "task.regions=[{ name = \"lesion\", labels = [1, 2, 3] }]",
    "patch.size=48",
    "train.batch_size=2",
    "optimizer.schedule.learning_rate=3e-3",
    "data.validation_share=0",
    "checkpoint.every_steps=70",
];

/// Memory for the cases prepared at the same time: phantoms are small.
const MEMORY_BYTES: u64 = 1 << 30;

/// Run everything without any data: phantoms, preprocessing, pre-training, fine-tuning with few labels, prediction, a report
///
/// Everything is written below one folder, and each part does the same as the command of that name. A quarter of the phantoms
/// with lesions is kept for the test, and the network is small. With the same folder, the demo continues where it stopped.
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
    #[arg(long, value_name = "N", default_value_t = 1400, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    steps: u64,
}

impl Demo {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let (cache, run) = (self.out.join("cache"), self.out.join("run"));
        let (cohort, spacing_mm) = self.phantoms(ui)?;
        prepare(&cohort, &cache, spacing_mm, ui)?;
        let before = steps_done(&run);
        let epochs = self.epochs(&cohort);
        let options = RunRequest {
            data: cache.clone(),
            out: run.clone(),
            config: Some(CONFIG.to_owned()),
            settings: vec![
                format!("train.max_steps={}", self.steps),
                format!("train.epochs={epochs}"),
                // At three fifths of the run, as in the paper.
                format!("method.contrast_from_epoch={}", epochs * 3 / 5),
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
        if steps_done(&run) > before {
            self.discard_what_followed()?;
        }
        tell_loss(&run, ui)?;
        let compared = Compared { data: Some(cache), ..Compared::default() };
        templates::write(&(&run).into(), &self.out.join("templates"), &compared, ui)?;
        self.downstream(&cohort, ui)
    }

    /// Removes what was made from an earlier state of the pre-training run.
    fn discard_what_followed(&self) -> anyhow::Result<()> {
        for folder in ["segmenter", "predictions"]
            .map(|name| self.out.join(name))
            .iter()
            .filter(|folder| folder.is_dir())
        {
            std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// What follows pre-training, as a user would type it.
    fn downstream(&self, cohort: &Cohort, ui: &Ui) -> anyhow::Result<()> {
        if !cohort.cases.iter().any(|case| case.split == Some(Split::Test)) {
            ui.note(
                "note: too few phantoms with lesions to train on some and test on others; the demo ends here",
            );
            return self.report(ui);
        }
        let at = |name: &str| self.out.join(name).display().to_string();
        let steps = format!("train.steps={}", self.steps.min(FINETUNE_STEPS));
        let (cache, run, segmenter) = (at("cache"), at("run"), at("segmenter"));
        let (cohort, predictions) = (at("phantoms/cohort.json"), at("predictions"));
        let scores = at("predictions/metrics.json");
        let mut finetune = vec!["finetune", "segment", "--data", &cache, "--init", &run, "--out", &segmenter];
        finetune.extend(["--labels-fraction", FEW_LABELS, "--resume"]);
        for setting in FINETUNE.iter().copied().chain([steps.as_str()]) {
            finetune.extend(["--set", setting]);
        }
        execute(&finetune, ui)?;
        execute(
            &[
                "predict",
                "--model",
                &segmenter,
                "--in",
                &cohort,
                "--split",
                "test",
                "--out",
                &predictions,
                "--resume",
            ],
            ui,
        )?;
        execute(
            &[
                "evaluate",
                "--pred",
                &predictions,
                "--truth",
                &cohort,
                "--split",
                "test",
                "--metrics",
                METRICS,
                "--out",
                &scores,
            ],
            ui,
        )?;
        self.report(ui)
    }

    /// The report on everything, and how to look further.
    fn report(&self, ui: &Ui) -> anyhow::Result<()> {
        let (all, page) =
            (self.out.display().to_string(), self.out.join("report.html").display().to_string());
        execute(&["report", &all, "--out", &page], ui)?;
        ui.note(format!("next: open {page}, or look at everything with `brainmvp view {all} --open`"));
        Ok(())
    }

    /// The epochs of the schedule: as many as the steps need. A run of fewer steps can be continued with more.
    fn epochs(&self, cohort: &Cohort) -> u64 {
        const LEAST: u64 = 210;
        const BATCH_SIZE: u64 = 2;
        let cases = cohort.cases.iter().filter(|case| case.split != Some(Split::Test)).count();
        (self.steps.saturating_mul(BATCH_SIZE)).div_ceil(cases.max(1) as u64).max(LEAST)
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
            let mut cohort = write_cohort(&config, &folder, &|done| progress.advance(done))?;
            progress.finish();
            keep_for_test(&mut cohort);
            cohort.save(&file)?;
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

/// How far a run has come; 0 if it has not begun.
fn steps_done(run: &Path) -> usize {
    read_metrics(&run.join("metrics.jsonl")).map_or(0, |steps| steps.len())
}

/// Runs a command as if it had been typed, after printing it.
fn execute(words: &[&str], ui: &Ui) -> anyhow::Result<()> {
    let shown = words
        .iter()
        .map(|word| if word.contains([' ', '[']) { format!("'{word}'") } else { (*word).to_owned() });
    ui.note(format!("\n$ brainmvp {}", shown.collect::<Vec<_>>().join(" ")));
    Cli::try_parse_from(std::iter::once(&"brainmvp").chain(words))?.command.run(ui)
}

/// Keeps every fourth case with a lesion for the test, or the last if there are fewer than four.
fn keep_for_test(cohort: &mut Cohort) {
    let mut labelled: Vec<_> = cohort.cases.iter_mut().filter(|case| case.label.is_some()).collect();
    let count = labelled.len();
    for (number, case) in labelled.iter_mut().enumerate() {
        let is_last = number + 1 == count;
        if number % 4 == 3 || (count < 4 && count > 1 && is_last) {
            case.split = Some(Split::Test);
        }
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
