//! Group norm over `[batch, voxels, channels]` with its activation, and its gradient: one pass over memory for the sums
//! of a case, one for the result. The gradient recomputes from the input which values the activation let through.

use rayon::prelude::*;

use super::batch_norm::{Moments, for_channels, rows_per_chunk};
use super::buffer::extend;
use super::layer_norm::{Gradients, add_up};
use super::simd::{InstructionSet, Lanes, dispatch};
use crate::ops::GroupNormOptions;

/// A norm of some cases.
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    pub(crate) batch: usize,
    pub(crate) options: GroupNormOptions,
}

impl Norm {
    /// The output, and the moments `[batch, 2, groups]`: mean, then biased variance.
    pub(crate) fn forward(self, x: &[f32], scale: &[f32], shift: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let channels = scale.len();
        if x.is_empty() {
            return (Vec::new(), vec![0.0; self.batch * 2 * self.options.groups]);
        }
        assert!(shift.len() == channels && x.len().is_multiple_of(self.batch * channels));
        let (set, slope) = (InstructionSet::detect(), self.options.activation.negative_slope());
        let chunk = rows_per_chunk(channels) * channels;
        let (mut output, mut all_moments) = (Vec::with_capacity(x.len()), Vec::new());
        for x in x.chunks_exact(x.len() / self.batch) {
            let moments = self.moments(x, channels);
            let case = Case::new(&moments, scale, shift, self.options);
            // SAFETY: the kernel writes all rows of the chunk.
            unsafe {
                extend([&mut output], x.len(), chunk, |index, [to], count| {
                    activate_on(set, &x[index * chunk..][..count], [&case.factor, &case.term], slope, to);
                });
            }
            all_moments.extend(moments);
        }
        (output, all_moments)
    }

    /// The gradients, given that for the output and the moments from the forward pass.
    pub(crate) fn backward(
        self,
        x: &[f32],
        [scale, shift]: [&[f32]; 2],
        moments: &[f32],
        gradient: &[f32],
    ) -> Gradients {
        let channels = scale.len();
        let mut input = Vec::with_capacity(x.len());
        // The contribution of each case to the gradients of scale and shift.
        let mut sums = Vec::new();
        if !x.is_empty() {
            assert!(x.len() == gradient.len() && x.len().is_multiple_of(self.batch * channels));
            assert!(shift.len() == channels && moments.len() == self.batch * 2 * self.options.groups);
            let count = x.len() / self.batch;
            let cases = x.chunks_exact(count).zip(gradient.chunks_exact(count));
            for ((x, gradient), moments) in cases.zip(moments.chunks_exact(2 * self.options.groups)) {
                let case = Case::new(moments, scale, shift, self.options);
                sums.extend(case.backward(x, gradient, scale, &mut input));
            }
        }
        let (scale, shift) = add_up(&sums, channels);
        Gradients { input, scale, shift }
    }

    /// Moments of the groups of one case, `[2, groups]`, from those of its channels.
    fn moments(self, x: &[f32], channels: usize) -> Vec<f32> {
        let Moments { mean, variance } = Moments::of(x, channels);
        let groups = self.options.groups;
        let width = channels / groups;
        let mut moments = vec![0.0; 2 * groups];
        for group in 0..groups {
            let range = group * width..(group + 1) * width;
            let average = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / width as f64;
            let middle = average(&mut mean[range.clone()].iter().map(|&mean| f64::from(mean)));
            let spread =
                average(&mut range.map(|channel| {
                    f64::from(variance[channel]) + (f64::from(mean[channel]) - middle).powi(2)
                }));
            moments[group] = middle as f32;
            moments[groups + group] = spread as f32;
        }
        moments
    }
}

/// The norm of one case, by channel: before the activation, `x` becomes `x * factor + term`.
struct Case {
    mean: Vec<f32>,
    inverse: Vec<f32>,
    factor: Vec<f32>,
    term: Vec<f32>,
    options: GroupNormOptions,
}

