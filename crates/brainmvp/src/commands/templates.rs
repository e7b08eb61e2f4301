//! `brainmvp templates`

use std::path::{Path, PathBuf};

use brainmvp_cohort::Split;
use brainmvp_train::batches::{CaseSource, open_cases};
use brainmvp_train::log::metrics::StepMetrics;
use brainmvp_train::source::{CheckpointChoice, Source};
use brainmvp_train::template_quality::{Beside, TemplateQuality, compare, write_qualities};
use brainmvp_train::templates::RunTemplates;
use brainmvp_train::trainer::Observer;
use brainmvp_volume::Modality;
use clap::Args;

use super::{counted, table};
use crate::argument;
use crate::failure::bad_input;
use crate::ui::Ui;

/// Write the learnt templates of a run, one NIfTI file per modality, in the space of its data
///
/// With --data, the quality of each template is measured over the brain and written to templates.json: mean absolute
/// difference from the mean image of its modality (next to that of a blank template), correlation and structural
/// similarity with it, and the single case that is most similar to the template. A template should be nearer to the mean
/// than to any case. templates.png shows mean images and templates. Test cases are treated as held out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp templates run --out templates
  brainmvp templates run --out templates --data cache
  brainmvp templates run --out templates --data cache --held-out other-cache --beside run-2 --beside run-3
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
    #[command(flatten)]
    compared: Compared,
}

/// What templates are compared with.
#[derive(Debug, Args)]
struct Compared {
    /// Prepared cases that the templates were learnt from, to compare them with
    #[arg(long, value_name = "CACHE")]
    data: Option<PathBuf>,
    /// Prepared cases that the templates were not learnt from [default: test cases of --data]
    #[arg(long, value_name = "CACHE", requires = "data")]
    held_out: Option<PathBuf>,
    /// Another run, such as one of another seed, to see how far their templates agree; may be repeated
    #[arg(long, value_name = "RUN|WEIGHTS", requires = "data")]
    beside: Vec<PathBuf>,
}

impl Templates {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let run = Source { path: self.run, checkpoint: self.checkpoint };
        write(&run, &self.out, &self.compared, ui)
    }
}

/// Writes the templates of a run and says how good they are.
fn write(run: &Source, out: &Path, compared: &Compared, ui: &Ui) -> anyhow::Result<()> {
    argument::refuse_file_as_folder(out)?;
    let templates = RunTemplates::load(run.clone())?;
    if templates.volumes.is_empty() {
        let reason =
            "it has no templates: no modality has been used yet, or method.tasks does not include distill";
        return Err(bad_input(format!("{}: {reason}", templates.origin)));
    }
    let paths = templates.write(out)?;
    ui.note(format!("note: the templates are those of {}", templates.origin));
    ui.result(format!("{} written to {}", counted(paths.len(), "template"), out.display()))?;
    if !templates.is_placed {
        ui.note("note: their position is not known; they are written with voxels of 1 mm around the origin");
    }
    let unseen = Modality::ALL.into_iter().filter(|modality| !templates.volumes.contains_key(modality));
    let unseen: Vec<&str> = unseen.map(Modality::name).collect();
    if !unseen.is_empty() {
        ui.note(format!("note: no template of {}: the run has not used them", unseen.join(", ")));
    }
    if !templates.updates.is_empty() {
        let told = templates.updates.iter().map(|(modality, count)| format!("{modality} {count}"));
        ui.result(format!("steps that updated each: {}", told.collect::<Vec<_>>().join(", ")))?;
    }
    match &compared.data {
        Some(data) => tell_quality(&templates, out, data, compared, ui),
        None => Ok(()),
    }
}

