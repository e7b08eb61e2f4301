//! `brainmvp check`

use std::collections::BTreeMap;
use std::path::PathBuf;

use brainmvp_cohort::check::{CheckOptions, GridSummary, Kind, Problem, Report, Severity, check};
use brainmvp_volume::Modality;
use clap::Args;

use super::{counted, load_cohort, table};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
use crate::ui::Ui;

/// Open every file of a cohort and report what is wrong
///
/// A problem means that a case cannot be used as it is, and that `preprocess` will leave it out: a file that cannot be
/// read, values that are not finite, images that do not overlap. A warning is a suspicion that you should look into. A note is worth knowing, but preprocessing
/// handles it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp check cohort.json
  brainmvp check cohort.json --require flair,t1c --json report.json

Exit codes: 0 every case can be used, 2 there are problems.")]
pub(crate) struct Check {
    /// Cohort file
    #[arg(value_name = "COHORT")]
    cohort: PathBuf,
    /// Write all findings to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Modalities that every case must have
    #[arg(long, value_name = "MODALITY,...", value_delimiter = ',', value_parser = argument::modality)]
    require: Vec<Modality>,
}

/// How many notes of one kind are printed; the others are counted.
const NOTES_SHOWN: usize = 3;

/// How many grids are printed; the others are counted.
const GRIDS_SHOWN: usize = 4;

impl Check {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let cohort = load_cohort(&self.cohort)?;
        if let Some(json) = &self.json {
            argument::prepare_output_file(json)?;
        }
        let options = CheckOptions { required: self.require, ..CheckOptions::default() };
        let files = cohort.cases.iter().map(|case| case.files().count()).sum();
        let progress = Progress::new(ui, "check", "files", files);
        let report = check(&cohort, &options, &|done, _| progress.advance(done));
        progress.finish();
        if let Some(json) = &self.json {
            report.save(json)?;
        }
        ui.result(overview(&report))?;
        print_problems(&report, ui)?;
        for warning in report.of(Severity::Warning) {
            ui.result(format!("warning: {}", told(warning)))?;
        }
        print_notes(&report, ui)?;
        if !report.heads_compared {
            ui.note("note: there are too many cases to compare every head with every other");
        }
        if report.is_clean() {
            let doubts = report.of(Severity::Warning).next().is_some();
            return ui.result(if doubts {
                "no problems, but look at the images in the warnings"
            } else {
                "no problems"
            });
        }
        let (bad, all) = (report.quarantined.len(), report.cases);
        let error = bad_input(format!("{bad} of {} cannot be used as they are", counted(all, "case")));
        Err(error).advise(|_| {
            let where_to =
                if ui.is_quiet() { "run without --quiet to see why" } else { "fix the files above" };
            format!("{where_to}, or go on: `preprocess` leaves these cases out")
        })
    }
}

fn overview(report: &Report) -> String {
    let modalities = report.modalities.iter().map(|(modality, count)| format!("{modality} {count}"));
    let mut rows = vec![["modalities".to_owned(), modalities.collect::<Vec<_>>().join(", ")]];
    for (i, summary) in report.grids.iter().take(GRIDS_SHOWN).enumerate() {
        rows.push([if i == 0 { "grids" } else { "" }.to_owned(), grid(summary)]);
    }
    if report.grids.len() > GRIDS_SHOWN {
        rows.push([String::new(), format!("{} more", report.grids.len() - GRIDS_SHOWN)]);
    }
    for (data_set, values) in &report.label_values {
        let values = values.iter().map(|(value, cases)| format!("{value} in {}", counted(*cases, "case")));
        rows.push([format!("labels of {data_set}"), values.collect::<Vec<_>>().join(", ")]);
    }
    format!(
        "{}: {}, {}\n{}",
        report.cohort,
        counted(report.cases, "case"),
        counted(report.files, "file"),
        table::columns(&rows)
    )
}

/// `240 x 240 x 155 at 1 mm (8 files)`
fn grid(summary: &GridSummary) -> String {
    let [x, y, z] = summary.shape;
    let spacing = match summary.spacing_mm {
        [a, b, c] if a == b && b == c => format!("{a} mm"),
        [a, b, c] => format!("{a} x {b} x {c} mm"),
    };
    format!("{x} x {y} x {z} at {spacing} ({})", counted(summary.files, "file"))
}

fn print_problems(report: &Report, ui: &Ui) -> anyhow::Result<()> {
    let mut by_case: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
    for problem in report.of(Severity::Problem) {
        by_case.entry(problem.case.as_str()).or_default().push(problem);
    }
    for (case, problems) in by_case {
        ui.result(format!("problem: {case}"))?;
        for problem in problems {
            ui.result(format!("  {}", without_error_numbers(&with_file(problem))))?;
        }
    }
    Ok(())
}

/// A finding with its case and file.
fn told(problem: &Problem) -> String {
    format!("{}: {}", problem.case, with_file(problem))
}

/// A finding with the path of its file, for the eyes of whoever has the file.
fn with_file(problem: &Problem) -> String {
    match &problem.file {
        Some(file) => format!("{}: {}", file.display(), problem.message),
        None => problem.message.clone(),
    }
}

/// Notes are repetitive: a few of each kind are shown.
fn print_notes(report: &Report, ui: &Ui) -> anyhow::Result<()> {
    let mut by_kind: BTreeMap<Kind, Vec<&Problem>> = BTreeMap::new();
    for note in report.of(Severity::Note) {
        by_kind.entry(note.kind).or_default().push(note);
    }
    for notes in by_kind.values() {
        for note in notes.iter().take(NOTES_SHOWN) {
            ui.result(format!("note: {}", told(note)))?;
        }
        if notes.len() > NOTES_SHOWN {
            ui.result(format!(
                "note: {} more of this kind; --json lists them all",
                notes.len() - NOTES_SHOWN
            ))?;
        }
    }
    Ok(())
}
