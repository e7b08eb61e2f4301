//! From an image to its fingerprint.

use brainmvp_volume::{Volume, background};
use nalgebra::{Matrix3, Vector3};

use super::lattice::Lattice;
use super::text::HIGHEST;
use super::{CELLS, Fingerprint, OUTSIDE, SIDE};

/// The root mean square distance of the brain from its centre, in cells: 8 mm per cell for a brain of 56 mm.
const CELLS_PER_RADIUS: f64 = 7.0;

/// Bins per cell along each axis. Voxels are collected in bins before smoothing.
const BINS_PER_CELL: usize = 2;

/// Standard deviations, in cells, of the Gaussians that define the detail to keep and the local surroundings.
const DETAIL: f32 = 0.6;
const SURROUNDINGS: f32 = 2.0;

/// The deviation, in cells, of the Gaussian by which voxels become the brain's shape.
const BLUR: f32 = 0.5;

/// How much of what is around a cell, as far as detail is smoothed, must be brain: masks differ at the edge.
const INSIDE: f32 = 0.97;

/// The value at which fingerprints saturate, in local standard deviations.
const RANGE: f32 = 2.0;

/// The smallest number of cells for a fingerprint.
const FEWEST_CELLS: usize = 200;

/// Where a larger share than this of what is not 0 is dark, it is the noise of the background.
const BACKGROUND: f64 = 0.4;

/// The share of the median of the brain that is more than an edge.
const SOLID: f32 = 0.35;

/// How far the darkest of what an image shows is put above its background, as a share of its range.
const STEP: f32 = 0.05;

/// The brightness of an image is measured on one voxel in this many.
const SAMPLED: usize = 7;

impl Fingerprint {
    /// The fingerprint of an image as it is in its file, where the background may be another value than 0 and amid those of
    /// the brain (z-scores).
    pub fn of_stored(image: &Volume) -> Option<Self> {
        let Some(background) = background(image) else { return Self::of(image) };
        let shown = image.voxels().iter().copied().filter(|voxel| voxel.is_finite() && *voxel != background);
        let (low, high) =
            shown.fold((f32::MAX, f32::MIN), |(low, high), voxel| (low.min(voxel), high.max(voxel)));
        if background == 0.0 && low >= 0.0 {
            return Self::of(image);
        }
        let dark = low.min(background);
        // What is shown is brighter than its background.
        let step = if low < background { STEP * (high - low) } else { 0.0 };
        Self::of(&image.map(|voxel| if voxel == background { 0.0 } else { voxel - dark + step }))
    }

