//! Predictions and their scores.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_metrics::scores::Summary;
use brainmvp_metrics::statistics::Interval;
use serde::Deserialize;
use serde_json::Value;

use super::chart::{Chart, Line};
use super::document::{Picture, Section};
use super::overlays::{self, Chosen};
use crate::Result;
use crate::kinds::title_of;
use crate::shown::Collection;
use crate::text;

/// Cases of a table that names the worst.
const MOST_CASES: usize = 10;

#[derive(Deserialize)]
struct Record {
    settings: BTreeMap<String, Value>,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    cases: BTreeMap<String, Predicted>,
    #[serde(default)]
    quarantined: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Predicted {
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    missing: Vec<String>,
}

/// A folder of predictions, with its scores if they are in it.
pub(super) fn predictions(folder: &Path, collection: &Collection) -> Result<Section> {
    let title = title_of(folder);
    let mut section = Section::new(format!("Predictions: {title}"));
    if let Some(record) = section.read::<Record>(&folder.join("predictions.json")) {
        told(&mut section, &record);
    }
    let scores = folder.join("metrics.json");
    if scores.is_file() {
        scored(&mut section, &scores, Some(&title), collection)?;
    } else {
        section.text("They have not been scored: brainmvp evaluate writes metrics.json.");
    }
    Ok(section)
}

/// Scores outside the folder of the predictions.
pub(super) fn scores(path: &Path, collection: &Collection) -> Result<Section> {
    let mut section = Section::new(format!("Scores: {}", title_of(path)));
    scored(&mut section, path, None, collection)?;
    Ok(section)
}

fn told(section: &mut Section, record: &Record) {
    let setting = |name: &str| match record.settings.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => {
            let names = values.iter().map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.get("name").and_then(Value::as_str).map_or(other.to_string(), str::to_owned),
            });
            names.collect::<Vec<_>>().join(", ")
        }
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let window = record.settings.get("windows").and_then(|windows| windows.get("size")).map(Value::to_string);
    let lacking = record.cases.values().filter(|case| !case.missing.is_empty()).count();
    let seconds: f64 = record.cases.values().map(|case| case.seconds).sum();
    let each = seconds / record.cases.len().max(1) as f64;
    section.facts([
        ("network", setting("model")),
        ("trained for", format!("{} steps", setting("step"))),
        ("modalities", setting("modalities")),
        ("missing ones replaced by", setting("missing")),
        ("regions", setting("regions")),
        ("classes", setting("classes")),
        ("window", window.map_or(String::new(), |size| format!("{size} voxels"))),
        ("mirrored along", setting("mirror")),
        ("precision", setting("precision")),
        ("cases", format!("{}, of which {lacking} lack a modality", record.cases.len())),
        ("time of a case", format!("{each:.1} s")),
    ]);
    record.notes.iter().for_each(|note| section.text(format!("Note: {note}.")));
    let mut rows = vec![vec!["case".to_owned(), "left out because".to_owned()]];
    rows.extend(record.quarantined.iter().map(|(case, reason)| vec![case.clone(), reason.clone()]));
    section.table("Cases without a prediction.", 2, rows);
}

fn scored(
    section: &mut Section,
    path: &Path,
    prediction: Option<&str>,
    collection: &Collection,
) -> Result<()> {
    let Some(file) = section.read::<Value>(path) else { return Ok(()) };
    seen(section, &file);
    // Scores by case and region are a list; those of classes and numbers have names.
    if file.get("scores").is_some_and(Value::is_array) {
        if let Some(summary) = part::<Summary>(&file, "summary") {
            segmentation(section, &summary);
        }
        let of = prediction.map_or_else(|| title_of(path), str::to_owned);
        return worst_and_best(section, &of, prediction, collection);
    }
    by_case(section, &file);
    Ok(())
}

/// A part of a JSON file.
fn part<T: serde::de::DeserializeOwned>(file: &Value, name: &str) -> Option<T> {
    serde_json::from_value(file.get(name)?.clone()).ok()
}

/// Says how many of the cases the network had learnt from.
fn seen(section: &mut Section, file: &Value) {
    let Some(seen) = file.get("seen").and_then(|seen| seen.get("cases")).and_then(Value::as_object) else {
        return;
    };
    if let (false, Some(first)) = (seen.is_empty(), seen.keys().next()) {
        let count = seen.len();
        section.warning(format!(
            "The network has seen {count} of the cases in training, e.g. {first}: scores on them are too optimistic."
        ));
    }
}

fn segmentation(section: &mut Section, summary: &Summary) {
    let metrics = summary.metrics_table();
    let caption = "Scores by region: mean over cases, 95 % interval by bootstrap over cases, standard deviation, median.";
    section.table(caption, metrics.words(), metrics.rows().to_vec());
    let empty = summary.empty_table();
    section.table("Cases in which a region is empty.", empty.words(), empty.rows().to_vec());
}

