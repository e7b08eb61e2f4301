//! The configurations of runs.
//!
//! Presets give the defaults; a TOML file and `key=value` settings change them; the result is checked once and stored
//! with the run.

mod finetune;
mod layers;
mod model;
mod pretrain;
mod recipe;
mod sections;

pub(crate) use finetune::repeated;
pub use finetune::{
    DataConfig, FinetuneConfig, FinetunePreset, FrozenTemplatesConfig, InitConfig, TaskPatchConfig,
};
pub use layers::merge;
pub use model::{ModelConfig, ModelPreset, PatchConfig};
pub use pretrain::{OtherSpaces, PretrainConfig, PretrainDataConfig};
pub use recipe::Stage;
pub(crate) use sections::patch_problem;

use crate::Result;
use crate::checkpoint::CheckpointConfig;
pub use crate::finetune::tasks::ClassWeights;
pub use crate::finetune::{TaskConfig, TaskKind};
use crate::trainer::{LogConfig, TrainConfig};

/// A configuration that is stored in a run folder.
pub trait RunConfig: Sized + Clone + PartialEq {
    /// Reads it.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    fn parse(text: &str) -> Result<Self>;

    /// Writes it, every key with its value.
    ///
    /// # Errors
    /// If a number does not fit TOML's integers.
    fn to_toml(&self) -> Result<String>;

    /// The sections of which some keys may change when a run is resumed.
    fn changeable(&mut self) -> (&mut TrainConfig, &mut CheckpointConfig, &mut LogConfig);
}
