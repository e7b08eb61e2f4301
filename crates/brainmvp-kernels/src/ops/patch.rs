//! 2^3 stride-2 convolutions as a shuffle of voxels and a matrix product, in Burn's own operations, and their gradients.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{dims, linear, reshape};

pub(crate) fn downsample_reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    linear::reference::<B>(blocks::<B>(x), matrix::<B>(weight), bias)
}

pub(crate) fn downsample_backward_reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&weight);
    let (input, weight, bias) =
        linear::reference_backward::<B>(blocks::<B>(x), matrix::<B>(weight), gradient);
    (voxels::<B>(input), reshape::<B>(weight, shape), bias)
}

pub(crate) fn upsample_reference<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let (shape, inputs) = (dims::<B>(&x), dims::<B>(&weight)[0]);
    let outputs = dims::<B>(&weight)[4];
    let rows = shape[..4].iter().product::<usize>();
    let weight = reshape::<B>(weight, [inputs, 8 * outputs]);
    let product = B::float_matmul(reshape::<B>(x, [rows, inputs]), weight);
    voxels::<B>(reshape::<B>(product, [shape[0], shape[1], shape[2], shape[3], 8 * outputs]))
}

pub(crate) fn upsample_backward_reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&weight);
    let weight = reshape::<B>(weight, [shape[0], 8 * shape[4]]);
    let (input, weight, _) = linear::reference_backward::<B>(x, weight, blocks::<B>(gradient));
    (input, reshape::<B>(weight, shape))
}

/// `[2, 2, 2, Cin, Cout]` to `[8 Cin, Cout]`.
fn matrix<B: Backend>(weight: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&weight);
    reshape::<B>(weight, [8 * shape[3], shape[4]])
}

/// `[B, 2D, 2H, 2W, C]` to `[B, D, H, W, 8 C]`: the voxels of a block one after the other.
fn blocks<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let (batch, d, h, w, channels) = (shape[0], shape[1] / 2, shape[2] / 2, shape[3] / 2, shape[4]);
    let split = reshape::<B>(x, [batch, d, 2, h, 2, w, 2, channels]);
    reshape::<B>(B::float_permute(split, &[0, 1, 3, 5, 2, 4, 6, 7]), [batch, d, h, w, 8 * channels])
}

/// The inverse of [`blocks`].
fn voxels<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let (batch, d, h, w, channels) = (shape[0], shape[1], shape[2], shape[3], shape[4] / 8);
    let split = reshape::<B>(x, [batch, d, h, w, 2, 2, 2, channels]);
    reshape::<B>(B::float_permute(split, &[0, 1, 4, 2, 5, 3, 6, 7]), [batch, 2 * d, 2 * h, 2 * w, channels])
}