    /// The fingerprint of a prepared image; `None` if it shows too little.
    pub fn of(image: &Volume) -> Option<Self> {
        let frame = Frame::of(image)?;
        let side = BINS_PER_CELL * SIDE;
        let [mut sums, mut weights, mut solid] = std::array::from_fn(|_| Lattice::zeros(side));
        frame.each_voxel(image, |place, value| {
            let place = place.cast::<f32>().into();
            sums.add(place, value);
            weights.add(place, 1.0);
            if value > frame.solid {
                solid.add(place, 1.0);
            }
        });
        let bins = |cells: f32| cells * BINS_PER_CELL as f32;
        let density = weights.smoothed(bins(DETAIL));
        // In the middle of the brain there are so many voxels to a bin.
        let solid = solid.smoothed(bins(BLUR)).scaled(frame.voxel_bins).filled(0.5);
        let inner = solid.smoothed(bins(DETAIL)).map(|density| f32::from(u8::from(density >= INSIDE)));
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
    /// What is brighter is no background.
    background: f32,
    /// What is brighter is not just the edge of something.
    solid: f32,
    /// From voxels to bins.
    linear: Matrix3<f64>,
    origin: Vector3<f64>,
    /// The volume of a voxel, in bins.
    voxel_bins: f64,
}

impl Frame {
    fn of(image: &Volume) -> Option<Self> {
        let (background, solid) = thresholds(image.voxels())?;
        let [nx, ny, _] = image.shape();
        let (mut count, mut sum, mut products) = (0.0, Vector3::zeros(), Matrix3::zeros());
        for (row, voxels) in image.voxels().chunks_exact(nx).enumerate() {
            let (y, z) = ((row % ny) as f64, (row / ny) as f64);
            // For a row: the count, and the sums of x and x squared.
            let (mut n, mut first, mut second) = (0.0, 0.0, 0.0);
            for (x, _) in voxels.iter().enumerate().filter(|(_, value)| **value > solid) {
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
        Some(Self { background, solid, linear, origin, voxel_bins: linear.determinant().abs() })
    }

    /// Calls `f` with the place in bins and the value of each voxel that is no background.
    fn each_voxel(&self, image: &Volume, mut f: impl FnMut(Vector3<f64>, f32)) {
        let [nx, ny, _] = image.shape();
        let step = self.linear.column(0).into_owned();
        for (row, voxels) in image.voxels().chunks_exact(nx).enumerate() {
            let start = self.origin + self.linear * Vector3::new(0.0, (row % ny) as f64, (row / ny) as f64);
            for (x, value) in voxels.iter().enumerate().filter(|(_, value)| **value > self.background) {
                f(start + step * x as f64, *value);
            }
        }
    }
}

/// Above which value a voxel is no background, and above which it is not just the edge of something: where images were put
/// on another grid, the brain fades out over a voxel.
///
/// The background is 0 where it was removed, else noise that reaches a tenth of what the brightest voxels have. Zeros
/// themselves say nothing: they may have been added around. `None` where there is nothing else.
fn thresholds(voxels: &[f32]) -> Option<(f32, f32)> {
    let mut some: Vec<f32> =
        voxels.iter().step_by(SAMPLED).copied().filter(|value| *value > 0.0 && value.is_finite()).collect();
    let place = some.len().checked_sub(1)? * 98 / 100;
    let dark = 0.1 * *some.select_nth_unstable_by(place, f32::total_cmp).1;
    let count = some.iter().filter(|value| **value < dark).count();
    let background = if count as f64 > BACKGROUND * some.len() as f64 { dark } else { 0.0 };
    some.retain(|value| *value > background);
    let middle = some.len() / 2;
    let median = *some.select_nth_unstable_by(middle, f32::total_cmp).1;
    Some((background, background.max(SOLID * median)))
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

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};

    use super::*;

    /// An uneven ellipsoid with spots.
    fn head() -> Volume {
        let shape = [48, 56, 44];
        let grid = Grid::new(shape, Affine::from_spacing([3.0; 3], [0.0; 3]));
        let value = |offset: usize| {
            let place = [offset % 48, offset / 48 % 56, offset / (48 * 56)];
            let from = |axis: usize, middle: f32| place[axis] as f32 - middle;
            let (x, y, z) = (from(0, 24.0), from(1, 28.0), from(2, 22.0));
            let inside = (x / 20.0).powi(2) + (y / 24.0).powi(2) + (z / 18.0).powi(2) < 1.0;
            let spots = (0.5 * x).sin() * (0.31 * y + 0.1 * x).cos() + (0.4 * z + 0.05 * y).sin();
            if inside { 100.0 + 25.0 * spots } else { 0.0 }
        };
        Volume::new(grid, (0..shape.iter().product()).map(value).collect())
    }

    #[test]
    fn another_background_is_no_other_head() {
        let head = head();
        let own = Fingerprint::of(&head).unwrap();
        let brain = |value: f32| value != 0.0;
        let copies = [
            head.map(|v| if brain(v) { (v - 100.0) / 20.0 } else { 0.0 }),
            head.map(|v| if brain(v) { v } else { -1024.0 }),
            head.map(|v| v - 1024.0),
            head.map(|v| v + 500.0),
        ];
        for (number, copy) in copies.iter().enumerate() {
            let other = Fingerprint::of_stored(copy).unwrap();
            let similarity = own.similarity(&other);
            assert!(similarity >= Fingerprint::SAME_IMAGE, "{number}: {similarity}");
        }
        let unlike = Fingerprint::of(&copies[0]).map_or(0.0, |raw| own.similarity(&raw));
        assert!(unlike < Fingerprint::SAME_IMAGE, "as it is stored: {unlike}");
    }
}
