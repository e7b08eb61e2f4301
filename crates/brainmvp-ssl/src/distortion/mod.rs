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

pub use elastic::Elastic;
pub use intensity::{Course, IntensityMap};
pub use paint::{Paint, paint_in, paint_out};
pub use resize::resize;
pub use shuffle::{LocalShuffle, Sides};
pub use spatial::{Affine, AffineRanges, Deformation, Outside};

/// Mirrors a patch along one axis.
pub fn flip(voxels: &mut [f32], size: [usize; 3], axis: usize) {
    let step: usize = size[..axis].iter().product();
    let (length, block) = (size[axis], step * size[axis]);
    for lines in voxels.chunks_exact_mut(block.max(1)) {
        for low in 0..length / 2 {
            let (before, after) = lines.split_at_mut((length - 1 - low) * step);
            before[low * step..][..step].swap_with_slice(&mut after[..step]);
        }
    }
}

/// Flips a patch along a random axis with this chance, and then up to twice more as long as it was flipped.
pub fn flip_repeatedly(voxels: &mut [f32], size: [usize; 3], chance: f64, rng: &mut dyn Rng) {
    for _ in 0..3 {
        if !rng.random_bool(chance) {
            break;
        }
        flip(voxels, size, rng.random_range(0..3));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_turns_one_axis_round() {
        let size = [2, 3, 4];
        let at = |x: usize, y: usize, z: usize| ((z * 3 + y) * 2 + x) as f32;
        for axis in 0..3 {
            let mut voxels: Vec<f32> = (0..24).map(|i| i as f32).collect();
            flip(&mut voxels, size, axis);
            for (i, value) in voxels.iter().enumerate() {
                let mut index = [i % 2, i / 2 % 3, i / 6];
                index[axis] = size[axis] - 1 - index[axis];
                assert_eq!(*value, at(index[0], index[1], index[2]));
            }
            flip(&mut voxels, size, axis);
            assert!(voxels.iter().enumerate().all(|(i, value)| *value == i as f32));
        }
    }
}
