//! What a study asks, as a TOML file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_metrics::{LesionRule, Metric, SegmentationConfig};
use brainmvp_nets::networks::PresetName;
use brainmvp_objectives::pretraining::MethodName;
use brainmvp_phantom::PhantomConfig;
use schemars::JsonSchema;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use crate::{Error, Result};

/// The question of a study. It decides the arms, unless they are given, and the layout of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StudyKind {
    /// Which method and network is best? (BrainMVP, Tables II, III, V and VI)
    Comparison,
    /// How many labels are needed? (Fig. 3)
    Labels,
    /// Which part of the method helps? (Table IV)
    Ablation,
    /// What is lost with each missing modality, and what should replace it?
    Subsets,
}

/// The sizes of the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// As published.
    #[default]
    Published,
    /// The smallest preset of each network.
    Tiny,
}

/// How much an arm computes in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a number, or \"recipe\"")]
pub enum Amount {
    /// The same for all arms.
    Equal(u64),
    /// As long as the recipe, and the defaults of the method, say.
    Recipe(AsRecipe),
}

/// The word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AsRecipe {
    /// As long as the recipe, and the defaults of the method, say.
    Recipe,
}

/// What a table of settings of another command is, to a list of all keys.
type Settings = BTreeMap<String, bool>;

/// How much every arm computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    /// Voxels of the patches that each pre-training trains on, all views of all samples counted; `"recipe"` for as
    /// long as each method says.
    pub pretrain_voxels: Amount,
    /// Steps of each fine-tuning; `"recipe"` for as long as its settings say. An arm whose settings have
    /// `train.steps` has its own.
    pub finetune_steps: Amount,
    /// Patches that a network sees in a step of fine-tuning, with both copies of those that are mixed; the batch
    /// follows. Left out for the batch of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finetune_views: Option<usize>,
}

/// How a cohort without test cases is divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// Share of the subjects for testing, 0 to 1.
    pub test: f64,
    /// Share of the subjects for validation, 0 to 1.
    pub validation: f64,
    /// Seed of the draw.
    pub seed: u64,
    /// Sites whose cases are all of the test cases, instead of a share: what is learnt at some sites is tested at others.
    pub test_sites: Vec<String>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { test: 0.2, validation: 0.1, seed: 0, test_sites: Vec::new() }
    }
}

/// An arm as it is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArmConfig {
    /// Name in files.
    pub name: String,
    /// Name in tables; that in files if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The network; left out for that of the method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<PresetName>,
    /// The method of pre-training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodName>,
    /// Existing weights to begin with, instead of a method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Settings of its pre-training, over those of the study.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    #[schemars(with = "Settings")]
    pub pretrain: Table,
    /// Settings of its fine-tuning, over those of the study and the task.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    #[schemars(with = "Settings")]
    pub finetune: Table,
}

/// A study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudyConfig {
    /// Name among the `[[parts]]` of a file; none if the study is the only one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The question: it decides arms and tables.
    pub kind: StudyKind,
    /// Title in tables.
    #[serde(default)]
    pub title: String,
    /// A cohort file, or a folder of prepared cases; relative to the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// The seeds: each arm is pre-trained and fine-tuned once with each. They also number the random choice of labels.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// Shares of the training subjects whose labels are used.
    #[serde(default = "all_labels")]
    pub fractions: Vec<f64>,
    /// Folds of a cross-validation, each of which is the test set once, in pre-training too; 0 to test on the test cases of
    /// the cohort.
    #[serde(default)]
    pub folds: usize,
    /// The folds that are tested on, from 0; all if there are none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_folds: Vec<usize>,
    /// Sizes of the networks.
    #[serde(default)]
    pub scale: Scale,
    /// The systems to compare, as `brainmvp list systems` names them; all if there are none and no arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub systems: Vec<String>,
    /// The arm that the others are tested against; if it is left out, the first one that BrainMVP pre-trains, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Metrics of segmentations; the first is the main one (`brainmvp list metrics`).
    #[serde(default = "dice_and_hd95")]
    pub metrics: Vec<Metric>,
    /// What a lesion is, for metrics by lesion.
    #[serde(default)]
    pub lesions: LesionRule,
    /// Phantoms to make, instead of data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phantoms: Option<PhantomConfig>,
    /// The division of a cohort that has no test cases.
    #[serde(default)]
    pub split: Shares,
    /// How much every arm computes.
    pub compute: Compute,
    /// Settings of the preparation, if `data` is a cohort: the keys of `[preprocess]`.
    #[serde(default)]
    #[schemars(with = "Settings")]
    pub preprocess: Table,
    /// Settings of all pre-trainings: the keys of `[pretrain]`.
    #[serde(default)]
    #[schemars(with = "Settings")]
    pub pretrain: Table,
    /// Settings of the pre-trainings of one method, by its name, over those: `[methods.brainmvp]`.
    #[serde(default, deserialize_with = "of_built_methods")]
    #[schemars(with = "BTreeMap<String, Settings>")]
    pub methods: BTreeMap<MethodName, Table>,
    /// Settings of all fine-tunings: the keys of `[finetune]`.
    #[serde(default)]
    #[schemars(with = "Settings")]
    pub finetune: Table,
    /// The tasks, each a name and settings of fine-tuning over those: `[tasks.segmentation]`.
    #[schemars(with = "BTreeMap<String, Settings>")]
    pub tasks: BTreeMap<String, Table>,
    /// Arms of its own, `[[arms]]`, in place of systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<ArmConfig>,
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

