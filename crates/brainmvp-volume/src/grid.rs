//! The size of a volume and its place in the world.

use crate::Affine;
use crate::orientation::Reorientation;

/// How many voxels, and where they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// From voxel indices to RAS+ mm.
    pub affine: Affine,
}

impl Grid {
    /// A grid of `shape` voxels placed by `affine`.
    pub fn new(shape: [usize; 3], affine: Affine) -> Self {
        Self { shape, affine }
    }

    /// Number of voxels.
    #[inline]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no voxel at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index in memory of voxel `[x, y, z]`.
    #[inline]
    pub fn offset(&self, [x, y, z]: [usize; 3]) -> usize {
        (z * self.shape[1] + y) * self.shape[0] + x
    }

    /// The voxel at an index in memory; the inverse of [`Grid::offset`].
    #[inline]
    pub fn voxel(&self, offset: usize) -> [usize; 3] {
        let [nx, ny, _] = self.shape;
        [offset % nx, offset / nx % ny, offset / (nx * ny)]
    }

    /// Same shape, and no corner voxel further apart than `tolerance_mm`.
    pub fn same_place(&self, other: &Self, tolerance_mm: f64) -> bool {
        self.shape == other.shape
            && (0..8).all(|corner| {
                let voxel = std::array::from_fn(|axis| {
                    if corner >> axis & 1 == 1 { self.shape[axis].saturating_sub(1) as f64 } else { 0.0 }
                });
                let (a, b) = (self.affine.to_world(voxel), other.affine.to_world(voxel));
                (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt() <= tolerance_mm
            })
    }
    /// The same voxels in the world, perhaps stored in another order of axes or directions: the corners agree, as a set,
    /// within `tolerance_mm`.
    pub fn same_lattice(&self, other: &Self, tolerance_mm: f64) -> bool {
        Reorientation::between(other, self, tolerance_mm).is_some()
    }

    /// The volume of a voxel, mm^3. Axes that are not at right angles are taken into account.
    pub fn voxel_mm3(&self) -> f64 {
        self.affine.linear().determinant().abs()
    }
}
