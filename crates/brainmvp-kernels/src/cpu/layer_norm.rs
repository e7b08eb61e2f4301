//! Layer norm over the last axis of `[rows, channels]`, and its gradient. A row stays in the first-level cache while
//! its moments are computed, so that memory is read once; the gradient recomputes the moments instead of storing them.

use super::buffer::{Shared, build};
use super::simd::{InstructionSet, Lanes, dispatch, sum};

/// Rows per task: fixed, so that the sums of the gradients do not depend on the number of threads.
const ROWS: usize = 512;

/// Gradients of a norm.
pub(crate) struct Gradients {
    /// `[rows, channels]`
    pub(crate) input: Vec<f32>,
    /// `[channels]`
    pub(crate) scale: Vec<f32>,
    /// `[channels]`
    pub(crate) shift: Vec<f32>,
}

/// `(x - mean) / sqrt(variance + epsilon) * scale + shift`, with the moments of each row.
pub(crate) fn forward(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32) -> Vec<f32> {
    let channels = scale.len();
    assert!(shift.len() == channels && x.len().is_multiple_of(channels.max(1)));
    let set = InstructionSet::detect();
    // SAFETY: the kernel writes all rows of the chunk.
    let [output] = unsafe {
        build(x.len(), ROWS * channels, |index, [to], count| {
            let x = &x[index * ROWS * channels..][..count];
            forward_rows_on(set, x, scale, shift, epsilon, to);
        })
    };
    output
}

/// The gradients, given that for the output.
pub(crate) fn backward(x: &[f32], scale: &[f32], gradient: &[f32], epsilon: f32) -> Gradients {
    let channels = scale.len();
    assert!(x.len() == gradient.len() && x.len().is_multiple_of(channels.max(1)));
    let set = InstructionSet::detect();
    let tasks = x.len().div_ceil((ROWS * channels).max(1));
    let mut sums = vec![0.0; tasks * 2 * channels];
    let shared = Shared::new(&mut sums);
    // SAFETY: the kernel writes all rows of the chunk; each task has its own sums.
    let [input] = unsafe {
        build(x.len(), ROWS * channels, |index, [to], count| {
            let part = index * ROWS * channels..index * ROWS * channels + count;
            let sums = shared.at(index * 2 * channels);
            backward_rows_on(set, &x[part.clone()], scale, &gradient[part], epsilon, to, sums);
        })
    };
    let (scale, shift) = add_up(&sums, channels);
    Gradients { input, scale, shift }
}

/// The tasks' pairs of sums, `[tasks, 2, channels]`, added in order and in double precision.
pub(crate) fn add_up(sums: &[f32], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut total = vec![0.0f64; 2 * channels];
    for sums in sums.chunks_exact((2 * channels).max(1)) {
        for (total, &sum) in total.iter_mut().zip(sums) {
            *total += f64::from(sum);
        }
    }
    let (first, second) = total.split_at(channels);
    let round = |sums: &[f64]| sums.iter().map(|&sum| sum as f32).collect();
    (round(first), round(second))
}

dispatch! {
    /// Some rows; all of `output`, which has as many floats as `x`, is written.
    unsafe fn forward_rows_on(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: *mut f32) = forward_rows
}

dispatch! {
    /// Some rows; all of `input`, which has as many floats as `x`, is written. Adds to `sums`, `[2, channels]`.
    unsafe fn backward_rows_on(
        x: &[f32], scale: &[f32], gradient: &[f32], epsilon: f32, input: *mut f32, sums: *mut f32,
    ) = backward_rows
}

/// Mean and inverse deviation.
#[inline(always)]
unsafe fn moments<L: Lanes>(row: &[f32], epsilon: f32) -> (f32, f32) {
    let whole = row.len() - row.len() % L::N;
    // SAFETY: the vectors lie in the row.
    unsafe {
        let mut total = L::zero();
        for at in (0..whole).step_by(L::N) {
            total = total.add(L::load(row.as_ptr().add(at)));
        }
        let mean = (sum(total) + row[whole..].iter().sum::<f32>()) / row.len() as f32;
        let mut squares = L::zero();
        for at in (0..whole).step_by(L::N) {
            let centred = L::load(row.as_ptr().add(at)).sub(L::splat(mean));
            squares = squares.mul_add(centred, centred);
        }
        let rest: f32 = row[whole..].iter().map(|x| (x - mean) * (x - mean)).sum();
        (mean, ((sum(squares) + rest) / row.len() as f32 + epsilon).sqrt().recip())
    }
}

