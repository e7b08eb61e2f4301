//! A data set on disk: description, participants, images with their JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, write_atomically};
use serde_json::{Map, Value, json};

use super::BidsName;
use crate::{Error, Result};

/// The version of the standard that is followed.
const BIDS_VERSION: &str = "1.10.0";

/// Raw data, or data derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetType {
    /// As the scanner made it, apart from the format.
    Raw,
    /// Prepared, or predicted.
    Derivative,
}

/// What is known about a subject besides its images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Participant {
    /// The class (a grade, a diagnosis).
    pub class: Option<String>,
    /// The hospital or scanner.
    pub site: Option<String>,
    /// Numbers by column: an age, a score. Of several sessions, those of the first.
    pub numbers: BTreeMap<String, f64>,
}

/// A data set being written.
#[derive(Debug)]
pub struct BidsFolder {
    root: PathBuf,
    participants: BTreeMap<String, Participant>,
}

impl BidsFolder {
    /// Creates the folder with its description and a README.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn create(root: &Path, name: &str, kind: DatasetType) -> Result<Self> {
        std::fs::create_dir_all(root).at(root)?;
        let description = json!({
            "Name": name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": match kind { DatasetType::Raw => "raw", DatasetType::Derivative => "derivative" },
            "GeneratedBy": [{ "Name": "brainmvp", "Version": env!("CARGO_PKG_VERSION") }],
        });
        let folder = Self { root: root.to_owned(), participants: BTreeMap::new() };
        folder.write_json("dataset_description.json", &description)?;
        let made = match kind {
            DatasetType::Raw => "converted from DICOM; names, ids, dates and private elements were left out",
            DatasetType::Derivative => "prepared or predicted images; see dataset_description.json",
        };
        folder.write("README", &format!("{name}\n\nWritten by brainmvp: {made}.\n"))?;
        Ok(folder)
    }

    /// The path for an image; its folder is created. `ending` begins with a dot.
    ///
    /// # Errors
    /// Where the folder cannot be created, or the name is not that of an image.
    pub fn place(&self, name: &BidsName, ending: &str) -> Result<PathBuf> {
        let below = name.path().ok_or_else(|| Error::Option("this file has no place in BIDS".to_owned()))?;
        let mut file = self.root.join(below).into_os_string();
        file.push(ending);
        let path = PathBuf::from(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).at(folder)?;
        }
        Ok(path)
    }

    /// Writes what is known about an image to a file next to it.
    ///
    /// # Errors
    /// As [`BidsFolder::place`].
    pub fn write_sidecar(&self, name: &BidsName, sidecar: &Map<String, Value>) -> Result<()> {
        let path = self.place(name, ".json")?;
        write_json(&path, &Value::Object(sidecar.clone()))
    }

    /// Notes a subject (without `sub-`) for `participants.tsv`.
    pub fn note(&mut self, subject: &str, participant: Participant) {
        let known = self.participants.entry(subject.to_owned()).or_default();
        known.class = known.class.take().or(participant.class);
        known.site = known.site.take().or(participant.site);
        for (name, number) in participant.numbers {
            known.numbers.entry(name).or_insert(number);
        }
    }

    /// Writes `participants.tsv` with its columns explained.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(self) -> Result<()> {
        let classes = self.participants.values().any(|p| p.class.is_some());
        let sites = self.participants.values().any(|p| p.site.is_some());
        let mut columns = vec!["participant_id"];
        columns.extend(classes.then_some("group"));
        columns.extend(sites.then_some("site"));
        let numbers: BTreeSet<&String> = self.participants.values().flat_map(|p| p.numbers.keys()).collect();
        columns.extend(numbers.iter().map(|name| name.as_str()));
        let mut text = columns.join("\t") + "\n";
        for (subject, participant) in &self.participants {
            let cell = |value: &Option<String>| {
                value.as_deref().map_or("n/a".to_owned(), |value| value.replace(['\t', '\n', '\r'], " "))
            };
            let mut row = vec![format!("sub-{subject}")];
            row.extend(classes.then(|| cell(&participant.class)));
            row.extend(sites.then(|| cell(&participant.site)));
            let number = |name: &&String| cell(&participant.numbers.get(*name).map(f64::to_string));
            row.extend(numbers.iter().map(number));
            text += &(row.join("\t") + "\n");
        }
        self.write("participants.tsv", &text)?;
        let mut explained = Map::new();
        let known = [
            ("group", "class: a grade or diagnosis, in the words of its source"),
            ("site", "hospital or scanner"),
        ];
        for (column, what) in known.into_iter().filter(|(column, _)| columns.contains(column)) {
            explained.insert(column.to_owned(), json!({ "Description": what }));
        }
        if explained.is_empty() {
            Ok(())
        } else {
            self.write_json("participants.json", &Value::Object(explained))
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(write_atomically(&self.root.join(name), |file| file.write_all(text.as_bytes()))?)
    }

    fn write_json(&self, name: &str, value: &Value) -> Result<()> {
        write_json(&self.root.join(name), value)
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::malformed(path, e.to_string()))?;
    text.push(b'\n');
    Ok(write_atomically(path, |file| file.write_all(&text))?)
}
