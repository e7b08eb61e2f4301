//! Two matrix products with GELU between them, in Burn's own operations, and their gradients.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::linear;
use super::scalar;

/// The two layers' weights and biases.
pub(crate) struct Weights<B: Backend> {
    pub(crate) weight1: FloatTensor<B>,
    pub(crate) bias1: FloatTensor<B>,
    pub(crate) weight2: FloatTensor<B>,
}

pub(crate) fn reference<B: Backend>(
    onto: FloatTensor<B>,
    x: FloatTensor<B>,
    weights: Weights<B>,
    bias2: FloatTensor<B>,
) -> FloatTensor<B> {
    let hidden = B::gelu(linear::reference::<B>(x, weights.weight1, weights.bias1));
    linear::reference_onto::<B>(onto, hidden, weights.weight2, bias2)
}

/// Gradients for input, weight, bias, weight and bias.
pub(crate) fn reference_backward<B: Backend>(
    x: FloatTensor<B>,
    weights: Weights<B>,
    gradient: FloatTensor<B>,
) -> [FloatTensor<B>; 5] {
    let before = linear::reference::<B>(x.clone(), weights.weight1.clone(), weights.bias1);
    let hidden = B::gelu(before.clone());
    let (hidden, weight2, bias2) = linear::reference_backward::<B>(hidden, weights.weight2, gradient);
    let gradient = B::float_mul(hidden, gelu_derivative::<B>(before));
    let (input, weight1, bias1) = linear::reference_backward::<B>(x, weights.weight1, gradient);
    [input, weight1, bias1, weight2, bias2]
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
