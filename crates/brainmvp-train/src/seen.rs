//! Which cases a network has seen (`RUN/seen.json`), and whether other cases are among them.
//!
//! Public data sets overlap: cases of BraTS 2018 and UPENN-GBM are in BraTS 2021 under other names. A case is recognised
//! by its subject within one data set, and by the fingerprints of its images whatever its name.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write as _;
use std::path::Path;

use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_prep::cache::CaseFacts;
use brainmvp_prep::fingerprint::{Fingerprint, Library};
use brainmvp_volume::{FileError, Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::{Error, Result};

/// The name of the file in the folder of a run.
pub const FILE_NAME: &str = "seen.json";

/// The version of the layout of the file.
const VERSION: u32 = 1;

/// When a case was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Trained on without labels.
    Pretraining,
    /// Trained on with labels.
    Finetuning,
    /// Used to choose among the weights of a fine-tuning run.
    Validation,
}

/// A case that a network has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenCase {
    /// When.
    pub stage: Stage,
    /// The data set that the case belongs to.
    pub data_set: String,
    /// The person.
    pub subject: String,
    /// The name of the case.
    pub case: String,
    /// Its images.
    pub images: BTreeMap<Modality, Fingerprint>,
}

/// All that a network has seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    version: u32,
    /// [`Fingerprint::VERSION`] when it was written.
    fingerprints: u32,
    /// Weights that the network started from without a record of what they had seen.
    pub unknown: Option<String>,
    /// The cases, in the order of the stages.
    pub cases: Vec<SeenCase>,
}

impl Seen {
    /// Nothing yet.
    pub fn nothing() -> Self {
        Self { version: VERSION, fingerprints: Fingerprint::VERSION, unknown: None, cases: Vec::new() }
    }

    /// Adds cases.
    pub fn add(&mut self, stage: Stage, cases: &[CaseSource]) {
        self.cases.extend(cases.iter().map(|case| {
            let CaseFacts { id, subject, data_set, .. } = case.facts().clone();
            SeenCase { stage, data_set, subject, case: id.into(), images: case.fingerprints().clone() }
        }));
    }

    /// What the weights at a path have seen. The path is a run, or a checkpoint in one. Other files do not contain this
    /// record.
    ///
    /// # Errors
    /// If the run's file cannot be read.
    pub fn of_weights(path: &Path) -> Result<Self> {
        let nothing = || Self { unknown: Some(path.display().to_string()), ..Self::nothing() };
        Ok(Self::of_model(path)?.unwrap_or_else(nothing))
    }

    /// The same; `None` if there is no such record.
    ///
    /// # Errors
    /// If the run's file cannot be read.
    pub fn of_model(path: &Path) -> Result<Option<Self>> {
        let run = if path.is_dir() { Some(path) } else { path.parent().and_then(Path::parent) };
        Ok(run.map(Self::load).transpose()?.flatten())
    }

    /// The record of a run's folder; `None` if the run has none.
    ///
    /// # Errors
    /// If the file cannot be read, or is of another version.
    pub fn load(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FILE_NAME);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new(&path, error).into()),
        };
        let seen: Self =
            serde_json::from_slice(&text).map_err(|e| Error::run_folder(&path, e.to_string()))?;
        if (seen.version, seen.fingerprints) != (VERSION, Fingerprint::VERSION) {
            let reason =
                "was written by another version of this program; train again to compare cases with it";
            return Err(Error::run_folder(&path, reason));
        }
        Ok(Some(seen))
    }

    /// Writes it into the folder of a run, atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, run: &Path) -> Result<()> {
        let path = run.join(FILE_NAME);
        let text = serde_json::to_vec(self).map_err(|e| Error::run_folder(&path, e.to_string()))?;
        Ok(write_atomically(&path, |file| file.write_all(&text))?)
    }

    /// Prepared for searching.
    pub fn index(&self) -> SeenIndex<'_> {
        let mut index = SeenIndex { seen: self, subjects: HashMap::new(), images: BTreeMap::new() };
        for (number, case) in self.cases.iter().enumerate() {
            index.subjects.entry((&case.data_set, &case.subject)).or_default().push(number);
            for (modality, image) in &case.images {
                let (library, cases) = index.images.entry(*modality).or_default();
                library.add(image);
                cases.push(number);
            }
        }
        index
    }
}

