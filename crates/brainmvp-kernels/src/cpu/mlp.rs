//! `y + gelu(x W1 + b1) W2 + b2` on `[rows, channels]`, and its gradients, without storing the hidden activations.
//!
//! Hidden activations are several times as wide as the input. They exist for one chunk of rows at a time, in a core's
//! cache. The gradient recomputes them, which takes one more product, but less time than writing and reading them. The
//! partition of the work depends only on the sizes, so results are the same for every number of threads.

use std::ops::Range;

use super::activation::{gelu, gelu_with_gradient};
use super::buffer::{Shared, build, build_scattered_into};
use super::linear;
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::InstructionSet;
use super::weight_sums::{PackedRows, weight_gradients};

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

    /// Rows per task of the gradient: their hidden activations fit into a core's second-level cache.
    fn rows_per_chunk(self) -> usize {
        const FLOATS: usize = 1 << 17;
        (FLOATS / self.hidden.max(1)).clamp(48, 192) / 48 * 48
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
    // SAFETY: the product writes each chunk; `x` and `onto` have a row for each of the output.
    let [output] = unsafe {
        build(sizes.rows * outputs, chunk * outputs, |index, [to], count| {
            let rows = count / outputs;
            let mut middle = Vec::<f32>::with_capacity(rows * hidden);
            let middle = middle.as_mut_ptr();
            multiply(set, &product(&x[index * chunk * inputs..], (rows, inputs), &first, (middle, hidden)));
            gelu(set, middle, middle, rows * hidden);
            let left = Matrix { values: middle, row_stride: hidden, column_stride: 1 };
            let onto = Some(onto[index * chunk * outputs..].as_ptr());
            multiply(set, &Product { left, rows, right: &second, output: to, output_stride: outputs, onto });
        })
    };
    output
}

/// The gradients of [`forward`], given that for its output, which is also that for `onto`.
///
/// A task computes the gradient for the input for some rows, and packs what the weights' gradients need from them while
/// it is in the core's cache.
pub(crate) fn backward(x: &[f32], weights: Weights<'_>, gradient: &[f32], sizes: Sizes) -> Gradients {
    weights.check(x, sizes);
    assert_eq!(gradient.len(), sizes.rows * sizes.outputs);
    let Sizes { inputs, outputs, .. } = sizes;
    let layers = Layers::new(weights, sizes);
    let mut input = Vec::with_capacity(sizes.rows * inputs);
    let to = Shared::spare(&mut input);
    let work = |rows: Range<usize>, middle: &mut Vec<f32>, packed: &mut [PackedRows; 2]| {
        let (first, rows) = (rows.start, rows.len());
        let (x, gradient) = (&x[first * inputs..], &gradient[first * outputs..]);
        // SAFETY: the rows of the input's gradient are this task's.
        unsafe { layers.backward([x, gradient], rows, middle, (to.at(first * inputs), packed)) };
    };
    let [(weight1, bias1), (weight2, bias2)] =
        weight_gradients([sizes.first(), sizes.second()], sizes.rows_per_chunk(), work);
    // SAFETY: the capacity is that of all rows, and the work has written them.
    unsafe { input.set_len(sizes.rows * inputs) };
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

    /// For some rows, the gradient for the input, and what those for the weights need. `middle` is working memory.
    ///
    /// # Safety
    /// There is room for the input's rows, and no other task writes them.
    unsafe fn backward(
        &self,
        [x, gradient]: [&[f32]; 2],
        rows: usize,
        middle: &mut Vec<f32>,
        (to, packed): (*mut f32, &mut [PackedRows; 2]),
    ) {
        let Sizes { inputs, hidden, outputs, .. } = self.sizes;
        let count = rows * hidden;
        // SAFETY: input and gradient have the rows; the products write the hidden values and the gradients for them.
        unsafe {
            build_scattered_into(middle, 2 * count, |middle| {
                let (values, gradients) = (middle.at(0), middle.at(count));
                multiply(self.set, &product(x, (rows, inputs), &self.first, (values, hidden)));
                let right = &self.turned2;
                multiply(self.set, &product(gradient, (rows, outputs), right, (gradients, hidden)));
                gelu_with_gradient(self.set, values, gradients, count);
            });
        }
        let (values, gradients) = middle.split_at(count);
        // SAFETY: the place is the caller's promise.
        unsafe { multiply(self.set, &product(gradients, (rows, hidden), &self.turned1, (to, inputs))) };
        let [first, second] = packed;
        first.pack(self.set, [x, gradients], linear::Sizes { rows, ..self.sizes.first() });
        second.pack(self.set, [values, gradient], linear::Sizes { rows, ..self.sizes.second() });
    }
}

/// The product of contiguous rows, into rows of a given width.
fn product<'a>(
    left: &[f32],
    (rows, depth): (usize, usize),
    right: &'a Panels,
    (output, output_stride): (*mut f32, usize),
) -> Product<'a> {
    Product { left: Matrix::new(left, depth), rows, right, output, output_stride, onto: None }
}
