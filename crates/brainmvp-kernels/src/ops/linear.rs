//! Matrix products over the channels in Burn's own terms.

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

pub(crate) fn reference_gelu<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> FloatTensor<B> {
    B::gelu(reference::<B>(x, weight, bias))
}