/// [`Seen`], prepared for searching.
pub struct SeenIndex<'a> {
    seen: &'a Seen,
    /// Numbers of cases by data set and subject.
    subjects: HashMap<(&'a str, &'a str), Vec<usize>>,
    /// Fingerprints, and the numbers of the cases that they belong to.
    images: BTreeMap<Modality, (Library, Vec<usize>)>,
}

/// A seen case that is the same as another one: it has the same subject, or the same images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sighting {
    /// When it was seen.
    pub stage: Stage,
    /// The data set that it was seen in.
    pub data_set: String,
    /// The name that it had there.
    pub case: String,
    /// Whether it has the same data set and subject.
    pub same_subject: bool,
    /// The images that are the same, with their [`Fingerprint::similarity`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub same_images: BTreeMap<Modality, f64>,
}

impl SeenIndex<'_> {
    /// The seen cases that a case is the same as.
    pub fn find(&self, facts: &CaseFacts, images: &BTreeMap<Modality, Fingerprint>) -> Vec<Sighting> {
        let mut found: BTreeMap<usize, Sighting> = BTreeMap::new();
        let sighting = |number: usize| {
            let SeenCase { stage, data_set, case, subject, .. } = &self.seen.cases[number];
            Sighting {
                stage: *stage,
                data_set: data_set.clone(),
                case: case.clone(),
                same_subject: (data_set, subject) == (&facts.data_set, &facts.subject),
                same_images: BTreeMap::new(),
            }
        };
        let subject = (facts.data_set.as_str(), facts.subject.as_str());
        for number in self.subjects.get(&subject).into_iter().flatten() {
            found.insert(*number, sighting(*number));
        }
        for (modality, image) in images {
            let Some((library, cases)) = self.images.get(modality) else { continue };
            for same in library.find(image) {
                let number = cases[same.entry];
                let entry = found.entry(number).or_insert_with(|| sighting(number));
                entry.same_images.insert(*modality, same.similarity);
            }
        }
        found.into_values().collect()
    }

    /// Like [`SeenIndex::find`], for a prepared case.
    pub fn find_case(&self, case: &CaseSource) -> Vec<Sighting> {
        self.find(case.facts(), case.fingerprints())
    }
}

/// One line about which of these cases were seen; `what` says what they are. `None` if none of them was.
pub fn overlap_line(what: &str, cases: &[CaseSource], index: &SeenIndex<'_>) -> Option<String> {
    let found: Vec<(&str, Sighting)> = cases
        .iter()
        .filter_map(|case| Some((case.id(), index.find_case(case).into_iter().next()?)))
        .collect();
    if found.is_empty() {
        return None;
    }
    let named = found.iter().take(NAMES_SHOWN).map(|(case, sighting)| format!("'{case}' as {sighting}"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = found.len().saturating_sub(NAMES_SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("{} of {} {what} cases were seen before: {named}{more}", found.len(), cases.len()))
}

/// The number of names that a line shows; the others are only counted.
const NAMES_SHOWN: usize = 10;

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pretraining => "pre-training",
            Self::Finetuning => "fine-tuning",
            Self::Validation => "validation",
        })
    }
}

impl fmt::Display for Sighting {
    /// `'BraTS-GLI-00001' of brats2021 in pre-training (same t1, t2)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stage, data_set, case, same_subject, same_images } = self;
        let subject = same_subject.then_some("subject");
        let same: Vec<&str> = subject.into_iter().chain(same_images.keys().map(|m| m.name())).collect();
        write!(f, "'{case}' of {data_set} in {stage} (same {})", same.join(", "))
    }
}
