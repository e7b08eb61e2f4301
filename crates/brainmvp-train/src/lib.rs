//! Training: batches, the one loop, optimiser and schedule, checkpoints, run folders, logs.
//!
//! Data flows from a cache of prepared cases through [`batches`] into the loop of [`trainer`], which runs any
//! [`brainmvp_objectives::Objective`], and out into a [`run::RunFolder`].
//!
//! A run is a function of its configuration, its data and the number of threads. All random numbers come from
//! generators that are seeded by (seed, position), so that the state of a run consists of its weights, its optimiser
//! moments and the number of the step.

pub mod about;
pub mod batches;
pub mod checkpoint;
pub mod config;
pub mod device;
mod error;
pub mod estimate;
pub mod finetune;
pub mod log;
pub mod memory;
pub mod new_case;
pub mod optimizer;
pub mod placement;
pub mod preparation;
pub mod pretrain;
pub mod pretrained;
mod pretrained_encoder;
mod purpose;
pub mod run;
pub mod saved;
pub mod schedule;
pub mod seen;
pub mod source;
mod status;
pub mod template_quality;
pub mod templates;
mod tensor_file;
pub mod trainer;

pub use brainmvp_ranks::Ranks;
pub use error::{Error, Result};
pub use pretrained_encoder::PretrainedEncoder;