fn all_labels() -> Vec<f64> {
    vec![1.0]
}

/// The sections of the methods that this program was built with. Those that it was built without are in no arm either.
fn of_built_methods<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<BTreeMap<MethodName, Table>, D::Error> {
    let sections = BTreeMap::<String, Table>::deserialize(deserializer)?;
    let is_built = |(name, _): &(String, Table)| !MethodName::is_left_out(name);
    let named =
        |(name, section): (String, Table)| Ok((MethodName::deserialize(name.into_deserializer())?, section));
    sections.into_iter().filter(is_built).map(named).collect()
}

fn dice_and_hd95() -> Vec<Metric> {
    ["dice", "hd95_mm"].into_iter().filter_map(Metric::named).collect()
}

impl StudyConfig {
    /// Reads a TOML text. Paths in it are relative to `folder`.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|e| not_a_study(&e)).and_then(|config: Self| config.placed(folder))
    }

    /// That of a table.
    pub(crate) fn of(table: Table, folder: &Path) -> Result<Self> {
        let config: Self = table.try_into().map_err(|e| not_a_study(&e))?;
        config.placed(folder)
    }

    /// With paths that were relative to a folder, if it makes sense.
    fn placed(self, folder: &Path) -> Result<Self> {
        let mut config = self;
        let weights = config.arms.iter_mut().filter_map(|arm| arm.weights.as_mut());
        for path in config.data.iter_mut().chain(weights) {
            *path = folder.join(&*path);
        }
        match config.problem() {
            Some(problem) => Err(Error::Config(problem)),
            None => Ok(config),
        }
    }

    /// The folds that are tested on; one without a number if there are none.
    pub fn tested_folds(&self) -> Vec<Option<usize>> {
        match (self.folds, &self.only_folds[..]) {
            (0, _) => vec![None],
            (all, []) => (0..all).map(Some).collect(),
            (_, some) => some.iter().copied().map(Some).collect(),
        }
    }

    /// How segmentations are scored.
    pub fn scoring(&self) -> SegmentationConfig {
        let (metrics, lesions) = (self.metrics.clone(), self.lesions);
        SegmentationConfig { metrics, lesions, ..SegmentationConfig::default() }
    }

    /// Writes it, with every key.
    ///
    /// # Errors
    /// If a number does not fit TOML's integers.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))
    }

    fn problem(&self) -> Option<String> {
        let rules = [
            (self.data.is_some() == self.phantoms.is_some(), "give either data or [phantoms]"),
            (self.seeds.is_empty(), "seeds must have at least one number"),
            (self.fractions.is_empty(), "fractions must have at least one share"),
            (self.tasks.is_empty(), "there is no task: give at least one, such as [tasks.segmentation]"),
            (self.metrics.is_empty(), "metrics must have at least one name"),
            (
                self.compute.finetune_views.is_some_and(|views| views == 0 || views % 2 == 1),
                "compute.finetune_views must be even",
            ),
            (self.folds == 1, "folds must be 0, or 2 and more"),
            (
                self.only_folds.iter().any(|fold| *fold >= self.folds),
                "only_folds: numbers from 0, less than folds",
            ),
            (self.folds > 0 && !self.split.test_sites.is_empty(), "give folds or split.test_sites, not both"),
            (!self.systems.is_empty() && !self.arms.is_empty(), "give systems or arms, not both"),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule.to_owned());
        broken.or_else(|| self.list_problem()).or_else(|| self.arms.iter().find_map(arm_problem))
    }

    fn list_problem(&self) -> Option<String> {
        if let Some(share) = self.fractions.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
            return Some(format!("fractions must lie in (0, 1], got {share}"));
        }
        let repeated = |mut values: Vec<String>, what: &str| {
            values.sort_unstable();
            let twice = values.windows(2).find(|pair| pair[0] == pair[1])?;
            Some(format!("{what} {} is given twice", twice[0]))
        };
        let folds = self.only_folds.iter().map(usize::to_string).collect();
        repeated(self.seeds.iter().map(u64::to_string).collect(), "seed")
            .or_else(|| repeated(folds, "fold"))
            .or_else(|| repeated(self.fractions.iter().map(f64::to_string).collect(), "fraction"))
            .or_else(|| repeated(self.arms.iter().map(|arm| arm.name.clone()).collect(), "arm"))
            .or_else(|| self.tasks.keys().find_map(|name| name_problem("task", name)))
    }
}

