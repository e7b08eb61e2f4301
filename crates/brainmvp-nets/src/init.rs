//! The initialisation of parameters. Randomness is an argument: the same generator gives the same network on every
//! device.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

/// Where the parameters of a new layer are placed, and the source of its randomness.
pub struct Init<'a> {
    /// The device of the parameters.
    pub device: &'a Device,
    /// The source of the random values.
    pub rng: &'a mut dyn Rng,
}

impl Init<'_> {
    /// A parameter of independent normal values, mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], deviation: f32) -> Param<Tensor<D>> {
        Param::from_tensor(normal(shape, deviation, self.rng, self.device))
    }

    /// A parameter whose values are all `value`.
    pub fn constant<const D: usize>(&self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::full(shape, value, self.device))
    }

    /// Kaiming-normal deviation for a convolution of `outputs` channels and `taps` kernel elements (fan out, gain of ReLU).
    pub fn kaiming_fan_out(outputs: usize, taps: usize) -> f32 {
        (2.0 / (outputs * taps) as f32).sqrt()
    }
}

/// A tensor of independent normal values, mean 0.
pub fn normal<const D: usize>(
    shape: [usize; D],
    deviation: f32,
    mut rng: &mut dyn Rng,
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            let value: f32 = StandardNormal.sample(&mut rng);
            deviation * value
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}
