//! Volumes to prepared cases: the preprocessing pipeline and its cache.
//!
//! `preprocess` takes a cohort to a cache folder: every case runs through the pipeline of a [`PrepConfig`] and
//! becomes one memory-mappable file. [`cache::Cache`] opens such a folder for the training loader.

pub mod cache;
mod config;
mod error;

pub use config::{CropKind, PrepConfig, PrepPreset, StoredType};
pub use error::{Error, Result};
