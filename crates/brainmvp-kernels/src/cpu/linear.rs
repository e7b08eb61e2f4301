//! `x W + b` on `[rows, channels]`, with and without GELU, and its gradients.
//!
//! Rows are worked on in chunks that stay in a core's cache from the product to what follows it. The partition of the
//! work depends on the sizes only, so results are the same for every number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::activation::{gelu, gelu_gradient};
use super::buffer::{Shared, build, extend};
use super::product::{Matrix, Panels, Product, add_column_sums, multiply};
use super::simd::InstructionSet;

/// Sizes of a linear layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Sizes {
    /// Rows whose inputs and outputs fit a core's second-level cache: a multiple of every tile's rows.
    fn rows_per_chunk(self) -> usize {
        const FLOATS: usize = 1 << 16;
        (FLOATS / (self.inputs + self.outputs).max(1)).clamp(48, 384) / 24 * 24
    }

    /// Rows whose gradient fits the last-level cache beside other things.
    fn rows_per_span(self) -> usize {
        const FLOATS: usize = 1 << 20;
        (FLOATS / self.outputs.max(self.inputs).max(1)).next_multiple_of(self.rows_per_chunk())
    }

    fn check(self, x: &[f32], weight: &[f32]) {
        assert_eq!(x.len(), self.rows * self.inputs);
        assert_eq!(weight.len(), self.inputs * self.outputs);
    }
}

/// Gradients of a linear layer.
pub(crate) struct Gradients {
    /// `[rows, inputs]`
    pub(crate) input: Vec<f32>,
    /// `[inputs, outputs]`
    pub(crate) weight: Vec<f32>,
    /// `[outputs]`
    pub(crate) bias: Vec<f32>,
}

/// `x W + b`: `weight` is `[inputs, outputs]`, `bias` `[outputs]` or empty.
pub(crate) fn forward(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    let [output] = forward_chunks(x, weight, bias, sizes, |_, [_], _| {});
    output
}

/// `gelu(x W + b)`.
pub(crate) fn forward_gelu(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    let [output] = forward_chunks(x, weight, bias, sizes, |set, [output], count| {
        // SAFETY: the product has written the `count` floats of the chunk.
        unsafe { gelu(set, output, output, count) };
    });
    output
}

/// `gelu(x W + b)` and, for the gradient, `x W + b`.
pub(crate) fn forward_gelu_train(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> [Vec<f32>; 2] {
    forward_chunks(x, weight, bias, sizes, |set, [output, product], count| {
        // SAFETY: the product has written the `count` floats of its chunk; `output` has as many.
        unsafe { gelu(set, product, output, count) };
    })
}

/// The product into the last of `N` buffers, and `finish` on each chunk of all of them while it is in the cache.
fn forward_chunks<const N: usize>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    sizes: Sizes,
    finish: impl Fn(InstructionSet, [*mut f32; N], usize) + Sync,
) -> [Vec<f32>; N] {
    sizes.check(x, weight);
    assert!(bias.is_empty() || bias.len() == sizes.outputs);
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let panels = unsafe { Panels::packed(set, Matrix::new(weight, outputs), (inputs, outputs), bias) };
    let chunk = sizes.rows_per_chunk();
    // SAFETY: the product and `finish` write each chunk; `x` has a row for each of the output.
    unsafe {
        build(sizes.rows * outputs, chunk * outputs, |index, to, count| {
            let rows = &x[index * chunk * inputs..];
            multiply(
                set,
                &Product {
                    left: Matrix::new(rows, inputs),
                    rows: count / outputs,
                    right: &panels,
                    output: to[N - 1],
                    output_stride: outputs,
                    accumulate: false,
                },
            );
            finish(set, to, count);
        })
    }
}

/// The gradients for `x W + b`, given the gradient for it, or, with `before_gelu`, for `gelu(x W + b)`.
///
/// The gradient is worked on in spans that stay in the last-level cache: what GELU's derivative leaves of a span is
/// used twice, for the input's and the weight's gradient, and never written to memory as a whole.
pub(crate) fn backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    before_gelu: Option<&[f32]>,
    sizes: Sizes,
) -> Gradients {
    sizes.check(x, weight);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    assert!(before_gelu.is_none_or(|before| before.len() == gradient.len()));
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let turned =
        unsafe { Panels::packed(set, Matrix::new(weight, outputs).transposed(), (outputs, inputs), &[]) };
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let mut sums = WeightSums::new(set, sizes);
    let mut through_gelu = Vec::new();
    let (chunk, span) = (sizes.rows_per_chunk(), sizes.rows_per_span());
    for first in (0..sizes.rows).step_by(span) {
        let rows = span.min(sizes.rows - first);
        let part = first * outputs..(first + rows) * outputs;
        let mut gradient = &gradient[part.clone()];
        if let Some(before) = before_gelu {
            gelu_backward(set, &before[part], gradient, &mut through_gelu);
            gradient = &through_gelu;
        }
        // SAFETY: the product writes each chunk; the gradient has a row for each of the input.
        unsafe {
            extend([&mut input], rows * inputs, chunk * inputs, |index, [to], count| {
                let left = Matrix::new(&gradient[index * chunk * outputs..], outputs);
                let (rows, output_stride) = (count / inputs, inputs);
                let right = &turned;
                multiply(set, &Product { left, rows, right, output: to, output_stride, accumulate: false });
            });
        }
        sums.add(&x[first * inputs..(first + rows) * inputs], gradient, rows);
    }
    let (weight, bias) = sums.total();
    Gradients { input, weight, bias }
}

