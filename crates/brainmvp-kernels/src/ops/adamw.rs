//! The optimiser's update in Burn's own operations.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{reshape, scalar};

/// One update by AdamW (Loshchilov and Hutter, ICLR 2019, algorithm 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Learning rate.
    pub rate: f64,
    /// Decoupled weight decay, before it is multiplied by the rate.
    pub weight_decay: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The gradient is multiplied by this first.
    pub gradient_scale: f64,
    /// The number of the update of this parameter, from 1.
    pub number: i32,
}

impl AdamWStep {
    /// The factor of the value.
    pub(crate) fn kept(self) -> f32 {
        (1.0 - self.rate * f64::from(self.weight_decay)) as f32
    }

    /// The corrections that make the moments means over all updates.
    pub(crate) fn corrections(self) -> [f32; 2] {
        [self.beta1, self.beta2].map(|beta| (1.0 - beta.powi(self.number)).recip())
    }
}

pub(crate) fn reference<B: Backend>(
    value: FloatTensor<B>,
    gradient: FloatTensor<B>,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    step: AdamWStep,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let times = |tensor: FloatTensor<B>, factor: f32| B::float_mul_scalar(tensor, scalar(factor));
    let gradient = times(gradient, step.gradient_scale as f32);
    let square = B::float_mul(gradient.clone(), gradient.clone());
    let first = B::float_add(times(first, step.beta1), times(gradient, 1.0 - step.beta1));
    let second = B::float_add(times(second, step.beta2), times(square, 1.0 - step.beta2));
    let [correction1, correction2] = step.corrections();
    let deviation = B::float_sqrt(times(second.clone(), correction2));
    let deviation = B::float_add_scalar(deviation, scalar(step.epsilon));
    let direction = B::float_div(times(first.clone(), correction1), deviation);
    let value = B::float_sub(times(value, step.kept()), times(direction, step.rate as f32));
    (value, first, second)
}

pub(crate) fn sum_of_squares<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    reshape::<B>(B::float_sum(B::float_mul(x.clone(), x)), [1])
}