fn not_a_study(error: &toml::de::Error) -> Error {
    Error::Config(error.to_string().trim().to_owned())
}

fn arm_problem(arm: &ArmConfig) -> Option<String> {
    if let Some(problem) = name_problem("arm", &arm.name) {
        return Some(problem);
    }
    let name = &arm.name;
    match (arm.method, &arm.weights) {
        (Some(_), Some(_)) => Some(format!("arm {name}: give a method or weights, not both")),
        (None, _) if !arm.pretrain.is_empty() => Some(format!("arm {name}: [pretrain] needs a method")),
        (None, None) if arm.network.is_none() => {
            Some(format!("arm {name}: name its network, method or weights"))
        }
        _ => None,
    }
}

/// Names become those of folders.
pub(crate) fn name_problem(what: &str, name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+');
    (name.is_empty() || !name.chars().all(plain))
        .then(|| format!("{what} '{name}': names have letters, digits, - _ and + only"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The least that a study needs.
    pub(crate) const SMALL: &str = "kind = 'comparison'\n[phantoms]\ncases = 4\n[compute]\npretrain_voxels = 8000\n\
                                    finetune_steps = 2\n[tasks.segmentation]\ntask.kind = 'segment'\n";

    fn parse(text: &str) -> Result<StudyConfig> {
        StudyConfig::parse(text, Path::new("/studies"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = format!(
            "{SMALL}[methods.brainmvp]\nmethod.contrast_from_epoch = 3\n[[arms]]\nname = 'a'\nweights = 'w.pt'\n\
             [arms.finetune]\ntrain.batch_size = 1\n"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.arms[0].weights.as_deref(), Some(Path::new("/studies/w.pt")));
        assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config);
        let recipe = SMALL.replace("pretrain_voxels = 8000", "pretrain_voxels = 'recipe'");
        assert_eq!(parse(&recipe).unwrap().compute.pretrain_voxels, Amount::Recipe(AsRecipe::Recipe));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |before: &str, after: &str| {
            let text = format!("{before}\n{SMALL}{after}");
            parse(&text).unwrap_err().to_string()
        };
        for (before, after, expected) in [
            ("data = 'c.json'", "", "either data or [phantoms]"),
            ("seeds = []", "", "seeds"),
            ("seeds = [1, 1]", "", "seed 1 is given twice"),
            ("fractions = [0.0]", "", "fractions"),
            ("folds = 1", "", "folds"),
            ("compute.finetune_views = 3", "", "compute"),
            ("folds = 2\nonly_folds = [2]", "", "only_folds"),
            ("folds = 2\nonly_folds = [0, 0]", "", "fold 0 is given twice"),
            ("folds = 2", "[split]\ntest_sites = ['A']", "not both"),
            ("colour = 'red'", "", "colour"),
            ("", "[methods.magic]\nx = 1", "no method is called 'magic'"),
            ("", "[[arms]]\nname = 'a b'\nmethod = 'mae3d'", "letters"),
            ("", "[[arms]]\nname = 'a'", "name its network"),
            ("", "[[arms]]\nname = 'a'\nnetwork = 'tiny'\n[arms.pretrain]\nx = 1", "needs a method"),
            ("", "[tasks.'a/b']\ntask.kind = 'segment'", "letters"),
        ] {
            let said = message(before, after);
            assert!(said.contains(expected), "{said}");
        }
    }
}
