//! The configuration of a pre-training run.
//!
//! Presets give the defaults; a TOML file and `key=value` settings change them; the whole is checked once and stored
//! with the run as resolved.

use brainmvp_nets::networks::{NetworkConfig, Unet3dConfig, UniFormerConfig};
use brainmvp_ssl::objectives::{BrainMvpConfig, MethodPreset};
use brainmvp_ssl::templates::TemplateConfig;
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use crate::checkpoint::CheckpointConfig;
use crate::optimizer::OptimizerConfig;
use crate::trainer::{LogConfig, TrainConfig};
use crate::{Error, Result};

/// Networks by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelPreset {
    /// UniFormer-S, the paper's.
    #[default]
    UniformerSmall,
    /// A UniFormer of 0.2 M parameters for tests and first tries.
    Tiny,
    /// UNET3D, the paper's second network.
    Unet3d,
    /// A small UNET3D for tests and first tries.
    Unet3dTiny,
}

/// Which network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelSection", into = "ModelSection")]
pub struct ModelConfig {
    /// Where the other numbers start from.
    pub preset: ModelPreset,
    /// The network's own numbers, in a section of its name: `[model.uniformer]`.
    pub network: NetworkConfig,
}

/// `[model]` as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelSection {
    #[serde(default)]
    preset: ModelPreset,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uniformer: Option<UniFormerConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet3d: Option<Unet3dConfig>,
}

impl TryFrom<ModelSection> for ModelConfig {
    type Error = &'static str;

    fn try_from(section: ModelSection) -> std::result::Result<Self, Self::Error> {
        let preset = section.preset;
        let network = match (section.uniformer, section.unet3d) {
            (None, None) => return Ok(Self::of(preset)),
            (Some(config), None) => NetworkConfig::UniFormer(config),
            (None, Some(config)) => NetworkConfig::Unet3d(config),
            (Some(_), Some(_)) => {
                return Err(
                    "model.uniformer and model.unet3d are two networks: set the one that model.preset names",
                );
            }
        };
        Ok(Self { preset, network })
    }
}

impl From<ModelConfig> for ModelSection {
    fn from(config: ModelConfig) -> Self {
        let (uniformer, unet3d) = match config.network {
            NetworkConfig::UniFormer(network) => (Some(network), None),
            NetworkConfig::Unet3d(network) => (None, Some(network)),
        };
        Self { preset: config.preset, uniformer, unet3d }
    }
}

impl ModelConfig {
    /// The numbers of a preset.
    pub fn of(preset: ModelPreset) -> Self {
        let network = match preset {
            ModelPreset::UniformerSmall => NetworkConfig::UniFormer(UniFormerConfig::small()),
            ModelPreset::Tiny => NetworkConfig::UniFormer(UniFormerConfig::tiny()),
            ModelPreset::Unet3d => NetworkConfig::Unet3d(Unet3dConfig::published()),
            ModelPreset::Unet3dTiny => NetworkConfig::Unet3d(Unet3dConfig::tiny()),
        };
        Self { preset, network }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::of(ModelPreset::default())
    }
}

/// What the network sees at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchConfig {
    /// Voxels along x, y and z; one number stands for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub size: [usize; 3],
}

impl Default for PatchConfig {
    fn default() -> Self {
        Self { size: [96; 3] }
    }
}

fn one_or_three<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<[usize; 3], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number of voxels, or three: [x, y, z]")]
    enum Size {
        One(usize),
        Three([usize; 3]),
    }
    Ok(match Size::deserialize(deserializer)? {
        Size::One(n) => [n; 3],
        Size::Three(sizes) => sizes,
    })
}

