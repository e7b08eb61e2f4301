//! Exponentials of scores, and the gradient through the softmax.

use super::KEYS;
use crate::cpu::activation::exp;
use crate::cpu::simd::{Lanes, WIDEST_LANES, dispatch, load_some, store_some, sum};

/// The sum of the exponentials of a query's scaled scores minus the largest.
#[derive(Clone, Copy, Default)]
pub(super) struct SoftmaxSum {
    largest: f32,
    pub(super) total: f32,
}

impl SoftmaxSum {
    /// The logarithm of the sum of the exponentials themselves.
    pub(super) fn log(self) -> f32 {
        self.largest + self.total.ln()
    }
}

/// What the gradient needs to know about the softmax of a query.
#[derive(Clone, Copy)]
pub(super) struct SoftmaxRow {
    /// The logarithm of its sum.
    pub(super) log_sum: f32,
    /// The mean of the gradients for its probabilities, under these.
    pub(super) mean: f32,
}

dispatch! {
    /// The first `count` of each row of scores become exponentials of the scaled scores less the row's largest. A row is
    /// `count` floats and what the widest lanes need more.
    fn exponentials_on(scores: &mut [f32], count: usize, scale: f32, sums: &mut [SoftmaxSum]) = exponentials
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
unsafe fn exponentials<L: Lanes>(scores: &mut [f32], count: usize, scale: f32, sums: &mut [SoftmaxSum]) {
    let rows = scores.chunks_exact_mut(count.next_multiple_of(WIDEST_LANES));
    for (scores, sums) in rows.zip(sums) {
        scores[count..].fill(f32::NEG_INFINITY);
        // SAFETY: a row is whole vectors.
        unsafe {
            let (start, len) = (scores.as_mut_ptr(), scores.len());
            let mut largest = L::load(start);
            for at in (L::N..len).step_by(L::N) {
                largest = largest.max(L::load(start.add(at)));
            }
            let mut lanes = [f32::NEG_INFINITY; WIDEST_LANES];
            largest.store(lanes.as_mut_ptr());
            let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max) * scale;
            let (shift, mut total) = (L::splat(-largest), L::zero());
            for at in (0..len).step_by(L::N) {
                let value = exp(shift.mul_add(L::load(start.add(at)), L::splat(scale)));
                total = total.add(value);
                value.store(start.add(at));
            }
            *sums = SoftmaxSum { largest, total: sum(total) };
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
        // SAFETY: the padded row is whole vectors, and lies in the block.
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
        for at in (0..width).step_by(L::N) {
            // SAFETY: the caller promises the rows.
            unsafe {
                let (place, count) = (values.add(row * stride + at), (width - at) as isize);
                store_some(load_some::<L>(place, count).mul(L::splat(factor)), place, count);
            }
        }
    }
}
