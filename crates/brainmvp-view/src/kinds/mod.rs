//! What can be opened: recognised by its content, one file for each kind.

mod cache;
mod cohort;
mod predictions;
mod report;
mod run;
mod scores;
mod study;
mod templates;
mod volumes;

use std::path::{Path, PathBuf};

use brainmvp_volume::AtPath as _;
use serde::de::DeserializeOwned;

pub(crate) use study::parts as parts_of_study;
pub(crate) use templates::{FILE_NAME as TEMPLATES_FILE, PICTURE as TEMPLATES_PICTURE};

use crate::items::Items;
use crate::kind::Kind;
use crate::shown::{Collection, Opened};
use crate::{Error, Result, run_summary};

/// How deep below a folder that is nothing itself things are looked for: the folder of a project has folders of caches,
/// runs and predictions.
const DEPTH: usize = 2;

impl Kind {
    /// Recognises a path; `None` if it is nothing that can be shown.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        if path.is_dir() { Self::of_folder(path) } else { Self::of_file(path) }
    }

    fn of_file(path: &Path) -> Option<Self> {
        if brainmvp_volume::file::stem(path).is_some() {
            return Some(Self::Volume);
        }
        if path.extension()? != "json" {
            return None;
        }
        let json: serde_json::Value = read_json(path).ok()?;
        if json.get("format")?.as_str() == Some(brainmvp_cohort::Cohort::FORMAT) {
            return Some(Self::Cohort);
        }
        None
    }

    fn of_folder(path: &Path) -> Option<Self> {
        let has = |name: &str| path.join(name).exists();
        Some(if has("study.toml") {
            Self::Study
        } else if run_summary::is_run(path) {
            Self::Run
        } else if has("manifest.json") {
            Self::Cache
        } else if has("predictions.json") {
            Self::Predictions
        } else if has(templates::FILE_NAME) {
            Self::Templates
        } else if has("images.csv") && has("cases") {
            Self::Report
        } else {
            return None;
        })
    }

    fn open(self, path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
        match self {
            Self::Cohort => cohort::open(path, into, items),
            Self::Cache => cache::open(path, &title_of(path), into, items),
            Self::Run => run::open(path, into),
            Self::Predictions => predictions::open(path, into, items),
            Self::Scores => scores::open(path, &title_of(path), into),
            Self::Report => report::open(path, into, items),
            Self::Study => study::open(path, into, items),
            Self::Templates => {
                templates::open(path, into, items);
                Ok(())
            }
            Self::Volume => volumes::open_file(path, into, items),
            Self::Volumes => volumes::open_folder(path, into, items),
        }
    }
}

/// Opens what was named. A path that is nothing, or is damaged, is noted in the collection.
pub(crate) fn open_all(paths: &[PathBuf], items: &Items) -> Collection {
    let mut collection = Collection::default();
    let mut all = Vec::new();
    for path in paths {
        let mut found = contents_of(path);
        if found.is_empty() {
            let problem = if path.exists() {
                "is nothing that can be shown: a cohort, cache, run, prediction, study, report or volume is needed"
            } else {
                "there is no such file or folder"
            };
            collection.note("unknown", path, Some(problem.to_owned()));
        }
        all.append(&mut found);
    }
    all.sort_by_key(|(kind, _)| *kind);
    for (kind, path) in all {
        let problem = kind.open(&path, &mut collection, items).err().map(|error| error.to_string());
        collection.note(kind.name(), &path, problem);
        collection.contents.push((kind, path));
    }
    collection.compare(items);
    collection
}

/// The things at or below a path that was named.
pub(crate) fn contents_of(path: &Path) -> Vec<(Kind, PathBuf)> {
    contents(path, DEPTH)
}

/// The things at or below a path.
fn contents(path: &Path, depth: usize) -> Vec<(Kind, PathBuf)> {
    if let Some(kind) = Kind::of(path).or_else(|| scores::is_one(path).then_some(Kind::Scores)) {
        return vec![(kind, path.to_owned())];
    }
    if depth == 0 || !path.is_dir() {
        return Vec::new();
    }
    let below = entries(path);
    // Volumes beside other things are theirs: those of a cohort, predictions.
    let found: Vec<_> = below
        .iter()
        .flat_map(|path| contents(path, depth - 1))
        .filter(|(kind, _)| !kind.is_volume())
        .collect();
    if found.is_empty() && volumes::are_in(path) { vec![(Kind::Volumes, path.to_owned())] } else { found }
}

impl Collection {
    fn note(&mut self, kind: &'static str, path: &Path, problem: Option<String>) {
        self.opened.push(Opened { kind, title: path.display().to_string(), problem });
    }
}

/// The entries of a folder, sorted, without hidden ones and without links out of the folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(root) = std::fs::canonicalize(folder) else { return Vec::new() };
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    let is_inside = |path: &PathBuf| std::fs::canonicalize(path).is_ok_and(|real| real.starts_with(&root));
    let is_shown = |path: &PathBuf| {
        path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')) && is_inside(path)
    };
    let mut paths: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).filter(is_shown).collect();
    paths.sort();
    paths
}

/// The last part of a path, as a title.
pub(crate) fn title_of(path: &Path) -> String {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Reads a JSON file of which only some fields matter.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).at(path)?;
    serde_json::from_slice(&text).map_err(|error| Error::content(path, format!("cannot be read: {error}")))
}
