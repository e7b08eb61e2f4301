//! From signal on the case's grid to a registered series: thick slices, noise, rounding to grey values.

use brainmvp_volume::Grid;

use super::random::Random;
use super::site::Series;

/// Acquires one series: averages the signal over the voxels the scanner takes, adds Rician noise there, and
/// interpolates back onto `grid`, as registration does. `signal` is `x` fastest; `noise` is the deviation of the
/// noise in an acquired voxel.
pub(super) fn acquire(
    signal: Vec<f32>,
    grid: &Grid,
    series: &Series,
    noise: f32,
    random: &mut Random,
) -> Vec<f32> {
    let spacing = grid.affine.spacing_mm();
    let mut shape = grid.shape;
    let mut values = signal;
    for axis in 0..3 {
        let wanted = f64::from(series.voxel_mm[axis]);
        let count = (grid.shape[axis] as f64 * spacing[axis] / wanted).round().max(1.0) as usize;
        if count < grid.shape[axis] {
            values = along(&values, shape, axis, &averaging(shape[axis], count));
            shape[axis] = count;
        }
    }
    for value in &mut values {
        let (real, imaginary) = (*value + noise * random.gaussian(), noise * random.gaussian());
        *value = (real * real + imaginary * imaginary).sqrt();
    }
    for axis in (0..3).rev() {
        if shape[axis] < grid.shape[axis] {
            values = along(&values, shape, axis, &interpolating(shape[axis], grid.shape[axis]));
            shape[axis] = grid.shape[axis];
        }
    }
    values
}

/// Where one output sample comes from: the first input, and the weights of it and its followers.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Means over `count` equal stretches of `length` samples.
fn averaging(length: usize, count: usize) -> Vec<Taps> {
    let stretch = length as f64 / count as f64;
    (0..count)
        .map(|place| {
            let (low, high) = (place as f64 * stretch, (place + 1) as f64 * stretch);
            let first = low as usize;
            let last = (high.ceil() as usize).clamp(first + 1, length);
            let overlap = |sample: usize| (high.min(sample as f64 + 1.0) - low.max(sample as f64)).max(0.0);
            let weights = (first..last).map(|sample| (overlap(sample) / stretch) as f32).collect();
            Taps { first, weights }
        })
        .collect()
}

/// Cubic (Catmull-Rom) interpolation of `length` samples at `count` places over the same stretch.
fn interpolating(length: usize, count: usize) -> Vec<Taps> {
    let step = length as f64 / count as f64;
    (0..count)
        .map(|place| {
            let at = ((place as f64 + 0.5) * step - 0.5).clamp(0.0, (length - 1) as f64);
            let whole = at.floor();
            let t = (at - whole) as f32;
            let cubic = [
                0.5 * t * (-1.0 + t * (2.0 - t)),
                1.0 + 0.5 * t * t * (-5.0 + 3.0 * t),
                0.5 * t * (1.0 + t * (4.0 - 3.0 * t)),
                0.5 * t * t * (t - 1.0),
            ];
            // Samples beyond the ends repeat the last one.
            let first = (whole as usize).saturating_sub(1);
            let last = (whole as usize + 2).min(length - 1);
            let mut weights = vec![0.0; last - first + 1];
            for (tap, weight) in cubic.iter().enumerate() {
                let source = (whole as usize + tap).saturating_sub(1).clamp(first, last);
                weights[source - first] += weight;
            }
            Taps { first, weights }
        })
        .collect()
}

/// Applies taps along one axis of `values` (`x` fastest).
fn along(values: &[f32], shape: [usize; 3], axis: usize, taps: &[Taps]) -> Vec<f32> {
    let stride: usize = shape[..axis].iter().product();
    let block = stride * shape[axis];
    let mut out = Vec::with_capacity(values.len() / shape[axis] * taps.len());
    for part in values.chunks_exact(block) {
        for Taps { first, weights } in taps {
            let start = out.len();
            out.resize(start + stride, 0.0);
            for (tap, weight) in weights.iter().enumerate() {
                let row = &part[(first + tap) * stride..][..stride];
                for (sum, value) in out[start..].iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one() {
        for taps in [
            averaging(96, 41),
            averaging(7, 3),
            interpolating(41, 96),
            interpolating(1, 5),
            interpolating(2, 9),
        ] {
            for Taps { weights, .. } in taps {
                assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn averaging_along_each_axis_keeps_the_mean() {
        let shape = [4, 6, 8];
        let values: Vec<f32> = (0..192).map(|i| (i * 37 % 101) as f32).collect();
        for axis in 0..3 {
            let out = along(&values, shape, axis, &averaging(shape[axis], 2));
            let mean = |v: &[f32]| v.iter().sum::<f32>() / v.len() as f32;
            assert!((mean(&out) - mean(&values)).abs() < 1e-3);
        }
    }

    #[test]
    fn interpolation_of_a_line_is_a_line_inside() {
        let line: Vec<f32> = (0..10).map(|i| i as f32).collect();
        let out = along(&line, [10, 1, 1], 0, &interpolating(10, 20));
        assert!((out[10] - 4.75).abs() < 1e-5, "{}", out[10]);
    }
}
