//! Matrix products over the channels in Burn's own terms, and their gradients.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{dims, flat, reshape, row, scalar};

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

pub(crate) fn reference_gelu<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let before = reference::<B>(x, weight, bias);
    (B::gelu(before.clone()), before)
}

pub(crate) fn reference_gelu_backward<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    before: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let gradient = B::float_mul(gradient, gelu_derivative::<B>(before));
    reference_backward::<B>(x, weight, gradient)
}

/// `Phi(z) + z phi(z)`, with the normal distribution's cumulative probability and density.
fn gelu_derivative<B: Backend>(z: FloatTensor<B>) -> FloatTensor<B> {
    use std::f32::consts::{FRAC_1_SQRT_2, PI};
    let erf = B::float_erf(B::float_mul_scalar(z.clone(), scalar(FRAC_1_SQRT_2)));
    let cumulative = B::float_mul_scalar(B::float_add_scalar(erf, scalar(1.0)), scalar(0.5));
    let exponent = B::float_mul_scalar(B::float_mul(z.clone(), z.clone()), scalar(-0.5));
    let density = B::float_mul_scalar(B::float_exp(exponent), scalar((2.0 * PI).sqrt().recip()));
    B::float_add(cumulative, B::float_mul(z, density))
}
