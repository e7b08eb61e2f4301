//! `brainmvp finetune`

use std::path::PathBuf;

use brainmvp_train::estimate::estimate_finetuning;
use brainmvp_train::finetune::finetune;
use brainmvp_train::run::RunRequest;
use brainmvp_volume::Modality;
use clap::{Args, Subcommand};

use super::dry_run;
use super::pretrain::{Training, refuse_missing_cache};
use crate::argument;
use crate::ui::Ui;

/// Fine-tune a network for segmentation or classification with few labels
///
/// The network begins with what pre-training has learnt, or anew. Training cases are seen twice, with the templates of
/// pre-training in the place of some modalities; cases may lack any modality. Validation cases judge the network by whole
/// cases, and the best weights are kept. An interrupted run goes on exactly where its last checkpoint was.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp finetune segment --data cache --init run --out segmenter
  brainmvp finetune segment --data cache --init none --out scratch --labels-fraction 0.2
  brainmvp finetune segment --data cache --init run --out segmenter --dry-run      # how long will it take?
  brainmvp finetune classify --data cache --init run --out classifier --fold 0

The label scheme of the cohort says which regions are told apart (`brainmvp list labels`); a configuration may name others:
task.regions = [{ name = \"WT\", labels = [1, 2, 4] }]. RUN/config.toml shows all settings.")]
pub(crate) struct Finetune {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// A label for every voxel
    Segment(Options),
    /// A class for every case
    Classify(Options),
}

#[derive(Debug, Args)]
struct Options {
    /// Folder of prepared cases with labels or classes, made by `brainmvp preprocess`
    #[arg(long, value_name = "CACHE")]
    data: PathBuf,
    /// What to begin with: a run of `brainmvp pretrain`, a file of weights, or none
    #[arg(long, value_name = "RUN|FILE|none")]
    init: String,
    /// Folder of the run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Share of the training subjects that is used, 0 to 1; smaller shares are part of larger ones
    #[arg(long, value_name = "SHARE", value_parser = argument::share)]
    labels_fraction: Option<f64>,
    /// Which of many ways to choose that share
    #[arg(long, value_name = "N", requires = "labels_fraction")]
    partition: Option<u64>,
    /// Part of a five-fold cross-validation to validate on, 0 to 4; data.folds sets another number of parts
    #[arg(long, value_name = "N")]
    fold: Option<usize>,
    /// Modalities that the network sees, e.g. t1c,flair [default: all that the training cases have]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = argument::modality)]
    modalities: Vec<Modality>,
    #[command(flatten)]
    training: Training,
}

impl Finetune {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let (kind, options) = match self.task {
            Task::Segment(options) => ("segment", options),
            Task::Classify(options) => ("classify", options),
        };
        refuse_missing_cache(&options.data)?;
        let dry_run = options.training.dry_run;
        let request = options.request(kind)?;
        if dry_run {
            return dry_run::tell(&request, estimate_finetuning, ui);
        }
        super::pretrain::train(&request, "finetune", finetune, "the same command with --resume goes on", ui)?;
        ui.note(format!(
            "next: brainmvp predict --model {} --in cohort.json --out predictions",
            request.out.display()
        ));
        Ok(())
    }
}

impl Options {
    fn request(self, kind: &str) -> anyhow::Result<RunRequest> {
        let mut settings = vec![format!("task.kind={kind}")];
        if self.init != "none" {
            settings.push(format!("init.source={}", toml_string(&self.init)));
        }
        settings.extend(self.labels_fraction.map(|share| format!("data.labels_fraction={share:?}")));
        settings.extend(self.partition.map(|number| format!("data.partition={number}")));
        settings.extend(self.fold.map(|fold| format!("data.fold={fold}")));
        if !self.modalities.is_empty() {
            let names: Vec<String> = self.modalities.iter().map(|m| format!("'{m}'")).collect();
            settings.push(format!("task.modalities=[{}]", names.join(",")));
        }
        self.training.request(self.data, self.out, settings)
    }
}

/// A text as TOML writes it: a path may look like a number.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
