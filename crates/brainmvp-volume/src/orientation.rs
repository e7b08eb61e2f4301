//! The directions of a volume's axes, and reorienting to RAS+.
//!
//! The rule is that of nibabel's `io_orientation`: the rotation nearest to the affine decides, so that a shear
//! does not; the voxel axes, the best aligned first, each take the free world axis along which they run furthest.

use nalgebra::{Matrix3, Matrix4, SVD};
use rayon::prelude::*;

use crate::{Affine, Grid, Volume};

/// The letters of the world's axes towards their positive and negative ends.
const LETTERS: [[char; 2]; 3] = [['R', 'L'], ['A', 'P'], ['S', 'I']];

/// Three letters for the ends that the voxel axes x, y and z run towards, such as `"LPS"`.
#[expect(clippy::expect_used, reason = "the source axes are a permutation of all three")]
pub fn code(affine: &Affine) -> String {
    let reorientation = Reorientation::to_ras(affine);
    (0..3)
        .map(|axis| {
            let world = reorientation.source_axes.iter().position(|source| *source == axis);
            let world = world.expect("every voxel axis goes to some world axis");
            LETTERS[world][usize::from(reorientation.flipped[world])]
        })
        .collect()
}

/// The volume with its axes permuted and flipped so that they run nearest to right, anterior and superior.
///
/// Voxels are moved, never interpolated; the affine changes with them, so every voxel keeps its position in the world.
pub fn to_ras<T: Copy + Send + Sync>(volume: Volume<T>) -> Volume<T> {
    Reorientation::to_ras(&volume.grid().affine).apply_to(volume)
}

/// A permutation of the voxel axes and a flip of some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorientation {
    source_axes: [usize; 3],
    flipped: [bool; 3],
}

impl Reorientation {
    /// The reorientation that brings a volume with this affine nearest to RAS+.
    #[expect(clippy::expect_used, reason = "each of three axes takes one of three")]
    pub fn to_ras(affine: &Affine) -> Self {
        let rotation = nearest_rotation(affine);
        let (mut source_axes, mut flipped, mut free) = ([0, 1, 2], [false; 3], [true; 3]);
        let mut best_aligned_first = [0, 1, 2];
        best_aligned_first.sort_by(|a, b| rotation.column(*b).amax().total_cmp(&rotation.column(*a).amax()));
        for axis in best_aligned_first {
            let reach = |world: usize| rotation[(world, axis)].abs();
            let candidates = (0..3).filter(|world| free[*world]);
            // Of equal ones the first, as in nibabel.
            let best = candidates.reduce(|best, world| if reach(world) > reach(best) { world } else { best });
            let world = best.expect("a world axis is left for every voxel axis");
            free[world] = false;
            source_axes[world] = axis;
            flipped[world] = rotation[(world, axis)] < 0.0;
        }
        Self { source_axes, flipped }
    }

    /// The reorientation that takes the voxels of `from` onto those of `to`: the same lattice, stored in another order.
    /// `None` if no order puts all corners within `tolerance_mm`.
    pub fn between(from: &Grid, to: &Grid, tolerance_mm: f64) -> Option<Self> {
        Self::all().find(|order| order.grid(from).same_place(to, tolerance_mm))
    }

    /// All 48, the one that changes nothing first.
    pub fn all() -> impl Iterator<Item = Self> {
        const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let flips = (0..8_u8).map(|bits| std::array::from_fn(|axis| bits >> axis & 1 == 1));
        flips.flat_map(|flipped| ORDERS.map(move |source_axes| Self { source_axes, flipped }))
    }

    /// For each axis of the result, the axis of the original that it comes from.
    pub fn source_axes(&self) -> [usize; 3] {
        self.source_axes
    }

    /// For each axis of the result, whether it runs against the original.
    pub fn flipped(&self) -> [bool; 3] {
        self.flipped
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        *self == Self { source_axes: [0, 1, 2], flipped: [false; 3] }
    }

    /// The reorientation that undoes this one.
    pub fn inverse(&self) -> Self {
        let mut inverse = Self { source_axes: [0; 3], flipped: [false; 3] };
        for (axis, source) in self.source_axes.into_iter().enumerate() {
            inverse.source_axes[source] = axis;
            inverse.flipped[source] = self.flipped[axis];
        }
        inverse
    }

    /// The grid of [`Reorientation::apply`].
    pub fn grid(&self, grid: &Grid) -> Grid {
        let shape = self.source_axes.map(|source| grid.shape[source]);
        let mut to_source = Matrix4::zeros();
        to_source[(3, 3)] = 1.0;
        for (axis, source) in self.source_axes.into_iter().enumerate() {
            to_source[(source, axis)] = if self.flipped[axis] { -1.0 } else { 1.0 };
            to_source[(source, 3)] =
                if self.flipped[axis] { shape[axis].saturating_sub(1) as f64 } else { 0.0 };
        }
        Grid::new(shape, grid.affine.after(&Affine::from_matrix(to_source)))
    }

    /// [`Reorientation::apply`], in the volume's own memory where it only flips axes.
    pub fn apply_to<T: Copy + Send + Sync>(&self, volume: Volume<T>) -> Volume<T> {
        if self.source_axes == [0, 1, 2] { self.flip(volume) } else { self.apply(&volume) }
    }

