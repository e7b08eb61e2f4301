//! The configuration of a pre-training run.

use std::path::PathBuf;

use brainmvp_objectives::pretraining::{MethodConfig, MethodName, MethodPreset, Training};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::sections::Common;
use super::{ModelConfig, ModelPreset, PatchConfig, RunConfig, layers};
use crate::checkpoint::CheckpointConfig;
use crate::optimizer::OptimizerConfig;
use crate::schedule::ScheduleConfig;
use crate::trainer::{LogConfig, TrainConfig};
use crate::{Error, Result};

/// What happens to cases whose registered volumes have another space or spacing than those of most cases: templates are
/// placed over all cases voxel by voxel, so that they cannot be learnt from such cases too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherSpaces {
    /// The run does not begin; they are named.
    #[default]
    Refuse,
    /// They are named and left out.
    LeaveOut,
    /// They are taken as the others are.
    Accept,
}

/// Which cases are learnt from. Test cases of the cohort never are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainDataConfig {
    /// What becomes of cases in another space or of another spacing than most: templates are placed over all cases
    /// voxel by voxel.
    pub other_spaces: OtherSpaces,
    /// A CSV file of persons who are in several data sets (`--identities`), with the columns data_set, subject and
    /// person; their cases are never negatives of each other. The run keeps the rows that it used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identities: Option<PathBuf>,
}

/// Everything that determines a pre-training run, but its data and threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PretrainConfig {
    /// Which network.
    pub model: ModelConfig,
    /// Which method.
    pub method: MethodConfig,
    /// The patches.
    pub patch: PatchConfig,
    /// Which cases.
    pub data: PretrainDataConfig,
    /// How it is moved.
    pub optimizer: OptimizerConfig,
    /// How long and with which batches.
    pub train: TrainConfig,
    /// What is kept.
    pub checkpoint: CheckpointConfig,
    /// What is shown.
    pub log: LogConfig,
}

impl PretrainConfig {
    /// The defaults of a method; `model` is its own if none is named.
    pub fn of(model: Option<ModelPreset>, method: MethodName, preset: MethodPreset) -> Self {
        let method = MethodConfig::of(method, preset);
        let Training {
            epochs,
            batch_size,
            accumulate,
            learning_rate,
            warmup_steps,
            weight_decay,
            decay_norms_and_biases,
            clip_norm,
        } = method.training(preset);
        let schedule = ScheduleConfig { learning_rate, warmup_steps };
        let optimizer = OptimizerConfig::default();
        let patch = PatchConfig { size: method.patch() };
        Self {
            model: ModelConfig::of(model.unwrap_or_else(|| method.network())),
            method,
            patch,
            data: PretrainDataConfig::default(),
            optimizer: OptimizerConfig {
                schedule,
                weight_decay,
                decay_norms_and_biases,
                clip_norm,
                ..optimizer
            },
            train: TrainConfig { epochs, batch_size, accumulate, ..TrainConfig::default() },
            checkpoint: CheckpointConfig::default(),
            log: LogConfig::default(),
        }
    }

    /// Reads a TOML text and then `key=value` settings over the defaults of the presets that they name.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    pub fn resolve(text: &str, settings: &[String]) -> Result<Self> {
        let mut asked = layers::asked(text, settings)?;
        let presets: Presets = layers::part(&asked)?;
        let defaults = Self::of(presets.model.preset, presets.method.name, presets.method.preset);
        // It has decided the defaults. Not every method has its name among its settings.
        let is_kept = Table::try_from(&defaults.method).is_ok_and(|method| method.contains_key("preset"));
        if let Some(Value::Table(method)) = asked.get_mut("method").filter(|_| !is_kept) {
            method.remove("preset");
        }
        let config = layers::over(&defaults, asked)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let common = Common {
            model: &self.model,
            patch: self.patch.size,
            train: &self.train,
            optimizer: &self.optimizer,
            checkpoint: &self.checkpoint,
        };
        let channels = || {
            let reason = "in_channels of the network must be 1: the method sets it to what it sees at once";
            (self.model.network.in_channels() != 1).then(|| reason.to_owned())
        };
        let method = || self.method.problem(&self.model.network, self.patch.size);
        let problem = common.problem().or_else(channels).or_else(method);
        problem.map_or(Ok(()), |problem| Err(Error::Config(problem)))
    }
}

impl RunConfig for PretrainConfig {
    fn parse(text: &str) -> Result<Self> {
        Self::resolve(text, &[])
    }

    fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))
    }

    fn changeable(&mut self) -> (&mut TrainConfig, &mut CheckpointConfig, &mut LogConfig) {
        (&mut self.train, &mut self.checkpoint, &mut self.log)
    }
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self::of(None, MethodName::default(), MethodPreset::default())
    }
}

