//! Starting poses: any rotation may be the right one.

use std::f64::consts::{SQRT_2, TAU};

use nalgebra::{Matrix3, Quaternion, UnitQuaternion, Vector3};
use rayon::prelude::*;

use crate::ascent::{Ascent, Summit};
use crate::foreground::Foreground;
use crate::motion::{Directions, Pose};
use crate::mutual_information::Comparison;

/// The number of rotations tried; any rotation is less than about 25 degrees from one of them.
const ROTATIONS: usize = 480;
/// How far apart the centres of the heads may be: a neck or a cropped head moves the centre.
const SHIFT_MM: f64 = 25.0;
/// Poses closer to each other than this count as the same.
const SAME_MM: f64 = 8.0;

/// The poses that climbs from `starts` reach on the coarsest level, each once.
pub(crate) fn climbed(
    comparison: &Comparison<'_>,
    starts: &[Pose],
    radius_mm: f64,
    directions: &Directions,
    ascent: &Ascent,
) -> Vec<Summit> {
    let climb = |start: &Pose| ascent.climb(&mut comparison.clone(), directions, *start);
    let mut summits: Vec<Summit> = starts.par_iter().filter_map(climb).collect();
    summits.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let mut distinct: Vec<Summit> = Vec::new();
    for summit in summits {
        if !distinct.iter().any(|other| apart(&other.pose, &summit.pose, radius_mm) < SAME_MM) {
            distinct.push(summit);
        }
    }
    distinct
}

/// The score of a pose: information from few points counts less.
pub(crate) fn score(summit: &Summit) -> f64 {
    summit.likeness.information * summit.likeness.overlap
}

/// Poses to climb from: that of the headers, the same with the centres aligned, and the `count` best of all rotations
/// with a few translations each.
pub(crate) fn promising(comparison: &Comparison<'_>, moving: &Foreground, count: usize) -> Vec<Pose> {
    let centre = comparison.points().centre;
    let shifts = (0..7).map(|i: usize| {
        let mut shift = Vector3::zeros();
        if i > 0 {
            shift[(i - 1) / 2] = if i.is_multiple_of(2) { SHIFT_MM } else { -SHIFT_MM };
        }
        shift
    });
    let shifts: Vec<_> = shifts.collect();
    let mut scored: Vec<(f64, Pose)> = (0..ROTATIONS)
        .into_par_iter()
        .map_init(
            || comparison.clone(),
            |comparison, index| {
                let linear = rotation(index);
                let mut best: Option<(f64, Pose)> = None;
                for shift in &shifts {
                    let pose = Pose { centre, linear, image: moving.centre + shift };
                    let Some(found) = comparison.likeness(&pose) else { continue };
                    let score = found.information * found.overlap;
                    if best.is_none_or(|(other, _)| score > other) {
                        best = Some((score, pose));
                    }
                }
                best
            },
        )
        .flatten()
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let as_headers_say = [centre, moving.centre];
    let as_headers_say = as_headers_say.map(|image| Pose { centre, linear: Matrix3::identity(), image });
    as_headers_say.into_iter().chain(scored.into_iter().take(count).map(|(_, pose)| pose)).collect()
}

/// Rotations that cover all rotations evenly: super-Fibonacci spirals (Alexa, CVPR 2022).
fn rotation(index: usize) -> Matrix3<f64> {
    // The positive root of x^4 = x + 4.
    const PSI: f64 = 1.533_751_168_755_204_3;
    let s = index as f64 + 0.5;
    let t = s / ROTATIONS as f64;
    let (inner, outer) = (t.sqrt(), (1.0 - t).sqrt());
    let (alpha, beta) = (TAU * s / SQRT_2, TAU * s / PSI);
    let quaternion =
        Quaternion::new(inner * alpha.sin(), inner * alpha.cos(), outer * beta.sin(), outer * beta.cos());
    *UnitQuaternion::from_quaternion(quaternion).to_rotation_matrix().matrix()
}

/// How far apart two poses place the head, in mm.
fn apart(a: &Pose, b: &Pose, radius_mm: f64) -> f64 {
    (a.image - b.image).norm() + radius_mm * (a.linear - b.linear).norm() / SQRT_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rotation_is_near_one_of_the_list() {
        let list: Vec<_> = (0..ROTATIONS).map(rotation).collect();
        for i in 0..200 {
            let angle = |k: usize| (i * (2 * k + 1) * 37 % 360) as f64;
            let wanted = nalgebra::Rotation3::from_euler_angles(angle(0), angle(1), angle(2));
            let nearest = list.iter().map(|r| ((r.transpose() * wanted.matrix()).trace() - 1.0) / 2.0);
            let degrees = nearest.fold(-1.0, f64::max).clamp(-1.0, 1.0).acos().to_degrees();
            assert!(degrees < 28.0, "{degrees}");
        }
    }
}
