//! Cohorts: cohort files, folder layouts, checks.
//!
//! A [`Cohort`] lists [`Case`]s: which file holds which modality, what the labels mean, who the subject is. It is made
//! from a folder by one of the [`layouts`] and stored in `cohort.json`.

pub mod bids;
mod case;
pub mod check;
mod cohort;
mod contrast;
mod data_sets;
mod error;
pub mod fingerprint;
pub mod identity;
mod labels;
pub mod layouts;
mod pseudonyms;
mod split;

pub use case::{Case, CaseId, Split};
pub use cohort::{Cohort, DataSet};
pub use data_sets::{FilePattern, Geometry, PUBLIC_DATA_SETS, PublicDataSet, Purpose, public_data_set};
pub use error::{Error, Result};
pub use labels::{IGNORE, KnownScheme, LabelScheme, OwnScheme, SCHEMES};
pub use pseudonyms::Pseudonyms;
pub use split::SplitOptions;
