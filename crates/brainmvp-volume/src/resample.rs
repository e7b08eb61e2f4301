//! Volumes on other grids.

mod general;
mod separable;

use nalgebra::{Cholesky, Matrix3, Matrix4, Vector3, Vector4};

use crate::{Affine, Grid, Volume};

/// How a value between voxels is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// From the eight voxels around; for images.
    Trilinear,
    /// The nearest voxel (of two equally near ones the one of even index); for label maps.
    Nearest,
}

/// A voxel type that can be interpolated, by way of `f32`.
pub trait Voxel: Copy + Send + Sync + PartialEq + Default {
    /// The value as `f32`.
    fn to_f32(self) -> f32;
    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
}

impl Voxel for f32 {
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Voxel for u16 {
    fn to_f32(self) -> f32 {
        self.into()
    }
    fn from_f32(value: f32) -> Self {
        value.round() as u16
    }
}

impl Voxel for u8 {
    fn to_f32(self) -> f32 {
        self.into()
    }
    fn from_f32(value: f32) -> Self {
        value.round() as u8
    }
}

/// Two grids whose voxels lie within this part of a voxel of each other are the same.
const SAME_VOXEL: f64 = 1e-3;

/// Absolute and exact: whether a corner is the lowest along all axes at once (`numpy.allclose` around zero).
const CORNER_TOLERANCE: f64 = 1e-8;

/// The grid with voxels of another size that covers the same part of the world.
///
/// The axes keep their directions as far as these are at right angles; a shear is taken out. The shape is that
/// of the box around the outermost voxel centres, rounded half to even. An axis whose new spacing is not
/// positive and finite keeps its own. These are the rules of MONAI's `Spacing`, found from its results.
///
/// The result may be very large where a header claims wide voxels: look at [`Grid::shape`] before filling it.
pub fn grid_at_spacing(grid: &Grid, spacing_mm: [f64; 3]) -> Grid {
    let linear = grid.affine.linear();
    let own = grid.affine.spacing_mm();
    let spacing = Vector3::from_fn(|axis, _| match spacing_mm[axis] {
        wanted if wanted > 0.0 && wanted.is_finite() => wanted,
        _ => own[axis],
    });
    let Some(directions) = right_angled(&linear) else { return *grid };
    let resampled = directions * Matrix3::from_diagonal(&spacing);
    let Some(to_new) = resampled.try_inverse() else { return *grid };

    let corners: [Vector3<f64>; 8] = std::array::from_fn(|corner| {
        // The last axis changes first, so that of several candidates the same one is found.
        Vector3::from_fn(|axis, _| {
            if corner >> (2 - axis) & 1 == 1 { grid.shape[axis].saturating_sub(1) as f64 } else { 0.0 }
        })
    });
    let places = corners.map(|corner| linear * corner + Vector3::from(grid.affine.origin_mm()));
    let indices = places.map(|place| to_new * place);
    let lowest = indices.iter().fold(indices[0], |a, b| a.inf(b));
    let highest = indices.iter().fold(indices[0], |a, b| a.sup(b));
    let shape: [usize; 3] =
        std::array::from_fn(|axis| ((highest[axis] - lowest[axis] + 1.0).round_ties_even() as usize).max(1));

    let lowest_corner = (0..8).find(|corner| (indices[*corner] - lowest).amax() <= CORNER_TOLERANCE);
    let origin = lowest_corner.map_or_else(
        || {
            // No corner is the lowest along all axes: the middles of the two grids meet.
            let middle = |shape: [usize; 3]| Vector3::from(shape.map(|length| length as f64 / 2.0));
            linear * middle(grid.shape) + Vector3::from(grid.affine.origin_mm()) - resampled * middle(shape)
        },
        |corner| places[corner],
    );
    Grid::new(shape, affine_of(&resampled, &origin))
}

/// Directions at right angles, the first along the first voxel axis: the rotation of a QR decomposition.
fn right_angled(linear: &Matrix3<f64>) -> Option<Matrix3<f64>> {
    let shear = Cholesky::new(linear.transpose() * linear)?.l().transpose();
    let directions = linear * shear.try_inverse()?;
    directions.iter().all(|v| v.is_finite()).then_some(directions)
}

fn affine_of(linear: &Matrix3<f64>, origin: &Vector3<f64>) -> Affine {
    let mut matrix = Matrix4::identity();
    matrix.fixed_view_mut::<3, 3>(0, 0).copy_from(linear);
    matrix.set_column(3, &Vector4::new(origin.x, origin.y, origin.z, 1.0));
    Affine::from_matrix(matrix)
}

/// The volume with voxels of another size, on [`grid_at_spacing`]; beyond the border the border voxel counts.
///
/// Equals MONAI's `Spacing` with border padding and `align_corners=False`.
pub fn to_spacing<T: Voxel>(
    volume: &Volume<T>,
    spacing_mm: [f64; 3],
    interpolation: Interpolation,
) -> Volume<T> {
    let grid = grid_at_spacing(volume.grid(), spacing_mm);
    let Some(to_source) = voxel_map(volume.grid(), &grid) else { return volume.clone() };
    if volume.grid().is_empty() || maps_to_itself(&to_source, volume.grid(), &grid) {
        return volume.clone();
    }
    match separable::Axes::of(&to_source, &grid) {
        Some(axes) => axes.resample(volume, &grid, interpolation),
        None => {
            general::resample(volume, &grid, &to_source, general::Sampling { interpolation, outside: None })
        }
    }
}

/// The volume on another grid, with `outside` where the volume does not reach.
///
/// A volume reaches half a voxel beyond the centres of its outermost voxels. Where its affine cannot be
/// inverted (never for a volume read from a file) everything is outside.
pub fn onto_grid<T: Voxel>(
    volume: &Volume<T>,
    grid: &Grid,
    interpolation: Interpolation,
    outside: T,
) -> Volume<T> {
    match voxel_map(volume.grid(), grid) {
        None => Volume::filled(*grid, outside),
        Some(map) if maps_to_itself(&map, volume.grid(), grid) => {
            Volume::new(*grid, volume.voxels().to_vec())
        }
        Some(map) => {
            general::resample(volume, grid, &map, general::Sampling { interpolation, outside: Some(outside) })
        }
    }
}

/// From voxel indices of `to` to those of `from`.
fn voxel_map(from: &Grid, to: &Grid) -> Option<Affine> {
    Some(from.affine.inverse()?.after(&to.affine))
}

/// Whether every voxel of `to` lies on the same voxel of `from`.
fn maps_to_itself(map: &Affine, from: &Grid, to: &Grid) -> bool {
    Grid::new(to.shape, *map)
        .same_place(&Grid::new(from.shape, Affine::from_matrix(Matrix4::identity())), SAME_VOXEL)
}
