//! `brainmvp pretrain`

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use brainmvp_train::Error;
use brainmvp_train::Ranks;
use brainmvp_train::config::Stage;
use brainmvp_train::estimate::estimate_pretraining;
use brainmvp_train::log::metrics::{StepMetrics, ValidationMetrics};
use brainmvp_train::memory::of_pretraining;
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};
use clap::Args;

use super::dry_run;
use super::fitting::refuse_too_large;
use super::session::Session;
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::processes;
use crate::training::{self, TrainingView};
use crate::ui::Ui;

/// Pre-train an encoder and one template per modality on a cache of prepared cases
///
/// No labels are used, and cases may lack any modality. The run folder contains config.toml, metrics.jsonl, a
/// TensorBoard log and checkpoints. An interrupted run can be resumed exactly where its last checkpoint was.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp pretrain --data cache --out run
  brainmvp pretrain --data cache --out run --dry-run       # how long will it take?
  brainmvp pretrain --data cache --out run --resume
  brainmvp pretrain --data cache --out run --identities people.csv --set method.draw=modality
  brainmvp pretrain --data cache --out try --set model.preset=tiny --set patch.size=32 --set train.max_steps=20

Settings that are often changed: train.epochs, train.max_steps, train.batch_size, patch.size,
checkpoint.every_steps, model.preset (uniformer-small, unet3d, unetr, swin-unetr, resenc-l, ...; tiny for a first try), method.name
(brainmvp, m3ae, mae3d, ...; `brainmvp list` has all networks and methods), method.preset (default, paper, released),
method.tasks (cross, distill, contrast), method.templates.source (learnt, mean). RUN/config.toml shows all of them.")]
pub(crate) struct Pretrain {
    /// Folder of prepared cases, made by `brainmvp preprocess`
    #[arg(long, value_name = "CACHE")]
    data: PathBuf,
    /// Folder of the run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Persons who are in several data sets: a CSV file with the columns data_set, subject and person. Cases of one
    /// person are never negatives of each other; the run keeps the rows that it used
    #[arg(long, value_name = "FILE")]
    identities: Option<String>,
    #[command(flatten)]
    training: Training,
}

/// The options of every command that trains.
#[derive(Debug, Args)]
pub(crate) struct Training {
    /// TOML file with settings that override those of the preset; in a recipe for several stages, only the table of this
    /// command is read
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A single setting, which overrides the file's
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Precision of matrix products on the CPU: fp32, or bf16 with fp32 sums if the processor supports it; the same as
    /// --set train.precision=...
    #[arg(long, value_name = "PRECISION", value_parser = ["fp32", "bf16"])]
    precision: Option<String>,
    /// Continue from the last checkpoint of the run; start from the beginning if there is none
    #[arg(long)]
    resume: bool,
    /// Where to compute: cpu, or a GPU that this build has: vulkan, wgpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Run a few steps, print how much time, memory and disk space the run will need on this machine, and leave nothing
    /// behind
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Training {
    /// The settings for a stage in the file.
    fn text(&self, stage: Stage) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.config else { return Ok(None) };
        let text = argument::read_text(path)?;
        Ok(Some(stage.of(&text).with_context(|| path.display().to_string())?))
    }

    /// The request with these options.
    pub(crate) fn request(
        self,
        stage: Stage,
        data: PathBuf,
        out: PathBuf,
        mut settings: Vec<String>,
    ) -> anyhow::Result<RunRequest> {
        let config = self.text(stage)?;
        settings.extend(self.settings);
        settings.extend(self.precision.map(|precision| format!("train.precision={precision}")));
        let existing = if self.resume { Existing::Resume } else { Existing::Refuse };
        Ok(RunRequest { data, out, config, settings, existing, device: self.device, ranks: Ranks::alone() })
    }
}

