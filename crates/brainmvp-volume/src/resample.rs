//! Resampling to other grids.

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
    /// The nearest voxel (of two equally near ones, the one with the even index); for label maps.
    Nearest,
}

/// A voxel type that can be interpolated, via `f32`.
pub trait Voxel: Copy + Send + Sync + PartialEq + Default {
    /// The value as `f32`.
    fn to_f32(self) -> f32;
    /// The nearest value of this type.
    fn from_f32(value: f32) -> Self;
}

impl Voxel for f32 {
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Voxel for u16 {
    #[inline]
    fn to_f32(self) -> f32 {
        self.into()
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value.round() as u16
    }
}

impl Voxel for u8 {
    #[inline]
    fn to_f32(self) -> f32 {
        self.into()
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value.round() as u8
    }
}

/// Two grids are the same if their voxels lie within this fraction of a voxel of each other.
const SAME_VOXEL: f64 = 1e-3;

/// An absolute tolerance: whether a corner is the lowest along all axes at once (`numpy.allclose` around zero).
const CORNER_TOLERANCE: f64 = 1e-8;

/// The grid with voxels of another size that covers the same region of the world.
///
/// The axes keep their directions as far as these are at right angles; a shear is taken out. The shape is that
/// of the box around the outermost voxel centres, rounded half to even. An axis whose new spacing is not
/// positive and finite keeps its own. These are the rules of MONAI's `Spacing`, as inferred from its results.
///
/// The result may be very large where a header claims wide voxels: check [`Grid::shape`] before filling it.
///
/// # Panics
/// If the affine is not [usable](Affine::is_usable); that of every volume read from a file is.
#[expect(clippy::expect_used, reason = "the caller's promise")]
pub fn grid_at_spacing(grid: &Grid, spacing_mm: [f64; 3]) -> Grid {
    let linear = grid.affine.linear();
    let own = grid.affine.spacing_mm();
    let spacing = Vector3::from_fn(|axis, _| match spacing_mm[axis] {
        wanted if wanted > 0.0 && wanted.is_finite() => wanted,
        _ => own[axis],
    });
    let directions = right_angled(&linear).expect("a usable affine has three directions");
    let resampled = directions * Matrix3::from_diagonal(&spacing);
    let to_new = resampled.try_inverse().expect("voxels of a positive size have an inverse");

    let corners: [Vector3<f64>; 8] = std::array::from_fn(|corner| {
        // The last axis changes first, so that of several candidates MONAI's is found.
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

/// The volume with voxels of another size, on [`grid_at_spacing`]; beyond the border, the border voxel is repeated.
///
/// Equals MONAI's `Spacing` with border padding and `align_corners=False`.
///
/// # Panics
/// If the affine is not [usable](Affine::is_usable); that of every volume read from a file is.
#[expect(clippy::expect_used, reason = "the caller's promise")]
pub fn to_spacing<T: Voxel>(
    volume: &Volume<T>,
    spacing_mm: [f64; 3],
    interpolation: Interpolation,
) -> Volume<T> {
    let grid = grid_at_spacing(volume.grid(), spacing_mm);
    let to_source = voxel_map(volume.grid(), &grid).expect("a usable affine has an inverse");
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
/// inverted (never for a volume read from a file) everything counts as outside.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Two oriented clinical grids, with the shapes and first-voxel places that MONAI 1.6.1 gives them at 1 mm.
    /// In the first a corner is the lowest along all axes; in the second, rounding of the affine prevents that.
    #[test]
    fn grids_at_1_mm_are_those_of_monai() {
        let t1c = Affine::from_rows([
            [0.8967711329460144, -4.333247360932546e-8, -0.33482369780540466, -115.02019053697586],
            [-0.004104039631783962, 0.8959046006202698, -0.4119369685649872, -73.56971134897321],
            [0.05454004928469658, 0.06741590797901154, 5.4743194580078125, -60.76651154831052],
        ]);
        let flair = Affine::from_rows([
            [0.8969560861587524, 7.986271644000453e-10, 0.31571295857429504, -94.94999253749847],
            [0.0147357527166605, 0.8609819412231445, -1.568920373916626, -74.41878530941904],
            [-0.049422383308410645, 0.2567099630832672, 5.262016773223877, -88.16555511951447],
        ]);
        let cases = [
            (
                t1c,
                [256, 224, 26],
                [230, 201, 138],
                [-115.02019053697586, -73.56971134897321, -60.76651154831052],
            ),
            (
                flair,
                [208, 256, 26],
                [187, 230, 139],
                [-94.89758442115392, -74.990330938456, -86.24865001463684],
            ),
        ];
        for (affine, shape, expected_shape, expected_origin) in cases {
            let grid = grid_at_spacing(&Grid::new(shape, affine), [1.0; 3]);
            assert_eq!(grid.shape, expected_shape);
            for axis in 0..3 {
                assert!((grid.affine.spacing_mm()[axis] - 1.0).abs() < 1e-12);
                assert!((grid.affine.origin_mm()[axis] - expected_origin[axis]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn between_and_beyond_the_voxels() {
        let grid = |n: usize, spacing: f64, origin: f64| {
            Grid::new([n, 1, 1], Affine::from_spacing([spacing, 1.0, 1.0], [origin, 0.0, 0.0]))
        };
        let volume = Volume::new(grid(3, 2.0, 0.0), vec![0.0_f32, 10.0, 40.0]);
        let spaced = to_spacing(&volume, [1.0; 3], Interpolation::Trilinear);
        assert_eq!(spaced.voxels(), [0.0, 5.0, 10.0, 25.0, 40.0]);
        // Half way between two, the voxel with the even index is taken.
        let labels = Volume::new(grid(3, 2.0, 0.0), vec![1_u16, 2, 3]);
        assert_eq!(to_spacing(&labels, [1.0; 3], Interpolation::Nearest).voxels(), [1, 1, 2, 3, 3]);
        // Up to half a voxel beyond the last centre the border is repeated; further out is outside.
        let wide = onto_grid(&volume, &grid(9, 1.0, -2.0), Interpolation::Trilinear, -1.0);
        assert_eq!(wide.voxels(), [-1.0, 0.0, 0.0, 5.0, 10.0, 25.0, 40.0, 40.0, -1.0]);
    }

    #[test]
    fn integers_are_rounded_once() {
        let grid = Grid::new([2, 2, 2], Affine::from_spacing([2.0; 3], [0.0; 3]));
        let volume = Volume::new(grid, vec![0_u16, 0, 0, 0, 0, 0, 0, 3]);
        let spaced = to_spacing(&volume, [1.0; 3], Interpolation::Trilinear);
        assert_eq!(spaced.shape(), [3, 3, 3]);
        // 3 / 8; rounded after each axis it would be 1.
        assert_eq!(spaced.at([1, 1, 1]), 0);
        assert_eq!(spaced.at([1, 1, 2]), 1);
        assert_eq!(spaced.at([2, 2, 1]), 2);
    }

    #[test]
    fn nothing_is_within_degenerate_and_empty_grids() {
        let flat = Affine::from_rows([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let volume = Volume::filled(Grid::new([2, 2, 2], flat), 1.0_f32);
        let good = Grid::new([1, 1, 1], Affine::from_spacing([1.0; 3], [0.0; 3]));
        assert_eq!(onto_grid(&volume, &good, Interpolation::Trilinear, 7.0).voxels(), [7.0]);
        let empty = Volume::<f32>::new(Grid::new([0, 2, 2], good.affine), Vec::new());
        assert!(to_spacing(&empty, [0.5; 3], Interpolation::Trilinear).grid().is_empty());
        assert_eq!(onto_grid(&empty, &good, Interpolation::Nearest, 7.0).voxels(), [7.0]);
    }
}
