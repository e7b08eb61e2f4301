//! The end of a residual block in Burn's own terms, and its gradient.

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
    // A positive slope leaves the sign, so that the output says what the sum was.
    B::float_mul(gradient, slopes::<B>(output, Activation::LeakyRelu(slope)))
}
