//! `y + gelu(x W1 + b1) W2 + b2` on `[rows, channels]`, and its gradients, without the hidden activations in memory.
//!
//! Hidden activations are several times as wide as the input. They exist for one chunk of rows at a time, in a core's
//! cache; the gradient computes them again, which takes one product more than keeping them, and less time than
//! writing and reading them takes. The partition of the work depends on the sizes only, so results are the same for
//! every number of threads.

use super::activation::{gelu, gelu_with_gradient};
use super::buffer::{Shared, build, extend};
use super::linear::{self, WeightSums};
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::InstructionSet;

/// Sizes of the two layers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
}

impl Sizes {
    fn first(self) -> linear::Sizes {
        linear::Sizes { rows: self.rows, inputs: self.inputs, outputs: self.hidden }
    }

    fn second(self) -> linear::Sizes {
        linear::Sizes { rows: self.rows, inputs: self.hidden, outputs: self.outputs }
    }
}

/// Weights of the two layers, `[inputs, hidden]`, `[hidden]`, `[hidden, outputs]`, `[outputs]`.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    pub(crate) weight1: &'a [f32],
    pub(crate) bias1: &'a [f32],
    pub(crate) weight2: &'a [f32],
    pub(crate) bias2: &'a [f32],
}

impl Weights<'_> {
    fn check(&self, x: &[f32], sizes: Sizes) {
        assert_eq!(x.len(), sizes.rows * sizes.inputs);
        assert_eq!(self.weight1.len(), sizes.inputs * sizes.hidden);
        assert_eq!(self.bias1.len(), sizes.hidden);
        assert_eq!(self.weight2.len(), sizes.hidden * sizes.outputs);
    }
}

/// Gradients of the two layers.
pub(crate) struct Gradients {
    /// `[rows, inputs]`
    pub(crate) input: Vec<f32>,
    /// As [`Weights`].
    pub(crate) weight1: Vec<f32>,
    pub(crate) bias1: Vec<f32>,
    pub(crate) weight2: Vec<f32>,
    pub(crate) bias2: Vec<f32>,
}

/// `onto`, `[rows, outputs]`, plus the layers' output.
pub(crate) fn forward(x: &[f32], weights: Weights<'_>, onto: &[f32], sizes: Sizes) -> Vec<f32> {
    weights.check(x, sizes);
    assert_eq!(weights.bias2.len(), sizes.outputs);
    assert_eq!(onto.len(), sizes.rows * sizes.outputs);
    let set = InstructionSet::detect();
    let Sizes { inputs, hidden, outputs, .. } = sizes;
    // SAFETY: the weights have these sizes.
    let [first, second] = unsafe {
        [
            Panels::packed(set, Matrix::new(weights.weight1, hidden), (inputs, hidden), weights.bias1),
            Panels::packed(set, Matrix::new(weights.weight2, outputs), (hidden, outputs), weights.bias2),
        ]
    };
    let chunk = sizes.first().rows_per_chunk();
    // SAFETY: the copy writes each chunk, and the product adds to it; `x` and `onto` have a row for each of the output.
    let [output] = unsafe {
        build(sizes.rows * outputs, chunk * outputs, |index, [to], count| {
            let rows = count / outputs;
            let mut middle = Vec::<f32>::with_capacity(rows * hidden);
            let middle = middle.as_mut_ptr();
            multiply(set, &product(&x[index * chunk * inputs..], (rows, inputs), &first, (middle, hidden)));
            gelu(set, middle, middle, rows * hidden);
            to.copy_from_nonoverlapping(onto[index * chunk * outputs..].as_ptr(), count);
            let left = Matrix { values: middle, row_stride: hidden, column_stride: 1 };
            let (output, output_stride) = (to, outputs);
            multiply(set, &Product { left, rows, right: &second, output, output_stride, accumulate: true });
        })
    };
    output
}

