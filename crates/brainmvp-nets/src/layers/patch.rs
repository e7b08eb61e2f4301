//! Downsampling by blocks, and upsampling by two.

use brainmvp_kernels::ops;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::LayerNorm;
use crate::Init;

/// A convolution with bias whose stride is its kernel.
#[derive(Module, Debug)]
pub struct Downsample {
    /// `[K, K, K, Cin, Cout]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<5>>,
    /// `[Cout]`.
    pub bias: Param<Tensor<1>>,
}

impl Downsample {
    /// Kernel and stride `kernel`, weights of this standard deviation, zero bias.
    pub fn new([inputs, outputs]: [usize; 2], kernel: usize, deviation: f32, init: &mut Init<'_>) -> Self {
        Self {
            weight: init.normal([kernel, kernel, kernel, inputs, outputs], deviation),
            bias: init.constant([outputs], 0.0),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]`, D, H, W multiples of K, to `[B, D/K, H/K, W/K, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        let [kernel, _, _, inputs, outputs] = weight.dims();
        if kernel == 2 {
            return ops::downsample(x, weight, bias);
        }
        ops::linear(blocks(x, kernel), weight.reshape([kernel.pow(3) * inputs, outputs]), bias)
    }
}

/// The voxels of each block of `size`^3 as the channels of one.
///
/// # Shapes
/// `[B, D, H, W, C]` to `[B, D/size, H/size, W/size, size^3 C]`: along the last axis D, H, W and C in this order
pub fn blocks(x: Tensor<5>, size: usize) -> Tensor<5> {
    let [batch, d, h, w, channels] = x.dims();
    let [d, h, w] = [d / size, h / size, w / size];
    let split: Tensor<8> = x.reshape([batch, d, size, h, size, w, size, channels]);
    split.permute([0, 1, 3, 5, 2, 4, 6, 7]).reshape([batch, d, h, w, size.pow(3) * channels])
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
        let proj = Downsample::new([inputs, outputs], 2, Init::kaiming_fan_out(outputs, 8), init);
        Self { proj, norm: LayerNorm::new(outputs, 1e-5, init) }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D/2, H/2, W/2, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.proj.forward(x))
    }
}

/// A transposed convolution of kernel 2^3 and stride 2.
#[derive(Module, Debug)]
pub struct Upsample {
    /// `[Cin, 2, 2, 2, Cout]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<5>>,
    /// `[Cout]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Upsample {
    /// Kaiming-normal by fan out, no bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        let weight = init.normal([inputs, 2, 2, 2, outputs], Init::kaiming_fan_out(inputs, 8));
        Self { weight, bias: None }
    }

    /// With a bias that starts at zero.
    pub fn with_bias(self, init: &Init<'_>) -> Self {
        let [.., outputs] = self.weight.dims();
        Self { bias: Some(init.constant([outputs], 0.0)), ..self }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, 2D, 2H, 2W, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let output = ops::upsample(x, self.weight.val());
        match &self.bias {
            Some(bias) => output + bias.val().unsqueeze(),
            None => output,
        }
    }
}