/// Everything that determines a pre-training run, but its data and threads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// Which network.
    pub model: ModelConfig,
    /// Which method.
    pub method: BrainMvpConfig,
    /// What it sees at once.
    pub patch: PatchConfig,
    /// The templates.
    pub templates: TemplateConfig,
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
    /// The defaults of two presets.
    pub fn of(model: ModelPreset, method: MethodPreset) -> Self {
        let mut config =
            Self { model: ModelConfig::of(model), method: BrainMvpConfig::of(method), ..Self::default() };
        if method == MethodPreset::Released {
            config.train.accumulate = 2;
        }
        config
    }

    /// Reads a TOML text over the defaults of the presets that it names.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    pub fn parse(text: &str) -> Result<Self> {
        Self::resolve(text, &[])
    }

    /// Reads a TOML text and then `key=value` settings over the defaults of the presets that they name.
    ///
    /// # Errors
    /// As [`PretrainConfig::parse`].
    pub fn resolve(text: &str, settings: &[String]) -> Result<Self> {
        let wrong = |e: &dyn std::fmt::Display| Error::Config(e.to_string().trim().replace('\n', " "));
        let mut asked: Table = text.parse().map_err(|e| not_toml(text, &e))?;
        for setting in settings {
            set(&mut asked, setting)?;
        }
        let presets: Presets = Value::Table(asked.clone()).try_into().map_err(|e| wrong(&e))?;
        let defaults = Self::of(presets.model.preset, presets.method.preset);
        let mut merged = Table::try_from(&defaults).map_err(|e| wrong(&e))?;
        merge(&mut merged, asked);
        let config: Self = Value::Table(merged).try_into().map_err(|e| wrong(&e))?;
        config.check()?;
        Ok(config)
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// If a number does not fit TOML's integers.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::Config(e.to_string()))
    }

    fn check(&self) -> Result<()> {
        let problem = self
            .model
            .network
            .problem()
            .or_else(|| self.patch_problem())
            .or_else(|| self.method.mask.problem(self.patch.size))
            .or_else(|| self.number_problem());
        problem.map_or(Ok(()), |problem| Err(Error::Config(problem)))
    }

    fn patch_problem(&self) -> Option<String> {
        let stride = self.model.network.stride();
        if self.patch.size.iter().any(|&n| n == 0 || n % stride != 0) {
            return Some(format!(
                "patch.size {:?}: each must be a positive multiple of {stride}",
                self.patch.size
            ));
        }
        if self.model.network.in_channels() != 1 {
            return Some(
                "in_channels of the network must be 1: pre-training sees one modality at a time".into(),
            );
        }
        if !self.templates.size.is_empty()
            && (self.templates.size.len() != 3 || self.templates.size.contains(&0))
        {
            return Some(
                "templates.size must be [] (taken from the data) or three positive numbers [x, y, z]".into(),
            );
        }
        None
    }

    fn number_problem(&self) -> Option<String> {
        let (train, optimizer) = (&self.train, &self.optimizer);
        let positive = [
            ("train.epochs", train.epochs),
            ("train.batch_size", train.batch_size as u64),
            ("train.accumulate", train.accumulate as u64),
            ("checkpoint.every_steps", self.checkpoint.every_steps),
            ("checkpoint.keep_last", self.checkpoint.keep_last as u64),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Some(format!("{key} must be at least 1"));
        }
        let limits = [
            ("train.epochs", train.epochs, 1_000_000_000),
            ("train.batch_size", train.batch_size as u64, 4096),
            ("train.accumulate", train.accumulate as u64, 65_536),
            ("train.workers", train.workers as u64, 1024),
            ("patch.size", self.patch.size.iter().max().copied().unwrap_or(0) as u64, 512),
            ("templates.size", self.templates.size.iter().max().copied().unwrap_or(0) as u64, 1024),
        ];
        if let Some((key, _, limit)) = limits.iter().find(|(_, value, limit)| value > limit) {
            return Some(format!("{key} must be at most {limit}"));
        }
        let floats = [
            ("optimizer.schedule.learning_rate", optimizer.schedule.learning_rate, false),
            ("optimizer.epsilon", f64::from(optimizer.epsilon), false),
            ("optimizer.weight_decay", f64::from(optimizer.weight_decay), true),
            ("optimizer.clip_norm", optimizer.clip_norm, true),
            ("method.temperature", f64::from(self.method.temperature), false),
            ("method.weight_cross", f64::from(self.method.weight_cross), true),
            ("method.weight_distill", f64::from(self.method.weight_distill), true),
            ("method.weight_contrast", f64::from(self.method.weight_contrast), true),
            ("templates.range_floor", f64::from(self.templates.range_floor), false),
            ("templates.learning_rate_factor", self.templates.learning_rate_factor, true),
        ];
        for (key, value, zero_allowed) in floats {
            if !value.is_finite() || value < 0.0 || (value == 0.0 && !zero_allowed) {
                return Some(format!("{key} must be a positive number, got {value}"));
            }
        }
        let betas = [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)];
        betas
            .iter()
            .find(|(_, beta)| !(0.0..1.0).contains(beta))
            .map(|(key, beta)| format!("{key} must lie in [0, 1), got {beta}"))
    }
}

