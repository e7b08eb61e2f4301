//! A run: what was trained on what, its curves, its pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Deserialize;

use super::chart::{Chart, Line};
use super::document::{Picture, Section};
use super::modalities::in_their_order;
use crate::kinds::title_of;
use crate::text;
use crate::{Result, events, runs};

/// What methods call the volumes that they draw, in the order in which they are shown.
const PICTURES: [(&str, &str); 8] = [
    ("image", "an image as it was prepared"),
    ("target", "what the network should make of it"),
    ("cross-modal view", "the image with another image of the case in places"),
    ("distilled view", "the image with the template of its modality in places"),
    ("reconstruction", "what the network makes of it"),
    ("prediction", "what the network makes of it"),
    ("template", "the template of its modality, at the same place"),
    ("templates", "the mean image and the template of each modality"),
];

pub(super) fn section(folder: &Path) -> Result<Section> {
    let steps = runs::columns(&folder.join("metrics.jsonl"), 0)?;
    let validations = runs::columns(&folder.join("validation.jsonl"), 0)?;
    let config = runs::configuration(folder);
    let stage = match config.get("task.kind") {
        Some(task) => format!("Fine-tuning, {}", task.trim_matches('"')),
        None => "Pre-training".to_owned(),
    };
    let mut section = Section::new(format!("{stage}: {}", title_of(folder)));
    section.facts(facts(&config, &steps));
    if let Some(Seen { cases }) = section.read(&folder.join("seen.json")) {
        section.table("Cases that it learnt from.", 2, seen(&cases));
    }
    curves(&mut section, &steps, &validations);
    validation_table(&mut section, &validations);
    pictures(&mut section, folder);
    section.table("Where and how it was computed.", 2, sessions(&folder.join("sessions.jsonl")));
    let listing = config.iter().fold(String::new(), |mut listing, (key, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(listing, "{key} = {value}");
        listing
    });
    section.listing("All settings", listing);
    Ok(section)
}

/// What was asked for, and how far it came.
fn facts(config: &BTreeMap<String, String>, steps: &runs::Added) -> Vec<(&'static str, String)> {
    let of = |key: &str| config.get(key).map(|value| value.trim_matches('"').to_owned()).unwrap_or_default();
    let last =
        |column: &str| steps.columns.get(column).and_then(|values| values.iter().rev().flatten().next());
    let whole = |column: &str| last(column).map_or(String::new(), |value| format!("{value:.0}"));
    let seconds = steps.columns.get("seconds").map(|column| {
        let known: Vec<f64> = column.iter().flatten().copied().collect();
        // Of long runs not every step is read.
        known.iter().sum::<f64>() / known.len().max(1) as f64 * steps.lines as f64
    });
    vec![
        ("task", of("task.kind")),
        ("method", of("method.name")),
        ("network", of("model.preset")),
        ("begins with", of("init.source")),
        ("modalities", of("task.modalities").replace('"', "")),
        ("share of the labels", of("data.labels_fraction")),
        ("mixing with", of("mixing.with")),
        ("patch", format!("{} voxels", of("patch.size"))),
        ("cases in a batch", of("train.batch_size")),
        ("learning rate", of("optimizer.schedule.learning_rate")),
        ("precision", of("train.precision")),
        ("seed", of("train.seed")),
        ("steps", whole("step")),
        ("epochs", whole("epoch")),
        ("last loss", last("loss").map_or(String::new(), |loss| text::number(*loss))),
        ("time of all steps", seconds.map_or(String::new(), text::duration)),
    ]
}

fn curves(section: &mut Section, steps: &runs::Added, validations: &runs::Added) {
    let across = |added: &runs::Added| added.columns.get("step").cloned().unwrap_or_default();
    let line = |added: &runs::Added, name: &str, column: &[Option<f64>]| {
        let points = across(added).into_iter().zip(column).filter_map(|(x, y)| Some((x?, (*y)?)));
        Line { name: name.to_owned(), points: points.collect() }
    };
    let losses = steps.columns.iter().filter(|(name, _)| name.starts_with("loss"));
    let losses: Vec<Line> = losses.map(|(name, column)| line(steps, name, column).smoothed()).collect();
    let chart = Chart { across: "step", up: "loss", lines: losses, points: false, diagonal: false };
    if let Some(picture) = chart.svg() {
        section.figure("loss", "Loss, as a running mean over a fortieth of the steps.", picture);
    }
    for (name, up, caption) in [
        ("scores", "score", "Scores of the validation cases."),
        ("losses", "loss", "Loss of the validation cases."),
    ] {
        let is_loss = |column: &str| column.starts_with("loss");
        let columns = validations.columns.iter().filter(|(column, _)| {
            !["step", "epoch", "seconds", "best"].contains(&column.as_str())
                && is_loss(column) == (name == "losses")
        });
        let lines: Vec<Line> = columns.map(|(column, values)| line(validations, column, values)).collect();
        let chart = Chart { across: "step", up, lines, points: false, diagonal: false };
        if let Some(picture) = chart.svg() {
            section.figure(format!("validation-{name}"), caption, picture);
        }
    }
}

