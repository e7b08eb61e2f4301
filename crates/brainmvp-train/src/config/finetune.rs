//! The configuration of a fine-tuning run.

mod preset;

use std::collections::BTreeSet;
use std::path::PathBuf;

use brainmvp_infer::SlidingWindow;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::FirstLayer;
use brainmvp_objectives::downstream::{AugmentationConfig, MixWith, MixingConfig, Resized};
use brainmvp_objectives::limits;
use brainmvp_prep::Aspect;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::one_or_three;
use super::sections::Common;
use super::{ModelConfig, ModelPreset, RunConfig, layers};
use crate::checkpoint::CheckpointConfig;
use crate::finetune::{TaskConfig, TaskKind};
use crate::optimizer::OptimizerConfig;
use crate::placement::PlacementRule;
use crate::source::{CheckpointChoice, Source};
use crate::trainer::{LogConfig, TrainConfig, ValidationConfig};
use crate::{Error, Result};

pub use preset::FinetunePreset;

/// The initial weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InitConfig {
    /// A run, or a file of weights and templates, to begin with (`--init`); left out for random weights and no
    /// templates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    /// Which checkpoint of a run: `"best"`, `"last"` or the number of a step; left out for the last of a pre-training
    /// and the best of a fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointChoice>,
    /// In what the cases may have been prepared in another way than those that the weights have learnt from; any
    /// other difference stops the run.
    pub accept_differences: Vec<Aspect>,
    /// What happens to the first layer, which had one channel in pre-training.
    pub first_layer: FirstLayer,
}

/// The templates of pre-training, as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FrozenTemplatesConfig {
    /// How they are placed on a case.
    pub placement: PlacementRule,
}

/// The part of a case that is the input of the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskPatchConfig {
    /// Voxels of a patch along x, y and z, multiples of what the network needs; a single number is for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub size: [usize; 3],
    /// Segmentation: share of the patches with a labelled voxel at their centre; 0 for positions anywhere, as in the
    /// paper.
    pub labelled_share: f64,
    /// Classification and regression: voxels along x, y and z that a whole case is resized to before a patch is taken
    /// of it; a single number is for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub resize: [usize; 3],
}

impl TaskPatchConfig {
    /// Defaults of a task.
    fn of(kind: TaskKind) -> Self {
        Self { size: kind.defaults(false).patch, labelled_share: 1.0 / 3.0, resize: [128, 128, 64] }
    }

    /// How whole cases are brought to the size of the network's input, for tasks with one answer for a case.
    pub fn resized(&self) -> Resized {
        Resized { whole: self.resize, patch: self.size }
    }

    /// Why whole cases cannot be resized in this way, if so.
    pub(crate) fn resize_problem(&self) -> Option<String> {
        let (size, resize) = (self.size, self.resize);
        if (0..3).any(|axis| size[axis] > resize[axis]) {
            return Some(format!("patch.size {size:?} must fit into patch.resize {resize:?}"));
        }
        let largest = resize.iter().max().copied().unwrap_or(0) as u64;
        limits::at_most(&[("patch.resize", largest, 1024)])
    }
}

impl Default for TaskPatchConfig {
    fn default() -> Self {
        Self::of(TaskKind::default())
    }
}

/// The choice of training and validation cases. Test cases of the cohort are never used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Share of the training subjects that is used, above 0. In one partition, smaller shares are contained in larger
    /// ones.
    pub labels_fraction: f64,
    /// The number of the random choice of that share (Fig. 3 has five).
    pub partition: u64,
    /// Number of folds of a cross-validation.
    pub folds: usize,
    /// The fold to validate on, from 0; left out for the validation cases of the cohort, or `validation_share` of the
    /// others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// Share of the subjects to validate on if neither a fold nor the cohort says which; 0 for none.
    pub validation_share: f64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { labels_fraction: 1.0, partition: 0, folds: 5, fold: None, validation_share: 0.2 }
    }
}

