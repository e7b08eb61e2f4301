//! `brainmvp index`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{self, Explained, IndexOptions, Indexed, LAYOUTS, Rejected};
use brainmvp_cohort::{Case, CaseId, Cohort, Error, LabelScheme, Pseudonyms};
use brainmvp_volume::Modality;
use clap::Args;
use regex::Regex;

use super::convert::{Conversion, DicomOptions, convert_dicom};
use super::{counted, table};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// Recognise the images in a folder and list them in a cohort file
///
/// Only names, data lists and the JSON files beside images are read; `check` opens the images. What each file is, its name,
/// folder, JSON file and the other images of its case decide together; a file that they leave open is left out by name, and
/// --alias, --pattern and the list decide. --explain prints the evidence. Several folders become one cohort. A folder of DICOM
/// files is converted first, into a folder next to the cohort file (see `brainmvp convert`).
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp index BraTS2021_Training_Data --out cohort.json
  brainmvp index export-of-the-pacs --out cohort.json --series '*dark*fluid*=flair'
  brainmvp index ISLES-2022 IXI ADNI --out cohort.json
  brainmvp index Task01_BrainTumour/dataset.json --out cohort.json
  brainmvp index scans --alias t1gad=t1c --label-scheme 1=stroke --out cohort.json
  brainmvp index scans --out cohort.json --table people.csv --numbers age
  brainmvp index scans --out cohort.json --explain
  brainmvp index scans --out cohort.json --pseudonyms private/names.tsv
  brainmvp index scans --pattern '(?P<case>[^/]+)/(?P<mod>[^/]+)\\.nii' --out cohort.json")]
pub(crate) struct Index {
    /// Folders with images, or data lists (.json)
    #[arg(required = true, value_name = "DIR")]
    sources: Vec<PathBuf>,
    /// Cohort file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Layout of the files; auto uses the first one that fits (see `brainmvp list layouts`)
    #[arg(long, value_name = "LAYOUT", default_value = "auto",
        value_parser = ["auto", DICOM].into_iter().chain(LAYOUTS.iter().map(|layout| layout.name())).collect::<Vec<_>>())]
    layout: String,
    /// Name of the cohort [default: that of the folder]
    #[arg(long)]
    name: Option<String>,
    /// Name of the data set that all cases belong to [default: from the layout and folder]
    #[arg(long, value_name = "NAME")]
    data_set: Option<String>,
    /// Site (hospital, scanner) of all cases
    #[arg(long)]
    site: Option<String>,
    /// Meaning of the label values: a named scheme (`brainmvp list labels`), or values such as 1=core,2=oedema
    #[arg(long, value_name = "SCHEME")]
    label_scheme: Option<LabelScheme>,
    /// A word in file names and its meaning: a modality, label, mask or ignore (may be repeated)
    #[arg(long, value_name = "WORD=MODALITY", value_parser = argument::alias)]
    alias: Vec<(String, String)>,
    /// Layout plain: a regular expression for the path below DIR, with the groups case and mod, and optionally subj,
    /// split, class and site
    #[arg(long, value_name = "REGEX", value_parser = argument::pattern)]
    pattern: Option<Regex>,
    /// Layouts monai and nnssl: folder that the paths in the list are relative to [default: that of the list]
    #[arg(long, value_name = "DIR")]
    base_dir: Option<PathBuf>,
    /// Layouts monai and nnunet: modalities of the images of a case, in the order of the list
    #[arg(long, value_name = "MODALITY,...", value_delimiter = ',', value_parser = argument::modality)]
    channels: Vec<Modality>,
    #[command(flatten)]
    dicom: DicomOptions,
    /// Print what each file is taken for, with the evidence
    #[arg(long)]
    explain: bool,
    /// Table (.csv, .tsv) with a column id (or participant_id, SUB_ID, ...) and any of class (or group, dx, ...), subject,
    /// site, split
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Columns of numbers in that table or in participants.tsv, e.g. age: `finetune regress` learns one of them
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    numbers: Vec<String>,
    /// Cases or subjects to leave out
    #[arg(long, value_name = "ID,...", value_delimiter = ',')]
    exclude: Vec<String>,
    /// File of cases or subjects to leave out, one per line
    #[arg(long, value_name = "FILE")]
    exclude_from: Option<PathBuf>,
    /// Name cases and subjects by numbers, and write a table, to be kept private, that links these to their names; if it exists, its
    /// numbers are used and new ones are added
    #[arg(long, value_name = "FILE")]
    pseudonyms: Option<PathBuf>,
}

/// The word after `--layout` for DICOM files.
const DICOM: &str = "dicom";

