//! `x W + b` on `[rows, channels]`, and its gradients.
//!
//! Rows are worked on in chunks that stay in a core's cache. The partition of the work depends on the sizes only, so results are the same for every number of threads.

use rayon::prelude::*;

use super::buffer::{Shared, build};
use super::panels::{Panels, Turned};
use super::product::{Matrix, Product, add_column_sums, multiply, multiply_lanes};
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

    /// Rows that are packed together for the weight's gradient: enough to be worth a pass over its sums, and with inputs and
    /// outputs no more than a core's second-level cache holds.
    fn rows_per_packing(self) -> usize {
        const FLOATS: usize = 1 << 17;
        (FLOATS / (self.inputs + self.outputs).max(1)).clamp(96, 384) / 96 * 96
    }

    /// Rows whose packed inputs and gradients fit the last-level cache beside other things.
    pub(crate) fn rows_per_span(self) -> usize {
        const FLOATS: usize = 1 << 20;
        (FLOATS / self.outputs.max(self.inputs).max(1)).next_multiple_of(self.rows_per_packing())
    }

    /// Blocks of inputs and of outputs of the weight; of inputs at least one, which the bias goes with.
    fn blocks(self) -> (usize, usize) {
        (self.inputs.div_ceil(WeightSums::INPUTS).max(1), self.outputs.div_ceil(WeightSums::OUTPUTS))
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
    // SAFETY: the product writes each chunk; `x` and `onto` have a row for each of the output.
    let [output] = unsafe {
        build(sizes.rows * outputs, chunk * outputs, |index, [to], count| {
            let left = Matrix::new(&x[index * chunk * inputs..], inputs);
            let onto = onto.map(|onto| onto[index * chunk * outputs..].as_ptr());
            let rows = count / outputs;
            multiply(set, &Product { left, rows, right, output: to, output_stride: outputs, onto });
        })
    };
    output
}

/// The gradients of [`forward`], given that for its output, which is that for `onto` as well.
///
/// A task takes some rows to the gradient for the input, and packs what the weight's gradient needs of them while they are
/// in the core's cache.
pub(crate) fn backward(x: &[f32], weight: &[f32], gradient: &[f32], sizes: Sizes) -> Gradients {
    sizes.check(x, weight);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let turned =
        &unsafe { Panels::packed(set, Matrix::new(weight, outputs).transposed(), (outputs, inputs), &[]) };
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let (mut sums, mut packed) = (WeightSums::new(set, sizes), Vec::new());
    let (chunk, span) = (sizes.rows_per_packing(), sizes.rows_per_span());
    for first in (0..sizes.rows).step_by(span) {
        let count = span.min(sizes.rows - first);
        packed.resize_with(count.div_ceil(chunk), PackedRows::default);
        let to = Shared::spare(&mut input);
        packed.par_iter_mut().enumerate().for_each(|(index, packed)| {
            let at = index * chunk;
            let rows = chunk.min(count - at);
            let (x, gradient) = (&x[(first + at) * inputs..], &gradient[(first + at) * outputs..]);
            let (left, right, output_stride) = (Matrix::new(gradient, outputs), turned, inputs);
            // SAFETY: the rows of the input's gradient are this task's, and the gradient has a row for each.
            unsafe {
                let output = to.at(at * inputs);
                multiply(set, &Product { left, rows, right, output, output_stride, onto: None });
            }
            packed.pack(set, [x, gradient], Sizes { rows, ..sizes });
        });
        // SAFETY: the capacity is that of all rows, and the tasks have written those of this span.
        unsafe { input.set_len((first + count) * inputs) };
        sums.add(packed.iter());
    }
    let (weight, bias) = sums.total();
    Gradients { input, weight, bias }
}

/// The weight and bias gradients of a linear layer while they are summed over the rows.
///
/// Rows are packed once for all blocks of the weight that they are multiplied for. The blocks are summed at the same
/// time; where these are too few, so are groups of rows.
pub(crate) struct WeightSums {
    set: InstructionSet,
    sizes: Sizes,
    groups: usize,
    /// `[groups, inputs + 1, outputs]`, the bias last.
    values: Vec<f32>,
}

