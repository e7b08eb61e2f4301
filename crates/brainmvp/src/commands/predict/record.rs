//! `predictions.json`: what was written, from what, and how.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_infer::{Mirror, SlidingWindow};
use brainmvp_metrics::Region;
use brainmvp_ssl::downstream::Missing;
use brainmvp_train::seen::Sighting;
use brainmvp_volume::{Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::failure::bad_input;

const FILE_NAME: &str = "predictions.json";

/// Of the layout of the file.
const VERSION: u32 = 1;

/// What `predictions.json` holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    /// Who predicts, and how. Predictions of one folder have one.
    pub(super) settings: Settings,
    /// What should be known about all of them.
    pub(super) notes: Vec<String>,
    pub(super) cases: BTreeMap<String, Predicted>,
    /// Cases without a prediction, with the reason.
    pub(super) quarantined: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) model: PathBuf,
    /// Steps that the weights were trained for.
    pub(super) step: u64,
    pub(super) modalities: Vec<Modality>,
    pub(super) missing: Missing,
    /// Segmentation.
    pub(super) regions: Vec<Region>,
    /// Classification.
    pub(super) classes: Vec<String>,
    pub(super) windows: SlidingWindow,
    pub(super) mirror: Mirror,
    pub(super) precision: String,
    /// Whether probabilities of regions are written.
    pub(super) probabilities: bool,
}

/// A case that was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Predicted {
    /// The files that were seen.
    pub(super) inputs: BTreeMap<Modality, PathBuf>,
    /// Modalities that the case lacks.
    pub(super) missing: Vec<Modality>,
    /// Segmentation: the label map, in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) label_map: Option<PathBuf>,
    /// Segmentation: the probabilities of each region, in the folder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) probabilities: BTreeMap<String, PathBuf>,
    /// Classification: the probability of each class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) classes: BTreeMap<String, f32>,
    /// Cases that the network was trained on, or chosen by, and that are the same as this one; nothing where the model does
    /// not say what it has seen.
    #[serde(default)]
    pub(super) seen: Option<Vec<Sighting>>,
    pub(super) seconds: f64,
}

/// What `predictions.json` says of the cases that the network has seen, by case.
pub(in crate::commands) type SeenCases = BTreeMap<String, Vec<Sighting>>;

/// The cases of a folder of predictions that the network has seen. `None` where the folder does not say: it has no
/// `predictions.json`, or the model of some of them did not know.
pub(in crate::commands) fn seen_cases(folder: &Path) -> anyhow::Result<Option<SeenCases>> {
    let path = folder.join(FILE_NAME);
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let record: Record = match serde_json::from_slice(&text) {
        Ok(record) => record,
        Err(error) => return Err(bad_input(format!("{}: {error}", path.display()))),
    };
    let cases = record.cases.into_iter().map(|(case, predicted)| Some((case, predicted.seen?)));
    let cases: Option<SeenCases> = cases.collect();
    Ok(cases.map(|cases| cases.into_iter().filter(|(_, sightings)| !sightings.is_empty()).collect()))
}

impl Record {
    /// Begins a folder of predictions, or goes on with what is there.
    pub(super) fn begin(folder: &Path, settings: Settings, resume: bool) -> anyhow::Result<Self> {
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
            return refuse("there are predictions already; keep them with --resume, or name another folder");
        }
        match serde_json::from_slice::<Self>(&text) {
            Err(error) => refuse(&format!("cannot go on from it: {error}")),
            Ok(found) if found.version != VERSION || found.settings != none.settings => {
                refuse("its predictions are of another model or other settings; name another folder")
            }
            Ok(found) => Ok(Self { cases: found.cases, ..none }),
        }
    }

    /// Whether a case is there already, from the same files and complete.
    pub(super) fn has(&self, folder: &Path, case: &str, inputs: &BTreeMap<Modality, PathBuf>) -> bool {
        self.cases.get(case).is_some_and(|predicted| {
            let files = predicted.label_map.iter().chain(predicted.probabilities.values());
            predicted.inputs == *inputs && files.into_iter().all(|file| folder.join(file).is_file())
        })
    }

    pub(super) fn save(&self, folder: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        Ok(write_atomically(&folder.join(FILE_NAME), |file| file.write_all(&text))?)
    }

    /// `predictions.csv` of a classification: `case,class`, then the probability of each class.
    pub(super) fn save_csv(&self, folder: &Path) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let classes = &self.settings.classes;
        let head = ["case", "class"].into_iter().map(str::to_owned);
        writer.write_record(head.chain(classes.iter().map(|class| format!("p({class})"))))?;
        for (case, predicted) in &self.cases {
            let probability = |class: &String| predicted.classes.get(class).copied().unwrap_or(0.0);
            let mut row = vec![case.clone(), predicted.likeliest(classes).to_owned()];
            row.extend(classes.iter().map(|class| probability(class).to_string()));
            writer.write_record(row)?;
        }
        let text = writer.into_inner()?;
        Ok(write_atomically(&folder.join("predictions.csv"), |file| file.write_all(&text))?)
    }
}

impl Predicted {
    /// The class of the highest probability, the first of equally high ones.
    pub(super) fn likeliest<'a>(&self, classes: &'a [String]) -> &'a str {
        let probability = |class: &str| self.classes.get(class).copied().unwrap_or(0.0);
        let better = |best: &'a str, class: &'a String| {
            if probability(class) > probability(best) { class.as_str() } else { best }
        };
        classes.iter().fold(classes.first().map_or("", String::as_str), better)
    }
}
