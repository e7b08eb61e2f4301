//! Distortions of patches that methods learn to undo: intensity maps, local shuffling, painting, and deformations.
//!
//! They are applied on loader threads, so that a sample holds the finished image. Voxels are x fastest, sizes and indices
//! `[x, y, z]`, intensities in `[0, 1]`; a distortion of a blank image is finite.

mod blur;
mod boxes;
mod elastic;
mod intensity;
mod paint;
mod resize;
mod shuffle;
mod spatial;

use rand::{Rng, RngExt};

use crate::turn::mirror;

pub use blur::blur;
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

/// The standard deviation of the voxels above 0; 0 if there is none.
pub fn foreground_deviation(voxels: &[f32]) -> f32 {
    let inside = || voxels.iter().filter(|value| **value > 0.0).map(|value| f64::from(*value));
    let count = inside().count().max(1) as f64;
    let mean = inside().sum::<f64>() / count;
    (inside().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt() as f32
}
