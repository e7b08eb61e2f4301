//! Runs, read anew whenever they are asked for: they may be training.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use brainmvp_volume::FileError;
use serde::Serialize;
use serde_json::Value;

use crate::items::{Inside, Item, Items, Numbered};
use crate::run_summary::RunSummary;
use crate::shown::RunPlace;
use crate::{Result, events, run_summary};

/// As many points of a curve as a screen can show, and then some; of longer runs, every n-th step is sent.
const MOST_POINTS: usize = 4000;

/// More than any run has; every column has a place for each point.
const MOST_COLUMNS: usize = 256;

/// A run in the list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    number: usize,
    name: String,
    #[serde(flatten)]
    summary: RunSummary,
}

/// All runs at some places, by name.
pub(crate) fn list(places: &[RunPlace], numbers: &Numbered<PathBuf>) -> Vec<Listed> {
    let mut listed = Vec::new();
    for place in places {
        for folder in run_summary::find(&place.folder).runs {
            let within = folder.strip_prefix(&place.folder).unwrap_or(&folder);
            let within = within.to_string_lossy();
            let within = within.strip_suffix("/run").unwrap_or(&within);
            let name =
                if within.is_empty() { place.title.clone() } else { format!("{}: {within}", place.title) };
            let summary = RunSummary::read(&folder);
            listed.push(Listed { number: numbers.number(folder), name, summary });
        }
    }
    listed
}

/// What a run consists of, besides its numbers.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    /// Its configuration, by dotted key.
    config: BTreeMap<String, String>,
    pictures: Vec<Series>,
}

/// Pictures of one thing over the steps.
#[derive(Debug, Serialize)]
struct Series {
    tag: String,
    /// Step and address.
    pictures: BTreeMap<u64, String>,
}

pub(crate) fn detail(folder: &Path, items: &Items) -> Detail {
    Detail { config: configuration(folder), pictures: pictures(folder, items) }
}

/// The configuration of a run, by dotted key.
pub(crate) fn configuration(folder: &Path) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    for (key, value) in run_summary::config(folder).unwrap_or_default() {
        flatten(key, &value, &mut flat);
    }
    flat
}

/// The event files of a run, in the order of their making: later ones replace the steps that they repeat.
pub(crate) fn event_files(folder: &Path) -> Vec<Inside> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let mut names: Vec<_> =
        names.filter(|name| name.to_string_lossy().starts_with("events.out.tfevents")).collect();
    names.sort();
    names.into_iter().filter_map(|name| Inside::new(folder, name)).collect()
}

fn flatten(key: String, value: &toml::Value, into: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(inner, value)| flatten(format!("{key}.{inner}"), value, into));
        }
        other => drop(into.insert(key, other.to_string())),
    }
}

fn pictures(folder: &Path, items: &Items) -> Vec<Series> {
    let mut series: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for file in event_files(folder) {
        for logged in events::pictures(file.known()).unwrap_or_default() {
            let item = Item::Logged { file: file.clone(), offset: logged.offset, length: logged.length };
            series.entry(logged.tag).or_default().insert(logged.step, items.address(item));
        }
    }
    series.into_iter().map(|(tag, pictures)| Series { tag, pictures }).collect()
}

/// The lines of a record from some byte on, as columns.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Added {
    /// From where to ask for more.
    next: u64,
    /// Whether the record is shorter than it was, and these are its lines from the start.
    begins: bool,
    /// How many lines there were; of many, every n-th is given.
    pub(crate) lines: usize,
    pub(crate) columns: BTreeMap<String, Vec<Option<f64>>>,
}

/// Reads the complete lines of a record from byte `from` on. A record that is not there has no lines yet.
pub(crate) fn columns(path: &Path, from: u64) -> Result<Added> {
    let fail = |source| FileError::new(path, source);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Added { begins: true, ..Added::default() });
        }
        opened => opened.map_err(fail)?,
    };
    let from = if file.metadata().map_err(fail)?.len() < from { 0 } else { from };
    file.seek(SeekFrom::Start(from)).map_err(fail)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(fail)?;
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let lines: Vec<&[u8]> =
        bytes[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let every = lines.len().div_ceil(MOST_POINTS).max(1);
    let mut columns: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    let mut rows = 0;
    // The last line is always among them.
    for line in lines.iter().rev().step_by(every).rev() {
        let Ok(Value::Object(line)) = serde_json::from_slice(line) else { continue };
        for (key, value) in numbers(line) {
            if columns.len() == MOST_COLUMNS && !columns.contains_key(&key) {
                continue;
            }
            let column = columns.entry(key).or_default();
            column.resize(rows, None);
            column.push(value);
        }
        rows += 1;
    }
    for column in columns.values_mut() {
        column.resize(rows, None);
    }
    Ok(Added { next: from + complete as u64, begins: from == 0, lines: lines.len(), columns })
}

/// The numbers of a line; those of its scores by their own names.
fn numbers(line: serde_json::Map<String, Value>) -> impl Iterator<Item = (String, Option<f64>)> {
    line.into_iter().flat_map(|(key, value)| match value {
        Value::Number(number) => vec![(key, number.as_f64())],
        // What is not finite is written as null.
        Value::Null => vec![(key, None)],
        Value::Object(scores) if key == "scores" => {
            scores.into_iter().map(|(name, value)| (name, value.as_f64())).collect()
        }
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_from_where_the_last_reading_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert!(columns(&path, 7).unwrap().begins);
        let first = "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null}\n";
        std::fs::write(&path, format!("{first}{{\"step\":3,")).unwrap();
        let read = columns(&path, 0).unwrap();
        assert_eq!((read.next, read.lines, read.begins), (first.len() as u64, 2, true));
        assert_eq!(read.columns["loss"], [Some(2.5), None]);
        std::fs::write(&path, format!("{first}{{\"step\":3,\"scores\":{{\"dice\":0.5}}}}\n")).unwrap();
        let more = columns(&path, read.next).unwrap();
        assert_eq!((more.lines, more.begins), (1, false));
        assert_eq!(more.columns["dice"], [Some(0.5)]);
        // Resumed from an earlier step: the record is shorter.
        std::fs::write(&path, "{\"step\":1,\"loss\":2.5}\n").unwrap();
        assert!(columns(&path, more.next).unwrap().begins);
    }

    #[test]
    fn long_records_are_thinned_and_keep_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let lines: Vec<String> = (1..=10_001).map(|step| format!("{{\"step\":{step}}}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
        let steps = &columns(&path, 0).unwrap().columns["step"];
        assert!(steps.len() <= MOST_POINTS && steps.last() == Some(&Some(10_001.0)), "{}", steps.len());
    }
}
