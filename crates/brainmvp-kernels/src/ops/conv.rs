//! Dense convolution in Burn's own operations, and its gradients.

use burn::backend::Backend;
use burn::backend::ops::ConvOptions;
use burn::backend::tensor::FloatTensor;

use super::depthwise::{channels_first, channels_last};
use super::dims;

fn options(kernel: usize, stride: usize) -> ConvOptions<3> {
    ConvOptions::new([stride; 3], [kernel / 2; 3], [1; 3], 1)
}

pub(crate) fn reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    let options = options(dims::<B>(&weight)[0], stride);
    let weight = B::float_permute(weight, &[4, 3, 0, 1, 2]);
    channels_last::<B>(B::conv3d(channels_first::<B>(x), weight, None, options))
}

pub(crate) fn reference_backward_input<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    let options = options(dims::<B>(&weight)[0], stride);
    let weight = B::float_permute(weight, &[4, 3, 0, 1, 2]);
    let (x, gradient) = (channels_first::<B>(x), channels_first::<B>(gradient));
    channels_last::<B>(B::conv3d_x_backward(x, weight, gradient, options))
}

pub(crate) fn reference_backward_weight<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    let options = options(dims::<B>(&weight)[0], stride);
    let weight = B::float_permute(weight, &[4, 3, 0, 1, 2]);
    let (x, gradient) = (channels_first::<B>(x), channels_first::<B>(gradient));
    B::float_permute(B::conv3d_weight_backward(x, weight, gradient, options), &[2, 3, 4, 1, 0])
}
