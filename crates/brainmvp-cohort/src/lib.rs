//! Who is where: cohort files, folder layouts, checks, the phantom generator.
//!
//! A [`Cohort`] lists [`Case`]s: which file holds which modality, what the labels mean, who the subject is. It is
//! made from a folder by one of the [`layouts`], or written by [`phantom`], and lives in `cohort.json`.

mod case;
pub mod check;
mod cohort;
mod error;
mod labels;
pub mod layouts;
pub mod phantom;
mod split;

pub use case::{Case, CaseId, Split};
pub use cohort::{Cohort, DataSet};
pub use error::{Error, Result};
pub use labels::{KnownScheme, LabelScheme, SCHEMES};
pub use split::SplitOptions;
