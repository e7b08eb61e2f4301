//! Studies: the state of their cells, tables and curves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Path as Number, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{answer, missing, reading};
use crate::files;
use crate::items::{Inside, Item};
use crate::server::App;

#[derive(Deserialize)]
struct Study {
    title: String,
    kind: String,
    cells: Vec<Cell>,
}

/// What became of a cell.
#[derive(Deserialize, Serialize)]
struct Cell {
    /// Its folder: task, arm, labels, fold, seed.
    #[serde(rename = "cell")]
    folder: String,
    state: String,
    reason: Option<String>,
    seconds: Option<f64>,
    /// Its run, if it has begun.
    #[serde(skip_deserializing)]
    run: Option<usize>,
}

#[derive(Serialize)]
struct Table {
    name: String,
    rows: Vec<Vec<String>>,
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    reading(move || {
        let collection = app.collection();
        let named = collection.studies.iter().enumerate();
        let named =
            named.map(|(number, folder)| json!({ "number": number, "name": folder.display().to_string() }));
        answer(&named.collect::<Vec<_>>())
    })
    .await
}

pub(super) async fn one(State(app): State<Arc<App>>, Number(number): Number<usize>) -> Response {
    reading(move || {
        let collection = app.collection();
        let Some(folder) = collection.studies.get(number) else { return missing() };
        let study = std::fs::read(folder.join("study.json")).ok();
        let study: Option<Study> = study.and_then(|text| serde_json::from_slice(&text).ok());
        let (title, kind, planned) = match study {
            Some(study) => (Some(study.title), Some(study.kind), study.cells),
            None => (None, None, Vec::new()),
        };
        answer(&json!({
            "folder": folder.display().to_string(),
            "title": title,
            "kind": kind,
            "cells": cells(folder, planned, &app),
            "tables": tables(folder),
            "curves": curves(folder, &app),
        }))
    })
    .await
}

/// The cells as planned, with their state as it is now: `study.json` is older.
fn cells(folder: &Path, planned: Vec<Cell>, app: &App) -> Vec<Cell> {
    let mut cells: BTreeMap<String, Cell> =
        planned.into_iter().map(|cell| (cell.folder.clone(), cell)).collect();
    for begun in begun(folder) {
        let path = folder.join(&begun);
        let run = path.join("run");
        let is_done = path.join("result.json").is_file();
        let cell = cells.entry(begun.clone()).or_insert_with(|| Cell {
            folder: begun,
            state: "left".to_owned(),
            reason: None,
            seconds: None,
            run: None,
        });
        if is_done {
            "done".clone_into(&mut cell.state);
        } else if cell.state == "left" {
            "begun".clone_into(&mut cell.state);
        }
        cell.run = run.join("config.toml").is_file().then(|| app.runs.number(run));
    }
    cells.into_values().collect()
}

/// The folders of cells and pre-trainings that have been begun: those that say what was asked.
fn begun(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![folder.join("cells"), folder.join("pretraining")];
    while let Some(next) = waiting.pop() {
        if next.join("asked.json").is_file() {
            found.extend(next.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned));
            continue;
        }
        let entries = std::fs::read_dir(&next).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        waiting.extend(folders.map(|entry| entry.path()));
    }
    found
}

fn tables(folder: &Path) -> Vec<Table> {
    let paths = files::with_ending(&folder.join("tables"), "csv");
    paths
        .iter()
        .filter_map(|path| Some(Table { name: files::stem(path), rows: files::table(path)? }))
        .collect()
}

/// Name and address of each figure.
fn curves(folder: &Path, app: &App) -> BTreeMap<String, String> {
    let paths = files::with_ending(&folder.join("curves"), "svg").into_iter();
    let curve = |path: PathBuf| {
        let address = app.items.address(Item::Inside(Inside::new(folder, &path)?));
        Some((files::stem(&path), address))
    };
    paths.filter_map(curve).collect()
}