impl Case {
    fn new(moments: &[f32], scale: &[f32], shift: &[f32], options: GroupNormOptions) -> Self {
        let channels = scale.len();
        let (means, variances) = moments.split_at(options.groups);
        let width = channels / options.groups;
        let mean: Vec<f32> = (0..channels).map(|channel| means[channel / width]).collect();
        let inverse: Vec<f32> = (0..channels)
            .map(|channel| (variances[channel / width] + options.epsilon).sqrt().recip())
            .collect();
        let factor: Vec<f32> = scale.iter().zip(&inverse).map(|(scale, inverse)| scale * inverse).collect();
        let term = (0..channels).map(|channel| shift[channel] - mean[channel] * factor[channel]).collect();
        Self { mean, inverse, factor, term, options }
    }

    /// Appends the input's gradient to `input`, and returns the contribution of the case to those of scale and shift,
    /// `[2, channels]`.
    fn backward(&self, x: &[f32], gradient: &[f32], scale: &[f32], input: &mut Vec<f32>) -> Vec<f32> {
        let (set, slope) = (InstructionSet::detect(), self.options.activation.negative_slope());
        let channels = scale.len();
        let chunk = rows_per_chunk(channels) * channels;
        let sums: Vec<f32> = x
            .par_chunks(chunk)
            .zip(gradient.par_chunks(chunk))
            .flat_map_iter(|(x, gradient)| {
                let mut sums = vec![0.0; 2 * channels];
                let by_channel = [&self.factor[..], &self.term, &self.mean];
                gated_sums_on(set, x, gradient, by_channel, slope, &mut sums);
                sums
            })
            .collect();
        let (mut along, plain) = add_up(&sums, channels);
        along.iter_mut().zip(&self.inverse).for_each(|(along, inverse)| *along *= inverse);
        let [of_x, rest] = self.through_moments([&along, &plain], scale, x.len() / channels);
        // SAFETY: the kernel writes all rows of the chunk.
        unsafe {
            extend([input], x.len(), chunk, |index, [to], count| {
                let part = index * chunk..index * chunk + count;
                let by_channel = [&self.factor[..], &self.term, &of_x, &rest];
                gated_input_on(set, &x[part.clone()], &gradient[part], by_channel, slope, to);
            });
        }
        [along, plain].concat()
    }

    /// The part of the input's gradient that comes from the moments, by channel: a factor of the input, and a constant.
    fn through_moments(&self, [along, plain]: [&[f32]; 2], scale: &[f32], rows: usize) -> [Vec<f32>; 2] {
        let width = scale.len() / self.options.groups;
        let count = (rows * width) as f64;
        let (mut of_x, mut rest) = (Vec::with_capacity(scale.len()), Vec::with_capacity(scale.len()));
        for group in 0..self.options.groups {
            let range = group * width..(group + 1) * width;
            let mean_of = |sums: &[f32]| {
                range.clone().map(|c| f64::from(scale[c]) * f64::from(sums[c])).sum::<f64>() / count
            };
            let (mean, inverse) = (f64::from(self.mean[range.start]), f64::from(self.inverse[range.start]));
            let factor = -inverse * inverse * mean_of(along);
            let term = -inverse * mean_of(plain) - mean * factor;
            of_x.resize(range.end, factor as f32);
            rest.resize(range.end, term as f32);
        }
        [of_x, rest]
    }
}

dispatch! {
    /// `x * factor + term`, negative values times `slope`, for some rows; all of `output`, which has as many floats as
    /// `x`, is written. `by_channel` are factors and terms.
    unsafe fn activate_on(x: &[f32], by_channel: [&[f32]; 2], slope: f32, output: *mut f32) = activate
}

dispatch! {
    /// Sums over some rows of `g * (x - mean)`, then of `g`, the gradient before the activation. `by_channel` are
    /// factors, terms and means.
    fn gated_sums_on(x: &[f32], gradient: &[f32], by_channel: [&[f32]; 3], slope: f32, sums: &mut [f32]) = gated_sums
}

dispatch! {
    /// `g * factor + x * of_x + rest` for some rows, with `g` the gradient before the activation; all of `input`, which
    /// has as many floats as `x`, is written. `by_channel` are factors, terms, `of_x` and `rest`.
    unsafe fn gated_input_on(
        x: &[f32], gradient: &[f32], by_channel: [&[f32]; 4], slope: f32, input: *mut f32,
    ) = gated_input
}

