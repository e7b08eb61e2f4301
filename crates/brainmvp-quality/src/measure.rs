//! Measures the original file of an image.

use brainmvp_prep::brain::is_stripped;
use brainmvp_prep::percentiles;
use brainmvp_volume::{Affine, Volume, orientation};

use crate::foreground::foreground;
use crate::noise::noise_deviation;
use crate::record::{MeasuredIn, Original};

/// A part of an image's voxels, and what it is.
pub(crate) type Part = (Vec<bool>, MeasuredIn);

/// Measures an image in a part of it or, without one, in its foreground.
pub(crate) fn original(image: &Volume, part: Option<Part>) -> Original {
    let affine = &image.grid().affine;
    let (inside, measured_in) = part.unwrap_or_else(|| foreground(image));
    let percentiles = percentiles_in(image.voxels(), &inside);
    let noise = noise_deviation(image, &inside);
    let snr = percentiles.zip(noise).map(|([_, median, _], noise)| median / noise).filter(|snr| *snr > 0.0);
    let voxels = inside.iter().filter(|inside| **inside).count();
    Original {
        shape: image.shape(),
        spacing_mm: affine.spacing_mm(),
        orientation: orientation::code(affine),
        oblique_deg: oblique_deg(affine),
        is_stripped: is_stripped(image),
        not_finite: image.voxels().iter().filter(|value| !value.is_finite()).count(),
        measured_in,
        foreground_ml: voxels as f64 * affine.linear().determinant().abs() / 1000.0,
        percentiles,
        noise,
        snr,
    }
}

/// Percentiles 5, 50 and 95 of the finite values inside; `None` if there are none.
pub(crate) fn percentiles_in(values: &[f32], inside: &[bool]) -> Option<[f64; 3]> {
    let part = values.iter().zip(inside).filter(|(value, inside)| **inside && value.is_finite());
    let part: Vec<f32> = part.map(|(value, _)| *value).collect();
    Some(percentiles(&part, [5.0, 50.0, 95.0]).ok()?.map(f64::from))
}

/// The largest angle between an axis of the voxels and the nearest axis of the body, in degrees.
fn oblique_deg(affine: &Affine) -> f64 {
    let (linear, spacing) = (affine.linear(), affine.spacing_mm());
    let angle =
        |axis: usize| (linear.column(axis).amax() / spacing[axis]).clamp(0.0, 1.0).acos().to_degrees();
    (0..3).map(angle).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Grid;

    use super::*;

    #[test]
    fn angles_of_axes() {
        let (sin, cos) = 20.0_f64.to_radians().sin_cos();
        let turned = Affine::from_rows([
            [2.0 * cos, -sin, 0.0, 9.0],
            [2.0 * sin, cos, 0.0, 9.0],
            [0.0, 0.0, 5.0, 9.0],
        ]);
        assert!((oblique_deg(&turned) - 20.0).abs() < 1e-9);
        assert_eq!(oblique_deg(&Affine::from_spacing([1.0, 2.0, 3.0], [0.0; 3])), 0.0);
    }

    #[test]
    fn an_image_is_measured_where_it_is_told() {
        let grid = Grid::new([20, 20, 20], Affine::from_spacing([2.0, 1.0, 1.0], [0.0; 3]));
        let image =
            Volume::new(grid, (0..8000).map(|place| if place < 4000 { 7.0 } else { f32::NAN }).collect());
        let part = ((0..8000).map(|place| place < 6000).collect(), MeasuredIn::BrainMask);
        let found = original(&image, Some(part));
        assert_eq!((found.not_finite, found.foreground_ml), (4000, 12.0));
        assert_eq!((found.percentiles, found.noise, found.snr), (Some([7.0; 3]), None, None));
        assert_eq!(percentiles_in(image.voxels(), &[false; 8000]), None);
    }
}
