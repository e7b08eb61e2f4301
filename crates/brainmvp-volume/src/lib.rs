//! Files to volumes and back.
//!
//! A [`Volume`] is a 3-D grid of voxels with its place in the world. Everything here holds to two rules:
//!
//! - **Axis order.** A voxel index is `[x, y, z]`; `x` runs fastest in memory, as in a NIfTI file. The same
//!   memory read as a row-major tensor has the shape `[Z, Y, X]`, which is the `[D, H, W]` of the networks.
//! - **World.** An [`Affine`] maps voxel indices to millimetres in RAS+ (x to the right, y to the front, z up).

mod affine;
mod atomic;
mod background;
pub mod connected;
mod error;
pub mod file;
mod file_error;
mod grid;
mod gzip;
mod mgh;
mod modality;
pub mod nifti;
mod nrrd;
pub mod orientation;
pub mod picture;
pub mod resample;
mod volume;

pub use affine::Affine;
pub use atomic::write_atomically;
pub use background::{Noise, background, nan_to_background, noise_around};
pub use error::{Error, Result};
pub use file_error::{AtPath, FileError, is_wrong_path};
pub use grid::Grid;
pub use modality::{Modality, Role};
pub use volume::{LabelMap, Volume};
