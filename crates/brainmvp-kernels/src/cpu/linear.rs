//! `x W + b` on `[rows, channels]`, and its gradients.
//!
//! Rows are processed in chunks that stay in a core's cache. The partition of the work depends only on the sizes, so
//! results are the same for every number of threads.

use std::ops::Range;

use super::buffer::{Shared, build};
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::InstructionSet;
use super::weight_sums::{PackedRows, weight_gradients};

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

    /// The number of rows that are packed together for the weight's gradient: enough to be worth a pass over its sums,
    /// but few enough to fit, with inputs and outputs, into a core's second-level cache.
    fn rows_per_packing(self) -> usize {
        const FLOATS: usize = 1 << 17;
        (FLOATS / (self.inputs + self.outputs).max(1)).clamp(96, 384) / 96 * 96
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

/// `onto + x W + b`: `weight` is `[inputs, outputs]`, `bias` `[outputs]` or empty, `onto`, if there is one, `[rows,
/// outputs]`.
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

/// The gradients of [`forward`], given that for its output, which is also that for `onto`.
///
/// A task computes the gradient for the input for some rows, and packs what the weight's gradient needs from them while
/// they are in the core's cache.
pub(crate) fn backward(x: &[f32], weight: &[f32], gradient: &[f32], sizes: Sizes) -> Gradients {
    sizes.check(x, weight);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    let set = InstructionSet::detect();
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    // SAFETY: the weight has these sizes.
    let turned =
        &unsafe { Panels::packed(set, Matrix::new(weight, outputs).transposed(), (outputs, inputs), &[]) };
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let to = Shared::spare(&mut input);
    let work = |rows: Range<usize>, _: &mut (), [packed]: &mut [PackedRows; 1]| {
        let (first, rows) = (rows.start, rows.len());
        let (x, gradient) = (&x[first * inputs..], &gradient[first * outputs..]);
        let (left, right, output_stride) = (Matrix::new(gradient, outputs), turned, inputs);
        // SAFETY: the rows of the input's gradient are this task's, and the gradient has a row for each.
        unsafe {
            let output = to.at(first * inputs);
            multiply(set, &Product { left, rows, right, output, output_stride, onto: None });
        }
        packed.pack(set, [x, gradient], Sizes { rows, ..sizes });
    };
    let [(weight, bias)] = weight_gradients([sizes], sizes.rows_per_packing(), work);
    // SAFETY: the capacity is that of all rows, and the work has written them.
    unsafe { input.set_len(sizes.rows * inputs) };
    Gradients { input, weight, bias }
}
