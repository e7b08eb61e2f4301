//! `predictions.json`: the predictions, their inputs and settings.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::Case;
use brainmvp_infer::{Mirror, SlidingWindow};
use brainmvp_metrics::Region;
use brainmvp_objectives::downstream::Missing;
use brainmvp_prep::ContentFile;
use brainmvp_train::finetune::{TaskKind, TaskSettings, Written};
use brainmvp_train::new_case::CaseError;
use brainmvp_train::seen::Sighting;
use brainmvp_volume::{Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::failure::bad_input;

const FILE_NAME: &str = "predictions.json";

/// The version of the file's layout.
const VERSION: u32 = 1;

/// The contents of `predictions.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// The model and its settings. All predictions in a folder have the same.
    pub(super) settings: Settings,
    /// Notes about all of them.
    pub(super) notes: Vec<String>,
    pub(super) cases: BTreeMap<String, Predicted>,
    /// Cases without a prediction, with the reason.
    pub(super) quarantined: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) model: PathBuf,
    /// The number of steps that the weights were trained for.
    pub(super) step: u64,
    pub(super) modalities: Vec<Modality>,
    pub(super) missing: Missing,
    /// What the network predicts.
    #[serde(flatten)]
    pub(super) task: TaskSettings,
    pub(super) windows: SlidingWindow,
    pub(super) mirror: Mirror,
    pub(super) precision: String,
    /// Whether probabilities of regions are written.
    pub(super) probabilities: bool,
}

/// A case that was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Predicted {
    /// The input files, by the hash of their content: their paths may name people.
    pub(super) inputs: BTreeMap<Modality, String>,
    /// Modalities that the case lacks.
    pub(super) missing: Vec<Modality>,
    /// How the templates that replace them were placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) templates: Option<String>,
    /// The prediction.
    #[serde(flatten)]
    pub(super) written: Written,
    /// The cases that are the same as this one and that the network was trained on, or selected by; `None` if the model
    /// does not say what it has seen.
    #[serde(default)]
    pub(super) seen: Option<Vec<Sighting>>,
    pub(super) seconds: f64,
}

/// The seen cases according to `predictions.json`, by case.
pub(in crate::commands) type SeenCases = BTreeMap<String, Vec<Sighting>>;

/// What `evaluate` reads of `predictions.json`, which another program may have written: only the regions are required.
#[derive(Deserialize)]
pub(in crate::commands) struct Told {
    settings: ToldSettings,
    #[serde(default)]
    cases: BTreeMap<String, ToldCase>,
}

#[derive(Deserialize)]
struct ToldSettings {
    regions: Vec<Region>,
}

#[derive(Deserialize)]
struct ToldCase {
    #[serde(default)]
    seen: Option<Vec<Sighting>>,
}

impl Told {
    /// Reads the file of a folder of predictions; `None` if there is none.
    pub(in crate::commands) fn of(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(FILE_NAME);
        // Predictions of classes may be a file of their own.
        if !path.is_file() {
            return Ok(None);
        }
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let told = serde_json::from_slice(&text);
        told.map(Some).map_err(|error| {
            bad_input(format!("{}: is not a record of predictions: {error}", path.display()))
        })
    }

    /// The regions of the network that made the predictions; none of a classification.
    pub(in crate::commands) fn into_regions(self) -> Vec<Region> {
        self.settings.regions
    }

    /// The cases that the network has seen. `None` if the model of some of them did not say.
    pub(in crate::commands) fn into_seen(self) -> Option<SeenCases> {
        let cases = self.cases.into_iter().map(|(case, told)| Some((case, told.seen?)));
        let cases = cases.collect::<Option<SeenCases>>().filter(|cases| !cases.is_empty())?;
        Some(cases.into_iter().filter(|(_, sightings)| !sightings.is_empty()).collect())
    }
}

impl Record {
    /// Starts a folder of predictions, or continues an existing one.
    pub(super) fn begin(
        folder: &Path,
        kind: TaskKind,
        settings: Settings,
        resume: bool,
    ) -> anyhow::Result<Self> {
        let path = folder.join(FILE_NAME);
        let none = Self {
            version: VERSION,
            settings,
            notes: Vec::new(),
            cases: BTreeMap::new(),
            quarantined: BTreeMap::new(),
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(none),
            Err(error) => return Err(anyhow::Error::from(error).context(path.display().to_string())),
        };
        let refuse = |reason: &str| Err(bad_input(format!("{}: {reason}", path.display())));
        if !resume {
            return refuse(
                "there already are predictions; keep them with --resume, or choose another folder",
            );
        }
        match serde_json::from_slice::<Self>(&text) {
            Err(error) => refuse(&format!("cannot continue from it: {error}")),
            Ok(found) if found.version != VERSION || found.settings != none.settings => {
                refuse("its predictions are from another model or other settings; choose another folder")
            }
            Ok(found) => match found.lacks(kind) {
                Some(what) => refuse(&format!("one of its cases lacks {what}; choose another folder")),
                None => Ok(Self { cases: found.cases, ..none }),
            },
        }
    }

    /// What one of its cases lacks, if one does.
    fn lacks(&self, kind: TaskKind) -> Option<&'static str> {
        self.cases.values().find_map(|case| kind.lacks(&self.settings.task, &case.written))
    }

    /// Whether a case already has a complete prediction from the same files.
    pub(super) fn has(&self, folder: &Path, case: &Case) -> bool {
        self.cases.get(case.id.as_str()).is_some_and(|predicted| {
            let complete = predicted.written.files().into_iter().all(|file| folder.join(file).is_file());
            complete && hashes(case).is_ok_and(|hashes| hashes == predicted.inputs)
        })
    }

    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(write_atomically(&folder.join(FILE_NAME), |file| file.write_all(&text))?)
    }

    /// `predictions.csv`: `case`, then these columns of the task.
    pub(super) fn save_csv(&self, folder: &Path, kind: TaskKind, columns: Vec<String>) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["case".to_owned()].into_iter().chain(columns))?;
        for (case, predicted) in &self.cases {
            let cells = kind.cells(&self.settings.task, &predicted.written);
            writer.write_record([case.clone()].into_iter().chain(cells))?;
        }
        let text = writer.into_inner()?;
        Ok(write_atomically(&folder.join("predictions.csv"), |file| file.write_all(&text))?)
    }
}

/// The hash of each image of a case.
pub(super) fn hashes(case: &Case) -> Result<BTreeMap<Modality, String>, CaseError> {
    let hash = |(modality, path): (&Modality, &PathBuf)| match ContentFile::of(path) {
        Ok(file) => Ok((*modality, file.hash().to_owned())),
        Err(error) => Err(CaseError::Case(case.without_paths(&error.to_string()))),
    };
    case.images.iter().map(hash).collect()
}
