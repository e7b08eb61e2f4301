//! 2^3 stride-2 convolutions as a shuffle of voxels and a matrix product, in Burn's own terms.

use burn::backend::tensor::FloatTensor;
use burn::backend::Backend;

use super::{dims, linear, reshape};

pub(crate) fn downsample_reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let (batch, d, h, w, channels) = (shape[0], shape[1] / 2, shape[2] / 2, shape[3] / 2, shape[4]);
    let outputs = dims::<B>(&weight)[4];
    let blocks = reshape::<B>(x, [batch, d, 2, h, 2, w, 2, channels]);
    let blocks = B::float_permute(blocks, &[0, 1, 3, 5, 2, 4, 6, 7]);
    let blocks = reshape::<B>(blocks, [batch, d, h, w, 8 * channels]);
    linear::reference::<B>(blocks, reshape::<B>(weight, [8 * channels, outputs]), bias)
}

pub(crate) fn upsample_reference<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let (batch, d, h, w, channels) = (shape[0], shape[1], shape[2], shape[3], shape[4]);
    let outputs = dims::<B>(&weight)[4];
    let x = reshape::<B>(x, [batch * d * h * w, channels]);
    let blocks = B::float_matmul(x, reshape::<B>(weight, [channels, 8 * outputs]));
    let blocks = reshape::<B>(blocks, [batch, d, h, w, 2, 2, 2, outputs]);
    let blocks = B::float_permute(blocks, &[0, 1, 4, 2, 5, 3, 6, 7]);
    reshape::<B>(blocks, [batch, 2 * d, 2 * h, 2 * w, outputs])
}
