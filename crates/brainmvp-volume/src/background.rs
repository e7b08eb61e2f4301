//! The value around what an image shows.

use crate::Volume;

/// The share of the edges of the field of view that must have one value. Noise is never that uniform, and a brain that
/// is cut off by a face of the volume still leaves its edges free.
const LEAST_SHARE: f64 = 0.75;

/// The one value that surrounds what an image shows, if there is one: 0 in most stripped images, -1024 in shifted
/// ones, 0 amid the grey values in images that were z-scored within the brain. `None` if air has noise or there is no
/// air, and in an image of a single value.
///
/// It is looked for on the twelve edges of the box of voxels, which heads and brains hardly ever touch, and must be on
/// three quarters of them.
pub fn background(image: &Volume) -> Option<f32> {
    let mut edges = edge_values(image);
    edges.sort_unstable_by(f32::total_cmp);
    // Runs of equal numbers; 0 and -0, which are next to each other, are equal.
    let longest = edges.chunk_by(|a, b| a == b).max_by_key(|run| run.len())?;
    let value = *longest.first()?;
    let common = longest.len() as f64 >= LEAST_SHARE * edges.len() as f64;
    let differs = || image.voxels().iter().any(|voxel| *voxel != value);
    (common && value.is_finite() && differs()).then_some(value)
}

/// The voxels on the twelve edges; those in the corners are repeated.
fn edge_values(image: &Volume) -> Vec<f32> {
    let shape = image.shape();
    if image.grid().is_empty() {
        return Vec::new();
    }
    let mut values = Vec::with_capacity(4 * shape.iter().sum::<usize>());
    for axis in 0..3 {
        let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
        for (at_a, at_b) in [(0, 0), (0, shape[b] - 1), (shape[a] - 1, 0), (shape[a] - 1, shape[b] - 1)] {
            values.extend((0..shape[axis]).map(|along| {
                let mut voxel = [0; 3];
                (voxel[axis], voxel[a], voxel[b]) = (along, at_a, at_b);
                image.at(voxel)
            }));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, Grid};

    fn ball(air: impl Fn(usize) -> f32) -> Volume {
        let grid = Grid::new([12, 10, 8], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let inside = |offset: usize| {
            let [x, y, z] = grid.voxel(offset).map(|i| i as f32);
            (x - 5.5).powi(2) + (y - 4.5).powi(2) + (z - 1.0).powi(2) < 14.0
        };
        Volume::new(grid, (0..grid.len()).map(|v| if inside(v) { 40.0 + v as f32 } else { air(v) }).collect())
    }

    #[test]
    fn one_value_around_a_brain_that_is_cut_by_a_face() {
        for value in [0.0, -1024.0, 3.5, 1e6] {
            assert_eq!(background(&ball(|_| value)), Some(value));
        }
        assert_eq!(background(&ball(|v| if v % 2 == 0 { 0.0 } else { -0.0 })), Some(0.0));
    }

    #[test]
    fn none_where_air_has_noise_or_nothing_differs() {
        assert_eq!(background(&ball(|v| (v % 3) as f32)), None);
        assert_eq!(background(&ball(|_| f32::NAN)), None);
        let grid = Grid::new([4; 3], Affine::from_spacing([1.0; 3], [0.0; 3]));
        assert_eq!(background(&Volume::filled(grid, 7.0)), None);
        let empty = Grid::new([0, 4, 4], grid.affine);
        assert_eq!(background(&Volume::new(empty, Vec::new())), None);
    }
}