/// The last validations, at most ten.
fn validation_table(section: &mut Section, validations: &runs::Added) {
    const MOST: usize = 10;
    let names: Vec<&String> = validations
        .columns
        .keys()
        .filter(|name| !["step", "epoch", "seconds"].contains(&name.as_str()))
        .collect();
    let steps = validations.columns.get("step").map_or(&[][..], Vec::as_slice);
    let mut rows =
        vec![std::iter::once("step".to_owned()).chain(names.iter().map(|name| (*name).clone())).collect()];
    for (row, step) in steps.iter().enumerate().skip(steps.len().saturating_sub(MOST)) {
        let value = |name: &&String| validations.columns[*name].get(row).copied().flatten();
        let cells = names.iter().map(|name| value(name).map_or("-".to_owned(), text::number));
        rows.push(
            std::iter::once(step.map_or(String::new(), |step| format!("{step:.0}"))).chain(cells).collect(),
        );
    }
    section.table("The last validations.", 0, rows);
}

#[derive(Deserialize)]
struct Seen {
    cases: Vec<SeenCase>,
}

#[derive(Deserialize)]
struct SeenCase {
    stage: String,
    data_set: String,
    images: BTreeMap<String, serde_json::Value>,
}

/// How many cases of each data set were seen at which stage, and how many of them had each modality.
fn seen(cases: &[SeenCase]) -> Vec<Vec<String>> {
    let modalities = in_their_order(cases.iter().flat_map(|case| case.images.keys()).map(String::as_str));
    let mut groups: BTreeMap<(&str, &str), Vec<&SeenCase>> = BTreeMap::new();
    for case in cases {
        groups.entry((&case.stage, &case.data_set)).or_default().push(case);
    }
    let head = ["stage", "data set", "cases"].into_iter().map(str::to_owned);
    let mut rows: Vec<Vec<String>> =
        vec![head.chain(modalities.iter().map(|name| (*name).to_owned())).collect()];
    for ((stage, data_set), cases) in groups {
        let having = |name: &str| cases.iter().filter(|case| case.images.contains_key(name)).count();
        let words = [stage.to_owned(), data_set.to_owned(), cases.len().to_string()];
        rows.push(words.into_iter().chain(modalities.iter().map(|name| having(name).to_string())).collect());
    }
    rows
}

/// The last picture of each kind.
fn pictures(section: &mut Section, folder: &Path) {
    let mut last: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
    for file in runs::event_files(folder) {
        for logged in events::pictures(file.known()).unwrap_or_default() {
            let Some(png) = events::png(file.known(), &logged) else { continue };
            last.insert(logged.tag, (logged.step, png));
        }
    }
    if last.is_empty() {
        return;
    }
    section.heading("Pictures");
    let place = |tag: &str| PICTURES.iter().position(|(known, _)| *known == tag).unwrap_or(PICTURES.len());
    let mut last: Vec<_> = last.into_iter().collect();
    last.sort_by_key(|(tag, _)| place(tag));
    for (tag, (step, png)) in last {
        let about = PICTURES.iter().find(|(known, _)| *known == tag).map(|(_, about)| format!(": {about}"));
        let caption = format!("{tag}{} (step {step}; axial, coronal, sagittal).", about.unwrap_or_default());
        section.figure(tag, caption, Picture::Png(png));
    }
}

/// A time that the run was computed at, as the commands note it.
#[derive(Deserialize)]
struct Session {
    version: String,
    started: String,
    seconds: f64,
    last_step: u64,
    cpu: String,
    threads: usize,
    device: String,
    #[serde(default)]
    peak_memory_bytes: Option<u64>,
}

fn sessions(path: &Path) -> Vec<Vec<String>> {
    let lines = std::fs::read_to_string(path).unwrap_or_default();
    let head = ["started", "computer", "threads", "device", "brainmvp", "up to step", "time", "most memory"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for session in lines.lines().filter_map(|line| serde_json::from_str::<Session>(line).ok()) {
        rows.push(vec![
            session.started,
            session.cpu,
            session.threads.to_string(),
            session.device,
            session.version,
            session.last_step.to_string(),
            text::duration(session.seconds),
            session.peak_memory_bytes.map_or("-".to_owned(), text::size),
        ]);
    }
    rows
}
