//! Makes a grid of slices: sorted along their normal, evenly spaced and complete, or refused with the reason.

use brainmvp_volume::{Affine, Grid};
use nalgebra::Vector3;

use crate::frame::{Frame, Plane};

/// How much the directions of slices of one volume may differ.
const DIRECTION_TOLERANCE: f64 = 1e-4;

/// How far a slice may be from its ideal position, as a fraction of the distance between slices.
const STEP_TOLERANCE: f64 = 0.01;

/// Slices closer than this are at the same place.
pub(crate) const SAME_PLACE_MM: f64 = 1e-3;

/// The plane that all frames are parallel to: that of the first.
///
/// # Errors
/// Where a frame has no position, or another orientation or pixel spacing than the first.
pub(crate) fn common_plane(frames: &[&Frame]) -> Result<Plane, String> {
    let mut planes = Vec::with_capacity(frames.len());
    for frame in frames {
        planes.push(frame.plane.map_err(|reason| format!("a slice {reason}"))?);
    }
    let first = *planes.first().ok_or("there are no slices")?;
    let turned = |plane: &&Plane| {
        (plane.along_row - first.along_row).amax() > DIRECTION_TOLERANCE
            || (plane.along_column - first.along_column).amax() > DIRECTION_TOLERANCE
    };
    let count = planes.iter().filter(turned).count();
    if count > 0 {
        let all = planes.len();
        return Err(format!(
            "slices of several orientations ({count} of {all} differ from the first): a localizer?"
        ));
    }
    let resampled = |plane: &Plane| {
        (0..2).any(|axis| (plane.spacing_mm[axis] / first.spacing_mm[axis] - 1.0).abs() > 1e-4)
    };
    if planes.iter().any(resampled) {
        return Err("slices of several pixel spacings".to_owned());
    }
    Ok(first)
}

/// The position of a slice along the normal, in mm.
pub(crate) fn depth_mm(plane: &Plane) -> f64 {
    plane.normal().dot(&plane.position)
}

impl Plane {
    pub(crate) fn normal(&self) -> Vector3<f64> {
        self.along_row.cross(&self.along_column)
    }
}

/// The grid of parallel frames of `columns` x `rows` pixels, and their order along z.
///
/// Voxels are laid out as dcm2niix does: rows from the bottom up, slices along the normal.
///
/// # Errors
/// Where slices are at the same place, missing, unevenly spaced or not stacked straight.
pub(crate) fn grid(frames: &[&Frame], columns: usize, rows: usize) -> Result<(Grid, Vec<usize>), String> {
    let plane = common_plane(frames)?;
    let positions = frames.iter().map(|frame| Ok(frame.plane?.position));
    let positions: Vec<Vector3<f64>> = positions.collect::<Result<_, &str>>()?;
    let normal = plane.normal();
    let depth = |index: usize| normal.dot(&positions[index]);
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by(|a, b| depth(*a).total_cmp(&depth(*b)));
    let origin = positions[order[0]];
    let step = match order.as_slice() {
        [only] => {
            let thickness = frames[*only].thickness_mm.ok_or("a single slice without a thickness")?;
            normal * thickness
        }
        [.., last] => {
            check_steps(&order.iter().map(|index| depth(*index)).collect::<Vec<_>>())?;
            (positions[*last] - origin) / (order.len() - 1) as f64
        }
        [] => return Err("there are no slices".to_owned()),
    };
    let furthest =
        order.iter().enumerate().map(|(z, index)| (origin + step * z as f64 - positions[*index]).norm());
    let furthest = furthest.fold(0.0, f64::max);
    if furthest > STEP_TOLERANCE * step.norm() {
        return Err(format!(
            "slices are not stacked straight: one is {furthest:.3} mm from where it should be"
        ));
    }
    let x = plane.along_row * plane.spacing_mm[0];
    let y = plane.along_column * plane.spacing_mm[1];
    let corner = origin + y * (rows - 1) as f64;
    // From LPS to RAS.
    let row =
        |axis: usize, sign: f64| [x[axis], -y[axis], step[axis], corner[axis]].map(|value| sign * value);
    let affine = Affine::from_rows([row(0, -1.0), row(1, -1.0), row(2, 1.0)]);
    if !affine.is_usable() {
        return Err("the positions of the slices do not form a volume".to_owned());
    }
    Ok((Grid::new([columns, rows, order.len()], affine), order))
}

/// Checks that sorted depths increase evenly.
#[expect(clippy::expect_used, reason = "some step is wider than the smallest where not all are even")]
fn check_steps(depths: &[f64]) -> Result<(), String> {
    let steps: Vec<f64> = depths.windows(2).map(|two| two[1] - two[0]).collect();
    if let Some(at) = steps.iter().position(|step| *step < SAME_PLACE_MM) {
        return Err(format!("two slices at the same place ({:.2} mm along the normal)", depths[at]));
    }
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    let even = |step: f64, of: f64| (step - of).abs() <= STEP_TOLERANCE * usual;
    if steps.iter().all(|step| even(*step, usual)) {
        return Ok(());
    }
    // The smallest step shows whether the others are multiples of it.
    let smallest = sorted[0];
    let multiple = |step: &f64| (step / smallest).round() * smallest;
    if steps.iter().all(|step| even(*step, multiple(step))) {
        let missing: f64 = steps.iter().map(|step| (step / smallest).round() - 1.0).sum();
        let at = steps.iter().position(|step| !even(*step, smallest));
        let at = at.expect("steps that were all even returned above");
        return Err(format!(
            "{missing} of {} slices missing, the first after {:.2} mm along the normal",
            depths.len() as f64 + missing,
            depths[at]
        ));
    }
    Err(format!("slices unevenly spaced: {smallest:.3} to {:.3} mm", sorted[sorted.len() - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_even_or_not() {
        let check = |depths: &[f64]| check_steps(depths).err().unwrap_or_default();
        assert_eq!(check(&[0.0, 5.5, 11.0, 16.504]), "");
        assert!(check(&[0.0, 1.0, 1.0, 2.0]).contains("the same place"));
        assert!(check(&[0.0, 1.0, 2.0, 4.0, 7.0]).starts_with("3 of 8 slices missing, the first after 2.00"));
        assert!(check(&[0.0, 1.0, 2.3]).contains("unevenly spaced: 1.000 to 1.300"));
    }
}