/// The keys that decide the defaults of the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Presets {
    model: AskedModel,
    method: AskedMethod,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AskedModel {
    preset: Option<ModelPreset>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AskedMethod {
    name: MethodName,
    preset: MethodPreset,
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::{NetworkConfig, Unet3dConfig, UniFormerConfig};

    use super::*;
    use crate::config::Stage;

    fn resolve(text: &str, settings: &[&str]) -> Result<PretrainConfig> {
        PretrainConfig::resolve(text, &settings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn presets_then_file_then_settings() {
        let config = resolve(
            "[method]\npreset = 'released'\nweight_contrast = 0.5\n[train]\nbatch_size = 2\n",
            &["model.preset=tiny", "train.batch_size=4", "patch.size=32", "method.templates.size=[8, 9, 10]"],
        )
        .unwrap();
        assert_eq!(config.model.network, NetworkConfig::UniFormer(UniFormerConfig::tiny()));
        let MethodConfig::BrainMvp(method) = &config.method else { panic!("{config:?}") };
        assert_eq!((method.weight_distill, method.weight_contrast), (10.0, 0.5));
        assert_eq!((config.train.batch_size, config.train.accumulate), (4, 8));
        assert_eq!(config.patch.size, [32; 3]);
        assert_eq!(method.templates.size, [8, 9, 10]);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for (name, ..) in NetworkConfig::presets() {
            let config =
                PretrainConfig::of(ModelPreset::named(name), MethodName::default(), MethodPreset::Released);
            assert_eq!(PretrainConfig::parse(&config.to_toml().unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn every_method_takes_a_preset() {
        for name in MethodConfig::names() {
            for preset in [MethodPreset::Default, MethodPreset::Paper, MethodPreset::Released] {
                let expected = PretrainConfig::of(None, name, preset);
                let word = toml::Value::try_from(preset).unwrap();
                let settings = [format!("method.name={}", name.name()), format!("method.preset={word}")];
                let config = PretrainConfig::resolve("", &settings).unwrap();
                assert_eq!(config, expected);
                assert_eq!(PretrainConfig::parse(&config.to_toml().unwrap()).unwrap(), expected);
            }
        }
    }

    #[test]
    fn the_preset_chooses_the_network() {
        let settings = ["model.preset=unet3d", "model.unet3d.widths=[8, 8, 16, 16]", "patch.size=24"];
        let expected = Unet3dConfig { widths: [8, 8, 16, 16], ..Unet3dConfig::published() };
        assert_eq!(resolve("", &settings).unwrap().model.network, NetworkConfig::Unet3d(expected));
    }

    #[test]
    fn the_recipes_are_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Recipes of one other stage, and studies, have tests of their own.
            let name = path.file_name().unwrap().to_string_lossy();
            if ["finetune-", "study-"].iter().any(|other| name.starts_with(other)) {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let config = Stage::Pretrain.of(&text).and_then(|own| PretrainConfig::parse(&own));
            assert!(config.is_ok(), "{}: {config:?}", path.display());
            seen += 1;
        }
        assert!(seen >= 3);
    }

    #[test]
    fn mistakes_are_named() {
        let message = |settings: &[&str]| resolve("", settings).unwrap_err().to_string();
        assert!(message(&["train.btach_size=3"]).contains("btach_size"));
        assert!(message(&["train.batch_size=many"]).contains("batch_size"));
        assert!(message(&["patch.size=50"]).contains("multiple of 16"));
        assert!(message(&["patch.size=0"]).contains("patch.size"));
        assert!(message(&["method.mask.block=7"]).contains("mask.block"));
        assert!(message(&["method.preset=papper"]).contains("papper"));
        assert!(message(&["method.name=brianmvp"]).contains("known are brainmvp"));
        assert!(message(&["method.maks=1"]).contains("maks"));
        assert!(message(&["optimizer.beta1=1.5"]).contains("beta1"));
        assert!(message(&["train"]).contains("key=value"));
        assert!(message(&["model.uniformer.head_width=7"]).contains("head_width"));
        assert!(message(&["model.uniformer.depths=[1, 1, 1, 999]"]).contains("at most 256"));
        assert!(message(&["model.preset=tiny", "model.unet3d.in_channels=1"]).contains("several networks"));
        assert!(
            message(&["model.preset=unet3d", "model.unet3d.widths=[8, 8, 8, 9]"]).contains("multiples of 8")
        );
        assert!(message(&["patch.size=16000"]).contains("at most 512"));
        assert!(
            message(&["method.templates.pyramid.levels=0"])
                .contains("method.templates.pyramid.levels must be at least 1")
        );
        assert!(message(&["method.templates.pyramid.levels=9"]).contains("at most 8"));
        assert!(
            message(&["method.templates.pyramid.learning_rate_falloff=-1"]).contains("learning_rate_falloff")
        );
        assert!(message(&["method.templates.parametrisation=wavelets"]).contains("wavelets"));
        assert!(message(&["method.weight_cross=nan"]).contains("weight_cross"));
        let broken = resolve("[train]\nseed = 1\n[train", &[]).unwrap_err().to_string();
        assert!(broken.contains("line 3") && !broken.contains('\n'), "{broken}");
    }
}