impl Index {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::prepare_output_file(&self.out)?;
        let options = self.options()?;
        let mut found = Vec::new();
        for source in &self.sources {
            let indexed = match self.converted(source, ui)? {
                Some(folder) => {
                    let name = Some(layouts::name_of(source));
                    let data_set = options.data_set.clone().or_else(|| name.clone());
                    let name = options.name.clone().or(name);
                    layouts::index(&folder, "bids", &IndexOptions { name, data_set, ..options.clone() })
                }
                None => layouts::index(source, &self.layout, &options),
            };
            match indexed {
                Ok(indexed) => {
                    self.tell(source, &indexed, ui)?;
                    found.push(indexed);
                }
                // Just then it matters what every file was taken for.
                Err(error) => {
                    if let Error::NoCase { found, .. } = &error {
                        self.tell(source, found, ui)?;
                    }
                    return Err(error.into());
                }
            }
        }
        for warning in found.iter().flat_map(|indexed| &indexed.warnings).chain(&self.unused(&found)) {
            ui.note(format!("warning: {warning}"));
        }
        let rejected: Vec<Rejected> = found.iter().flat_map(|indexed| indexed.rejected.clone()).collect();
        let mut cohort = join(found)?;
        if let (Some(name), true) = (self.out.file_stem(), self.name.is_none() && self.sources.len() > 1) {
            cohort.name = name.to_string_lossy().into_owned();
        }
        if let Some(table) = &self.pseudonyms {
            pseudonymise(&mut cohort, table)?;
        }
        cohort.save(&self.out)?;
        ui.result(overview(&cohort))?;
        for Rejected { case, reason } in &rejected {
            ui.alert(format!("warning: case '{case}' is left out: {reason}"));
        }
        ui.result(format!("written to {}", self.out.display()))?;
        ui.note(format!("next: brainmvp check {}", self.out.display()));
        Ok(())
    }

    /// How a source was read and, if that is asked for, what each of its files is.
    fn tell(&self, source: &Path, indexed: &Indexed, ui: &Ui) -> anyhow::Result<()> {
        ui.result(format!("{}: layout {}: {}", source.display(), indexed.layout, indexed.why))?;
        if let Some(reading) = &indexed.reading {
            ui.result(format!("{}: {reading}", source.display()))?;
        }
        if self.explain {
            let root: &Path = if source.is_file() { source.parent().unwrap_or(source) } else { source };
            explained(root, indexed).iter().try_for_each(|line| ui.result(line))?;
        }
        for line in refused(indexed) {
            ui.alert(line);
        }
        Ok(())
    }

    /// Warnings about rows of the table and ids to leave out that no folder has anything of.
    fn unused(&self, found: &[Indexed]) -> Vec<String> {
        let everywhere = |of: &dyn Fn(&Indexed) -> &[String]| -> Vec<String> {
            let Some((first, others)) = found.split_first() else { return Vec::new() };
            let unused = of(first).iter().filter(|id| others.iter().all(|other| of(other).contains(id)));
            unused.cloned().collect()
        };
        let (rows, exclusions) = (everywhere(&|i| &i.unused_rows), everywhere(&|i| &i.unused_exclusions));
        let mut warnings = Vec::new();
        if let (Some(first), Some(table)) = (rows.first(), &self.table) {
            let rows = counted(rows.len(), "row");
            warnings.push(format!("{rows} of {} without a case, e.g. {first}", table.display()));
        }
        if let Some(first) = exclusions.first() {
            let ids = counted(exclusions.len(), "excluded id");
            warnings.push(format!("{ids} without a case or subject, e.g. {first}"));
        }
        warnings
    }

    /// The folder that DICOM files of a source were converted into; `None` for other sources.
    fn converted(&self, source: &Path, ui: &Ui) -> anyhow::Result<Option<PathBuf>> {
        let is_dicom = match self.layout.as_str() {
            DICOM => true,
            // NIfTI files next to DICOM files were probably converted from them.
            "auto" if self.pattern.is_none() && brainmvp_dicom::holds_dicom(source) => {
                let alone = !layouts::holds_volumes(source);
                if !alone {
                    ui.alert(format!(
                        "warning: {}: the DICOM files are left out, since the volume files next to them were probably made from them; \
                         if not, run `brainmvp convert` on them",
                        source.display()
                    ));
                }
                alone
            }
            _ => false,
        };
        if !is_dicom {
            return Ok(None);
        }
        let stem = self.out.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let place =
            if self.sources.len() > 1 { format!("{stem}-{}", layouts::name_of(source)) } else { stem };
        let out = self.out.with_file_name(format!("{place}-nifti"));
        if out.exists() {
            return Err(bad_input(format!("{}: has already been converted", out.display())))
                .advise(|_| format!("index {} instead, or remove it to convert again", out.display()));
        }
        ui.note(format!("{}: DICOM; converted into {}", source.display(), out.display()));
        let conversion = Conversion {
            source,
            out: &out,
            rules: self.dicom.rules()?,
            key: None,
            descriptions: false,
            deface: false,
        };
        convert_dicom(conversion, ui)?;
        Ok(Some(out))
    }

    fn options(&self) -> anyhow::Result<IndexOptions> {
        let user: BTreeMap<String, String> = self.alias.iter().cloned().collect();
        let mut exclude = self.exclude.clone();
        if let Some(file) = &self.exclude_from {
            exclude.extend(layouts::read_exclusions(file)?);
        }
        Ok(IndexOptions {
            name: self.name.clone(),
            data_set: self.data_set.clone(),
            site: self.site.clone(),
            label_scheme: self.label_scheme.clone(),
            aliases: Aliases::extended(&user).map_err(bad_input)?,
            pattern: self.pattern.clone(),
            base_dir: self.base_dir.clone(),
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            channels: self.channels.clone(),
            table: self.table.clone(),
            numbers: self.numbers.clone(),
            exclude,
        })
    }
}