/// Measures the templates, and writes and prints the results.
fn tell_quality(
    templates: &RunTemplates,
    out: &Path,
    data: &Path,
    compared: &Compared,
    ui: &Ui,
) -> anyhow::Result<()> {
    let is_test = |case: &CaseSource| case.facts().split == Some(Split::Test);
    let (test, cases): (Vec<_>, Vec<_>) = open_cases(data, &Notes(ui))?.into_iter().partition(is_test);
    let held_out = match &compared.held_out {
        Some(held_out) => open_cases(held_out, &Notes(ui))?,
        None => test,
    };
    let runs: Vec<RunTemplates> = compared.beside.iter().map(RunTemplates::load).collect::<Result<_, _>>()?;
    let (qualities, picture) =
        compare(templates, &Beside { cases: &cases, held_out: &held_out, runs: &runs })?;
    if qualities.is_empty() {
        return Err(bad_input(format!("{}: no case has a modality of the templates", data.display())));
    }
    ui.result("similarity to the mean image of the modality, over the brain:")?;
    ui.result(table::columns(&likeness_rows(&qualities)))?;
    ui.result("similarity to the nearest single case, by correlation over the brain:")?;
    ui.result(table::columns(&nearest_rows(&qualities)))?;
    ui.result(near_cases(&qualities))?;
    write_qualities(&out.join("templates.json"), &qualities)?;
    let path = out.join("templates.png");
    picture.write_png(&path)?;
    ui.result(format!("{}: mean image and template of each modality", path.display()))
}

/// A sentence that says whether any template shows a single case.
fn near_cases(qualities: &[TemplateQuality]) -> String {
    let names = |which: fn(&TemplateQuality) -> bool| -> String {
        let names = qualities.iter().filter(|quality| which(quality)).map(|quality| quality.modality.name());
        names.collect::<Vec<_>>().join(", ")
    };
    let (near, shown) = (names(TemplateQuality::is_near_a_case), names(TemplateQuality::shows_a_case));
    if near.is_empty() {
        return "every template is nearer to the mean of the other cases than to its nearest case".to_owned();
    }
    let near = format!("nearer to a single case than to the mean of the others: {near}");
    if qualities.iter().all(|quality| quality.nearest_held_out.is_none()) {
        return near;
    }
    let shown = if shown.is_empty() { "none" } else { &shown };
    format!("{near}; of these, nearer to it than to any case held out: {shown}")
}

/// A row for each modality: cases, differences, correlation and structural similarity; the same for cases held out; and
/// the agreement between runs.
fn likeness_rows(qualities: &[TemplateQuality]) -> Vec<[String; 9]> {
    let head = ["modality", "cases", "difference", "(of blank)", "correlation", "SSIM"];
    let held_out = qualities.iter().any(|quality| quality.held_out.is_some());
    let agreement = qualities.iter().any(|quality| quality.agreement.is_some());
    let shown = |word: &'static str, shown: bool| if shown { word } else { "" };
    let more =
        [shown("held out: correlation", held_out), shown("SSIM", held_out), shown("runs agree", agreement)];
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    let mut rows = vec![std::array::from_fn(|place| {
        head.iter().chain(&more).nth(place).copied().unwrap_or_default().to_owned()
    })];
    rows.extend(qualities.iter().map(|quality| {
        let (mean, held_out) = (&quality.mean, quality.held_out.as_ref());
        [
            quality.modality.name().to_owned(),
            mean.cases.to_string(),
            cell(Some(mean.difference)),
            cell(Some(mean.blank_difference)),
            cell(Some(mean.correlation)),
            cell(Some(mean.ssim)),
            cell(held_out.map(|held_out| held_out.correlation)),
            cell(held_out.map(|held_out| held_out.ssim)),
            cell(quality.agreement),
        ]
    }));
    rows
}

/// A row for each modality: the nearest case, the mean of the others, and the nearest of the cases held out.
fn nearest_rows(qualities: &[TemplateQuality]) -> Vec<[String; 6]> {
    let held_out = qualities.iter().any(|quality| quality.nearest_held_out.is_some());
    let last = if held_out { "nearest held out" } else { "" };
    let head = ["modality", "nearest", "mean of the others", "typical case", last, "case"];
    let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.3}"));
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(qualities.iter().map(|quality| {
        let nearest = &quality.nearest;
        [
            quality.modality.name().to_owned(),
            cell(Some(nearest.correlation)),
            cell(nearest.others),
            cell(Some(nearest.typical)),
            cell(quality.nearest_held_out.as_ref().map(|nearest| nearest.correlation)),
            nearest.case.clone(),
        ]
    }));
    rows
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
