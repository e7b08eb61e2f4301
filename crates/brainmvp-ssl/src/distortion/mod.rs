//! Distortions of patches that methods learn to undo: intensity maps, local shuffling, painting, and deformations.
//!
//! They are applied on loader threads, so that a sample holds the finished image. Voxels are x fastest, sizes and indices
//! `[x, y, z]`, intensities in `[0, 1]`; a distortion of a blank image is finite.

mod boxes;
mod elastic;
mod intensity;
mod paint;
mod resize;
mod shuffle;
mod spatial;

use rand::{Rng, RngExt};

use crate::turn::mirror;

pub use elastic::Elastic;
pub use intensity::{Course, IntensityMap};
pub use paint::{Paint, paint_in, paint_out};
pub use resize::resize;
pub use shuffle::{LocalShuffle, Sides};
pub use spatial::{Affine, AffineRanges, Deformation, Outside};

/// Flips a patch along a random axis with this chance, and then up to twice more as long as it was flipped.
pub fn flip_repeatedly(voxels: &mut [f32], size: [usize; 3], chance: f64, rng: &mut dyn Rng) {
    for _ in 0..3 {
        if !rng.random_bool(chance) {
            break;
        }
        mirror(voxels, size, rng.random_range(0..3));
    }
}
