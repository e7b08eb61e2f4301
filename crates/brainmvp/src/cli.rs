//! The command line: the commands, and the options that they share.

use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    atlas, bench, check, convert, datasets, demo, embed, evaluate, finetune, index, landmarks, list, phantom,
    predict, preprocess, pretrain, probe, register, report, runs, settings, split, study, templates, view,
    weights,
};
use crate::failure;
use crate::ui::Ui;

/// Self-supervised pre-training of 3-D networks on multi-parametric brain MRI (BrainMVP).
#[derive(Debug, Parser)]
#[command(
    name = "brainmvp",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  brainmvp phantom --out phantom --cases 16         # images to try things with
  brainmvp convert DICOM --out study                # series of a scanner to NIfTI files
  brainmvp index phantom --out cohort.json          # find out which file is what
  brainmvp check cohort.json                        # open every file and say what is wrong
  brainmvp preprocess cohort.json --out cache       # bring every case to one grid and scale
  brainmvp report cache --cohort cohort.json --out report             # look at every case, and at the outliers
  brainmvp pretrain --data cache --out run          # train an encoder and templates, no labels needed
  brainmvp templates run --out templates            # see what was learnt
  brainmvp finetune segment --data cache --init run --out segmenter     # with few labels
  brainmvp predict --model segmenter --in cohort.json --out predictions # label maps in the space of the images
  brainmvp evaluate --pred predictions --truth cohort.json --out metrics.json   # score label maps
  brainmvp study --config configs/study-smoke.toml --out study           # compare methods and networks
  brainmvp runs                                     # how far is each run, and which is best?
  brainmvp view cohort.json cache predictions metrics.json --open       # look at all of it in the browser
  brainmvp embed --model run --in cache --out features.csv              # features of the encoder
  brainmvp probe --data cache --model run --target class --out probe    # what they say of cases
  brainmvp import released.pt --out weights.safetensors                 # weights from PyTorch
  brainmvp export run --format pytorch --out model.pt                   # and back
  brainmvp demo                                     # all of this at once, on a small scale

Exit codes: 0 done, 1 failed, 2 bad input or usage."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) everywhere: Everywhere,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Everywhere {
    /// Number of computing threads [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=4096))]
    pub(crate) threads: Option<usize>,
    /// Print only errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands, in the order in which a user needs them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Convert(convert::Convert),
    Index(index::Index),
    Check(check::Check),
    Split(split::Split),
    Register(register::Register),
    Atlas(atlas::Atlas),
    Preprocess(preprocess::Preprocess),
    Landmarks(landmarks::Landmarks),
    Report(report::Report),
    Pretrain(pretrain::Pretrain),
    Templates(templates::Templates),
    Finetune(finetune::Finetune),
    Predict(predict::Predict),
    Evaluate(evaluate::Evaluate),
    Study(study::StudyCommand),
    Runs(runs::Runs),
    View(view::View),
    Embed(embed::Embed),
    Probe(probe::Probe),
    Import(weights::Import),
    Export(weights::Export),
    Phantom(phantom::Phantom),
    Demo(demo::Demo),
    Datasets(datasets::Datasets),
    List(list::List),
    Settings(settings::Settings),
    Bench(bench::Bench),
}

impl Command {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        match self {
            Self::Convert(convert) => convert.run(ui),
            Self::Index(index) => index.run(ui),
            Self::Check(check) => check.run(ui),
            Self::Split(split) => split.run(ui),
            Self::Register(register) => register.run(ui),
            Self::Atlas(atlas) => atlas.run(ui),
            Self::Preprocess(preprocess) => preprocess.run(ui),
            Self::Landmarks(landmarks) => landmarks.run(ui),
            Self::Report(report) => report.run(ui),
            Self::Pretrain(pretrain) => pretrain.run(ui),
            Self::Templates(templates) => templates.run(ui),
            Self::Finetune(finetune) => finetune.run(ui),
            Self::Predict(predict) => predict.run(ui),
            Self::Evaluate(evaluate) => evaluate.run(ui),
            Self::Study(study) => study.run(ui),
            Self::Runs(runs) => runs.run(ui),
            Self::View(view) => view.run(ui),
            Self::Embed(embed) => embed.run(ui),
            Self::Probe(probe) => probe.run(ui),
            Self::Import(import) => import.run(ui),
            Self::Export(export) => export.run(ui),
            Self::Phantom(phantom) => phantom.run(ui),
            Self::Demo(demo) => demo.run(ui),
            Self::Datasets(datasets) => datasets.run(ui),
            Self::List(list) => list.run(ui),
            Self::Settings(settings) => settings.run(ui),
            Self::Bench(bench) => bench.run(ui),
        }
    }
}

/// Reads the command line.
///
/// # Errors
/// The exit code if there is nothing to run: after help, the version, or an error, which has been printed.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    Cli::try_parse().map_err(|error| {
        let typed = std::env::args().find(|typed| Cli::command().find_subcommand(typed).is_some());
        let command = typed.map_or("brainmvp".to_owned(), |typed| format!("brainmvp {typed}"));
        failure::report_usage(&error, &command)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_explains_itself_with_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let example = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(example.contains(&format!("  brainmvp {name}")), "{name}: no example in {example:?}");
            for argument in command.get_arguments().filter(|argument| argument.get_id() != "help") {
                assert!(argument.get_help().is_some(), "{name}: no help on {}", argument.get_id());
            }
        }
    }
}
