//! Mutual information of two images, and its gradient with respect to the transform.
//!
//! Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22(1), 2003: the
//! values of the moving image enter the joint histogram through cubic B-spline windows, which makes it differentiable;
//! those of the fixed image, which do not change with the transform, through box windows.

use nalgebra::{Matrix3, Vector3};
use rayon::prelude::*;

use crate::motion::Pose;
use crate::points::{Points, Sampler};
use crate::pyramid::Level;

/// Points are counted in this many parts, whatever the number of threads, and the parts are added in order, so the sums
/// are always the same to the bit.
const PARTS: usize = 16;

/// The similarity of two images under a transform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Likeness {
    /// Mutual information in nats.
    pub(crate) information: f64,
    /// Mutual information divided by the mean entropy of the two images: 0 for independent ones, 1 for a
    /// one-to-one relation.
    pub(crate) similarity: f64,
    /// The share of the points that fall into the moving image.
    pub(crate) overlap: f64,
}

/// The gradient of the information with respect to the positions of the points in the moving image, as sums from which
/// the gradient with respect to any parameters follows; see [`crate::motion::Directions::gradient`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forces {
    pub(crate) moments: Matrix3<f64>,
    pub(crate) total: Vector3<f64>,
}

/// Compares a set of points of the fixed image with a moving image, repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct Comparison<'a> {
    points: &'a Points,
    moving: &'a Level,
    bins: usize,
    parts: Vec<Part>,
    /// The joint histogram, normalised, `bins` moving bins for each fixed one; afterwards the factors of the gradient.
    joint: Vec<f64>,
}

/// The result for one part of the points.
#[derive(Debug, Clone)]
struct Part {
    counts: Vec<f32>,
    seen: Vec<Seen>,
    number: usize,
}

/// A point that falls into the moving image.
#[derive(Debug, Clone, Copy)]
struct Seen {
    point: u32,
    fixed_bin: u32,
    /// The position of the moving value among the bins.
    moving: f32,
    /// The gradient of `moving` per voxel of the moving image.
    gradient: [f32; 3],
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(points: &'a Points, moving: &'a Level, bins: usize) -> Self {
        let part = |number| Part { counts: vec![0.0; bins * bins], seen: Vec::new(), number };
        Self { points, moving, bins, parts: (0..PARTS).map(part).collect(), joint: vec![0.0; bins * bins] }
    }

