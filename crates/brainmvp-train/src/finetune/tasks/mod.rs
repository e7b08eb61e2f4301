//! The downstream tasks: one file each, and the list of them here.
//!
//! A [`Task`] says everything in which one differs from the others: its keys in a configuration, the cases that it can
//! use, its network, its objective (in `objectives/downstream/`), its validation scores, its prediction for a case and what is
//! written of it. Everything else is written once for all, and reaches them through [`TaskKind`].

#[macro_use]
mod list;

mod classify;
mod regress;
mod segment;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_cohort::{CaseId, LabelScheme};
use brainmvp_infer::{Mirror, SlidingWindow};
use brainmvp_nets::Init;
use brainmvp_nets::networks::{Encoder, NetworkConfig};
use brainmvp_nets::weights::Head;
use brainmvp_objectives::Objective;
use brainmvp_objectives::downstream::{CopyPlan, Inputs, Missing};
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::classify::{ClassWeights, Classification};
pub use self::regress::Regression;
pub use self::segment::{PROBABILITIES, RegionProbabilities, Segmentation};
use super::data::Data;
use crate::Result;
use crate::batches::CaseSource;
use crate::config::{FinetuneConfig, TaskPatchConfig};
use crate::new_case::NewCase;
use crate::saved::SavedNetwork;
use crate::trainer::Observer;

tasks! {
    /// A label for every voxel.
    Segment: segment::Segmentation,
    /// A class for every case.
    Classify: classify::Classification,
    /// A number for every case.
    Regress: regress::Regression,
}

/// A downstream task. A value of it is what a run knows of the task from its cases.
pub trait Task: Sized {
    /// A line of help.
    const ABOUT: &'static str;
    /// Its own options on the command line, besides `--set`.
    const OPTIONS: &'static [TaskOption] = &[];
    /// Why there are no maps of probabilities to write, where there are none.
    const NO_MAPS: Option<&'static str>;
    /// Its keys in the section `[task]`; no other task has keys of these names.
    type Keys: Clone + PartialEq + Default + Serialize + DeserializeOwned;
    /// An encoder and what follows it.
    type Network: Module;
    /// What is trained.
    type Objective: Objective + 'static;
    /// What the network says of a case.
    type Prediction;
    /// What a prediction is worth, beside the truth of its case.
    type Judgement: Clone + Serialize + DeserializeOwned;
    /// What `predictions.json` says of all predictions.
    type Settings: Clone + PartialEq + Default + Serialize + DeserializeOwned;
    /// What `predictions.json` says of a case; other tasks leave the default, which is not written.
    type Written: Clone + PartialEq + Default + Serialize + DeserializeOwned;

    /// What a configuration leaves out, by the paper or as the authors' program does.
    fn defaults(released: bool) -> Defaults;

    /// What is wrong with a configuration, if anything.
    fn problem(keys: &Self::Keys, patch: &TaskPatchConfig) -> Option<String>;

    /// What a case must have to be trained on.
    fn wanted(keys: &Self::Keys) -> String;

    /// Whether a case has it.
    fn is_known(keys: &Self::Keys, case: &CaseSource) -> bool;

    /// What a case lacks that a prediction could be held against. The keys are complete.
    fn lacking(keys: &Self::Keys, case: &CaseSource) -> Option<String> {
        (!Self::is_known(keys, case)).then(|| Self::wanted(keys))
    }

