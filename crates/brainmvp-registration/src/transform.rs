//! The map between the worlds of two images.

use brainmvp_volume::{Affine, Grid, Volume};
use nalgebra::{Matrix3, Matrix4, Vector3};

/// An affine map from places in the fixed image to places in the moving image, both in RAS+ mm.
///
/// A moved image therefore takes its value at `x` from the moving image at `apply(x)`: the direction that ITK and
/// NiftyReg store as well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transform(Matrix4<f64>);

impl Transform {
    /// The map that leaves everything in its place.
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

    /// Where the origin comes to lie, in mm.
    pub fn translation(&self) -> Vector3<f64> {
        self.0.fixed_view::<3, 1>(0, 3).into_owned()
    }

    /// Where a place of the fixed image (mm) lies in the moving image (mm).
    pub fn apply(&self, place: [f64; 3]) -> [f64; 3] {
        (self.linear() * Vector3::from(place) + self.translation()).into()
    }

    /// The map back, or `None` where the matrix is singular or not finite.
    pub fn inverse(&self) -> Option<Self> {
        Some(Self(*Affine::from_matrix(self.0).inverse()?.matrix()))
    }

    /// `self` after `first`: a place goes through `first`, then through `self`.
    pub fn after(&self, first: &Self) -> Self {
        Self(self.0 * first.0)
    }

    /// The grid of the moving image as the fixed image sees it: the same voxels, each at the place in the fixed
    /// image that it shows. `None` where the map has no inverse.
    ///
    /// Interpolating a volume of this grid moves it, in one interpolation together with any other resampling.
    pub fn moved(&self, moving: &Grid) -> Option<Grid> {
        let back = Affine::from_matrix(self.inverse()?.0);
        Some(Grid::new(moving.shape, back.after(&moving.affine)))
    }

    /// The volume with the grid that [`Transform::moved`] gives it. No voxel changes.
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

    /// How far apart this map and another one take a place, in mm.
    pub fn distance_mm(&self, other: &Self, place: [f64; 3]) -> f64 {
        (Vector3::from(self.apply(place)) - Vector3::from(other.apply(place))).norm()
    }
}
