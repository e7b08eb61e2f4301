//! Turns DICOM series into volumes.
//!
//! [`scan`] reads the headers below a folder and sorts the files into [`Series`]; [`Series::volumes`] places the slices
//! and separates the volumes of a series; [`SeriesVolume::read`] decodes the pixels. A volume that cannot be placed
//! exactly is refused with the reason. What each volume is comes with its evidence. [`convert`]
//! writes everything as BIDS, without anything that says who was examined, when or where.
//!
//! Coordinates: DICOM has LPS mm; affines here are RAS+ mm, as everywhere.
//!
//! Files come from anywhere and may be damaged: nothing panics, and memory stays within a multiple of the file's size
//! (lengths are checked before a file is parsed).

mod acquisition;
mod attributes;
mod convert;
mod deflated;
mod error;
mod file;
mod frame;
mod geometry;
mod identity;
mod jpeg2000;
mod pixels;
mod rle;
mod scan;
mod series;
mod sidecar;
mod stored;
mod structure;
mod subject_key;

pub use convert::{ConvertOptions, SeriesRules, Told, convert};
pub use error::{Error, Result};
pub use scan::{Scan, holds_dicom, scan};
pub use series::{Series, SeriesVolume};
pub use subject_key::SubjectKey;
