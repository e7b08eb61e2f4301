//! The map between the worlds of two images.

use brainmvp_volume::{Affine, Grid, Volume};
use nalgebra::{Matrix3, Matrix4, Vector3};

/// An affine map from points in the fixed image to points in the moving image, both in RAS+ mm.
///
/// A moved image therefore takes its value at `x` from the moving image at `apply(x)`: the direction that ITK and
/// NiftyReg store as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform(Matrix4<f64>);

impl Transform {
    /// The identity.
    pub fn identity() -> Self {
        Self(Matrix4::identity())
    }

    /// The map with the given first three rows.
    pub fn from_rows(rows: [[f64; 4]; 3]) -> Self {
        Self(*Affine::from_rows(rows).matrix())
    }

    /// The map `x -> linear (x - centre) + image_of_centre`.
    pub fn about(centre: Vector3<f64>, linear: Matrix3<f64>, image_of_centre: Vector3<f64>) -> Self {
        let mut matrix = Matrix4::identity();
        matrix.fixed_view_mut::<3, 3>(0, 0).copy_from(&linear);
        matrix.fixed_view_mut::<3, 1>(0, 3).copy_from(&(image_of_centre - linear * centre));
        Self(matrix)
    }

    /// The first three rows.
    pub fn rows(&self) -> [[f64; 4]; 3] {
        Affine::from_matrix(self.0).rows()
    }

    /// Rotation, scales and shears.
    pub fn linear(&self) -> Matrix3<f64> {
        self.0.fixed_view::<3, 3>(0, 0).into_owned()
    }

    /// The image of the origin, in mm.
    pub fn translation(&self) -> Vector3<f64> {
        self.0.fixed_view::<3, 1>(0, 3).into_owned()
    }

    /// The point of the moving image (mm) for a point of the fixed image (mm).
    pub fn apply(&self, place: [f64; 3]) -> [f64; 3] {
        (self.linear() * Vector3::from(place) + self.translation()).into()
    }

    /// The inverse, or `None` if the matrix is singular or not finite.
    pub fn inverse(&self) -> Option<Self> {
        Some(Self(*Affine::from_matrix(self.0).inverse()?.matrix()))
    }

    /// The composition that applies `first` and then `self`.
    pub fn after(&self, first: &Self) -> Self {
        Self(self.0 * first.0)
    }

    /// The grid of the moving image in the space of the fixed image: the same voxels, each at the point of the fixed
    /// image that it corresponds to. `None` if the map has no inverse.
    ///
    /// Resampling a volume on this grid applies the transform, in the same interpolation as any other resampling.
    pub fn moved(&self, moving: &Grid) -> Option<Grid> {
        let back = Affine::from_matrix(self.inverse()?.0);
        Some(Grid::new(moving.shape, back.after(&moving.affine)))
    }

    /// The volume on the grid that [`Transform::moved`] returns. No voxel changes.
    pub fn move_volume<T: Copy>(&self, volume: Volume<T>) -> Option<Volume<T>> {
        let grid = self.moved(volume.grid())?;
        Some(Volume::new(grid, volume.into_voxels()))
    }

    /// The stretches along the principal axes, largest first: all 1 for a rigid map.
    pub fn scales(&self) -> [f64; 3] {
        let mut scales: [f64; 3] = self.linear().singular_values().into();
        scales.sort_by(|a, b| b.total_cmp(a));
        scales
    }

    /// The rotation nearest to the linear part; with a reflection its determinant is -1.
    pub fn rotation(&self) -> Matrix3<f64> {
        let svd = self.linear().svd(true, true);
        match (svd.u, svd.v_t) {
            (Some(u), Some(v_t)) => u * v_t,
            _ => Matrix3::identity(),
        }
    }

    /// The angle of [`Transform::rotation`], in degrees.
    pub fn rotation_deg(&self) -> f64 {
        ((self.rotation().trace() - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees()
    }

    /// The distance between the images of a point under this map and another one, in mm.
    pub fn distance_mm(&self, other: &Self, place: [f64; 3]) -> f64 {
        (Vector3::from(self.apply(place)) - Vector3::from(other.apply(place))).norm()
    }
}
