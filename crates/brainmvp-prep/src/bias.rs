//! Finds and removes the smooth shading that receive coils add to an image.
//!
//! N4 (Tustison and others, "N4ITK: improved N3 bias correction", 2010): the histogram of the logarithm is sharpened by
//! undoing a Gaussian blur (Sled and others, 1998), the difference between observed and sharpened values estimates the
//! remaining shading, and a B-spline is fitted to it (Lee and others, 1997). This is repeated on ever finer lattices.

use brainmvp_volume::{Grid, Volume};
use rayon::prelude::*;

/// The spans of the lattice along each axis, for each level.
const LEVELS: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 30;
/// A round that changes the field by less than this (relative, root mean square) ends its level.
const CONVERGED: f64 = 1e-3;
/// Bins of the histogram of logarithms.
const BINS: usize = 200;
/// Full width at half maximum of the blur that models the shading, in logarithms.
const WIDTH: f64 = 0.15;
/// The noise term of the Wiener filter that undoes the blur.
const NOISE: f64 = 0.01;
/// The field is estimated from samples about 4 mm apart.
const SAMPLE_MM: f64 = 4.0;

/// A smooth field of logarithms over a grid: cubic B-splines, one lattice per level.
#[derive(Debug, Clone)]
pub struct BiasField {
    shape: [usize; 3],
    lattices: Vec<Lattice>,
    mean: f64,
    range: [f64; 2],
}

/// Finds the field of an image from the voxels that are `inside` and above 0; `None` if there are fewer than a thousand
/// samples or all are equal.
pub fn find_bias_field(image: &Volume, inside: impl Fn(usize) -> bool + Sync) -> Option<BiasField> {
    let samples = Sample::of(image, inside);
    if samples.len() < 1000 {
        return None;
    }
    let mut field = vec![0.0; samples.len()];
    let mut lattices = Vec::new();
    for spans in LEVELS {
        let mut level = Lattice::new(spans);
        for _ in 0..ROUNDS {
            let left: Vec<f64> = samples.iter().zip(&field).map(|(s, f)| s.value - f).collect();
            let sharp = sharpened(&left)?;
            let shading: Vec<f64> = left.iter().zip(&sharp).map(|(seen, sharp)| seen - sharp).collect();
            let change = Lattice::through(spans, &samples, &shading);
            let steps: Vec<f64> = samples.par_iter().map(|s| change.at(s.place)).collect();
            field.iter_mut().zip(&steps).for_each(|(field, step)| *field += step);
            level.add(&change);
            // The mean is not shading.
            let mean = steps.iter().sum::<f64>() / steps.len() as f64;
            let spread = steps.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / steps.len() as f64;
            if spread.sqrt() < CONVERGED {
                break;
            }
        }
        lattices.push(level);
    }
    let mean = field.iter().sum::<f64>() / field.len() as f64;
    let (low, high) =
        field.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let range = [low, high].map(|log| (log - mean).exp());
    Some(BiasField { shape: image.shape(), lattices, mean, range })
}

impl BiasField {
    /// Divides an image of the field's shape by the field, whose geometric mean in the samples is 1.
    pub fn correct(&self, image: &mut Volume) {
        let grid = *image.grid();
        let [nx, ny, _] = grid.shape;
        image.voxels_mut().par_chunks_mut(nx.max(1)).enumerate().for_each(|(row, voxels)| {
            let place = |x: usize| placed([x, row % ny, row / ny], self.shape);
            let rows: Vec<_> = self.lattices.iter().map(|lattice| lattice.row(place(0))).collect();
            for (x, voxel) in voxels.iter_mut().enumerate().filter(|(_, v)| **v != 0.0) {
                let log: f64 = rows.iter().map(|row| along(row, place(x)[0])).sum();
                *voxel /= (log - self.mean).exp() as f32;
            }
        });
    }

    /// The lowest and the highest gain in the samples, whose geometric mean is 1.
    pub fn range(&self) -> [f64; 2] {
        self.range
    }