/// `V` vectors of each of some values by channel, from `channel` on.
///
/// # Safety
/// The instruction set is present, and each of `values` has the `V` vectors.
#[inline(always)]
unsafe fn load_all<L: Lanes, const V: usize, const N: usize>(
    values: [&[f32]; N],
    channel: usize,
) -> [[L; V]; N] {
    // SAFETY: the caller's promise.
    unsafe { values.map(|values| std::array::from_fn(|v| L::load(values.as_ptr().add(channel + v * L::N)))) }
}

/// The gradient before the activation: times `slope` where the value before it, `before`, is not above zero.
#[inline(always)]
unsafe fn gate<L: Lanes>(gradient: L, before: L, slope: L) -> L {
    // SAFETY: the caller has the instruction set.
    unsafe { gradient.where_negative(L::zero().sub(before), gradient.mul(slope)) }
}

#[inline(always)]
unsafe fn activate<L: Lanes>(x: &[f32], by_channel: [&[f32]; 2], slope: f32, output: *mut f32) {
    for_channels!(by_channel[0].len(), activate_channels(x, by_channel, slope, output));
}

#[inline(always)]
unsafe fn activate_channels<L: Lanes, const V: usize>(
    x: &[f32],
    by_channel: [&[f32]; 2],
    slope: f32,
    output: *mut f32,
    channel: usize,
) {
    // SAFETY: `channel` and the `V` vectors from it lie in each row and in the values by channel.
    unsafe {
        let [factor, term] = load_all::<L, V, 2>(by_channel, channel);
        for at in (channel..x.len()).step_by(by_channel[0].len()) {
            for v in 0..V {
                let at = at + v * L::N;
                let before = term[v].mul_add(L::load(x.as_ptr().add(at)), factor[v]);
                before.mul(L::splat(slope)).where_negative(before, before).store(output.add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn gated_sums<L: Lanes>(
    x: &[f32],
    gradient: &[f32],
    by_channel: [&[f32]; 3],
    slope: f32,
    sums: &mut [f32],
) {
    for_channels!(by_channel[0].len(), gated_sums_of_channels(x, gradient, by_channel, slope, sums));
}

#[inline(always)]
unsafe fn gated_sums_of_channels<L: Lanes, const V: usize>(
    x: &[f32],
    gradient: &[f32],
    by_channel: [&[f32]; 3],
    slope: f32,
    sums: &mut [f32],
    channel: usize,
) {
    let channels = by_channel[0].len();
    // SAFETY: `channel` and the `V` vectors from it lie in each row, in the values by channel and in both halves of
    // `sums`.
    unsafe {
        let [factor, term, mean] = load_all::<L, V, 3>(by_channel, channel);
        let (mut along, mut plain) = ([L::zero(); V], [L::zero(); V]);
        for at in (channel..x.len()).step_by(channels) {
            for v in 0..V {
                let x = L::load(x.as_ptr().add(at + v * L::N));
                let gradient = L::load(gradient.as_ptr().add(at + v * L::N));
                let gradient = gate(gradient, term[v].mul_add(x, factor[v]), L::splat(slope));
                along[v] = along[v].mul_add(gradient, x.sub(mean[v]));
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
unsafe fn gated_input<L: Lanes>(
    x: &[f32],
    gradient: &[f32],
    by_channel: [&[f32]; 4],
    slope: f32,
    input: *mut f32,
) {
    for_channels!(by_channel[0].len(), gated_input_of_channels(x, gradient, by_channel, slope, input));
}

#[inline(always)]
unsafe fn gated_input_of_channels<L: Lanes, const V: usize>(
    x: &[f32],
    gradient: &[f32],
    by_channel: [&[f32]; 4],
    slope: f32,
    input: *mut f32,
    channel: usize,
) {
    // SAFETY: `channel` and the `V` vectors from it lie in each row and in the values by channel.
    unsafe {
        let [factor, term, of_x, rest] = load_all::<L, V, 4>(by_channel, channel);
        for at in (channel..x.len()).step_by(by_channel[0].len()) {
            for v in 0..V {
                let at = at + v * L::N;
                let x = L::load(x.as_ptr().add(at));
                let gradient = L::load(gradient.as_ptr().add(at));
                let gradient = gate(gradient, term[v].mul_add(x, factor[v]), L::splat(slope));
                rest[v].mul_add(x, of_x[v]).mul_add(gradient, factor[v]).store(input.add(at));
            }
        }
    }
}
