//! `brainmvp templates`

use std::path::{Path, PathBuf};

use brainmvp_train::batches::open_cases;
use brainmvp_train::log::metrics::StepMetrics;
use brainmvp_train::source::{CheckpointChoice, Source};
use brainmvp_train::templates::RunTemplates;
use brainmvp_train::trainer::Observer;
use brainmvp_volume::Modality;
use clap::Args;

use super::counted;
use crate::argument;
use crate::failure::bad_input;
use crate::ui::Ui;

/// Write the templates that a run has learnt, one NIfTI file per modality, in the space of its data
///
/// With --data, each template is compared with the mean image of its modality (mean absolute difference, that of a blank
/// template, and correlation), and templates.png shows both.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp templates run --out templates
  brainmvp templates run --out templates --data cache
  brainmvp templates released.pt --out templates")]
pub(crate) struct Templates {
    /// Folder of a run, or a file of weights with templates (safetensors, .pt, .pth)
    #[arg(value_name = "RUN|WEIGHTS")]
    run: PathBuf,
    /// Checkpoint of the run: best, last, or the number of a step [default: the last]
    #[arg(long, value_name = "best|last|STEP")]
    checkpoint: Option<CheckpointChoice>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of prepared cases to compare with
    #[arg(long, value_name = "CACHE")]
    data: Option<PathBuf>,
}

impl Templates {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let run = Source { path: self.run, checkpoint: self.checkpoint };
        write(&run, &self.out, self.data.as_deref(), ui)
    }
}

/// Writes the templates of a run and says what came out.
pub(crate) fn write(run: &Source, out: &Path, data: Option<&Path>, ui: &Ui) -> anyhow::Result<()> {
    argument::refuse_file_as_folder(out)?;
    let templates = RunTemplates::load(run.clone())?;
    if templates.volumes.is_empty() {
        let reason = "it holds no template: no modality was seen yet, or method.tasks lacks distill";
        return Err(bad_input(format!("{}: {reason}", templates.origin)));
    }
    let paths = templates.write(out)?;
    ui.note(format!("note: the templates are those of {}", templates.origin));
    ui.result(format!("{} written to {}", counted(paths.len(), "template"), out.display()))?;
    if !templates.is_placed {
        ui.note("note: where they lie is not known; voxels of 1 mm are laid around the origin");
    }
    let unseen = Modality::ALL.into_iter().filter(|modality| !templates.volumes.contains_key(modality));
    let unseen: Vec<&str> = unseen.map(Modality::name).collect();
    if !unseen.is_empty() {
        ui.note(format!("note: no template of {}: the run has not seen them", unseen.join(", ")));
    }
    if !templates.updates.is_empty() {
        let told = templates.updates.iter().map(|(modality, count)| format!("{modality} {count}"));
        ui.result(format!("steps that moved each: {}", told.collect::<Vec<_>>().join(", ")))?;
    }
    let Some(data) = data else { return Ok(()) };
    let (likenesses, picture) = templates.compare(&open_cases(data, &Notes(ui))?)?;
    ui.result("likeness to the mean image of the modality, over the brain:")?;
    ui.result(format!(
        "{:<8} {:>5} {:>10} {:>11} {:>11}",
        "modality", "cases", "difference", "(of blank)", "correlation"
    ))?;
    for likeness in &likenesses {
        ui.result(format!(
            "{:<8} {:>5} {:>10.3} {:>11.3} {:>11.3}",
            likeness.modality.name(),
            likeness.cases,
            likeness.difference,
            likeness.blank_difference,
            likeness.correlation
        ))?;
    }
    let path = out.join("templates.png");
    picture.write_png(&path)?;
    ui.result(format!("{}: mean image and template of each modality", path.display()))
}

/// Passes notes on.
struct Notes<'a>(&'a Ui);

impl Observer for Notes<'_> {
    fn step(&self, _: &StepMetrics, _: u64) {}

    fn note(&self, text: &str) {
        self.0.note(format!("note: {text}"));
    }

    fn warn(&self, text: &str) {
        self.0.alert(format!("warning: {text}"));
    }
}
