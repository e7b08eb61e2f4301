//! NIfTI-1 and NIfTI-2 files: `.nii`, `.hdr` + `.img` pairs, each plain or gzipped.
//!
//! Source: the header definitions `nifti1.h` and `nifti2.h` of the NIfTI data format working group.

mod datatype;
mod geometry;
mod header;
mod layout;
mod placement;
mod read;
mod write;

pub use datatype::Datatype;
pub use geometry::Geometry;
pub(crate) use header::MAX_VOXELS;
pub use header::{Header, SpatialUnits, Storage};
pub use placement::Placement;
pub use read::{read, read_header, read_labels};
pub use write::{Erased, WriteOptions, copy, encode, write, write_labels, write_labels_in};
