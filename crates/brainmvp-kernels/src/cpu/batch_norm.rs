//! Batch norm over the rows of `[rows, channels]`, and its gradient: one pass over memory for the sums, one for the
//! result. Sums are computed over fixed chunks of rows and combined in order, in double precision.

use rayon::prelude::*;

use super::buffer::build;
use super::layer_norm::{Gradients, add_up};
use super::simd::{InstructionSet, Lanes, dispatch};

/// Floats per chunk: they stay in a core's second-level cache between the computation of their mean and of the
/// deviations from it.
const CHUNK: usize = 1 << 15;

/// Mean and biased variance of each channel.
pub(crate) struct Moments {
    pub(crate) mean: Vec<f32>,
    pub(crate) variance: Vec<f32>,
}

impl Moments {
    /// The moments of each channel over all rows.
    ///
    /// Each chunk yields its mean and the sum of squared deviations from it; pairs of these are combined by the rule of
    /// Chan, Golub and LeVeque (1979).
    pub(crate) fn of(x: &[f32], channels: usize) -> Self {
        let set = InstructionSet::detect();
        let chunk = rows_per_chunk(channels) * channels;
        let parts: Vec<Vec<f32>> = x
            .par_chunks(chunk)
            .map(|x| {
                let mut moments = vec![0.0; 2 * channels];
                chunk_moments(set, x, &mut moments);
                moments
            })
            .collect();
        let (mut mean, mut squares, mut rows) = (vec![0.0f64; channels], vec![0.0f64; channels], 0.0);
        for (part, x) in parts.iter().zip(x.chunks(chunk)) {
            let added = (x.len() / channels) as f64;
            let share = added / (rows + added);
            for channel in 0..channels {
                let distance = f64::from(part[channel]) - mean[channel];
                mean[channel] += distance * share;
                squares[channel] += f64::from(part[channels + channel]) + distance * distance * rows * share;
            }
            rows += added;
        }
        Self {
            mean: mean.into_iter().map(|mean| mean as f32).collect(),
            variance: squares.into_iter().map(|squares| (squares / rows.max(1.0)) as f32).collect(),
        }
    }

    fn inverse_deviation(&self, channel: usize, epsilon: f32) -> f32 {
        (self.variance[channel] + epsilon).sqrt().recip()
    }
}

