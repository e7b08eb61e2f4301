//! The end of a residual block in Burn's own operations, and its gradient.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::group_norm::{Activation, slopes};
use super::scalar;

pub(crate) fn reference<B: Backend>(x: FloatTensor<B>, y: FloatTensor<B>, slope: f32) -> FloatTensor<B> {
    B::leaky_relu(B::float_add(x, y), scalar(slope))
}

pub(crate) fn reference_backward<B: Backend>(
    output: FloatTensor<B>,
    gradient: FloatTensor<B>,
    slope: f32,
) -> FloatTensor<B> {
    // A positive slope keeps the sign, so the sign of the sum can be read off the output.
    B::float_mul(gradient, slopes::<B>(output, Activation::LeakyRelu(slope)))
}
