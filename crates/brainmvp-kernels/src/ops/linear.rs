//! Matrix products over the channels in Burn's own operations, and their gradients.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{dims, flat, reshape, row};

pub(crate) fn reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    let mut shape = dims::<B>(&x);
    if let Some(last) = shape.last_mut() {
        *last = dims::<B>(&weight)[1];
    }
    let product = B::float_matmul(flat::<B>(x), weight);
    reshape::<B>(B::float_add(product, row::<B>(bias)), shape)
}

pub(crate) fn reference_onto<B: Backend>(
    onto: FloatTensor<B>,
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    B::float_add(onto, reference::<B>(x, weight, bias))
}

pub(crate) fn reference_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, outputs) = (dims::<B>(&x), dims::<B>(&weight)[1]);
    let (x, gradient) = (flat::<B>(x), flat::<B>(gradient));
    let input = B::float_matmul(gradient.clone(), B::float_swap_dims(weight, 0, 1));
    let weight = B::float_matmul(B::float_swap_dims(x, 0, 1), gradient.clone());
    let bias = reshape::<B>(B::float_sum_dim(gradient, 0), [outputs]);
    (reshape::<B>(input, shape), weight, bias)
}