    /// [`Reorientation::apply`] within the volume's own memory, for reorientations that only flip axes.
    fn flip<T: Copy + Send + Sync>(&self, volume: Volume<T>) -> Volume<T> {
        let grid = self.grid(volume.grid());
        let [nx, ny, _] = grid.shape;
        let [x, y, z] = self.flipped;
        let mut voxels = volume.into_voxels();
        // Reversing all voxels flips every axis, reversing each slab flips x and y, reversing each row flips x.
        if z {
            voxels.reverse();
        }
        if y != z || x != y {
            voxels.par_chunks_mut((nx * ny).max(1)).for_each(|slab| {
                if y != z {
                    slab.reverse();
                }
                if x != y {
                    slab.chunks_exact_mut(nx).for_each(<[T]>::reverse);
                }
            });
        }
        Volume::new(grid, voxels)
    }

    /// The volume with its axes moved.
    pub fn apply<T: Copy + Send + Sync>(&self, volume: &Volume<T>) -> Volume<T> {
        let grid = self.grid(volume.grid());
        let [nx, ny, _] = grid.shape;
        let strides = [1, volume.shape()[0], volume.shape()[0] * volume.shape()[1]];
        let voxels = volume.voxels();
        let Some(first) = voxels.first() else { return Volume::new(grid, Vec::new()) };
        // Where index i of an axis of the result lies in the original's memory.
        let place = |axis: usize, i: usize| {
            let i = if self.flipped[axis] { grid.shape[axis] - 1 - i } else { i };
            i * strides[self.source_axes[axis]]
        };
        let along_x: Vec<usize> = (0..nx).map(|x| place(0, x)).collect();
        let mut moved = vec![*first; grid.len()];
        moved.par_chunks_mut(nx * ny).enumerate().for_each(|(z, slab)| {
            for (y, row) in slab.chunks_exact_mut(nx).enumerate() {
                let start = place(1, y) + place(2, z);
                for (to, offset) in row.iter_mut().zip(&along_x) {
                    *to = voxels[start + offset];
                }
            }
        });
        Volume::new(grid, moved)
    }
}

/// The orthogonal matrix nearest to the directions of the voxel axes.
fn nearest_rotation(affine: &Affine) -> Matrix3<f64> {
    let mut directions = affine.linear();
    if !directions.iter().all(|v| v.is_finite()) {
        return Matrix3::identity();
    }
    for mut column in directions.column_iter_mut() {
        let length = column.norm();
        if length > 0.0 {
            column /= length;
        }
    }
    match SVD::try_new(directions, true, true, f64::EPSILON, 1000) {
        Some(SVD { u: Some(u), v_t: Some(v_t), .. }) => u * v_t,
        _ => directions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affine(columns: [[f64; 3]; 3]) -> Affine {
        Affine::from_rows(std::array::from_fn(|r| [columns[0][r], columns[1][r], columns[2][r], 0.0]))
    }

    #[test]
    fn codes_name_where_the_axes_run_to() {
        let ras = Affine::from_spacing([1.0, 2.0, 3.0], [0.0; 3]);
        assert_eq!(code(&ras), "RAS");
        assert_eq!(code(&Affine::from_spacing([-1.0, -1.0, 1.0], [0.0; 3])), "LPS");
        // A sagittal acquisition: x runs to the back, y downwards, z to the right.
        assert_eq!(code(&affine([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.2, 0.0, 0.0]])), "PIR");
        assert_eq!(code(&affine([[0.9, 0.3, 0.0], [-0.3, 0.9, 0.1], [0.0, -0.5, 4.0]])), "RAS");
    }

    #[test]
    fn two_axes_never_share_a_direction() {
        // Both first columns run furthest to the front; the better aligned one keeps it.
        let sheared = affine([[0.6, 0.8, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert_eq!(code(&sheared), "RAS");
        let unusable = affine([[f64::NAN; 3]; 3]);
        assert_eq!(code(&unusable), "RAS");
        assert_eq!(code(&affine([[0.0; 3]; 3])).len(), 3);
    }

    #[test]
    fn voxels_move_with_their_axes() {
        let sagittal = affine([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]);
        let volume = Volume::new(Grid::new([2, 3, 1], sagittal), vec![0, 1, 2, 3, 4, 5]);
        let reorientation = Reorientation::to_ras(&sagittal);
        assert_eq!(reorientation.source_axes(), [2, 0, 1]);
        assert_eq!(reorientation.flipped(), [false, true, true]);
        let ras = to_ras(volume.clone());
        assert_eq!((ras.shape(), ras.voxels()), ([1, 2, 3], &[5, 4, 3, 2, 1, 0][..]));
        assert_eq!(ras.grid().affine.origin_mm(), [0.0, -1.0, -2.0]);
        assert_eq!(reorientation.inverse().apply(&ras), volume);
    }

    #[test]
    fn flips_in_place_are_those_of_the_copy() {
        let affine = Affine::from_spacing([1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]);
        let volume = Volume::new(Grid::new([2, 3, 4], affine), (0..24).collect());
        for bits in 0..8_u8 {
            let flipped = std::array::from_fn(|axis| bits >> axis & 1 == 1);
            let reorientation = Reorientation { source_axes: [0, 1, 2], flipped };
            assert_eq!(reorientation.flip(volume.clone()), reorientation.apply(&volume), "{flipped:?}");
        }
        let empty = Volume::<f32>::new(Grid::new([0, 3, 4], affine), Vec::new());
        assert_eq!(to_ras(empty.clone()), empty);
    }
}