/// Gives cases and subjects numbers, and keeps the table that links them to their names.
fn pseudonymise(cohort: &mut Cohort, table: &Path) -> anyhow::Result<()> {
    argument::prepare_output_file(table)?;
    let mut pseudonyms = if table.exists() { Pseudonyms::load(table)? } else { Pseudonyms::default() };
    pseudonyms.apply(cohort)?;
    Ok(pseudonyms.save(table)?)
}

/// What each file is, and why: one line a file, in the order of their paths.
fn explained(root: &Path, indexed: &Indexed) -> Vec<String> {
    let mut lines: Vec<String> = indexed
        .explained
        .iter()
        .map(|Explained { path, finding, unused }| {
            let shown = path.strip_prefix(root).unwrap_or(path).display();
            let unused = unused.as_ref().map_or(String::new(), |reason| format!(", not used: {reason}"));
            format!("  {shown}: {}{unused} [{}]", finding.decision(), finding.reason())
        })
        .collect();
    lines.sort();
    lines
}

/// The warnings about files that are left out because it is open what they are; of many, the first.
fn refused(indexed: &Indexed) -> Vec<String> {
    const SHOWN: usize = 20;
    let all = indexed.refused.iter();
    let mut lines: Vec<String> = all
        .take(SHOWN)
        .map(|Explained { path, finding, .. }| format!("warning: {}: {}", path.display(), finding.decision()))
        .collect();
    if let Some(more) = indexed.refused.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.push(format!("warning: {more} more files are refused for such reasons; see --explain"));
    }
    if !indexed.refused.is_empty() {
        lines.push(
            "refused files are left out; say what they are with --alias, --pattern or other names".to_owned(),
        );
    }
    lines
}

/// Joins several cohorts. An id that occurs in two folders is prefixed with the name of its data set.
#[expect(clippy::expect_used, reason = "clap asks for at least one source")]
fn join(found: Vec<Indexed>) -> anyhow::Result<Cohort> {
    let mut cohorts = found.into_iter().map(|indexed| indexed.cohort);
    let mut joined = cohorts.next().expect("a folder or more is given");
    let mut taken: BTreeSet<String> =
        joined.cases.iter().map(|case| case.id.as_str().to_lowercase()).collect();
    for cohort in cohorts {
        for (name, data_set) in cohort.data_sets {
            let declared = joined.data_sets.entry(name.clone()).or_default();
            match (&declared.label_scheme, data_set.label_scheme) {
                (Some(one), Some(other)) if *one != other => {
                    return Err(bad_input(format!(
                        "the data set '{name}' has labels {one} in one folder and {other} in another; see --data-set"
                    )));
                }
                (None, scheme) => declared.label_scheme = scheme,
                _ => {}
            }
        }
        for case in cohort.cases {
            let case =
                if taken.contains(&case.id.as_str().to_lowercase()) { with_data_set(case)? } else { case };
            taken.insert(case.id.as_str().to_lowercase());
            joined.cases.push(case);
        }
    }
    joined.sort();
    Ok(joined)
}

fn with_data_set(case: Case) -> anyhow::Result<Case> {
    Ok(Case { id: CaseId::new(format!("{}-{}", case.data_set, case.id))?, ..case })
}

/// A table of the cases by data set and modality.
fn overview(cohort: &Cohort) -> String {
    let cases = &cohort.cases;
    let sets: Vec<&str> = cohort.data_sets.keys().map(String::as_str).collect();
    let head = format!("{} of {}", counted(cases.len(), "case"), counted(sets.len(), "data set"));
    let mut rows: Vec<[String; 2]> = Modality::ALL
        .into_iter()
        .map(|modality| {
            (modality.name(), cases.iter().filter(|case| case.images.contains_key(&modality)).count())
        })
        .chain([
            ("label", cases.iter().filter(|case| case.label.is_some()).count()),
            ("brain mask", cases.iter().filter(|case| case.brain_mask.is_some()).count()),
            ("class", cases.iter().filter(|case| case.class.is_some()).count()),
        ])
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| {
            [name.to_owned(), format!("{count:>width$}", width = cases.len().to_string().len())]
        })
        .collect();
    let numbers: BTreeSet<&String> = cases.iter().flat_map(|case| case.numbers.keys()).collect();
    let width = cases.len().to_string().len();
    rows.extend(numbers.into_iter().map(|name| {
        let count = cases.iter().filter(|case| case.numbers.contains_key(name)).count();
        [name.clone(), format!("{count:>width$}")]
    }));
    if sets.len() > 1 {
        rows.extend(sets.iter().map(|set| {
            let count = cases.iter().filter(|case| case.data_set == **set).count();
            [format!("data set {set}"), format!("{count:>width$}", width = cases.len().to_string().len())]
        }));
    }
    format!("{head}\n{}", table::columns(&rows))
}