    pub(crate) fn points(&self) -> &'a Points {
        self.points
    }

    /// The similarity of the images; `None` if no point falls into the moving image.
    pub(crate) fn likeness(&mut self, pose: &Pose) -> Option<Likeness> {
        let (to_voxel, start) = self.to_voxel(pose);
        let (points, bins, sampler) = (self.points, self.bins, Sampler::new(self.moving));
        let per_part = points.places.len().div_ceil(PARTS);
        self.parts.par_iter_mut().for_each(|part| {
            let first = (part.number * per_part).min(points.places.len());
            let last = (first + per_part).min(points.places.len());
            part.count(points, first..last, &sampler, &to_voxel, &start, bins);
        });
        self.joint.fill(0.0);
        for part in &self.parts {
            for (sum, count) in self.joint.iter_mut().zip(&part.counts) {
                *sum += f64::from(*count);
            }
        }
        let seen = self.seen();
        if seen == 0 {
            return None;
        }
        self.joint.iter_mut().for_each(|count| *count /= seen as f64);
        let (fixed, moving) = self.margins();
        let entropy = |shares: &[f64]| -shares.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        let (of_fixed, of_moving) = (entropy(&fixed), entropy(&moving));
        let information = of_fixed + of_moving - entropy(&self.joint);
        let mean = 0.5 * (of_fixed + of_moving);
        Some(Likeness {
            information,
            similarity: if mean > 0.0 { information / mean } else { 0.0 },
            overlap: seen as f64 / points.places.len() as f64,
        })
    }

    /// As [`Comparison::likeness`], with the gradient.
    pub(crate) fn likeness_and_forces(&mut self, pose: &Pose) -> Option<(Likeness, Forces)> {
        let likeness = self.likeness(pose)?;
        let (_, moving) = self.margins();
        // The derivative of the information with respect to an entry of the joint histogram, up to terms that cancel in
        // sums over a window.
        for (place, share) in self.joint.iter_mut().enumerate() {
            let margin = moving[place % self.bins];
            *share = if *share > 0.0 { (*share / margin).ln() } else { 0.0 };
        }
        let (points, bins, factors) = (self.points, self.bins, &self.joint);
        let sums: Vec<[f64; 12]> =
            self.parts.par_iter().map(|part| part.forces(points, factors, bins)).collect();
        let mut sum = [0.0; 12];
        for part in sums {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        // From the gradient per voxel to the gradient per mm.
        let to_mm = self.moving.to_voxel.linear().transpose() / self.seen() as f64;
        let moments = to_mm * Matrix3::from_row_slice(&sum[..9]);
        let total = to_mm * Vector3::from_row_slice(&sum[9..]);
        Some((likeness, Forces { moments, total }))
    }

    fn seen(&self) -> usize {
        self.parts.iter().map(|part| part.seen.len()).sum()
    }

    /// From a position relative to the points' centre to a voxel index of the moving image.
    fn to_voxel(&self, pose: &Pose) -> ([[f32; 3]; 3], [f32; 3]) {
        let linear = self.moving.to_voxel.linear() * pose.linear;
        let image = pose.image + pose.linear * (self.points.centre - pose.centre);
        let start = self.moving.to_voxel.to_world(image.into());
        (std::array::from_fn(|r| std::array::from_fn(|c| linear[(r, c)] as f32)), start.map(|s| s as f32))
    }

    fn margins(&self) -> (Vec<f64>, Vec<f64>) {
        let mut moving = vec![0.0; self.bins];
        let fixed = self.joint.chunks_exact(self.bins).map(|row| {
            moving.iter_mut().zip(row).for_each(|(sum, share)| *sum += share);
            row.iter().sum()
        });
        (fixed.collect(), moving)
    }
}

impl Part {
    fn count(
        &mut self,
        points: &Points,
        range: std::ops::Range<usize>,
        sampler: &Sampler<'_>,
        to_voxel: &[[f32; 3]; 3],
        start: &[f32; 3],
        bins: usize,
    ) {
        self.counts.fill(0.0);
        self.seen.clear();
        // The window of the brightest value must end in the last bin.
        let scale = (bins - 3) as f32 * 0.9999;
        for point in range {
            let [x, y, z] = points.places[point];
            let index = std::array::from_fn(|axis| {
                let [a, b, c] = to_voxel[axis];
                start[axis] + a * x + b * y + c * z
            });
            let Some((value, gradient)) = sampler.value_and_gradient(index) else { continue };
            let fixed_bin = ((points.values[point] * bins as f32) as usize).min(bins - 1);
            let moving = 1.0 + value * scale;
            let (first, weights) = window(moving);
            let row = &mut self.counts[fixed_bin * bins + first..][..4];
            for (count, weight) in row.iter_mut().zip(weights) {
                *count += weight;
            }
            let gradient = gradient.map(|g| g * scale);
            self.seen.push(Seen { point: point as u32, fixed_bin: fixed_bin as u32, moving, gradient });
        }
    }

    /// The sums of force times position (9, by rows) and of forces (3).
    fn forces(&self, points: &Points, factors: &[f64], bins: usize) -> [f64; 12] {
        let mut sums = [0.0_f64; 12];
        for seen in &self.seen {
            let (first, slopes) = window_slopes(seen.moving);
            let row = &factors[seen.fixed_bin as usize * bins + first..][..4];
            let change: f64 = row.iter().zip(slopes).map(|(factor, slope)| factor * f64::from(slope)).sum();
            let place = points.places[seen.point as usize];
            for axis in 0..3 {
                let force = change * f64::from(seen.gradient[axis]);
                for (column, x) in place.iter().enumerate() {
                    sums[3 * axis + column] += force * f64::from(*x);
                }
                sums[9 + axis] += force;
            }
        }
        sums
    }
}

