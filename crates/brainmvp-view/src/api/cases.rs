//! The list of cases, and a case.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use brainmvp_cohort::Split;
use serde::Serialize;
use serde_json::json;

use super::{answer, missing, reading};
use crate::server::App;
use crate::shown::{Case, Role, Stage};

/// A case at a glance.
#[derive(Serialize)]
struct Row<'a> {
    number: usize,
    id: &'a str,
    data_set: Option<&'a str>,
    site: Option<&'a str>,
    class: Option<&'a str>,
    split: Option<Split>,
    modalities: BTreeSet<&'a str>,
    has_label: bool,
    /// How far it has come.
    stages: BTreeSet<Stage>,
    /// Its worst region, by what was scored.
    dice: BTreeMap<&'a str, f64>,
    flags: &'a BTreeSet<String>,
    quarantined: &'a BTreeSet<String>,
}

impl<'a> Row<'a> {
    fn of(number: usize, id: &'a str, case: &'a Case) -> Self {
        let mut volumes = case.groups.iter().filter(|group| group.stage != Stage::Prediction);
        Self {
            number,
            id,
            data_set: case.data_set.as_deref(),
            site: case.site.as_deref(),
            class: case.class.as_deref(),
            split: case.split,
            modalities: case.modalities(),
            has_label: volumes.any(|group| group.volumes.iter().any(|volume| volume.role == Role::Label)),
            stages: case.groups.iter().map(|group| group.stage).collect(),
            dice: case.dice(),
            flags: &case.flags,
            quarantined: &case.quarantined,
        }
    }
}

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    reading(move || {
        let collection = app.collection();
        let numbered = |(id, case)| Row::of(app.cases.number(String::clone(id)), id, case);
        let rows: Vec<Row<'_>> = collection.cases.iter().map(numbered).collect();
        answer(&json!({ "cases": rows, "opened": collection.opened }))
    })
    .await
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(number): Path<usize>) -> Response {
    let Some(id) = app.cases.get(number) else { return missing() };
    reading(move || {
        let collection = app.collection();
        match collection.cases.get(&id) {
            Some(case) => answer(&json!({ "number": number, "id": id, "case": case })),
            None => missing(),
        }
    })
    .await
}
