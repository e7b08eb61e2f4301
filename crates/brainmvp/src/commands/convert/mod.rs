//! `brainmvp convert`

mod deface;
mod dicom;

use std::path::{Path, PathBuf};

use brainmvp_cohort::bids::{ExportOptions, export};
use brainmvp_dicom::SeriesRules;
use clap::Args;

pub(super) use dicom::{Conversion, convert_dicom};

use super::{counted, load_cohort};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::ui::Ui;

/// Convert DICOM to NIfTI, or a cohort with its predictions to a BIDS derivative
///
/// A folder with DICOM files, in any order and depth, becomes a BIDS folder: one NIfTI file per volume, with a JSON
/// file of its acquisition parameters. Names, ids, dates, places and private elements are not copied; subjects become
/// numbers. The modality of each volume is guessed from the acquisition and printed with the reason; --series overrides
/// it. A series whose slices cannot be placed exactly is refused with the reason.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp convert export-of-the-pacs --out study
  brainmvp convert DICOM --out study --key private/key.tsv --series '*dark*fluid*=flair' --series 9=ignore
  brainmvp convert export-of-the-pacs --out study --deface
  brainmvp convert cohort.json --out bids --predictions predictions --space SRI24

Exit codes: 0 done (what is refused is named), 1 failed, 2 bad input, or nothing to convert.")]
pub(crate) struct Convert {
    /// Folder with DICOM files, or a cohort file
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    dicom: DicomOptions,
    /// DICOM: a file, to be kept private, that links subject numbers to patients; if it exists, its numbers are used
    /// and new patients are added
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// DICOM: also copy the descriptions of series, which may name people
    #[arg(long)]
    descriptions: bool,
    /// Erase the face in images of a whole head: what is in front of the brain and below it. Brains are found first; of a case whose brain
    /// is not found, nothing is written
    #[arg(long)]
    deface: bool,
    /// Cohort: a folder of predicted label maps, CASE.nii.gz, to use instead of the cohort's labels
    #[arg(long, value_name = "DIR")]
    predictions: Option<PathBuf>,
    /// Cohort: the space that all images are in, e.g. SRI24 [default: each image is in its own]
    #[arg(long, value_parser = argument::bids_label)]
    space: Option<String>,
}

/// The user's rules for DICOM series.
#[derive(Debug, Args)]
pub(crate) struct DicomOptions {
    /// DICOM: the modality of a series, as SERIES=MODALITY: its number or description (* matches anything), and a
    /// modality or ignore (may be repeated)
    #[arg(long = "series", value_name = "SERIES=MODALITY")]
    series: Vec<String>,
    /// DICOM: a file with one such rule per line; # begins a comment
    #[arg(long, value_name = "FILE")]
    series_from: Option<PathBuf>,
}

impl DicomOptions {
    /// The rules; those of the command line come before those of the file.
    pub(crate) fn rules(&self) -> anyhow::Result<SeriesRules> {
        let mut rules = SeriesRules::default();
        let file = self.series_from.as_deref().map(argument::read_text).transpose()?.unwrap_or_default();
        let lines = file.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        for rule in self.series.iter().map(String::as_str).chain(lines.filter(|line| !line.is_empty())) {
            rules.add(rule).map_err(|reason| bad_input(format!("--series: {reason}")))?;
        }
        Ok(rules)
    }
}

impl Convert {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        if self.source.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
            return self.cohort(ui);
        }
        if self.predictions.is_some() || self.space.is_some() {
            return Err(bad_input("--predictions and --space are for a cohort file, not for DICOM"));
        }
        let conversion = Conversion {
            source: &self.source,
            out: &self.out,
            rules: self.dicom.rules()?,
            key: self.key.as_deref(),
            descriptions: self.descriptions,
            deface: self.deface,
        };
        convert_dicom(conversion, ui)?;
        ui.note(format!("next: brainmvp index {} --out cohort.json", self.out.display()));
        Ok(())
    }

    fn cohort(&self, ui: &Ui) -> anyhow::Result<()> {
        let cohort = load_cohort(&self.source)?;
        if self.key.is_some()
            || self.descriptions
            || self.dicom.series_from.is_some()
            || !self.dicom.series.is_empty()
        {
            return Err(bad_input(
                "--series, --series-from, --key and --descriptions are for DICOM, not for a cohort",
            ));
        }
        refuse_full_folder(&self.out)?;
        let eraser = deface::eraser();
        let options = ExportOptions {
            space: self.space.as_deref(),
            predictions: self.predictions.as_deref(),
            eraser: self.deface.then_some(&eraser),
        };
        let done = export(&cohort, &self.out, &options)?;
        done.untouched.iter().for_each(|image| ui.note(format!("note: nothing is erased of {image}")));
        for rejected in &done.rejected {
            let reason = without_error_numbers(&rejected.reason);
            ui.alert(format!("warning: case '{}' is left out: {reason}", rejected.case));
        }
        ui.result(format!(
            "{}: {} of {} as a BIDS derivative, {} left out",
            self.out.display(),
            counted(done.files, "file"),
            counted(done.cases, "case"),
            done.rejected.len()
        ))?;
        if done.cases == 0 { Err(bad_input("no case could be written")) } else { Ok(()) }
    }
}

/// Subject numbers are valid within one run: the output of another run must not be mixed in.
fn refuse_full_folder(out: &Path) -> anyhow::Result<()> {
    let full = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if full {
        return Err(bad_input(format!("{}: the folder is not empty", out.display())))
            .advise(|_| "choose another folder with --out".to_owned());
    }
    Ok(())
}
