//! What the pages ask for, as JSON.

mod cases;
mod studies;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::server::App;
use crate::{deliver, run_summary, runs};

/// All addresses below the token except the pages.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/overview", routing::get(overview))
        .route("/api/cases", routing::get(cases::list))
        .route("/api/cases/{number}", routing::get(cases::one))
        .route("/api/runs", routing::get(run_list))
        .route("/api/runs/{number}", routing::get(run_detail))
        .route("/api/runs/{number}/metrics", routing::get(run_metrics))
        .route("/api/runs/{number}/validation", routing::get(run_validation))
        .route("/api/studies", routing::get(studies::list))
        .route("/api/studies/{number}", routing::get(studies::one))
        .route("/file/{name}", routing::get(file))
}

/// An answer in JSON; things change, so none is kept.
fn answer(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text).into_response(),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, [(CACHE_CONTROL, "no-store")], format!("{reason}\n")).into_response()
}

fn missing() -> Response {
    refuse(StatusCode::NOT_FOUND, "there is nothing of this number")
}

/// Runs what reads files on a thread that may wait.
async fn reading(read: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(read).await {
        Ok(response) => response,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn overview(State(app): State<Arc<App>>) -> Response {
    reading(move || {
        let collection = app.collection();
        let runs = runs::list(&collection.runs, &app.runs);
        answer(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "opened": collection.opened,
            "cases": collection.cases.len(),
            "runs": runs.len(),
            "studies": collection.studies.len(),
        }))
    })
    .await
}

async fn run_list(State(app): State<Arc<App>>) -> Response {
    reading(move || answer(&runs::list(&app.collection().runs, &app.runs))).await
}

async fn run_detail(State(app): State<Arc<App>>, Path(number): Path<usize>) -> Response {
    let Some(folder) = app.runs.get(number) else { return missing() };
    reading(move || answer(&runs::detail(&folder, &app.items))).await
}

/// From which byte on.
#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: u64,
}

async fn run_metrics(
    State(app): State<Arc<App>>,
    Path(number): Path<usize>,
    Query(from): Query<From>,
) -> Response {
    record(&app, number, run_summary::METRICS, from.from).await
}

async fn run_validation(
    State(app): State<Arc<App>>,
    Path(number): Path<usize>,
    Query(from): Query<From>,
) -> Response {
    record(&app, number, run_summary::VALIDATIONS, from.from).await
}

async fn record(app: &App, number: usize, name: &'static str, from: u64) -> Response {
    let Some(folder) = app.runs.get(number) else { return missing() };
    reading(move || match runs::columns(&folder.join(name), from) {
        Ok(columns) => answer(&columns),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    })
    .await
}

/// `17.nii.gz`: item 17. The ending is for the reader.
async fn file(State(app): State<Arc<App>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let number = name.split('.').next().unwrap_or_default();
    let item = number.parse().ok().and_then(|number| app.items.get(number));
    match item {
        Some(item) => deliver::item(item, &headers, &app.made).await,
        None => missing(),
    }
}
