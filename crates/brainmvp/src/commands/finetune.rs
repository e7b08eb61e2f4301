//! `brainmvp finetune`

use std::path::PathBuf;

use brainmvp_prep::Aspect;
use brainmvp_train::config::{FinetuneConfig, Stage, TaskKind};
use brainmvp_train::estimate::estimate_finetuning;
use brainmvp_train::finetune::finetune;
use brainmvp_train::memory::of_finetuning;
use brainmvp_train::run::RunRequest;
use brainmvp_train::source::CheckpointChoice;
use brainmvp_volume::Modality;
use clap::builder::Resettable;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};

use super::dry_run;
use super::fitting::refuse_too_large;
use super::pretrain::{Training, refuse_missing_cache};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// Fine-tune a network for segmentation, classification or regression with few labels
///
/// The network starts from pre-trained weights, or from random ones. Each training patch is used in two copies, in
/// which some modalities are replaced by the templates of pre-training; cases may lack any modality. The network is
/// validated on whole cases, and the best weights are kept. An interrupted run can be resumed exactly where its last
/// checkpoint was.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp finetune segment --data cache --init run --out segmenter
  brainmvp finetune segment --data cache --init none --out scratch --labels-fraction 0.2
  brainmvp finetune segment --data cache --init run --out segmenter --dry-run      # how long will it take?
  brainmvp finetune classify --data cache --init run --out classifier --fold 0
  brainmvp finetune regress --data cache --init run --out regressor --target age
  brainmvp finetune segment --data cache --init run --out stroke --config configs/finetune-isles22.toml
  brainmvp finetune segment --data cache --init run --out as-paper --set preset=paper

The label scheme of the cohort determines the regions (`brainmvp list labels`); a configuration can define others:
task.regions = [{ name = \"WT\", labels = [1, 2, 4] }]. The presets paper and released are listed in
docs/differences.md. RUN/config.toml shows all settings.")]
pub(crate) struct Finetune {
    #[command(subcommand)]
    task: Task,
}

/// A subcommand for each task of the list, with the options of all tasks and its own.
#[derive(Debug)]
struct Task {
    kind: TaskKind,
    options: Options,
    /// The settings that its own options stand for.
    own: Vec<String>,
}

impl Task {
    fn commands() -> impl Iterator<Item = Command> {
        TaskKind::ALL.iter().map(|kind| {
            let own = kind.options().iter().map(|option| {
                Arg::new(option.name).long(option.name).value_name(option.value).help(option.help)
            });
            // The help of flattened options would take the place of that of the command.
            let command = Options::augment_args(Command::new(kind.name()).args(own));
            command.about(kind.about()).long_about(Resettable::Reset)
        })
    }
}

impl FromArgMatches for Task {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let missing = || clap::Error::new(clap::error::ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let kind = *TaskKind::ALL.iter().find(|kind| kind.name() == name).ok_or_else(missing)?;
        let own = kind.options().iter().filter_map(|option| {
            let value = argument::toml_string(matches.get_one::<String>(option.name)?);
            Some(format!("{}={value}", option.key))
        });
        Ok(Self { kind, options: Options::from_arg_matches(matches)?, own: own.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Task {
    fn augment_subcommands(command: Command) -> Command {
        command.subcommands(Self::commands()).subcommand_required(true).arg_required_else_help(true)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        TaskKind::ALL.iter().any(|kind| kind.name() == name)
    }
}

#[derive(Debug, Args)]
struct Options {
    /// Folder of prepared cases with labels, classes or numbers, made by `brainmvp preprocess`
    #[arg(long, value_name = "CACHE")]
    data: PathBuf,
    /// What to start from: a run of `brainmvp pretrain`, a file of weights, or none
    #[arg(long, value_name = "RUN|FILE|none")]
    init: String,
    /// Checkpoint of that run: best, last, or the number of a step [default: the last of a pre-training run]
    #[arg(long, value_name = "best|last|STEP")]
    checkpoint: Option<CheckpointChoice>,
    /// Accepted differences between the preparation of these cases and that of the pre-training cases: spacing, space,
    /// skull-stripping, bias-field, intensity, percentiles, landmarks; any other difference stops the run
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    accept_differences: Vec<Aspect>,
    /// Folder of the run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Share of the training subjects to use, 0 to 1; smaller shares are contained in larger ones
    #[arg(long, value_name = "SHARE", value_parser = argument::share)]
    labels_fraction: Option<f64>,
    /// Number of the random choice of that share
    #[arg(long, value_name = "N", requires = "labels_fraction")]
    partition: Option<u64>,
    /// Fold to validate on in a five-fold cross-validation, 0 to 4; data.folds sets another number of folds
    #[arg(long, value_name = "N")]
    fold: Option<usize>,
    /// Modalities that the network uses, e.g. t1c,flair [default: all that the training cases have]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = argument::modality)]
    modalities: Vec<Modality>,
    #[command(flatten)]
    training: Training,
}

impl Finetune {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let Task { kind, options, own } = self.task;
        refuse_missing_cache(&options.data)?;
        let dry_run = options.training.dry_run;
        let request = options.request(kind, own)?;
        refuse_too_large(&request, of_finetuning, ui)?;
        if dry_run {
            return dry_run::tell(&request, estimate_finetuning, ui);
        }
        super::pretrain::train(
            &request,
            "finetune",
            finetune,
            "continue with the same command and --resume",
            ui,
        )?;
        ui.note(format!(
            "next: brainmvp predict --model {} --in cohort.json --out predictions",
            request.out.display()
        ));
        Ok(())
    }
}

impl Options {
    fn request(self, kind: TaskKind, own: Vec<String>) -> anyhow::Result<RunRequest> {
        let mut settings = vec![format!("task.kind={}", kind.name())];
        settings.extend(own);
        if self.init != "none" {
            settings.push(format!("init.source={}", argument::toml_string(&self.init)));
        } else if self.checkpoint.is_some() {
            return Err(bad_input("--checkpoint: --init none has no checkpoints"));
        }
        settings.extend(self.checkpoint.map(|choice| format!("init.checkpoint={choice}")));
        if !self.accept_differences.is_empty() {
            let names: Vec<String> = self.accept_differences.iter().map(|a| format!("'{a}'")).collect();
            settings.push(format!("init.accept_differences=[{}]", names.join(",")));
        }
        settings.extend(self.labels_fraction.map(|share| format!("data.labels_fraction={share:?}")));
        settings.extend(self.partition.map(|number| format!("data.partition={number}")));
        settings.extend(self.fold.map(|fold| format!("data.fold={fold}")));
        if !self.modalities.is_empty() {
            let names: Vec<String> = self.modalities.iter().map(|m| format!("'{m}'")).collect();
            settings.push(format!("task.modalities=[{}]", names.join(",")));
        }
        let request = self.training.request(Stage::Finetune, self.data, self.out, settings)?;
        refuse_other_task(kind, request.config.as_deref())?;
        Ok(request)
    }
}

/// Refuses a file for another task, whose settings would otherwise be used for this one.
fn refuse_other_task(kind: TaskKind, config: Option<&str>) -> anyhow::Result<()> {
    match config.map(FinetuneConfig::kind).transpose()?.flatten() {
        Some(other) if other != kind => {
            Err(bad_input(format!("--config: task.kind is {}, not {}", other.name(), kind.name())))
                .advise(|_| format!("`brainmvp finetune {}` takes this file", other.name()))
        }
        _ => Ok(()),
    }
}