/// Everything that determines a fine-tuning run, except its data and threads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FinetuneConfig {
    /// The preset: whose values the keys have that are left out.
    pub preset: FinetunePreset,
    /// The task.
    pub task: TaskConfig,
    /// The initial weights.
    pub init: InitConfig,
    /// Which network.
    pub model: ModelConfig,
    /// How templates are placed.
    pub templates: FrozenTemplatesConfig,
    /// How the copies of a case are made and held together.
    pub mixing: MixingConfig,
    /// The patches.
    pub patch: TaskPatchConfig,
    /// The augmentation.
    pub augmentation: AugmentationConfig,
    /// Which cases.
    pub data: DataConfig,
    /// The validation.
    pub validation: ValidationConfig,
    /// Segmentation: how it is applied to a whole case, in validation and later. Windows are as large as patches.
    pub inference: SlidingWindow,
    /// How it is moved.
    pub optimizer: OptimizerConfig,
    /// How long and with which batches.
    pub train: TrainConfig,
    /// What is kept.
    pub checkpoint: CheckpointConfig,
    /// What is shown.
    pub log: LogConfig,
}

/// The keys that decide the defaults of the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Asked {
    preset: FinetunePreset,
    task: AskedTask,
    init: InitConfig,
    model: Option<AskedModel>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AskedModel {
    preset: ModelPreset,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AskedTask {
    kind: Option<TaskKind>,
}

impl FinetuneConfig {
    /// The run or file of pre-trained weights that a TOML text and `key=value` settings name.
    ///
    /// # Errors
    /// If the text is not TOML, a setting has no value, or a checkpoint is chosen without a source.
    pub fn source(text: &str, settings: &[String]) -> Result<Option<Source>> {
        let InitConfig { source, checkpoint, .. } =
            layers::part::<Asked>(&layers::asked(text, settings)?)?.init;
        match (source, checkpoint) {
            (None, Some(_)) => Err(Error::Config("init.checkpoint needs init.source".to_owned())),
            (source, checkpoint) => Ok(source.map(|path| Source { path, checkpoint })),
        }
    }

    /// The task that a TOML text names, if it does.
    ///
    /// # Errors
    /// If the text is no TOML or names no known task.
    pub fn kind(text: &str) -> Result<Option<TaskKind>> {
        let asked: Asked = layers::part(&layers::asked(text, &[])?)?;
        Ok(asked.task.kind)
    }

    /// Reads a TOML text and then `key=value` settings over those of the preset, task and network that they name. A
    /// pre-trained `network` determines the network; naming another one is an error.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    pub fn resolve(text: &str, settings: &[String], network: Option<&NetworkConfig>) -> Result<Self> {
        let table = layers::asked(text, settings)?;
        let asked: Asked = layers::part(&table)?;
        let model = match (network, asked.model) {
            (_, Some(AskedModel { preset })) => ModelConfig::of(preset),
            (Some(network), None) => ModelConfig::with(network, 1),
            (None, None) => ModelConfig::default(),
        };
        let mut defaults = Self::of(asked.preset, asked.task.kind.unwrap_or_default(), model);
        defaults.inference.size = defaults.patch.size;
        let mut config: Self = layers::over(&defaults, table)?;
        config.inference.size = config.patch.size;
        if let Some(network) = network
            && config.model.network.with_in_channels(1) != network.with_in_channels(1)
        {
            let reason = "the pre-trained weights are of another network than [model]; leave out [model]";
            return Err(Error::Config(reason.to_owned()));
        }
        config.check()?;
        Ok(config)
    }

    /// Whether the whole makes sense.
    ///
    /// # Errors
    /// [`Error::Config`] names what does not.
    pub(crate) fn check(&self) -> Result<()> {
        let common = Common {
            model: &self.model,
            patch: self.patch.size,
            train: &self.train,
            optimizer: &self.optimizer,
            checkpoint: &self.checkpoint,
        };
        let problem = common
            .problem()
            .or_else(|| self.augmentation.problem())
            .or_else(|| self.task_problem())
            .or_else(|| self.data_problem())
            .or_else(|| {
                limits::not_negative(&[("mixing.weight_agreement", f64::from(self.mixing.weight_agreement))])
            });
        match problem {
            Some(problem) => Err(Error::Config(problem)),
            None => Ok(self.inference.validate(self.model.network.stride())?),
        }
    }

    fn task_problem(&self) -> Option<String> {
        let task = &self.task;
        let repeated = task.modalities.iter().enumerate().find(|(i, m)| task.modalities[..*i].contains(m));
        if let Some((_, modality)) = repeated {
            return Some(format!("task.modalities contains {modality} twice"));
        }
        if task.modalities.len() == 1 && self.mixing.with != MixWith::None {
            let problem = self.mixing.mask.problem(self.patch.size);
            if problem.is_some() {
                return problem.map(|problem| problem.replace("method.mask", "mixing.mask"));
            }
        }
        task.problem(&self.patch)
    }

    fn data_problem(&self) -> Option<String> {
        let data = &self.data;
        let shares = [
            ("data.labels_fraction", data.labels_fraction),
            ("data.validation_share", data.validation_share),
            ("patch.labelled_share", self.patch.labelled_share),
        ];
        limits::shares(&shares)
            .or_else(|| limits::positive(&shares[..1]))
            .or_else(|| limits::counts(&[("data.folds", data.folds as u64, 1000)]))
            .or_else(|| {
                limits::counts(&[("validation.every_epochs", self.validation.every_epochs, u64::MAX)])
            })
            .or_else(|| {
                let fold = data.fold?;
                let problem = format!("data.fold must be below data.folds ({}), got {fold}", data.folds);
                (fold >= data.folds || data.folds < 2).then_some(problem)
            })
    }
}