/// The first of the four bins that a value (1 or more) contributes to through a cubic B-spline, and its weights there.
#[inline(always)]
fn window(value: f32) -> (usize, [f32; 4]) {
    let whole = value as usize;
    let t = value - whole as f32;
    let (s, square) = (1.0 - t, t * t);
    let sixth = 1.0 / 6.0;
    let cube = square * t;
    let weights = [
        s * s * s * sixth,
        (4.0 - 6.0 * square + 3.0 * cube) * sixth,
        (1.0 + 3.0 * t + 3.0 * square - 3.0 * cube) * sixth,
        cube * sixth,
    ];
    (whole - 1, weights)
}

/// The derivatives of [`window`]'s weights with respect to the value.
#[inline(always)]
fn window_slopes(value: f32) -> (usize, [f32; 4]) {
    let whole = value as usize;
    let t = value - whole as f32;
    let (s, square) = (1.0 - t, t * t);
    let slopes = [-0.5 * s * s, 1.5 * square - 2.0 * t, 0.5 + t - 1.5 * square, 0.5 * square];
    (whole - 1, slopes)
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid, Volume};
    use nalgebra::DVector;
    use proptest::prelude::*;

    use super::*;
    use crate::foreground::Margin;
    use crate::motion::{Directions, Motion};
    use crate::{Pyramid, Transform};

    /// Waves within a ball: smooth, and different in every direction.
    fn ball(phase: f64) -> Pyramid {
        let grid = Grid::new([40, 44, 36], Affine::from_spacing([3.0, 2.7, 3.3], [-60.0; 3]));
        let value = |offset| {
            let [x, y, z] = grid.affine.to_world(grid.voxel(offset).map(|v| v as f64));
            let edge = 1.0 / (1.0 + ((x * x + 1.2 * y * y + z * z).sqrt() - 45.0).exp());
            ((300.0 + 80.0 * (0.09 * x + phase).sin() + 60.0 * (0.11 * y - 0.05 * z).cos()) * edge) as f32
        };
        Pyramid::new(&Volume::new(grid, (0..grid.len()).map(value).collect())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn the_gradient_is_that_of_the_information(
            start in prop::collection::vec(-6.0..6.0_f64, 12),
            level in 0_usize..3,
        ) {
            let (fixed, moving) = (ball(0.0), ball(0.7));
            let points = Points::draw(&fixed, Margin::Narrow, level, 4000, 1);
            let mut comparison = Comparison::new(&points, moving.level(level), 24);
            let directions = Directions::new(Motion::Affine, 40.0);
            let pose = Pose::of(&Transform::identity(), points.centre);
            let pose = directions.step(&pose, &DVector::from_vec(start));
            let (_, forces) = comparison.likeness_and_forces(&pose).unwrap();
            let gradient = directions.gradient(&pose, &forces.moments, &forces.total);
            for parameter in 0..12 {
                let mut along = |mm: f64| {
                    let mut step = DVector::zeros(12);
                    step[parameter] = mm;
                    comparison.likeness(&directions.step(&pose, &step)).unwrap()
                };
                let (ahead, behind) = (along(0.05), along(-0.05));
                // A point that leaves the image makes a jump that is not in the gradient.
                if ahead.overlap == behind.overlap {
                    let slope = (ahead.information - behind.information) / 0.1;
                    prop_assert!((slope - gradient[parameter]).abs() < 0.1 * gradient.norm() + 1e-4,
                        "{parameter}: {slope} {}", gradient[parameter]);
                }
            }
        }
    }
}