/// Some rows of a layer's inputs and of its output's gradient, packed for the product that gives the weight's.
#[derive(Default)]
pub(crate) struct PackedRows {
    /// One for each block of inputs.
    left: Vec<Turned>,
    /// One for each block of outputs.
    right: Vec<Panels>,
}

impl WeightSums {
    /// Inputs of a block: a multiple of every tile's rows.
    const INPUTS: usize = 96;
    /// Outputs of a block: a multiple of every panel's width.
    const OUTPUTS: usize = 128;
    /// Tasks that are enough.
    const TASKS: usize = 16;

    pub(crate) fn new(set: InstructionSet, sizes: Sizes) -> Self {
        let (inputs, outputs) = sizes.blocks();
        let groups = Self::TASKS.div_ceil((inputs * outputs).max(1));
        let values = vec![0.0; groups * (sizes.inputs + 1) * sizes.outputs];
        Self { set, sizes, groups, values }
    }

    /// Adds some rows.
    pub(crate) fn add<'a>(
        &mut self,
        packed: impl ExactSizeIterator<Item = &'a PackedRows> + Clone + Send + Sync,
    ) {
        let Sizes { inputs, outputs, .. } = self.sizes;
        let (input_blocks, output_blocks) = self.sizes.blocks();
        let (values, groups, blocks) =
            (Shared::new(&mut self.values), self.groups, input_blocks * output_blocks);
        let parts = packed.len();
        (0..groups * blocks).into_par_iter().for_each(|task| {
            let (group, block) = (task / blocks, task % blocks);
            let (first, end) = (group * parts / groups, (group + 1) * parts / groups);
            let block = (block / output_blocks, block % output_blocks);
            for rows in packed.clone().skip(first).take(end - first) {
                // SAFETY: no other task has this block of this group.
                unsafe {
                    add_block(rows, block, self.sizes, values.at(group * (inputs + 1) * outputs));
                }
            }
        });
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

impl PackedRows {
    /// Packs rows, and so many, of a layer's inputs and of its output's gradient.
    pub(crate) fn pack(&mut self, set: InstructionSet, [x, gradient]: [&[f32]; 2], sizes: Sizes) {
        let Sizes { rows, inputs, outputs } = sizes;
        assert!(x.len() >= rows * inputs && gradient.len() >= rows * outputs);
        let (input_blocks, output_blocks) = sizes.blocks();
        self.left.resize_with(input_blocks, || Turned::new(set));
        self.right.resize_with(output_blocks, || Panels::new(set));
        let (x, gradient) = (Matrix::new(x, inputs), Matrix::new(gradient, outputs));
        for (block, left) in self.left.iter_mut().enumerate() {
            let input = block * WeightSums::INPUTS;
            // SAFETY: the block of columns lies in the rows.
            unsafe { left.pack(x.at(0, input), (rows, WeightSums::INPUTS.min(inputs - input))) };
        }
        for (block, right) in self.right.iter_mut().enumerate() {
            let output = block * WeightSums::OUTPUTS;
            let columns = WeightSums::OUTPUTS.min(outputs - output);
            // SAFETY: the block of columns lies in the rows.
            unsafe { right.pack(gradient.at(0, output), (rows, columns), &[]) };
        }
    }
}

/// Adds what some rows give to a block, and with the first block of inputs to the bias.
///
/// # Safety
/// `values` are `[inputs + 1, outputs]`, and no other task writes the block.
unsafe fn add_block(rows: &PackedRows, (input, output): (usize, usize), sizes: Sizes, values: *mut f32) {
    let Sizes { inputs, outputs, .. } = sizes;
    let column = output * WeightSums::OUTPUTS;
    let (left, right) = (&rows.left[input], &rows.right[output]);
    // SAFETY: the block's rows and columns lie in the values, which are this task's.
    unsafe {
        let output = values.add(input * WeightSums::INPUTS * outputs + column);
        let product = Product {
            left: left.lanes(),
            rows: left.rows(),
            right,
            output,
            output_stride: outputs,
            onto: Some(output),
        };
        multiply_lanes(right.set(), &product);
        if input == 0 {
            add_column_sums(right, values.add(inputs * outputs + column));
        }
    }
}
