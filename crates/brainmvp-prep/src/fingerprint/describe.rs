//! From an image to its fingerprint.

use brainmvp_volume::Volume;
use nalgebra::{Matrix3, Vector3};

use super::lattice::Lattice;
use super::text::HIGHEST;
use super::{CELLS, Fingerprint, OUTSIDE, SIDE};

/// The root mean square distance of the brain from its centre, in cells: 8 mm per cell for a brain of 56 mm.
const CELLS_PER_RADIUS: f64 = 7.0;

/// Bins per cell along each axis. Voxels are collected in bins before smoothing.
const BINS_PER_CELL: usize = 2;

/// Standard deviations, in cells, of the Gaussians that define the detail to keep and the local surroundings.
const DETAIL: f32 = 0.75;
const SURROUNDINGS: f32 = 2.5;

/// The share of a cell's neighbourhood that must be brain, because masks differ at the edge.
const INSIDE: f32 = 0.97;

/// The value at which fingerprints saturate, in local standard deviations.
const RANGE: f32 = 3.0;

/// The smallest number of cells for a fingerprint.
const FEWEST_CELLS: usize = 200;

/// If more than this share of the voxels other than 0 is dark, these are noise of the background.
const BACKGROUND: f64 = 0.3;

/// The brightness of an image is measured on one voxel in this many.
const SAMPLED: usize = 7;

impl Fingerprint {
    /// The fingerprint of a prepared image; `None` if it shows too little.
    pub fn of(image: &Volume) -> Option<Self> {
        let frame = Frame::of(image)?;
        let side = BINS_PER_CELL * SIDE;
        let (mut sums, mut weights) = (Lattice::zeros(side), Lattice::zeros(side));
        frame.each_bright(image, |place, value| {
            let place = place.cast::<f32>();
            sums.add(place.into(), value);
            weights.add(place.into(), 1.0);
        });
        // The middle of the brain has the weight 1.
        let (sums, weights) = (sums.scaled(frame.voxel_bins), weights.scaled(frame.voxel_bins));
        let bins = |cells: f32| cells * BINS_PER_CELL as f32;
        let density = weights.smoothed(bins(DETAIL));
        let inner = density.map(|density| f32::from(u8::from(density >= INSIDE)));
        let detail = ratio(&sums.smoothed(bins(DETAIL)), &density);
        let around = inner.smoothed(bins(SURROUNDINGS));
        let local_mean = |values: &Lattice| {
            let inside = values.with(&inner, |value, inner| value * inner);
            ratio(&inside.smoothed(bins(SURROUNDINGS)), &around)
        };
        let difference = detail.with(&local_mean(&detail), |detail, mean| detail - mean);
        let power = local_mean(&difference.map(|difference| difference * difference));
        let contrast = difference.with(&power, |difference, power| difference / power.max(1e-8).sqrt());
        let level = |cell: usize| {
            if mean_of_cell(&inner, cell) < 0.5 {
                return OUTSIDE;
            }
            let share = mean_of_cell(&contrast, cell) / RANGE;
            (share.clamp(-1.0, 1.0) * f32::from(HIGHEST)).round() as i8
        };
        let found = Self { cells: (0..CELLS).map(level).collect() };
        (found.inside() >= FEWEST_CELLS).then_some(found)
    }
}

/// The position of the brain, which determines a voxel's position in the bins.
struct Frame {
    /// Brighter voxels are brain.
    threshold: f32,
    /// From voxels to bins.
    linear: Matrix3<f64>,
    origin: Vector3<f64>,
    /// The volume of a voxel, in bins.
    voxel_bins: f64,
}

impl Frame {
    fn of(image: &Volume) -> Option<Self> {
        let threshold = threshold(image.voxels())?;
        let [nx, ny, _] = image.shape();
        let (mut count, mut sum, mut products) = (0.0, Vector3::zeros(), Matrix3::zeros());
        for (row, voxels) in image.voxels().chunks_exact(nx).enumerate() {
            let (y, z) = ((row % ny) as f64, (row / ny) as f64);
            // For a row: the count, and the sums of x and x squared.
            let (mut n, mut first, mut second) = (0.0, 0.0, 0.0);
            for (x, _) in voxels.iter().enumerate().filter(|(_, value)| **value > threshold) {
                let x = x as f64;
                (n, first, second) = (n + 1.0, first + x, second + x * x);
            }
            count += n;
            sum += Vector3::new(first, n * y, n * z);
            products += Matrix3::new(
                second,
                first * y,
                first * z,
                first * y,
                n * y * y,
                n * y * z,
                first * z,
                n * y * z,
                n * z * z,
            );
        }
        let centre = sum / count;
        let spread = products / count - centre * centre.transpose();
        let to_mm = image.grid().affine.linear();
        let radius_mm = (to_mm * spread * to_mm.transpose()).trace().sqrt();
        if !(radius_mm.is_finite() && radius_mm > 0.0) {
            return None;
        }
        let linear = to_mm * (CELLS_PER_RADIUS * BINS_PER_CELL as f64 / radius_mm);
        let middle = (BINS_PER_CELL * SIDE - 1) as f64 / 2.0;
        let origin = Vector3::repeat(middle) - linear * centre;
        Some(Self { threshold, linear, origin, voxel_bins: linear.determinant().abs() })
    }

    /// Calls `f` with the position in bins and the value of each voxel of the brain.
    fn each_bright(&self, image: &Volume, mut f: impl FnMut(Vector3<f64>, f32)) {
        let [nx, ny, _] = image.shape();
        let step = self.linear.column(0).into_owned();
        for (row, voxels) in image.voxels().chunks_exact(nx).enumerate() {
            let start = self.origin + self.linear * Vector3::new(0.0, (row % ny) as f64, (row / ny) as f64);
            for (x, value) in voxels.iter().enumerate().filter(|(_, value)| **value > self.threshold) {
                f(start + step * x as f64, *value);
            }
        }
    }
}

/// The level above which voxels are brain, or head: 0 if the background was removed, otherwise a tenth of the level of
/// the brightest voxels. Zeros are ignored, because they may be padding. `None` if there is nothing else.
fn threshold(voxels: &[f32]) -> Option<f32> {
    let mut some: Vec<f32> = voxels.iter().step_by(SAMPLED).copied().filter(|value| *value > 0.0).collect();
    let place = some.len().checked_sub(1)? * 98 / 100;
    let bright = *some.select_nth_unstable_by(place, f32::total_cmp).1;
    let dark = some.iter().filter(|value| **value < 0.05 * bright).count();
    Some(if dark as f64 > BACKGROUND * some.len() as f64 { 0.1 * bright } else { 0.0 })
}

/// `values / weights`, or 0 if the weight is negligible.
fn ratio(values: &Lattice, weights: &Lattice) -> Lattice {
    values.with(weights, |value, weight| if weight > 1e-6 { value / weight } else { 0.0 })
}

/// The mean over the bins of a cell.
fn mean_of_cell(lattice: &Lattice, cell: usize) -> f32 {
    let first = [cell % SIDE, cell / SIDE % SIDE, cell / (SIDE * SIDE)].map(|place| place * BINS_PER_CELL);
    let mut sum = 0.0;
    for z in first[2]..first[2] + BINS_PER_CELL {
        for y in first[1]..first[1] + BINS_PER_CELL {
            let row = (z * lattice.side + y) * lattice.side + first[0];
            sum += lattice.bins[row..row + BINS_PER_CELL].iter().sum::<f32>();
        }
    }
    sum / BINS_PER_CELL.pow(3) as f32
}
