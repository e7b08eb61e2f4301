//! Slices of volumes in any orientation, with square pixels, and outlines of other volumes on them.

use super::{Colour, Picture, Plane};
use crate::orientation::Reorientation;
use crate::resample::{Interpolation, Voxel, onto_grid};
use crate::{Affine, Grid, Volume};

/// The width of a pixel, unless the image is much larger or smaller than a head.
const PIXEL_MM: f64 = 1.0;
/// The bounds of a picture's longer side, in pixels.
const SIDE: [f64; 2] = [48.0, 320.0];

/// The pixels of a slice through an image, along those axes of the image that are nearest to those of the body.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The pixels as a grid one voxel thick, in the space of the image.
    pub grid: Grid,
}

impl Slice {
    /// The slice of an image on `image` through `point_mm` (RAS+), with `margin_mm` around the image; `None` if the affine of the
    /// image cannot be inverted.
    pub fn through(image: &Grid, plane: Plane, point_mm: [f64; 3], margin_mm: f64) -> Option<Self> {
        let grid = Reorientation::to_ras(&image.affine).grid(image);
        let spacing = grid.affine.spacing_mm();
        let length = |axis: usize| grid.shape[axis] as f64 * spacing[axis] + 2.0 * margin_mm;
        let longest = (0..3).map(length).fold(0.0, f64::max);
        let pixel_mm = PIXEL_MM.clamp(longest / SIDE[1], longest / SIDE[0]);
        let point = grid.affine.inverse()?.to_world(point_mm);
        let [across, up, through] = plane.axes();
        let mut first = [0.0; 3];
        for axis in [across, up] {
            first[axis] = -0.5 + (0.5 * pixel_mm - margin_mm) / spacing[axis];
        }
        let last = grid.shape[through].saturating_sub(1) as f64;
        first[through] = point[through].round().clamp(0.0, last);
        let origin = grid.affine.to_world(first);
        let linear = grid.affine.linear();
        let step = |axis: usize| linear.column(axis) * (pixel_mm / spacing[axis]);
        let steps = [step(across), step(up), linear.column(through).into_owned()];
        let rows = std::array::from_fn(|r| [steps[0][r], steps[1][r], steps[2][r], origin[r]]);
        let pixels = |axis: usize| ((length(axis) / pixel_mm).round() as usize).max(1);
        Some(Self { grid: Grid::new([pixels(across), pixels(up), 1], Affine::from_rows(rows)) })
    }

    /// The image, black at the lower bound of `window` and white at the upper.
    pub fn picture(&self, image: &Volume, window: (f32, f32)) -> Picture {
        let pixels = onto_grid(image, &self.grid, Interpolation::Trilinear, 0.0);
        // In memory the slice is laid out like an axial one.
        Picture::slice(pixels.voxels(), self.grid.shape, Plane::Axial, 0, window)
    }

    /// Draws the outline of another volume's values other than 0 on the picture of the slice. The volume is in the space of the slice.
    pub fn outline<T: Voxel>(&self, picture: &mut Picture, volume: &Volume<T>, colour: Colour) {
        let values = onto_grid(volume, &self.grid, Interpolation::Nearest, T::default());
        // A picture starts at the far end of both axes.
        let inside: Vec<bool> = values.voxels().iter().rev().map(|value| *value != T::default()).collect();
        picture.outline(&inside, colour);
    }
}

/// The axial slice with most labelled voxels of a label map in RAS+ of `shape` = `[x, y, z]`, x fastest; the middle one without any.
pub fn fullest_axial_slice(labels: &[u16], shape: [usize; 3]) -> usize {
    let area = (shape[0] * shape[1]).max(1);
    let counts = labels.chunks(area).map(|slice| slice.iter().filter(|label| **label > 0).count());
    let fullest = counts.enumerate().max_by_key(|(_, count)| *count);
    fullest.filter(|(_, count)| *count > 0).map_or(shape[2] / 2, |(slice, _)| slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_slice_is_the_middle_one_without_labels() {
        let mut labels = vec![0_u16; 2 * 2 * 5];
        assert_eq!(fullest_axial_slice(&labels, [2, 2, 5]), 2);
        labels[3 * 4] = 1;
        labels[4 * 4..4 * 4 + 2].fill(7);
        assert_eq!(fullest_axial_slice(&labels, [2, 2, 5]), 4);
    }

    #[test]
    fn slices_have_square_pixels_whatever_the_spacing() {
        let image =
            Volume::filled(Grid::new([40, 30, 10], Affine::from_spacing([1.0, 2.0, 5.0], [0.0; 3])), 1.0);
        let sides = |plane| {
            let picture = Slice::through(image.grid(), plane, [20.0, 30.0, 25.0], 0.0)
                .unwrap()
                .picture(&image, (0.0, 1.0));
            (picture.width(), picture.height())
        };
        assert_eq!(Plane::ALL.map(sides), [(40, 60), (40, 50), (60, 50)]);
    }
}
