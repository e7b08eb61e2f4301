//! The optimiser's update in one pass over memory, and sums of squares.

use rayon::prelude::*;

use super::buffer::build;
use super::simd::{InstructionSet, Lanes, dispatch, load_some, store_some, sum};
use crate::ops::AdamWStep;

/// Floats per task.
const CHUNK: usize = 1 << 15;

/// The value and its two moments after an update.
pub(crate) fn update([value, gradient, first, second]: [&[f32]; 4], step: AdamWStep) -> [Vec<f32>; 3] {
    let len = value.len();
    assert!(gradient.len() == len && first.len() == len && second.len() == len);
    let set = InstructionSet::detect();
    // SAFETY: the kernel writes all floats of the chunk.
    unsafe {
        build(len, CHUNK, |index, to, count| {
            let part = index * CHUNK..index * CHUNK + count;
            let from = [value, gradient, first, second].map(|values| &values[part.clone()]);
            update_values_on(set, from, step, to);
        })
    }
}

/// The sum of the squares; chunks are added in order and in double precision.
pub(crate) fn sum_of_squares(x: &[f32]) -> f32 {
    let set = InstructionSet::detect();
    let sums: Vec<f64> = x
        .par_chunks(CHUNK)
        .map(|x| {
            let mut sum = 0.0;
            add_squares(set, x, &mut sum);
            sum
        })
        .collect();
    sums.into_iter().sum::<f64>() as f32
}

dispatch! {
    /// Updates some values; all three outputs, which have the same number of floats, are written.
    unsafe fn update_values_on(from: [&[f32]; 4], step: AdamWStep, to: [*mut f32; 3]) = update_values
}

dispatch! {
    /// Adds the sum of the squares.
    fn add_squares(x: &[f32], sum: &mut f64) = add_squares_of
}

#[inline(always)]
unsafe fn update_values<L: Lanes>(from: [&[f32]; 4], step: AdamWStep, to: [*mut f32; 3]) {
    let [correction1, correction2] = step.corrections();
    // SAFETY: the caller has the instruction set of `L`; as many floats lie behind all pointers.
    unsafe {
        let scale = L::splat(step.gradient_scale as f32);
        let [keep1, keep2] = [step.beta1, step.beta2].map(|beta| L::splat(beta));
        let [take1, take2] = [step.beta1, step.beta2].map(|beta| L::splat(1.0 - beta));
        let (epsilon, correction2) = (L::splat(step.epsilon), L::splat(correction2));
        let along = L::splat(-(step.rate as f32) * correction1);
        let kept = L::splat(step.kept());
        for at in (0..from[0].len()).step_by(L::N) {
            let count = (from[0].len() - at) as isize;
            let [value, gradient, first, second] =
                from.map(|values| load_some::<L>(values.as_ptr().add(at), count));
            let gradient = gradient.mul(scale);
            let first = first.mul(keep1).mul_add(gradient, take1);
            let second = second.mul(keep2).mul_add(gradient.mul(gradient), take2);
            let direction = first.div(second.mul(correction2).sqrt().add(epsilon));
            let value = value.mul(kept).mul_add(direction, along);
            for (values, to) in [value, first, second].into_iter().zip(to) {
                store_some(values, to.add(at), count);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_squares_of<L: Lanes>(x: &[f32], total: &mut f64) {
    /// Vectors whose squares are summed in single precision.
    const VECTORS: usize = 256;
    for x in x.chunks(VECTORS * L::N) {
        // SAFETY: the caller has the instruction set of `L`; as many floats are left as it says.
        unsafe {
            let mut squares = L::zero();
            for at in (0..x.len()).step_by(L::N) {
                let values = load_some::<L>(x.as_ptr().add(at), (x.len() - at) as isize);
                squares = squares.mul_add(values, values);
            }
            *total += f64::from(sum(squares));
        }
    }
}
