//! Pre-train, fine-tune and evaluate 3-D networks on multi-parametric brain MRI.
//!
//! This crate is the program `brainmvp` and, as a library, re-exports all parts. They are listed in the order in which
//! data flows through them:
//!
//! | module | contents |
//! |---|---|
//! | [`volume`] | files to volumes and back: NIfTI, orientation, resampling, modalities |
//! | [`cohort`] | cohorts of cases: `cohort.json`, folder layouts, checks |
//! | [`phantom`] | plausible brain MRI, generated from a seed |
//! | [`registration`] | registration of images of one head, or of two; an atlas from a cohort |
//! | [`dicom`] | DICOM series to volumes and to BIDS |
//! | [`prep`] | volumes to prepared cases: the pipeline and its cache |
//! | [`quality`] | image quality: measurements, outliers, pictures of cases, a table of the cohort |
//! | [`kernels`] | channels-last 3-D operations for Burn |
//! | [`nets`] | networks, their layers and weights |
//! | [`objectives`] | what networks are trained for: pre-training methods, downstream tasks, losses |
//! | [`infer`] | sliding windows, mirroring, predictions in the space of the input |
//! | [`train`] | the training loop, checkpoints and run folders |
//! | [`metrics`] | evaluation of predictions: metrics, statistics over cases, comparisons |
//! | [`study`] | many runs compared under equal conditions: cells, tables, curves |
//! | [`probe`] | linear models and nearest neighbours on features of cases |
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use brainmvp::phantom::{PhantomConfig, write_cohort};
//! use brainmvp::prep::cache::Cache;
//! use brainmvp::prep::{PrepConfig, RunOptions, preprocess};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let config = PhantomConfig { cases: 2, size: 16, ..PhantomConfig::default() };
//! let cohort = write_cohort(&config, &folder.path().join("phantom"), &|_| {})?;
//!
//! let cache = folder.path().join("cache");
//! let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
//! preprocess(&cohort, &cache, &PrepConfig::default(), &options, &|_| {})?;
//!
//! for entry in Cache::open(&cache)?.cases() {
//!     println!("{}: {:?} voxels of {:?}", entry.case.id, entry.shape, entry.modalities);
//! }
//! # Ok(())
//! # }
//! ```

pub use brainmvp_bench as bench;
pub use brainmvp_cohort as cohort;
pub use brainmvp_dicom as dicom;
pub use brainmvp_infer as infer;
pub use brainmvp_kernels as kernels;
pub use brainmvp_metrics as metrics;
pub use brainmvp_nets as nets;
pub use brainmvp_objectives as objectives;
pub use brainmvp_phantom as phantom;
pub use brainmvp_prep as prep;
pub use brainmvp_probe as probe;
pub use brainmvp_quality as quality;
pub use brainmvp_registration as registration;
pub use brainmvp_study as study;
pub use brainmvp_train as train;
pub use brainmvp_view as view;
pub use brainmvp_volume as volume;
