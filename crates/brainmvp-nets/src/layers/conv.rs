//! Depthwise convolution.

use brainmvp_kernels::ops;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};

use crate::Init;

/// A depthwise convolution with bias, zero-padded so that the size stays.
#[derive(Module, Debug)]
pub struct DepthwiseConv3d {
    /// `[K, K, K, C]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<4>>,
    /// `[C]`.
    pub bias: Param<Tensor<1>>,
}

impl DepthwiseConv3d {
    /// `channels` filters of `kernel`^3, Kaiming-normal by fan out, zero bias.
    pub fn new(channels: usize, kernel: usize, init: &mut Init<'_>) -> Self {
        let taps = kernel.pow(3);
        Self {
            weight: init.normal([kernel, kernel, kernel, channels], Init::kaiming_fan_out(channels, taps)),
            bias: init.constant([channels], 0.0),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        ops::depthwise_conv3d(x, self.weight.val(), self.bias.val())
    }

    /// `x` plus [`DepthwiseConv3d::forward`]: the same convolution with one more at the kernel's centre.
    pub fn forward_residual(&self, x: Tensor<5>) -> Tensor<5> {
        let weight = self.weight.val();
        let [kernel, _, _, channels] = weight.dims();
        let mut identity = vec![0.0; kernel.pow(3) * channels];
        let centre = kernel.pow(3) / 2 * channels;
        identity[centre..centre + channels].fill(1.0);
        let identity = Tensor::from_data(TensorData::new(identity, weight.dims()), &weight.device());
        ops::depthwise_conv3d(x, weight + identity, self.bias.val())
    }
}
