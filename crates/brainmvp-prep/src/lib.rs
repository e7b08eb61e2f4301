//! Volumes to prepared cases: the preprocessing pipeline and its cache.
//!
//! [`preprocess`] takes a cohort to a cache folder: every case runs through the [`Pipeline`] of a [`PrepConfig`] and
//! becomes one safetensors file. [`cache::Cache`] opens such a folder for the training loader.

mod atlas;
pub mod bias;
pub mod brain;
pub mod cache;
mod config;
mod difference;
mod error;
mod face;
mod files;
mod input;
mod landmarks;
mod memory;
mod percentile;
mod pipeline;
mod preparation;
mod preprocess;
mod settings;
mod shard;
mod space;
pub mod steps;

pub use brainmvp_cohort::fingerprint;

pub use atlas::Atlas;
pub use config::{CropKind, Intensity, PrepConfig, PrepPreset, RegisterKind, SkullStrip, StoredType};
pub use difference::{Aspect, Difference};
pub use error::{Error, Result};
pub use face::{Face, NoFace, erased_value};
pub use files::ContentFile;
pub use landmarks::{LANDMARK_PERCENTILES, Landmarks, Learnt, STANDARD_RANGE, Standard};
pub use memory::{MemoryGate, Permit};
pub use percentile::{NoPercentiles, percentiles};
pub use pipeline::{CaseVolumes, Pipeline};
pub use preparation::Preparation;
pub use preprocess::{
    Outcome, Progress, RunOptions, Summary, larger_than, prepare_case, preprocess, preprocess_shard,
};
pub use settings::PrepSettings;
pub use shard::Shard;
pub use space::{AtlasSpace, Space};
