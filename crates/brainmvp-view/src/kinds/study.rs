//! The work folder of a study: its cases, runs and results.

use std::path::Path;

use serde::Deserialize;

use super::{Kind, cache, entries, title_of};
use crate::items::Items;
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
    into.studies.push(path.to_owned());
    let title = title_of(path);
    for part in ["pretraining", "cells"] {
        into.runs.push(RunPlace { folder: path.join(part), title: title.clone() });
    }
    let own = std::iter::once(path.join("cache"));
    let parts = entries(&path.join("cases")).into_iter().map(|part| part.join("cache"));
    for folder in own.chain(parts).filter(|folder| Kind::of(folder) == Some(Kind::Cache)) {
        cache::open(&folder, &title, into, items)?;
    }
    scores(path, into)
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
