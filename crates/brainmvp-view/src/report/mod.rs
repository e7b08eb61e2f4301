//! Reports: what was opened, on one page that needs nothing else, and prints on A4.

mod chart;
mod document;
mod evaluation;
mod html;
mod modalities;
mod overlays;
mod run;
mod study;
mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, write_atomically};
use document::{Document, Picture, Section};
use modalities::in_their_order;

use crate::items::Items;
use crate::kind::Kind;
use crate::kinds;
use crate::shown::Collection;
use crate::{Error, Result};

/// What a report has become.
#[derive(Debug)]
pub struct Written {
    /// Its sections.
    pub sections: usize,
    /// The size of the page in bytes.
    pub bytes: u64,
    /// What was named and cannot be shown, and why.
    pub problems: Vec<String>,
    /// The figures that were written.
    pub figures: Vec<PathBuf>,
}

/// Whether something at or below a path belongs into a report of this kind: a run, predictions, scores, templates or a study.
pub fn has_results(path: &Path) -> bool {
    kinds::contents_of(path).iter().any(|(kind, _)| is_result(*kind))
}

fn is_result(kind: Kind) -> bool {
    matches!(kind, Kind::Run | Kind::Predictions | Kind::Scores | Kind::Templates | Kind::Study)
}

/// Writes a report on runs, templates, predictions, scores and studies. A cohort among the paths gives the labels and images that
/// pictures of predictions need.
///
/// `page` is one HTML file that loads nothing. With `figures`, a folder, its figures are also written there as PNG and SVG.
///
/// # Errors
/// [`Error::Content`] if there is nothing to report on; [`Error::File`] if a file cannot be written; an error of a volume that cannot be
/// read.
pub fn write_report(paths: &[PathBuf], page: &Path, figures: Option<&Path>) -> Result<Written> {
    let collection = kinds::open_all(paths, &Items::default());
    let problems = collection.problems();
    let document = document(&collection)?;
    if document.sections.is_empty() {
        let named: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let reason = problems.first().cloned().unwrap_or_else(|| {
            "has nothing to report on: a run, templates, predictions, scores or a study are needed".to_owned()
        });
        return Err(Error::content(Path::new(&named.join(", ")), reason));
    }
    let html = html::page(&document);
    write(page, html.as_bytes())?;
    let figures = figures.map_or(Ok(Vec::new()), |folder| write_figures(&document, folder))?;
    Ok(Written { sections: document.sections.len(), bytes: html.len() as u64, problems, figures })
}

fn write_figures(document: &Document, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).at(folder)?;
    let mut written = Vec::new();
    for (name, figure) in document.figures() {
        let (ending, bytes) = match &figure.picture {
            Picture::Svg(text) => ("svg", text.as_bytes()),
            Picture::Png(bytes) => ("png", bytes.as_slice()),
        };
        let path = folder.join(format!("{name}.{ending}"));
        write(&path, bytes)?;
        written.push(path);
    }
    Ok(written)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(write_atomically(path, |file| file.write_all(bytes))?)
}

fn document(collection: &Collection) -> Result<Document> {
    let mut sections = Vec::new();
    for (kind, path) in &collection.contents {
        match kind {
            Kind::Run => sections.push(run::section(path)?),
            Kind::Templates => sections.push(templates::section(path)),
            Kind::Predictions => sections.push(evaluation::predictions(path, collection)?),
            Kind::Scores => sections.push(evaluation::scores(path, collection)?),
            Kind::Study => {
                sections.extend(kinds::parts_of_study(path).iter().map(|part| study::section(part)));
            }
            Kind::Cohort | Kind::Cache | Kind::Report | Kind::Volume | Kind::Volumes => {}
        }
    }
    if !sections.is_empty() && !collection.cases.is_empty() {
        sections.insert(0, cases(collection));
    }
    Ok(Document { title: title(collection), sections })
}

fn title(collection: &Collection) -> String {
    let results = collection.contents.iter().filter(|(kind, _)| is_result(*kind));
    let names: Vec<String> = results.map(|(_, path)| kinds::title_of(path)).collect();
    format!("Report on {}", names.join(", "))
}

/// The cases that anything is known of: how many, from where, and which modalities they have.
fn cases(collection: &Collection) -> Section {
    let mut section = Section::new("Cases");
    let mut data_sets: BTreeMap<&str, Vec<BTreeSet<&str>>> = BTreeMap::new();
    for case in collection.cases.values() {
        // Templates and cases of which nothing but scores is known have no data set.
        let Some(data_set) = case.data_set.as_deref() else { continue };
        data_sets.entry(data_set).or_default().push(case.modalities());
    }
    let names = in_their_order(data_sets.values().flatten().flatten().copied());
    let head = ["data set", "cases"].into_iter().chain(names.iter().copied());
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    for (data_set, cases) in data_sets {
        let having = |name: &&str| cases.iter().filter(|case| case.contains(name)).count().to_string();
        let start = [data_set.to_owned(), cases.len().to_string()];
        rows.push(start.into_iter().chain(names.iter().map(having)).collect());
    }
    section.table("Cases of each data set, and how many of them have each modality.", 1, rows);
    let quarantined = collection.cases.iter().filter(|(_, case)| !case.quarantined.is_empty());
    let mut rows = vec![["case", "left out because"].map(str::to_owned).to_vec()];
    rows.extend(
        quarantined.map(|(id, case)| {
            vec![id.clone(), case.quarantined.iter().cloned().collect::<Vec<_>>().join("; ")]
        }),
    );
    section.table("Cases that were left out.", 2, rows);
    section
}
