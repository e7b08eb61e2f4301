//! Depthwise convolution in Burn's own operations, and its gradient.

use burn::backend::Backend;
use burn::backend::ops::ConvOptions;
use burn::backend::tensor::FloatTensor;

use super::{dims, flat, reshape};

/// `[B, D, H, W, C]` to `[B, C, D, H, W]`, the layout of Burn's convolutions.
pub(super) fn channels_first<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(x, &[0, 4, 1, 2, 3])
}

/// The inverse of [`channels_first`].
pub(super) fn channels_last<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_permute(x, &[0, 2, 3, 4, 1])
}

fn options(kernel: usize, channels: usize) -> ConvOptions<3> {
    ConvOptions::new([1; 3], [kernel / 2; 3], [1; 3], channels)
}

/// `[K, K, K, C]` to `[C, 1, K, K, K]`.
fn grouped_weight<B: Backend>(weight: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&weight);
    let (k, c) = (shape[0], shape[3]);
    reshape::<B>(B::float_permute(weight, &[3, 0, 1, 2]), [c, 1, k, k, k])
}

pub(crate) fn reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = dims::<B>(&weight);
    let options = options(shape[0], shape[3]);
    channels_last::<B>(B::conv3d(channels_first::<B>(x), grouped_weight::<B>(weight), Some(bias), options))
}

pub(crate) fn reference_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&weight);
    let (kernel, channels) = (shape[0], shape[3]);
    let bias = reshape::<B>(B::float_sum_dim(flat::<B>(gradient.clone()), 0), [channels]);
    let (x, weight, gradient) =
        (channels_first::<B>(x), grouped_weight::<B>(weight), channels_first::<B>(gradient));
    let input = B::conv3d_x_backward(x.clone(), weight.clone(), gradient.clone(), options(kernel, channels));
    let weight = B::conv3d_weight_backward(x, weight, gradient, options(kernel, channels));
    let weight = reshape::<B>(weight, [channels, kernel, kernel, kernel]);
    (channels_last::<B>(input), B::float_permute(weight, &[1, 2, 3, 0]), bias)
}