pub(crate) fn rows_per_chunk(channels: usize) -> usize {
    (CHUNK / channels.max(1)).max(1)
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + shift`, and the moments.
pub(crate) fn forward(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32) -> (Vec<f32>, Moments) {
    let channels = scale.len();
    if channels == 0 {
        return (Vec::new(), Moments { mean: Vec::new(), variance: Vec::new() });
    }
    assert!(shift.len() == channels && x.len().is_multiple_of(channels));
    let moments = Moments::of(x, channels);
    let factor: Vec<f32> =
        (0..channels).map(|channel| scale[channel] * moments.inverse_deviation(channel, epsilon)).collect();
    let term: Vec<f32> =
        (0..channels).map(|channel| shift[channel] - moments.mean[channel] * factor[channel]).collect();
    (affine(x, &factor, &term), moments)
}

/// `x * scale + shift`.
pub(crate) fn affine(x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
    // A second input that does not count keeps one kernel for both directions: it is not read where it is empty.
    combine(x, &[], [scale, &[], shift])
}

/// The gradients, given that for the output and the moments from the forward pass.
pub(crate) fn backward(
    x: &[f32],
    scale: &[f32],
    moments: &Moments,
    gradient: &[f32],
    epsilon: f32,
) -> Gradients {
    let channels = scale.len();
    if x.is_empty() {
        return Gradients { input: Vec::new(), scale: vec![0.0; channels], shift: vec![0.0; channels] };
    }
    assert!(moments.mean.len() == channels && moments.variance.len() == channels);
    assert!(x.len() == gradient.len() && x.len().is_multiple_of(channels));
    let set = InstructionSet::detect();
    let chunk = rows_per_chunk(channels) * channels;
    let sums: Vec<f32> = x
        .par_chunks(chunk)
        .zip(gradient.par_chunks(chunk))
        .flat_map_iter(|(x, gradient)| {
            let mut sums = vec![0.0; 2 * channels];
            chunk_sums(set, x, gradient, &moments.mean, &mut sums);
            sums
        })
        .collect();
    let (mut scale_gradient, shift_gradient) = add_up(&sums, channels);
    let rows = (x.len() / channels).max(1) as f32;
    let [mut of_gradient, mut of_x, mut term] = std::array::from_fn(|_| Vec::with_capacity(channels));
    for channel in 0..channels {
        let inverse = moments.inverse_deviation(channel, epsilon);
        scale_gradient[channel] *= inverse;
        let factor = scale[channel] * inverse;
        let along = -factor * inverse * scale_gradient[channel] / rows;
        of_gradient.push(factor);
        of_x.push(along);
        term.push(-factor * shift_gradient[channel] / rows - along * moments.mean[channel]);
    }
    let input = combine(gradient, x, [&of_gradient, &of_x, &term]);
    Gradients { input, scale: scale_gradient, shift: shift_gradient }
}

/// `first * factors[0] + second * factors[1] + factors[2]`, the factors by channel; an empty `second` counts as zero.
fn combine(first: &[f32], second: &[f32], factors: [&[f32]; 3]) -> Vec<f32> {
    let channels = factors[0].len();
    assert!(factors[2].len() == channels && factors[1].len() == if second.is_empty() { 0 } else { channels });
    assert!(second.is_empty() || second.len() == first.len());
    let set = InstructionSet::detect();
    let chunk = rows_per_chunk(channels) * channels;
    // SAFETY: the kernel writes all rows of the chunk.
    let [output] = unsafe {
        build(first.len(), chunk, |index, [to], count| {
            let part = index * chunk..index * chunk + count;
            let second = if second.is_empty() { second } else { &second[part.clone()] };
            combine_rows_on(set, &first[part], second, factors, to);
        })
    };
    output
}

dispatch! {
    /// Means of the channels over some rows, then the sums of squared deviations from them, into `moments`.
    fn chunk_moments(x: &[f32], moments: &mut [f32]) = moments_of_rows
}

dispatch! {
    /// Sums over some rows of `gradient * (x - mean)`, then of `gradient`, into `sums`.
    fn chunk_sums(x: &[f32], gradient: &[f32], mean: &[f32], sums: &mut [f32]) = sums_of_rows
}

dispatch! {
    /// [`combine`] for some rows; all of `output`, which has as many floats as `first`, is written.
    unsafe fn combine_rows_on(first: &[f32], second: &[f32], factors: [&[f32]; 3], output: *mut f32) = combine_rows
}

/// Runs `$kernel::<L, V>($($arg),*, channel)` over all channels: four vectors at a time, then one, then single floats.
macro_rules! for_channels {
    ($channels:expr, $kernel:ident($($arg:expr),*)) => {
        let mut channel = 0;
        // SAFETY: the channels up to the end of the vectors exist.
        unsafe {
            while channel + 4 * L::N <= $channels {
                $kernel::<L, 4>($($arg,)* channel);
                channel += 4 * L::N;
            }
            while channel + L::N <= $channels {
                $kernel::<L, 1>($($arg,)* channel);
                channel += L::N;
            }
            while channel < $channels {
                $kernel::<f32, 1>($($arg,)* channel);
                channel += 1;
            }
        }
    };
}
pub(crate) use for_channels;

#[inline(always)]
unsafe fn moments_of_rows<L: Lanes>(x: &[f32], moments: &mut [f32]) {
    for_channels!(moments.len() / 2, moments_of_channels(x, moments));
}

#[inline(always)]
unsafe fn moments_of_channels<L: Lanes, const V: usize>(x: &[f32], moments: &mut [f32], channel: usize) {
    let channels = moments.len() / 2;
    let rows = x.len() / channels;
    // SAFETY: `channel` and the `V` vectors from it lie in each row and in both halves of `moments`.
    unsafe {
        let mut mean = [L::zero(); V];
        for row in 0..rows {
            for v in 0..V {
                mean[v] = mean[v].add(L::load(x.as_ptr().add(row * channels + channel + v * L::N)));
            }
        }
        for v in 0..V {
            mean[v] = mean[v].div(L::splat(rows as f32));
        }
        let mut squares = [L::zero(); V];
        for row in 0..rows {
            for v in 0..V {
                let x = L::load(x.as_ptr().add(row * channels + channel + v * L::N));
                squares[v] = squares[v].mul_add(x.sub(mean[v]), x.sub(mean[v]));
            }
        }
        for v in 0..V {
            mean[v].store(moments.as_mut_ptr().add(channel + v * L::N));
            squares[v].store(moments.as_mut_ptr().add(channels + channel + v * L::N));
        }
    }
}

#[inline(always)]
unsafe fn sums_of_rows<L: Lanes>(x: &[f32], gradient: &[f32], mean: &[f32], sums: &mut [f32]) {
    for_channels!(mean.len(), sums_of_channels(x, gradient, mean, sums));
}

#[inline(always)]
unsafe fn sums_of_channels<L: Lanes, const V: usize>(
    x: &[f32],
    gradient: &[f32],
    mean: &[f32],
    sums: &mut [f32],
    channel: usize,
) {
    let channels = mean.len();
    // SAFETY: `channel` and the `V` vectors from it lie in each row, in `mean` and in both halves of `sums`.
    unsafe {
        let (mut along, mut plain, mut means) = ([L::zero(); V], [L::zero(); V], [L::zero(); V]);
        for v in 0..V {
            means[v] = L::load(mean.as_ptr().add(channel + v * L::N));
        }
        for row in 0..x.len() / channels {
            for v in 0..V {
                let at = row * channels + channel + v * L::N;
                let gradient = L::load(gradient.as_ptr().add(at));
                along[v] = along[v].mul_add(gradient, L::load(x.as_ptr().add(at)).sub(means[v]));
                plain[v] = plain[v].add(gradient);
            }
        }
        for v in 0..V {
            along[v].store(sums.as_mut_ptr().add(channel + v * L::N));
            plain[v].store(sums.as_mut_ptr().add(channels + channel + v * L::N));
        }
    }
}

#[inline(always)]
unsafe fn combine_rows<L: Lanes>(first: &[f32], second: &[f32], factors: [&[f32]; 3], output: *mut f32) {
    for_channels!(factors[0].len(), combine_channels(first, second, factors, output));
}

#[inline(always)]
unsafe fn combine_channels<L: Lanes, const V: usize>(
    first: &[f32],
    second: &[f32],
    factors: [&[f32]; 3],
    output: *mut f32,
    channel: usize,
) {
    let channels = factors[0].len();
    // SAFETY: `channel` and the `V` vectors from it lie in each row and in the factors that are used.
    unsafe {
        let (mut of_first, mut of_second, mut term) = ([L::zero(); V], [L::zero(); V], [L::zero(); V]);
        for v in 0..V {
            let load = |values: &[f32]| L::load(values.as_ptr().add(channel + v * L::N));
            (of_first[v], term[v]) = (load(factors[0]), load(factors[2]));
            if !second.is_empty() {
                of_second[v] = load(factors[1]);
            }
        }
        for at in (channel..first.len()).step_by(channels) {
            for v in 0..V {
                let at = at + v * L::N;
                let mut value = term[v].mul_add(L::load(first.as_ptr().add(at)), of_first[v]);
                if !second.is_empty() {
                    value = value.mul_add(L::load(second.as_ptr().add(at)), of_second[v]);
                }
                value.store(output.add(at));
            }
        }
    }
}
