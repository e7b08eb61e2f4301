//! The Brain Imaging Data Structure (BIDS 1.10): names of files, and the files around them.
//!
//! [`BidsFolder`] writes a data set, raw or derivative; [`export`] writes a cohort, with predictions if there are any,
//! as a derivative. Data sets are read by the layout `bids`.

mod erasure;
mod export;
mod folder;
mod name;

pub use erasure::{Eraser, Erasure};
pub use export::{ExportOptions, Exported, export};
pub use folder::{BidsFolder, DatasetType, Participant};
pub use name::{BidsName, label_of};
