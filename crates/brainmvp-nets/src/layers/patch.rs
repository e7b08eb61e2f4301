//! Downsampling and upsampling by two.

use brainmvp_kernels::ops;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::LayerNorm;
use crate::Init;

/// A convolution of kernel 2^3 and stride 2 with bias.
#[derive(Module, Debug)]
pub struct Downsample {
    /// `[2, 2, 2, Cin, Cout]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<5>>,
    /// `[Cout]`.
    pub bias: Param<Tensor<1>>,
}

/// The start of a stage: [`Downsample`] and a layer norm.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// The convolution.
    pub proj: Downsample,
    /// The norm, epsilon 1e-5.
    pub norm: LayerNorm,
}

impl PatchEmbed {
    /// Kaiming-normal by fan out, zero bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        let weight = init.normal([2, 2, 2, inputs, outputs], Init::kaiming_fan_out(outputs, 8));
        let bias = init.constant([outputs], 0.0);
        Self { proj: Downsample { weight, bias }, norm: LayerNorm::new(outputs, 1e-5, init) }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D/2, H/2, W/2, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(ops::downsample(x, self.proj.weight.val(), self.proj.bias.val()))
    }
}

/// A transposed convolution of kernel 2^3 and stride 2, without bias.
#[derive(Module, Debug)]
pub struct Upsample {
    /// `[Cin, 2, 2, 2, Cout]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<5>>,
}

impl Upsample {
    /// Kaiming-normal by fan out.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self { weight: init.normal([inputs, 2, 2, 2, outputs], Init::kaiming_fan_out(inputs, 8)) }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, 2D, 2H, 2W, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        ops::upsample(x, self.weight.val())
    }
}