/// The gradient before GELU into `output`, whatever that held.
fn gelu_backward(set: InstructionSet, before: &[f32], gradient: &[f32], output: &mut Vec<f32>) {
    const CHUNK: usize = 1 << 14;
    output.clear();
    // SAFETY: all of the chunk is written, from as many floats.
    unsafe {
        extend([output], before.len(), CHUNK, |index, [to], count| {
            let (before, gradient) = (&before[index * CHUNK..], &gradient[index * CHUNK..]);
            gelu_gradient(set, before.as_ptr(), gradient.as_ptr(), to, count);
        });
    }
}

/// The weight and bias gradients of a linear layer while they are summed over the rows.
///
/// Blocks of the weight are summed at the same time. Where these are too few, so are groups of rows.
struct WeightSums {
    set: InstructionSet,
    sizes: Sizes,
    groups: usize,
    /// `[groups, inputs + 1, outputs]`, the bias last.
    values: Vec<f32>,
}

impl WeightSums {
    /// Inputs of a block: a multiple of every tile's rows.
    const INPUTS: usize = 96;
    /// Outputs of a block: a multiple of every panel's width.
    const OUTPUTS: usize = 128;
    /// Rows whose gradients are packed at a time.
    const ROWS: usize = 128;
    /// Tasks that are enough.
    const TASKS: usize = 16;

    fn new(set: InstructionSet, sizes: Sizes) -> Self {
        let blocks = sizes.inputs.div_ceil(Self::INPUTS).max(1) * sizes.outputs.div_ceil(Self::OUTPUTS);
        let groups = Self::TASKS.div_ceil(blocks.max(1));
        Self { set, sizes, groups, values: vec![0.0; groups * (sizes.inputs + 1) * sizes.outputs] }
    }

    /// Adds some rows.
    fn add(&mut self, x: &[f32], gradient: &[f32], rows: usize) {
        let (input_blocks, output_blocks) =
            (self.sizes.inputs.div_ceil(Self::INPUTS).max(1), self.sizes.outputs.div_ceil(Self::OUTPUTS));
        let values = Shared::new(&mut self.values);
        let rows_per_group = rows.div_ceil(self.groups);
        (0..self.groups * input_blocks * output_blocks).into_par_iter().for_each(|task| {
            let (group, block) =
                (task / (input_blocks * output_blocks), task % (input_blocks * output_blocks));
            let rows = (group * rows_per_group).min(rows)..((group + 1) * rows_per_group).min(rows);
            let (input, output) =
                (block / output_blocks * Self::INPUTS, block % output_blocks * Self::OUTPUTS);
            // SAFETY: no other task has this block of this group.
            unsafe { self.add_block(x, gradient, rows, (group, input, output), values) };
        });
    }

    /// # Safety
    /// No other task writes the block.
    unsafe fn add_block(
        &self,
        x: &[f32],
        gradient: &[f32],
        rows: Range<usize>,
        (group, input, output): (usize, usize, usize),
        values: Shared,
    ) {
        let Sizes { inputs, outputs, .. } = self.sizes;
        let columns = Self::OUTPUTS.min(outputs - output);
        let (x, gradient) = (Matrix::new(x, inputs), Matrix::new(gradient, outputs));
        let mut right = Panels::new(self.set);
        for first in rows.clone().step_by(Self::ROWS) {
            let depth = Self::ROWS.min(rows.end - first);
            // SAFETY: rows and columns lie in the matrices; the block is this task's.
            unsafe {
                right.pack(gradient.at(first, output), (depth, columns), &[]);
                multiply(
                    self.set,
                    &Product {
                        left: x.at(first, input).transposed(),
                        rows: Self::INPUTS.min(inputs - input),
                        right: &right,
                        output: values.at((group * (inputs + 1) + input) * outputs + output),
                        output_stride: outputs,
                        accumulate: true,
                    },
                );
                if input == 0 {
                    let bias = values.at((group * (inputs + 1) + inputs) * outputs + output);
                    add_column_sums(self.set, &right, bias);
                }
            }
        }
    }

    /// The gradients of weight and bias: the groups added in order.
    fn total(mut self) -> (Vec<f32>, Vec<f32>) {
        let len = (self.sizes.inputs + 1) * self.sizes.outputs;
        let (total, others) = self.values.split_at_mut(len);
        for group in others.chunks_exact(len.max(1)) {
            for (total, value) in total.iter_mut().zip(group) {
                *total += value;
            }
        }
        self.values.truncate(len);
        let bias = self.values.split_off(self.sizes.inputs * self.sizes.outputs);
        (self.values, bias)
    }
}