    /// Completes the keys from the cases, and leaves out by name those that do not fit.
    ///
    /// # Errors
    /// If the cases do not determine what is left open.
    fn new(
        keys: &mut Self::Keys,
        data: &mut Data,
        schemes: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<Self>;

    /// What follows the encoder.
    fn head(keys: &Self::Keys) -> Head;

    /// A new network.
    fn network(keys: &Self::Keys, numbers: &NetworkConfig, init: &mut Init<'_>) -> Self::Network;

    /// The encoder of a network.
    fn encoder(network: &Self::Network) -> &Encoder;

    /// What is trained. The keys are complete.
    ///
    /// # Errors
    /// If the keys are not.
    fn objective(
        &self,
        network: Self::Network,
        keys: &Self::Keys,
        config: &FinetuneConfig,
        copies: CopyPlan,
    ) -> Result<Self::Objective>;

    /// The network in its current state.
    fn trained(objective: &Self::Objective) -> Self::Network;

    /// How many windows a case has.
    fn windows(_how: &Applied<'_>, _case: &CaseSource) -> usize {
        1
    }

    /// What a network says of a prepared case. `before` is called before each batch of windows, with their number.
    ///
    /// # Errors
    /// If the case cannot be read or the result is not finite; errors of `before`.
    fn predict(
        network: &Self::Network,
        keys: &Self::Keys,
        how: &Applied<'_>,
        case: &CaseSource,
        before: &mut Before<'_>,
    ) -> brainmvp_infer::Result<Self::Prediction>;

    /// Holds a prediction against the truth of a validation case.
    ///
    /// # Errors
    /// If the truth cannot be read.
    fn judge(&self, keys: &Self::Keys, case: &CaseSource, said: Self::Prediction) -> Result<Self::Judgement>;

    /// Scores by name over all validation cases, with the one by which weights are chosen first; higher is better there.
    ///
    /// # Errors
    /// If there are no cases.
    fn scores(&self, keys: &Self::Keys, judged: &[Self::Judgement]) -> Result<Vec<(String, f64)>>;

    /// What `predictions.json` says of all predictions.
    fn settings(keys: &Self::Keys) -> Self::Settings;

    /// What the user should know of all predictions.
    ///
    /// # Errors
    /// If nothing can be predicted with these keys.
    fn notes(_keys: &Self::Keys) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Writes the files of a prediction, if it has some; returns what is recorded of it.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn write(said: &Self::Prediction, keys: &Self::Keys, to: &Output<'_>) -> Result<Self::Written>;

    /// The files of a prediction, in the folder of predictions.
    fn files(_written: &Self::Written) -> Vec<&Path> {
        Vec::new()
    }

    /// What a record of an earlier prediction lacks, if anything.
    fn lacks(_settings: &Self::Settings, _written: &Self::Written) -> Option<&'static str> {
        None
    }

    /// The columns of `predictions.csv` after `case`; `None` for a task whose predictions are files.
    fn columns(_settings: &Self::Settings) -> Option<Vec<String>> {
        None
    }

    /// The cells of these columns.
    fn cells(_settings: &Self::Settings, _written: &Self::Written) -> Vec<String> {
        Vec::new()
    }

    /// A prediction in a few words, where there are columns.
    fn shown(_settings: &Self::Settings, _written: &Self::Written) -> String {
        String::new()
    }
}

/// Called before each batch of windows, with their number; an error stops the work.
pub type Before<'a> = dyn FnMut(usize) -> brainmvp_infer::Result<()> + 'a;

/// An option of the command line for a key of a task.
#[derive(Debug, Clone, Copy)]
pub struct TaskOption {
    /// Its name, without `--`.
    pub name: &'static str,
    /// The key whose value it gives, a text.
    pub key: &'static str,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// A line of help.
    pub help: &'static str,
}

/// What a configuration leaves out.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Voxels of the network's input along x, y and z.
    pub patch: [usize; 3],
    /// [`crate::trainer::TrainConfig::epochs`].
    pub epochs: u64,
    /// [`crate::trainer::TrainConfig::batch_size`].
    pub batch_size: usize,
    /// [`crate::trainer::TrainConfig::accumulate`].
    pub accumulate: usize,
}

impl Defaults {
    /// For whole cases, resized (BrainMVP, appendix I).
    const WHOLE_CASES: Self = Self { patch: [96, 96, 64], epochs: 200, batch_size: 4, accumulate: 16 };
}

/// How a network is applied to a case.
#[derive(Clone, Copy)]
pub struct Applied<'a> {
    /// The channels.
    pub inputs: &'a Inputs,
    /// The size of the network's input.
    pub patch: &'a TaskPatchConfig,
    /// The windows, for tasks that have them.
    pub windows: &'a SlidingWindow,
    /// The mirror images to average over.
    pub mirror: &'a Mirror,
    /// Without autodiff.
    pub device: &'a Device,
}

impl Applied<'_> {
    /// The central box of a resized case, `[1, D, H, W, channels]`.
    fn whole(&self, case: &CaseSource) -> brainmvp_infer::Result<Tensor<5>> {
        let resized = self.patch.resized();
        let centre = resized.centre(case, self.inputs).map_err(brainmvp_infer::Error::source)?;
        let [x, y, z] = resized.patch;
        let data = TensorData::new(centre, [1, z, y, x, self.inputs.channels.len()]);
        Ok(Tensor::from_data(data, self.device))
    }
}

/// Where the files of a prediction go.
pub struct Output<'a> {
    /// The name of the case.
    pub id: &'a CaseId,
    /// The case, prepared.
    pub case: &'a NewCase,
    /// The folder of predictions.
    pub folder: &'a Path,
    /// Whether maps of probabilities are written too.
    pub maps: bool,
}

/// Refuses every key that no other field of a section has taken.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoOthers;

impl Serialize for NoOthers {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

impl<'de> Deserialize<'de> for NoOthers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Nothing;
        impl<'de> Visitor<'de> for Nothing {
            type Value = NoOthers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no other key")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<NoOthers, A::Error> {
                match map.next_key::<String>()? {
                    None => Ok(NoOthers),
                    Some(key) => Err(serde::de::Error::custom(format!("unknown field `{key}`"))),
                }
            }
        }
        deserializer.deserialize_map(Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section with the keys of tasks among others, as in `predictions.json`.
    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Outer {
        step: u64,
        #[serde(flatten)]
        task: TaskSettings,
    }

    #[test]
    fn words_and_keys_are_each_tasks_own() {
        let config = toml::Table::try_from(TaskConfig::default()).unwrap();
        for kind in TaskKind::ALL {
            let word = serde_json::to_value(kind).unwrap();
            assert_eq!(word, kind.name(), "the word of a configuration is that of the command line");
            for option in kind.options() {
                let key = option.key.strip_prefix("task.").unwrap();
                assert!(config.contains_key(key), "{kind:?}: there is no key {}", option.key);
            }
        }
        let outer = Outer { step: 3, task: TaskConfig::default().settings() };
        let text = serde_json::to_string(&outer).unwrap();
        assert_eq!(serde_json::from_str::<Outer>(&text).unwrap(), outer);
        assert!(serde_json::from_str::<Outer>(&text.replace('{', "{\"odd\": 1,")).is_err());
        let error = toml::from_str::<TaskConfig>("kind = 'segment'\nregion = []").unwrap_err();
        assert!(error.to_string().contains("unknown field `region`"), "{error}");
    }
}