#[inline(always)]
unsafe fn forward_rows<L: Lanes>(x: &[f32], scale: &[f32], shift: &[f32], epsilon: f32, output: *mut f32) {
    let channels = scale.len();
    let whole = channels - channels % L::N;
    for (index, row) in x.chunks_exact(channels).enumerate() {
        // SAFETY: `index` counts the rows of `x`, so the row lies in the output; vectors lie in rows and parameters.
        unsafe {
            let output = output.add(index * channels);
            let (mean, inverse) = moments::<L>(row, epsilon);
            for at in (0..whole).step_by(L::N) {
                let centred = L::load(row.as_ptr().add(at)).sub(L::splat(mean));
                let factor = L::load(scale.as_ptr().add(at)).mul(L::splat(inverse));
                L::load(shift.as_ptr().add(at)).mul_add(centred, factor).store(output.add(at));
            }
            for at in whole..channels {
                output.add(at).write((row[at] - mean) * inverse * scale[at] + shift[at]);
            }
        }
    }
}

#[inline(always)]
unsafe fn backward_rows<L: Lanes>(
    x: &[f32],
    scale: &[f32],
    gradient: &[f32],
    epsilon: f32,
    input: *mut f32,
    sums: *mut f32,
) {
    let channels = scale.len();
    let whole = channels - channels % L::N;
    for (index, (row, gradient)) in x.chunks_exact(channels).zip(gradient.chunks_exact(channels)).enumerate()
    {
        // SAFETY: `index` counts the rows, so the row lies in the input's gradient; vectors and single floats lie in
        // rows, parameters and sums.
        unsafe {
            let row =
                Row { x: row.as_ptr(), gradient: gradient.as_ptr(), moments: moments::<L>(row, epsilon) };
            let (mut mean, mut along) = (L::zero(), L::zero());
            for at in (0..whole).step_by(L::N) {
                (mean, along) = row.add_sums(at, scale.as_ptr(), mean, along);
            }
            let (mut mean_rest, mut along_rest) = (0.0, 0.0);
            for at in whole..channels {
                (mean_rest, along_rest) = row.add_sums(at, scale.as_ptr(), mean_rest, along_rest);
            }
            let means =
                ((sum(mean) + mean_rest) / channels as f32, (sum(along) + along_rest) / channels as f32);
            let sums = [sums, sums.add(channels)];
            let input = input.add(index * channels);
            for at in (0..whole).step_by(L::N) {
                row.finish::<L>(at, scale.as_ptr(), means, input, sums);
            }
            for at in whole..channels {
                row.finish::<f32>(at, scale.as_ptr(), means, input, sums);
            }
        }
    }
}

/// A row of the input and of the output's gradient.
#[derive(Clone, Copy)]
struct Row {
    x: *const f32,
    gradient: *const f32,
    moments: (f32, f32),
}

impl Row {
    /// The normalised input and the gradient at some channels.
    #[inline(always)]
    unsafe fn load<L: Lanes>(self, at: usize) -> (L, L) {
        // SAFETY: the caller promises that the channels lie in the row.
        unsafe {
            let centred = L::load(self.x.add(at)).sub(L::splat(self.moments.0));
            (centred.mul(L::splat(self.moments.1)), L::load(self.gradient.add(at)))
        }
    }

    /// Adds the scaled gradient, and its product with the normalised input.
    #[inline(always)]
    unsafe fn add_sums<L: Lanes>(self, at: usize, scale: *const f32, mean: L, along: L) -> (L, L) {
        // SAFETY: the caller promises that the channels lie in the row and the parameters.
        unsafe {
            let (normalised, gradient) = self.load::<L>(at);
            let scaled = gradient.mul(L::load(scale.add(at)));
            (mean.add(scaled), along.mul_add(scaled, normalised))
        }
    }

    /// The input's gradient, and the contribution of the row to those of scale and shift.
    #[inline(always)]
    unsafe fn finish<L: Lanes>(
        self,
        at: usize,
        scale: *const f32,
        (mean, along): (f32, f32),
        input: *mut f32,
        [scale_sum, shift_sum]: [*mut f32; 2],
    ) {
        // SAFETY: the caller promises that the channels lie in the row, the parameters and the sums.
        unsafe {
            let (normalised, gradient) = self.load::<L>(at);
            let scaled = gradient.mul(L::load(scale.add(at))).sub(L::splat(mean));
            scaled.mul_add(normalised, L::splat(-along)).mul(L::splat(self.moments.1)).store(input.add(at));
            L::load(scale_sum.add(at)).mul_add(gradient, normalised).store(scale_sum.add(at));
            L::load(shift_sum.add(at)).add(gradient).store(shift_sum.add(at));
        }
    }
}