/// Where a text stops being TOML, and why.
fn not_toml(text: &str, error: &toml::de::Error) -> Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Error::Config(format!("line {line}: {}", error.message().trim().replace('\n', " ")))
}

/// The two keys that decide the defaults of the others.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Presets {
    model: Preset<ModelPreset>,
    method: Preset<MethodPreset>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Preset<P> {
    preset: P,
}

/// Applies `a.b.c=value`. The value is TOML; what is not, is a string.
fn set(table: &mut Table, setting: &str) -> Result<()> {
    let (key, value) = setting.split_once('=').ok_or_else(|| {
        Error::Config(format!("--set {setting}: expected key=value, such as train.max_steps=20"))
    })?;
    let (key, value) = (key.trim(), value.trim());
    let value = format!("value = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut names: Vec<&str> = key.split('.').collect();
    let last = names.pop().filter(|last| !last.is_empty());
    let last = last.ok_or_else(|| Error::Config(format!("--set {setting}: the key is empty")))?;
    let mut place = table;
    for name in names {
        let next = place.entry(name).or_insert_with(|| Value::Table(Table::new()));
        place = next
            .as_table_mut()
            .ok_or_else(|| Error::Config(format!("--set {setting}: '{name}' is a value, not a section")))?;
    }
    place.insert(last.to_owned(), value);
    Ok(())
}

/// Puts `from` over `into`, section by section.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, settings: &[&str]) -> Result<PretrainConfig> {
        PretrainConfig::resolve(text, &settings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn presets_then_file_then_settings() {
        let config = resolve(
            "[method]\npreset = 'released'\nweight_contrast = 0.5\n[train]\nbatch_size = 2\n",
            &["model.preset=tiny", "train.batch_size=4", "patch.size=32", "templates.size=[8, 9, 10]"],
        )
        .unwrap();
        assert_eq!(config.model.network, NetworkConfig::UniFormer(UniFormerConfig::tiny()));
        assert_eq!((config.method.weight_distill, config.method.weight_contrast), (10.0, 0.5));
        assert_eq!((config.train.batch_size, config.train.accumulate), (4, 2));
        assert_eq!(config.patch.size, [32; 3]);
        assert_eq!(config.templates.size, [8, 9, 10]);
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for preset in [ModelPreset::Tiny, ModelPreset::Unet3dTiny] {
            let config = PretrainConfig::of(preset, MethodPreset::Released);
            assert_eq!(PretrainConfig::parse(&config.to_toml().unwrap()).unwrap(), config);
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
            let config = PretrainConfig::parse(&std::fs::read_to_string(&path).unwrap());
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
        assert!(message(&["optimizer.beta1=1.5"]).contains("beta1"));
        assert!(message(&["train"]).contains("key=value"));
        assert!(message(&["model.uniformer.head_width=7"]).contains("head_width"));
        assert!(message(&["model.uniformer.depths=[1, 1, 1, 999]"]).contains("at most 256"));
        assert!(message(&["model.preset=tiny", "model.unet3d.in_channels=1"]).contains("two networks"));
        assert!(
            message(&["model.preset=unet3d", "model.unet3d.widths=[8, 8, 8, 9]"]).contains("multiples of 8")
        );
        assert!(message(&["patch.size=16000"]).contains("at most 512"));
        assert!(message(&["method.weight_cross=nan"]).contains("weight_cross"));
        let broken = resolve("[train]\nseed = 1\n[train", &[]).unwrap_err().to_string();
        assert!(broken.contains("line 3") && !broken.contains('\n'), "{broken}");
    }
}
