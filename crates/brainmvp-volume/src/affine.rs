//! The map from voxel indices to millimetres.

use nalgebra::{Matrix3, Matrix4, Point3, Vector3};

/// A 4 x 4 affine from voxel indices `(x, y, z)` to RAS+ millimetres; the last row is `0 0 0 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine(Matrix4<f64>);

impl Affine {
    /// The affine with the given rows.
    pub fn from_rows(rows: [[f64; 4]; 3]) -> Self {
        let mut matrix = Matrix4::identity();
        for (r, row) in rows.iter().enumerate() {
            for (c, value) in row.iter().enumerate() {
                matrix[(r, c)] = *value;
            }
        }
        Self(matrix)
    }

    /// Axis-aligned RAS+ voxels of the given spacing, the first voxel's centre at `origin_mm`.
    pub fn from_spacing(spacing_mm: [f64; 3], origin_mm: [f64; 3]) -> Self {
        let mut rows = [[0.0; 4]; 3];
        for axis in 0..3 {
            rows[axis][axis] = spacing_mm[axis];
            rows[axis][3] = origin_mm[axis];
        }
        Self::from_rows(rows)
    }

    /// The affine as a matrix.
    pub fn matrix(&self) -> &Matrix4<f64> {
        &self.0
    }

    /// The affine of a matrix whose last row is `0 0 0 1`.
    pub fn from_matrix(matrix: Matrix4<f64>) -> Self {
        Self(matrix)
    }

    /// The first three rows.
    pub fn rows(&self) -> [[f64; 4]; 3] {
        std::array::from_fn(|r| std::array::from_fn(|c| self.0[(r, c)]))
    }

    /// Rotation, zoom and shear: the columns are the steps in mm of one voxel along x, y and z.
    pub fn linear(&self) -> Matrix3<f64> {
        self.0.fixed_view::<3, 3>(0, 0).into_owned()
    }

    /// Voxel size in mm along x, y and z.
    pub fn spacing_mm(&self) -> [f64; 3] {
        let linear = self.linear();
        std::array::from_fn(|axis| linear.column(axis).norm())
    }

    /// The centre of the first voxel in mm.
    pub fn origin_mm(&self) -> [f64; 3] {
        std::array::from_fn(|r| self.0[(r, 3)])
    }

    /// Where a voxel index (fractions allowed) lies in mm.
    pub fn to_world(&self, voxel: [f64; 3]) -> [f64; 3] {
        self.0.transform_point(&Point3::from(Vector3::from(voxel))).coords.into()
    }

    /// The inverse map, or `None` if the affine is singular or not finite.
    pub fn inverse(&self) -> Option<Self> {
        let inverse = self.0.try_inverse()?;
        inverse.iter().all(|v| v.is_finite()).then_some(Self(inverse))
    }

    /// The composition that applies `first` and then `self`.
    pub fn after(&self, first: &Self) -> Self {
        Self(self.0 * first.0)
    }

    /// Whether all entries agree within `tolerance` (mm).
    pub fn close_to(&self, other: &Self, tolerance: f64) -> bool {
        self.0.iter().zip(other.0.iter()).all(|(a, b)| (a - b).abs() <= tolerance)
    }

    /// Whether every entry is finite, the voxel sizes lie within 1e-9 and 1e9 mm, and the voxels have a volume: no axis
    /// lies in the plane of the others. Grids with such an affine can be resampled.
    pub fn is_usable(&self) -> bool {
        let box_volume: f64 = self.spacing_mm().iter().product();
        self.0.iter().all(|v| v.is_finite())
            && self.spacing_mm().iter().all(|mm| (1e-9..=1e9).contains(mm))
            && self.linear().determinant().abs() > 1e-6 * box_volume
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_origin_and_inverse() {
        let affine = Affine::from_rows([[0.0, -2.0, 0.0, 5.0], [3.0, 0.0, 0.0, 6.0], [0.0, 0.0, 4.0, 7.0]]);
        assert_eq!(affine.spacing_mm(), [3.0, 2.0, 4.0]);
        assert_eq!(affine.origin_mm(), [5.0, 6.0, 7.0]);
        assert_eq!(affine.to_world([1.0, 2.0, 3.0]), [1.0, 9.0, 19.0]);
        let identity = affine.inverse().unwrap().after(&affine);
        assert!(identity.close_to(&Affine::from_spacing([1.0; 3], [0.0; 3]), 1e-12));
    }

    #[test]
    fn usable_at_any_scale_but_not_flat() {
        for spacing in [1e-6, 1.0, 1e6] {
            assert!(Affine::from_spacing([spacing; 3], [0.0; 3]).is_usable());
        }
        assert!(!Affine::from_spacing([1.0, 1.0, 0.0], [0.0; 3]).is_usable());
        assert!(!Affine::from_spacing([1.0, 1.0, 1e-200], [0.0; 3]).is_usable());
        assert!(!Affine::from_spacing([1.0, 1.0, 1.0], [f64::NAN, 0.0, 0.0]).is_usable());
        let flat = Affine::from_rows([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        assert!(!flat.is_usable() && flat.inverse().is_none());
    }
}
