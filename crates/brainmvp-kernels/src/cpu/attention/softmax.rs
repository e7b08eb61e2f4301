//! The softmax of rows that come a block of columns at a time, and its gradient.

use super::{KEYS, QUERIES};
use crate::cpu::activation::exp;
use crate::cpu::simd::{Lanes, WIDEST_LANES, dispatch, load_some, store_some, sum};

/// What is known of the rows of a block of queries after some blocks of keys.
pub(super) struct RunningSoftmax {
    /// The largest score of each row, scaled.
    largest: [f32; QUERIES],
    /// The sum of the exponentials of the scores less that.
    pub(super) totals: [f32; QUERIES],
    /// What the last block of keys made of the exponentials before it: they are to be multiplied by this.
    pub(super) factors: [f32; QUERIES],
}

impl Default for RunningSoftmax {
    fn default() -> Self {
        Self { largest: [f32::NEG_INFINITY; QUERIES], totals: [0.0; QUERIES], factors: [1.0; QUERIES] }
    }
}

impl RunningSoftmax {
    /// The logarithms of the sums of the exponentials of the scaled scores.
    pub(super) fn log_sums(&self) -> impl Iterator<Item = f32> {
        self.largest.iter().zip(&self.totals).map(|(largest, total)| largest + total.ln())
    }
}

/// What the gradient needs of the softmax of a query.
#[derive(Clone, Copy)]
pub(super) struct SoftmaxRow {
    /// The logarithm of its sum.
    pub(super) log_sum: f32,
    /// The mean of the gradients for its probabilities, under these.
    pub(super) mean: f32,
}

dispatch! {
    /// The first `count` of each row's `KEYS` scores become exponentials of the scaled scores less the largest so far.
    fn exponentials_on(scores: &mut [f32], count: usize, scale: f32, softmax: &mut RunningSoftmax) = exponentials
}

dispatch! {
    /// The first `count` of each row's `KEYS` scores become probabilities, and of the gradients for these, gradients for
    /// the products of queries and keys.
    fn probabilities_with_gradient_on(scores: &mut [f32], gradient: &mut [f32], count: usize, scale: f32, rows: &[SoftmaxRow]) =
        probabilities_with_gradient
}

dispatch! {
    /// Multiplies each row of `(stride, width)` by its factor.
    unsafe fn scale_rows_on(values: *mut f32, size: (usize, usize), factors: &[f32]) = scale_rows
}

#[inline(always)]
unsafe fn exponentials<L: Lanes>(scores: &mut [f32], count: usize, scale: f32, softmax: &mut RunningSoftmax) {
    let padded = count.next_multiple_of(L::N);
    for (row, scores) in scores.chunks_exact_mut(KEYS).enumerate() {
        scores[count..padded].fill(f32::NEG_INFINITY);
        // SAFETY: the padded row is whole vectors, and lies in the scores: their number is a multiple of every vector's.
        unsafe {
            let start = scores.as_mut_ptr();
            let mut largest = L::load(start);
            for at in (L::N..padded).step_by(L::N) {
                largest = largest.max(L::load(start.add(at)));
            }
            let mut lanes = [f32::NEG_INFINITY; WIDEST_LANES];
            largest.store(lanes.as_mut_ptr());
            let before = softmax.largest[row];
            let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max) * scale;
            let largest = largest.max(before);
            let mut total = L::zero();
            let shift = L::splat(-largest);
            for at in (0..padded).step_by(L::N) {
                let value = exp(shift.mul_add(L::load(start.add(at)), L::splat(scale)));
                total = total.add(value);
                value.store(start.add(at));
            }
            let factor = (before - largest).exp();
            softmax.largest[row] = largest;
            softmax.totals[row] = softmax.totals[row] * factor + sum(total);
            softmax.factors[row] = factor;
        }
    }
}

#[inline(always)]
unsafe fn probabilities_with_gradient<L: Lanes>(
    scores: &mut [f32],
    gradient: &mut [f32],
    count: usize,
    scale: f32,
    rows: &[SoftmaxRow],
) {
    let padded = count.next_multiple_of(L::N);
    let blocks = scores.chunks_exact_mut(KEYS).zip(gradient.chunks_exact_mut(KEYS));
    for ((scores, gradient), row) in blocks.zip(rows) {
        // SAFETY: as in `exponentials`.
        unsafe {
            let (scores, gradient) = (scores.as_mut_ptr(), gradient.as_mut_ptr());
            let (shift, mean) = (L::splat(-row.log_sum), L::splat(row.mean));
            for at in (0..padded).step_by(L::N) {
                let probability = exp(shift.mul_add(L::load(scores.add(at)), L::splat(scale)));
                probability.store(scores.add(at));
                let centred = L::load(gradient.add(at)).sub(mean).mul(L::splat(scale));
                centred.mul(probability).store(gradient.add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn scale_rows<L: Lanes>(values: *mut f32, (stride, width): (usize, usize), factors: &[f32]) {
    for (row, &factor) in factors.iter().enumerate() {
        if factor == 1.0 {
            continue;
        }
        for at in (0..width).step_by(L::N) {
            // SAFETY: the caller promises the rows.
            unsafe {
                let (place, count) = (values.add(row * stride + at), (width - at) as isize);
                store_some(load_some::<L>(place, count).mul(L::splat(factor)), place, count);
            }
        }
    }
}