/// The gradients of [`forward`], given that for its output, which is that for `onto` as well.
pub(crate) fn backward(x: &[f32], weights: Weights<'_>, gradient: &[f32], sizes: Sizes) -> Gradients {
    weights.check(x, sizes);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    let Sizes { inputs, hidden, outputs, .. } = sizes;
    let layers = Layers::new(weights, sizes);
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let (mut middle, mut middle_gradient) = (Vec::new(), Vec::new());
    let mut sums1 = WeightSums::new(layers.set, sizes.first());
    let mut sums2 = WeightSums::new(layers.set, sizes.second());
    let (chunk, span) = (sizes.first().rows_per_chunk(), sizes.first().rows_per_span());
    for first in (0..sizes.rows).step_by(span) {
        let rows = span.min(sizes.rows - first);
        let x = &x[first * inputs..(first + rows) * inputs];
        let gradient = &gradient[first * outputs..(first + rows) * outputs];
        middle.clear();
        middle_gradient.clear();
        middle.reserve(rows * hidden);
        let shared = Shared::spare(&mut middle);
        // SAFETY: each chunk of the three buffers is written by its task; `x` and `gradient` have a row for each.
        unsafe {
            extend([&mut middle_gradient], rows * hidden, chunk * hidden, |index, [to], count| {
                let at = index * chunk;
                let middle = shared.at(at * hidden);
                layers.hidden(&x[at * inputs..], &gradient[at * outputs..], count / hidden, [middle, to]);
            });
            middle.set_len(rows * hidden);
            extend([&mut input], rows * inputs, chunk * inputs, |index, [to], count| {
                let left = &middle_gradient[index * chunk * hidden..];
                let shape = (count / inputs, hidden);
                multiply(layers.set, &product(left, shape, &layers.turned1, (to, inputs)));
            });
        }
        sums2.add(&middle, gradient, rows);
        sums1.add(x, &middle_gradient, rows);
    }
    let ((weight1, bias1), (weight2, bias2)) = (sums1.total(), sums2.total());
    Gradients { input, weight1, bias1, weight2, bias2 }
}

/// The weights as the gradient needs them.
struct Layers {
    set: InstructionSet,
    sizes: Sizes,
    first: Panels,
    turned1: Panels,
    turned2: Panels,
}

impl Layers {
    fn new(weights: Weights<'_>, sizes: Sizes) -> Self {
        let set = InstructionSet::detect();
        let Sizes { inputs, hidden, outputs, .. } = sizes;
        let weight1 = Matrix::new(weights.weight1, hidden);
        let weight2 = Matrix::new(weights.weight2, outputs);
        // SAFETY: the weights have these sizes.
        unsafe {
            Self {
                set,
                sizes,
                first: Panels::packed(set, weight1, (inputs, hidden), weights.bias1),
                turned1: Panels::packed(set, weight1.transposed(), (hidden, inputs), &[]),
                turned2: Panels::packed(set, weight2.transposed(), (outputs, hidden), &[]),
            }
        }
    }

    /// Of some rows, the hidden activations and the gradient for what they are GELU of.
    ///
    /// # Safety
    /// Input and gradient have the rows; both places have room for `[rows, hidden]` and are the caller's.
    unsafe fn hidden(&self, x: &[f32], gradient: &[f32], rows: usize, [middle, to]: [*mut f32; 2]) {
        let Sizes { inputs, hidden, outputs, .. } = self.sizes;
        // SAFETY: the caller's promise.
        unsafe {
            multiply(self.set, &product(x, (rows, inputs), &self.first, (middle, hidden)));
            multiply(self.set, &product(gradient, (rows, outputs), &self.turned2, (to, hidden)));
            gelu_with_gradient(self.set, middle, to, rows * hidden);
        }
    }
}

/// The product of rows in memory one after the other, into rows of a width.
fn product<'a>(
    left: &[f32],
    (rows, depth): (usize, usize),
    right: &'a Panels,
    (output, output_stride): (*mut f32, usize),
) -> Product<'a> {
    Product { left: Matrix::new(left, depth), rows, right, output, output_stride, accumulate: false }
}