/// The problem that a name occurs twice in a list of the task, if one does.
pub(crate) fn repeated<S: AsRef<str>>(names: &[S]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let twice = names.iter().map(AsRef::as_ref).find(|name| !seen.insert(*name));
    twice.map(|name| format!("task: '{name}' occurs twice"))
}

impl RunConfig for FinetuneConfig {
    fn parse(text: &str) -> Result<Self> {
        Self::resolve(text, &[], None)
    }

    fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))
    }

    fn changeable(&mut self) -> (&mut TrainConfig, &mut CheckpointConfig, &mut LogConfig) {
        (&mut self.train, &mut self.checkpoint, &mut self.log)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, settings: &[&str]) -> Result<FinetuneConfig> {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        FinetuneConfig::resolve(text, &settings, None)
    }

    #[test]
    fn task_and_network_choose_the_defaults() {
        let segment = resolve("", &[]).unwrap();
        assert_eq!((segment.patch.size, segment.train.batch_size, segment.train.epochs), ([96; 3], 3, 500));
        let regress = resolve("", &["task.kind=regress", "task.target=age"]).unwrap();
        assert_eq!((regress.patch.size, regress.train.epochs), ([96, 96, 64], 200));
        let classify = resolve("", &["task.kind=classify", "model.preset=unet3d", "patch.size=64"]).unwrap();
        assert_eq!((classify.train.batch_size * classify.train.accumulate, classify.train.epochs), (64, 200));
        assert_eq!((classify.optimizer.weight_decay, classify.inference.size), (1e-5, [64; 3]));
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let text = "[task]\nmodalities = ['t1', 'flair']\nregions = [{ name = 'WT', labels = [1, 2] }]\n\
                    [init]\nsource = 'run'\n[data]\nfold = 3\n[model]\npreset = 'tiny'\n";
        let config = resolve(text, &[]).unwrap();
        assert_eq!(FinetuneConfig::parse(&config.to_toml().unwrap()).unwrap(), config);
    }

    #[test]
    fn a_pre_trained_network_is_the_network() {
        let tiny = ModelConfig::of(ModelPreset::named("tiny").unwrap()).network;
        let config = FinetuneConfig::resolve("", &[], Some(&tiny)).unwrap();
        assert_eq!(config.model, ModelConfig::of(ModelPreset::named("tiny").unwrap()));
        let other = FinetuneConfig::resolve("", &["model.preset=unet3d".to_owned()], Some(&tiny));
        assert!(other.unwrap_err().to_string().contains("another network"));
        let same = FinetuneConfig::resolve("", &["model.preset=tiny".to_owned()], Some(&tiny));
        assert_eq!(same.unwrap().model.network, tiny);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |settings: &[&str]| resolve("", settings).unwrap_err().to_string();
        assert!(message(&["task.kindd=segment"]).contains("kindd"));
        assert!(message(&["data.labels_fraction=0"]).contains("labels_fraction"));
        assert!(message(&["data.fold=5"]).contains("below data.folds"));
        assert!(message(&["task.modalities=['t1','t1']"]).contains("twice"));
        assert!(message(&["task.modalities=['t9']"]).contains("t9"));
        assert!(message(&["task.kind=regress"]).contains("--target"));
        assert!(
            message(&["task.kind=regress", "task.target=age", "task.scale={mean=1,deviation=0}"])
                .contains("above 0")
        );
        assert!(message(&["task.kind=classify", "patch.size=144"]).contains("patch.resize"));
        assert!(message(&["inference.overlap=1.0"]).contains("overlap"));
        assert!(message(&["augmentation.mirror=2"]).contains("mirror"));
    }
}