/// Pictures of the best, the median and the worst case by Dice, its mean over regions, and a table of the worst.
fn worst_and_best(
    section: &mut Section,
    of: &str,
    prediction: Option<&str>,
    collection: &Collection,
) -> Result<()> {
    let dice = |case: &crate::shown::Case| {
        let values = case.scores.iter().filter(|score| score.of == of && score.metric == "dice");
        let values: Vec<f64> = values.filter_map(|score| score.value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let cases = collection.cases.iter().filter_map(|(id, case)| Some((dice(case)?, id.as_str(), case)));
    let mut cases: Vec<_> = cases.collect();
    cases.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let Some(last) = cases.len().checked_sub(1) else { return Ok(()) };
    let points =
        cases.iter().rev().enumerate().map(|(place, (dice, ..))| (place as f64 + 1.0, *dice)).collect();
    let line = Line { name: "Dice".to_owned(), points };
    let chart = Chart {
        across: "cases, the worst first",
        up: "Dice",
        lines: vec![line],
        points: true,
        diagonal: false,
    };
    if let Some(picture) = chart.svg() {
        section.figure("dice", "Dice of each case, its mean over regions.", picture);
    }
    let mut places = vec![("best", 0), ("median", cases.len() / 2), ("worst", last)];
    places.dedup_by_key(|(_, place)| *place);
    let chosen: Vec<Chosen<'_>> = places
        .into_iter()
        .map(|(title, place)| {
            let (dice, id, case) = cases[place];
            Chosen { title, id, case, score: format!("Dice {dice:.3}") }
        })
        .collect();
    let named = prediction.map(str::to_owned).or_else(|| only_prediction(&chosen));
    match named.map(|prediction| overlays::draw(&chosen, &prediction)).transpose()?.flatten() {
        Some(png) => section.figure(
            "cases",
            "The best, the median and the worst case, in the axial slice with most of the label.",
            Picture::Png(png),
        ),
        None => section.text("For pictures of cases, name the cohort and the predictions too."),
    }
    let worst = cases.iter().rev().take(MOST_CASES);
    let mut rows = vec![["case", "data set", "Dice"].map(str::to_owned).to_vec()];
    rows.extend(worst.map(|(dice, id, case)| {
        vec![(*id).to_owned(), case.data_set.clone().unwrap_or_default(), format!("{dice:.4}")]
    }));
    section.table("The worst cases, by the mean Dice of their regions.", 2, rows);
    Ok(())
}

/// The title of the predictions, if all that is chosen was predicted once.
fn only_prediction(chosen: &[Chosen<'_>]) -> Option<String> {
    let of = |chosen: &Chosen<'_>| {
        let groups = chosen.case.groups.iter().filter(|group| group.stage == crate::shown::Stage::Prediction);
        groups.map(|group| group.title.clone()).collect::<Vec<_>>()
    };
    let mut titles: Vec<String> = chosen.iter().flat_map(of).collect();
    titles.sort();
    titles.dedup();
    titles.pop().filter(|_| titles.is_empty())
}

/// Scores of classes or numbers.
fn by_case(section: &mut Section, file: &Value) {
    let intervals: BTreeMap<String, Interval> = part(file, "intervals").unwrap_or_default();
    let scores: BTreeMap<String, Value> = part(file, "scores").unwrap_or_default();
    let mut rows = vec![["score", "value", "95 % interval"].map(str::to_owned).to_vec()];
    for (name, interval) in &intervals {
        let value = scores.get(name).and_then(Value::as_f64).map_or("-".to_owned(), text::number);
        let end = |score: brainmvp_metrics::Score| score.value().map_or("-".to_owned(), text::number);
        rows.push(vec![
            name.replace('_', " "),
            value,
            format!("{} to {}", end(interval.low), end(interval.high)),
        ]);
    }
    section.table("Scores, with intervals by bootstrap over cases.", 1, rows);
    if let (Some(classes), Some(counts)) =
        (part::<Vec<String>>(file, "classes"), scores.get("confusion").and_then(Value::as_array))
    {
        let mut rows =
            vec![std::iter::once("true class".to_owned()).chain(classes.iter().cloned()).collect()];
        rows.extend(classes.iter().zip(counts).map(|(class, counts)| {
            let counts = counts.as_array().into_iter().flatten().map(Value::to_string);
            std::iter::once(class.clone()).chain(counts).collect::<Vec<_>>()
        }));
        section.table("Cases by their true class (rows) and the predicted one (columns).", 1, rows);
    }
    if let Some(target) = file.get("target").and_then(Value::as_str) {
        let cases = file.get("cases").and_then(Value::as_array).into_iter().flatten();
        let points =
            cases.filter_map(|case| Some((case.get("truth")?.as_f64()?, case.get("predicted")?.as_f64()?)));
        let lines = vec![Line { name: target.to_owned(), points: points.collect() }];
        let (across, up) = (format!("true {target}"), format!("predicted {target}"));
        let chart = Chart { across: &across, up: &up, lines, points: true, diagonal: true };
        if let Some(picture) = chart.svg() {
            section.figure(
                target,
                format!("{target} of each case, true and predicted; on the line they agree."),
                picture,
            );
        }
    }
}