impl Pretrain {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        refuse_missing_cache(&self.data)?;
        let identities = self.identities.as_deref().map(argument::toml_string);
        let settings = identities.map(|path| format!("data.identities={path}")).into_iter().collect();
        let dry_run = self.training.dry_run;
        let request = self.training.request(Stage::Pretrain, self.data, self.out, settings)?;
        refuse_too_large(&request, of_pretraining, ui)?;
        if dry_run {
            return dry_run::tell(&request, estimate_pretraining, ui);
        }
        train(&request, "pretrain", pretrain, "continue with the same command and --resume", ui)?;
        ui.note(format!("next: brainmvp templates {} --out TEMPLATES", request.out.display()));
        Ok(())
    }
}

/// Refuses anything but a folder.
pub(crate) fn refuse_missing_cache(data: &Path) -> anyhow::Result<()> {
    if data.is_dir() {
        return Ok(());
    }
    Err(bad_input(format!("{}: no such folder of prepared cases", data.display())))
        .advise(|_| "`brainmvp preprocess cohort.json --out CACHE` makes one".to_owned())
}

/// A kind of training.
type Train = fn(&RunRequest, &AtomicBool, &dyn Observer) -> brainmvp_train::Result<Ended>;

/// Runs until the end. An interruption is an error that says how to continue.
pub(crate) fn train(
    request: &RunRequest,
    name: &'static str,
    run: Train,
    how_to_go_on: &str,
    ui: &Ui,
) -> anyhow::Result<()> {
    argument::refuse_file_as_folder(&request.out)?;
    let ended = processes::together(ui, |ranks| {
        let request = RunRequest { ranks: ranks.clone(), ..request.clone() };
        if !ranks.is_first() {
            return Ok(run(&request, interrupt::stop_flag(), &Silent)?);
        }
        let watcher = Watcher { ui, name, folder: &request.out, shown: OnceLock::new() };
        if !ranks.is_alone() {
            watcher.note(&format!("{} processes train together", ranks.count()));
        }
        let session = Session::begin(&request.out, &request.device);
        let ended = run(&request, interrupt::stop_flag(), &watcher).or_else(advise_on_differences);
        if watcher.shown.get().is_some() {
            session.end();
        }
        let ended = ended?;
        if let Some(shown) = watcher.shown.into_inner() {
            shown.finish();
        }
        Ok(ended)
    })?;
    match ended {
        Ended::Finished => Ok(()),
        Ended::Stopped => {
            Err(anyhow::anyhow!("interrupted; the state is saved in {}", request.out.display()))
                .advise(|_| how_to_go_on.to_owned())
        }
    }
}

/// Adds how to accept differences of preparation.
fn advise_on_differences(error: Error) -> anyhow::Result<Ended> {
    let Error::Differences { differences, .. } = &error else { return Err(error.into()) };
    let names: Vec<&str> = differences.iter().map(|difference| difference.aspect.name()).collect();
    let names = names.join(",");
    Err(error).advise(|_| {
        format!("prepare the cases in the same way, or accept it with --accept-differences {names}")
    })
}

/// The observer of the processes whose first one tells everything.
struct Silent;

impl Observer for Silent {
    fn warn(&self, _text: &str) {}
}

/// Shows the steps of a run.
struct Watcher<'a> {
    ui: &'a Ui,
    name: &'static str,
    folder: &'a Path,
    shown: OnceLock<TrainingView>,
}

impl Observer for Watcher<'_> {
    fn step(&self, metrics: &StepMetrics, last: u64) {
        if let Some(shown) = self.shown.get() {
            return shown.step(metrics);
        }
        self.shown.get_or_init(|| TrainingView::new(self.ui, self.name, self.folder, metrics, last));
    }

    fn note(&self, text: &str) {
        self.ui.note(format!("note: {text}"));
    }

    fn validated(&self, metrics: &ValidationMetrics) {
        match self.shown.get() {
            Some(shown) => shown.validated(metrics),
            None => training::tell_validation(self.ui, metrics),
        }
    }

    fn warn(&self, text: &str) {
        self.ui.alert(format!("warning: {text}"));
    }
}
