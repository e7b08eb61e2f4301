//! A part of a volume, normalised by the extremes of the whole, and its gradient: one pass over the volume each.

use rayon::prelude::*;

use super::buffer::build;
use crate::ops::CropOptions;

/// Floats per task.
const CHUNK: usize = 1 << 15;
/// The number of extremes computed side by side.
const LANES: usize = 16;

/// The part of `x`, `[D, H, W]` of these sizes: `(x - low) / range`.
pub(crate) fn forward(x: &[f32], whole: [usize; 3], options: CropOptions) -> Vec<f32> {
    let normalised = Normalised::of(x, options);
    let [_, height, width] = options.size;
    // SAFETY: zeros are the whole chunk.
    let [part] = unsafe {
        build(options.size.iter().product(), height * width, |d, [to], count| {
            to.write_bytes(0, count);
            let to = std::slice::from_raw_parts_mut(to, count);
            for (h, to) in to.chunks_exact_mut(width.max(1)).enumerate() {
                let from = &x[row(whole, options, [d, h])..][..width];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = normalised.value(*from));
            }
        })
    };
    part
}

/// The gradient of [`forward`], given that for its output.
pub(crate) fn backward(x: &[f32], gradient: &[f32], whole: [usize; 3], options: CropOptions) -> Vec<f32> {
    assert_eq!(gradient.len(), options.size.iter().product::<usize>());
    let normalised = Normalised::of(x, options);
    let [_, height, width] = options.size;
    let plane = whole[1] * whole[2];
    let rows = |d: usize| {
        let gradient = &gradient[d * height * width..][..height * width];
        gradient.chunks_exact(width.max(1)).enumerate().map(move |(h, g)| (row(whole, options, [d, h]), g))
    };
    // SAFETY: zeros are the whole chunk.
    let [mut total] = unsafe {
        build(x.len(), plane, |d, [to], count| {
            to.write_bytes(0, count);
            let to = std::slice::from_raw_parts_mut(to, count);
            let inside = d.checked_sub(options.start[0]).filter(|&d| d < options.size[0]);
            for (start, gradient) in inside.into_iter().flat_map(rows) {
                let to = &mut to[start - d * plane..];
                to.iter_mut().zip(gradient).for_each(|(to, g)| *to = g / normalised.divisor);
            }
        })
    };
    // The gradients of the extremes; planes are added in order.
    let sums = |d| {
        let mut sums = [0.0; 2];
        for (start, gradient) in rows(d) {
            for (x, g) in x[start..].iter().zip(gradient) {
                sums[0] += f64::from(*g);
                sums[1] += f64::from(*g) * f64::from(normalised.value(*x));
            }
        }
        sums
    };
    let sums: Vec<[f64; 2]> = (0..options.size[0]).into_par_iter().map(sums).collect();
    let [all, along] =
        sums.into_iter().fold([0.0; 2], |total, sums| [total[0] + sums[0], total[1] + sums[1]]);
    let along = if normalised.spans { along } else { 0.0 };
    let divisor = f64::from(normalised.divisor);
    for (value, change) in [(normalised.low, along - all), (normalised.high, -along)] {
        // There is none if a value is NaN.
        let place = |(chunk, x): (usize, &[f32])| Some(chunk * CHUNK + x.iter().position(|&x| x == value)?);
        if let Some(place) = x.par_chunks(CHUNK).enumerate().find_map_first(place) {
            total[place] += (change / divisor) as f32;
        }
    }
    total
}

/// Where a row of the part starts in the volume.
fn row([_, height, width]: [usize; 3], options: CropOptions, [d, h]: [usize; 2]) -> usize {
    let [first_d, first_h, first_w] = options.start;
    ((first_d + d) * height + first_h + h) * width + first_w
}

/// The normalisation of a volume's values.
#[derive(Clone, Copy)]
struct Normalised {
    low: f32,
    high: f32,
    divisor: f32,
    /// Whether the divisor is the range, not the floor.
    spans: bool,
}

impl Normalised {
    fn of(x: &[f32], options: CropOptions) -> Self {
        let extremes = |x: &[f32]| {
            let mut lanes = [[f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]];
            let (whole, rest) = x.as_chunks::<LANES>();
            // Comparisons instead of `min` and `max`, and a fixed number of lanes, which the compiler vectorises.
            for x in whole {
                for lane in 0..LANES {
                    lanes[0][lane] = if x[lane] < lanes[0][lane] { x[lane] } else { lanes[0][lane] };
                    lanes[1][lane] = if x[lane] > lanes[1][lane] { x[lane] } else { lanes[1][lane] };
                }
            }
            let [low, high] = lanes.map(|lanes| lanes.into_iter().chain(rest.iter().copied()));
            (low.fold(f32::INFINITY, f32::min), high.fold(f32::NEG_INFINITY, f32::max))
        };
        let (low, high) = x
            .par_chunks(CHUNK)
            .map(extremes)
            .reduce(|| (f32::INFINITY, f32::NEG_INFINITY), |a, b| (a.0.min(b.0), a.1.max(b.1)));
        let range = high - low;
        let spans = range >= options.range_floor;
        Self { low, high, divisor: if spans { range } else { options.range_floor }, spans }
    }

    fn value(self, x: f32) -> f32 {
        (x - self.low) / self.divisor
    }
}
