//! `x W + b` on `[rows, channels]`, and its gradients.
//!
//! Rows are worked on in chunks that stay in a core's cache. The partition of the work depends on the sizes only, so results are the same for every number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Shared, build, extend};
use super::panels::Panels;
use super::product::{Matrix, Product, add_column_sums, multiply};
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
    pub(crate) fn rows_per_chunk(self) -> usize {
        const FLOATS: usize = 1 << 16;
        (FLOATS / (self.inputs + self.outputs).max(1)).clamp(48, 384) / 24 * 24
    }

    /// Rows whose gradient fits the last-level cache beside other things.
    pub(crate) fn rows_per_span(self) -> usize {
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

/// `onto + x W + b`: `weight` is `[inputs, outputs]`, `bias` `[outputs]` or empty, `onto` `[rows, outputs]` if there
/// is one.
pub(crate) fn forward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    onto: Option<&[f32]>,
    sizes: Sizes,
) -> Vec<f32> {
    sizes.check(x, weight);
    assert!(bias.is_empty() || bias.len() == sizes.outputs);
    assert!(onto.is_none_or(|onto| onto.len() == sizes.rows * sizes.outputs));
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let right = &unsafe { Panels::packed(set, Matrix::new(weight, outputs), (inputs, outputs), bias) };
    let chunk = sizes.rows_per_chunk();
    // SAFETY: the product writes each chunk, or adds to what was copied there; `x` and `onto` have a row for each.
    let [output] = unsafe {
        build(sizes.rows * outputs, chunk * outputs, |index, [to], count| {
            if let Some(onto) = onto {
                to.copy_from_nonoverlapping(onto[index * chunk * outputs..].as_ptr(), count);
            }
            let left = Matrix::new(&x[index * chunk * inputs..], inputs);
            let (rows, accumulate) = (count / outputs, onto.is_some());
            multiply(set, &Product { left, rows, right, output: to, output_stride: outputs, accumulate });
        })
    };
    output
}

/// The gradients of [`forward`], given that for its output, which is that for `onto` as well.
///
/// The gradient is worked on in spans that stay in the last-level cache: a span is used twice, for the input's and the
/// weight's gradient.
pub(crate) fn backward(x: &[f32], weight: &[f32], gradient: &[f32], sizes: Sizes) -> Gradients {
    sizes.check(x, weight);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let turned =
        &unsafe { Panels::packed(set, Matrix::new(weight, outputs).transposed(), (outputs, inputs), &[]) };
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let mut sums = WeightSums::new(set, sizes);
    let (chunk, span) = (sizes.rows_per_chunk(), sizes.rows_per_span());
    for first in (0..sizes.rows).step_by(span) {
        let rows = span.min(sizes.rows - first);
        let gradient = &gradient[first * outputs..(first + rows) * outputs];
        // SAFETY: the product writes each chunk; the gradient has a row for each of the input.
        unsafe {
            extend([&mut input], rows * inputs, chunk * inputs, |index, [to], count| {
                let left = Matrix::new(&gradient[index * chunk * outputs..], outputs);
                let (rows, right, output_stride) = (count / inputs, turned, inputs);
                multiply(set, &Product { left, rows, right, output: to, output_stride, accumulate: false });
            });
        }
        sums.add(&x[first * inputs..(first + rows) * inputs], gradient, rows);
    }
    let (weight, bias) = sums.total();
    Gradients { input, weight, bias }
}

/// The weight and bias gradients of a linear layer while they are summed over the rows.
///
/// Blocks of the weight are summed at the same time. Where these are too few, so are groups of rows.
pub(crate) struct WeightSums {
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

    pub(crate) fn new(set: InstructionSet, sizes: Sizes) -> Self {
        let blocks = sizes.inputs.div_ceil(Self::INPUTS).max(1) * sizes.outputs.div_ceil(Self::OUTPUTS);
        let groups = Self::TASKS.div_ceil(blocks.max(1));
        Self { set, sizes, groups, values: vec![0.0; groups * (sizes.inputs + 1) * sizes.outputs] }
    }

    /// Adds some rows.
    pub(crate) fn add(&mut self, x: &[f32], gradient: &[f32], rows: usize) {
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
                    add_column_sums(&right, bias);
                }
            }
        }
    }

    /// The gradients of weight and bias: the groups added in order.
    pub(crate) fn total(mut self) -> (Vec<f32>, Vec<f32>) {
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
