//! The work folder of a study: its cases, runs and results.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{cache, entries, title_of};
use crate::items::Items;
use crate::kind::Kind;
use crate::shown::{Collection, RunPlace, Score};
use crate::{Error, Result};

#[derive(Deserialize)]
struct Row {
    arm: String,
    labels: String,
    #[serde(default)]
    modalities: String,
    case: String,
    region: String,
    metric: String,
    value: Option<f64>,
}

pub(super) fn open(path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let title = title_of(path);
    for part in parts(path) {
        let name = part.strip_prefix(path).ok().filter(|within| !within.as_os_str().is_empty());
        let title = name.map_or_else(|| title.clone(), |within| format!("{title} {}", within.display()));
        into.runs.push(RunPlace { folder: part.join("cells"), title });
        scores(&part, into)?;
        into.studies.push(part);
    }
    into.runs.push(RunPlace { folder: path.join("pretraining"), title: title.clone() });
    let own = std::iter::once(path.join("cache"));
    let shared = entries(&path.join("cases")).into_iter().map(|cases| cases.join("cache"));
    for folder in own.chain(shared).filter(|folder| Kind::of(folder) == Some(Kind::Cache)) {
        cache::open(&folder, &title, into, items)?;
    }
    Ok(())
}

/// The folders with the cells of a study: its own, or those of its parts.
pub(crate) fn parts(path: &Path) -> Vec<PathBuf> {
    let has_cells = |folder: &PathBuf| folder.join("cells").is_dir() || folder.join("study.json").is_file();
    let own = path.to_owned();
    let parts: Vec<PathBuf> = entries(path).into_iter().filter(has_cells).collect();
    if parts.is_empty() || has_cells(&own) { vec![own] } else { parts }
}

/// What became of the test cases, arm by arm.
fn scores(path: &Path, into: &mut Collection) -> Result<()> {
    let file = path.join("results.csv");
    into.witnesses.push(file.clone());
    if !file.is_file() {
        return Ok(());
    }
    let damaged = |error: csv::Error| Error::content(&file, error.to_string());
    let mut table = csv::Reader::from_path(&file).map_err(damaged)?;
    for row in table.deserialize() {
        let row: Row = row.map_err(damaged)?;
        // With some of the modalities is another question.
        if row.modalities.is_empty() && !row.case.is_empty() {
            let of = format!("{}, {} of the labels", row.arm, row.labels);
            let score = Score { of, region: row.region, metric: row.metric, value: row.value };
            into.case(&row.case).scores.push(score);
        }
    }
    Ok(())
}