    /// The field, of geometric mean 1 in the samples, at every voxel of a grid of its shape.
    pub fn on_grid(&self, grid: &Grid) -> Volume {
        let mut field = Volume::filled(*grid, 1.0);
        self.correct(&mut field);
        field.map(|inverse| 1.0 / inverse)
    }
}

/// A sample: its position from 0 to 1 along each axis, and the logarithm of its value.
struct Sample {
    place: [f64; 3],
    value: f64,
}

impl Sample {
    fn of(image: &Volume, inside: impl Fn(usize) -> bool + Sync) -> Vec<Self> {
        let grid = image.grid();
        let step = grid.affine.spacing_mm().map(|mm| ((SAMPLE_MM / mm).round() as usize).max(1));
        let counts: [usize; 3] = std::array::from_fn(|i| grid.shape[i].div_ceil(step[i]));
        let sample = |n: usize| {
            let [x, y, z] = [n % counts[0], n / counts[0] % counts[1], n / (counts[0] * counts[1])];
            let voxel = [x * step[0], y * step[1], z * step[2]];
            let offset = grid.offset(voxel);
            let value = image.voxels()[offset];
            (value > 0.0 && value.is_finite() && inside(offset))
                .then(|| Self { place: placed(voxel, grid.shape), value: f64::from(value).ln() })
        };
        (0..counts.iter().product()).into_par_iter().filter_map(sample).collect()
    }
}

fn placed(voxel: [usize; 3], shape: [usize; 3]) -> [f64; 3] {
    std::array::from_fn(|i| voxel[i] as f64 / (shape[i].max(2) - 1) as f64)
}

/// Control points of cubic B-splines, `x` fastest; `spans` of them along each axis.
#[derive(Debug, Clone)]
struct Lattice {
    spans: usize,
    points: Vec<f64>,
}

/// The first of the four control points that affect a position, and their weights.
fn taps(place: f64, spans: usize) -> (usize, [f64; 4]) {
    let at = place * spans as f64;
    let first = (at as usize).min(spans - 1);
    let t = at - first as f64;
    let s = 1.0 - t;
    let middle = |t: f64| (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0;
    (first, [s * s * s / 6.0, middle(t), middle(s), t * t * t / 6.0])
}

impl Lattice {
    fn new(spans: usize) -> Self {
        Self { spans, points: vec![0.0; (spans + 3).pow(3)] }
    }

    /// The lattice that approximates values at given positions (Lee and others, 1997, section 3.1).
    fn through(spans: usize, samples: &[Sample], values: &[f64]) -> Self {
        let mut lattice = Self::new(spans);
        let mut weights = vec![0.0; lattice.points.len()];
        for (sample, value) in samples.iter().zip(values) {
            let axes = sample.place.map(|place| taps(place, spans));
            let squares: f64 = axes.iter().map(|(_, w)| w.iter().map(|w| w * w).sum::<f64>()).product();
            for (point, weight) in reached(axes, spans) {
                let wanted = weight * value / squares;
                lattice.points[point] += weight * weight * wanted;
                weights[point] += weight * weight;
            }
        }
        lattice.points.iter_mut().zip(&weights).filter(|(_, w)| **w > 0.0).for_each(|(sum, w)| *sum /= w);
        lattice
    }

    fn at(&self, place: [f64; 3]) -> f64 {
        let axes = place.map(|place| taps(place, self.spans));
        reached(axes, self.spans).map(|(point, weight)| weight * self.points[point]).sum()
    }

    fn add(&mut self, other: &Self) {
        self.points.iter_mut().zip(&other.points).for_each(|(a, b)| *a += b);
    }

    /// The control points along x for the row through a position.
    fn row(&self, place: [f64; 3]) -> Vec<f64> {
        let length = self.spans + 3;
        let [(y, y_weights), (z, z_weights)] = [place[1], place[2]].map(|place| taps(place, self.spans));
        let mut row = vec![0.0; length];
        for (j, y_weight) in y_weights.iter().enumerate() {
            for (k, z_weight) in z_weights.iter().enumerate() {
                let points = &self.points[((z + k) * length + y + j) * length..][..length];
                row.iter_mut().zip(points).for_each(|(to, point)| *to += y_weight * z_weight * point);
            }
        }
        row
    }
}

/// The value at a position along a row of control points.
fn along(row: &[f64], place: f64) -> f64 {
    let (first, weights) = taps(place, row.len() - 3);
    weights.iter().zip(&row[first..]).map(|(weight, point)| weight * point).sum()
}

/// The 64 control points that affect a position, with their weights.
fn reached(axes: [(usize, [f64; 4]); 3], spans: usize) -> impl Iterator<Item = (usize, f64)> {
    let length = spans + 3;
    let [(x, x_weights), (y, y_weights), (z, z_weights)] = axes;
    (0..64).map(move |tap| {
        let [i, j, k] = [tap % 4, tap / 4 % 4, tap / 16];
        (((z + k) * length + y + j) * length + x + i, x_weights[i] * y_weights[j] * z_weights[k])
    })
}

/// The expected value of each sample without the blur that shading causes in the histogram; `None` if all are
/// alike.
fn sharpened(values: &[f64]) -> Option<Vec<f64>> {
    let (low, high) =
        values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
    let slope = (high - low) / (BINS - 1) as f64;
    if !(slope > 1e-9 && slope.is_finite()) {
        return None;
    }
    // Twice as long as the histogram: the transform is circular.
    let length = (2 * BINS).next_power_of_two();
    let offset = (length - BINS) / 2;
    let mut histogram = vec![0.0; length];
    for value in values {
        let at = (value - low) / slope;
        let (bin, share) = (at as usize, at.fract());
        histogram[offset + bin] += 1.0 - share;
        histogram[(offset + bin + 1).min(length - 1)] += share;
    }
    let width = WIDTH / slope;
    let factor = 4.0 * std::f64::consts::LN_2 / (width * width);
    let scale = 2.0 * (std::f64::consts::LN_2 / std::f64::consts::PI).sqrt() / width;
    let blur: Vec<f64> = (0..length)
        .map(|i| {
            let away = i.min(length - i) as f64;
            scale * (-away * away * factor).exp()
        })
        .collect();
    // The blur is symmetric, so its spectrum is real.
    let spectrum: Vec<f64> = transform(&real(&blur), -1.0).into_iter().map(|c| c[0]).collect();
    let seen = transform(&real(&histogram), -1.0);
    let undone: Vec<[f64; 2]> =
        seen.iter().zip(&spectrum).map(|(s, b)| s.map(|part| part * b / (b * b + NOISE))).collect();
    let sharp: Vec<f64> =
        transform(&undone, 1.0).into_iter().map(|c| (c[0] / length as f64).max(0.0)).collect();
    let blurred = |histogram: &[f64]| -> Vec<f64> {
        let spectrum_of: Vec<[f64; 2]> = transform(&real(histogram), -1.0)
            .iter()
            .zip(&spectrum)
            .map(|(s, b)| s.map(|part| part * b))
            .collect();
        transform(&spectrum_of, 1.0).into_iter().map(|c| c[0] / length as f64).collect()
    };
    let centre = |bin: usize| low + (bin as f64 - offset as f64) * slope;
    let weighted: Vec<f64> = sharp.iter().enumerate().map(|(bin, count)| count * centre(bin)).collect();
    let (above, below) = (blurred(&weighted), blurred(&sharp));
    let expected: Vec<f64> = (0..length)
        .map(|bin| if below[bin] > 1e-9 { above[bin] / below[bin] } else { centre(bin) })
        .collect();
    let at = |value: &f64| {
        let at = (value - low) / slope;
        let bin = offset + at as usize;
        expected[bin] + (expected[(bin + 1).min(length - 1)] - expected[bin]) * at.fract()
    };
    Some(values.iter().map(at).collect())
}

fn real(values: &[f64]) -> Vec<[f64; 2]> {
    values.iter().map(|v| [*v, 0.0]).collect()
}

/// The discrete Fourier transform of 2^n values, without a factor; `sign` -1 forward, 1 back.
fn transform(values: &[[f64; 2]], sign: f64) -> Vec<[f64; 2]> {
    if values.len() == 1 {
        return values.to_vec();
    }
    let half = |odd: usize| -> Vec<[f64; 2]> {
        transform(&values.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>(), sign)
    };
    let (even, odd) = (half(0), half(1));
    let mut result = vec![[0.0; 2]; values.len()];
    for (i, (e, o)) in even.iter().zip(&odd).enumerate() {
        let (sin, cos) = (sign * std::f64::consts::TAU * i as f64 / values.len() as f64).sin_cos();
        let turned = [cos * o[0] - sin * o[1], sin * o[0] + cos * o[1]];
        result[i] = [e[0] + turned[0], e[1] + turned[1]];
        result[i + even.len()] = [e[0] - turned[0], e[1] - turned[1]];
    }
    result
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    #[test]
    fn there_and_back() {
        let values: Vec<[f64; 2]> = (0..64_i32).map(|i| [f64::from(i * 37 % 11), 0.0]).collect();
        let back = transform(&transform(&values, -1.0), 1.0);
        assert!(values.iter().zip(back).all(|(a, b)| (a[0] - b[0] / 64.0).abs() < 1e-9 && b[1].abs() < 1e-9));
        // One wave has one frequency.
        let wave: Vec<f64> =
            (0..64).map(|i| (std::f64::consts::TAU * 5.0 * f64::from(i) / 64.0).cos()).collect();
        let spectrum = transform(&real(&wave), -1.0);
        assert!((spectrum[5][0] - 32.0).abs() < 1e-9 && spectrum[6][0].abs() < 1e-9);
    }

    #[test]
    fn weights_sum_to_one_everywhere() {
        for place in [0.0, 0.1, 0.25, 0.5, 0.99, 1.0] {
            for spans in LEVELS {
                let (first, weights) = taps(place, spans);
                assert!(first + 4 <= spans + 3 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_known_field_is_found() {
        let grid = Grid::new([60, 70, 60], Affine::from_spacing([3.0; 3], [0.0; 3]));
        let place = |v: usize| placed(grid.voxel(v), grid.shape);
        let known = |v: usize| {
            let [x, y, z] = place(v);
            (0.25 * (x - 0.5) + 0.3 * (y - 0.5) * (y - 0.5) - 0.15 * (x - 0.3) * z) as f32
        };
        // Two tissues in blobs, with a little noise.
        let tissue = |v: usize| {
            let [x, y, z] = place(v).map(|p| (p * 19.0).sin());
            if x + y * z > 0.1 { 100.0 } else { 60.0 }
        };
        let noise = |v: usize| 1.0 + 0.03 * ((v * 7919 % 1009) as f32 / 1009.0 - 0.5);
        let voxels = (0..grid.len()).map(|v| tissue(v) * noise(v) * known(v).exp()).collect();
        let image = Volume::new(grid, voxels);
        let field = find_bias_field(&image, |_| true).unwrap().on_grid(&grid);
        let difference: Vec<f32> =
            field.voxels().iter().enumerate().map(|(v, f)| f.ln() - known(v)).collect();
        let deviation = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
        };
        let before = deviation(&(0..grid.len()).map(known).collect::<Vec<_>>());
        let after = deviation(&difference);
        assert!(after < 0.2 * before, "of {before} of shading {after} is left");
        assert!(find_bias_field(&image.map(|_| 5.0), |_| true).is_none(), "nothing to see");
        assert!(find_bias_field(&image, |_| false).is_none());
    }
}
