//! Convolutions.

use brainmvp_kernels::ops::{self, GroupNormOptions};
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

/// A dense convolution, zero-padded by half its kernel.
#[derive(Module, Debug)]
pub struct Conv3d {
    /// `[K, K, K, Cin, Cout]`, axes in the order of D, H, W.
    pub weight: Param<Tensor<5>>,
    /// `[Cout]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
}

impl Conv3d {
    /// A convolution of odd `kernel`, stride 1, without bias. Kaiming-normal by fan out.
    pub fn new([inputs, outputs]: [usize; 2], kernel: usize, init: &mut Init<'_>) -> Self {
        let deviation = Init::kaiming_fan_out(outputs, kernel.pow(3));
        let weight = init.normal([kernel, kernel, kernel, inputs, outputs], deviation);
        Self { weight, bias: None, stride: 1 }
    }

    /// With a bias that starts at zero.
    pub fn with_bias(self, init: &Init<'_>) -> Self {
        let [.., outputs] = self.weight.dims();
        Self { bias: Some(init.constant([outputs], 0.0)), ..self }
    }

    /// With stride 2.
    pub fn halving(self) -> Self {
        Self { stride: 2, ..self }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, ceil(D / stride), ceil(H / stride), ceil(W / stride), Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.biased(ops::conv3d(x, self.weight.val(), self.stride))
    }

    /// The convolution of an input whose channels from `first` on are those of `x`, and whose other channels are zero.
    /// Shapes as in [`Conv3d::forward`], Cin that of `x`.
    pub fn forward_part(&self, x: Tensor<5>, first: usize) -> Tensor<5> {
        let weight = self.weight.val().narrow(3, first, x.dims()[4]);
        self.biased(ops::conv3d(x, weight, self.stride))
    }

    /// The convolution of the normalised `x`; the norm's output is not stored for the gradient. Shapes as in
    /// [`Conv3d::forward`].
    pub(crate) fn after_norm(
        &self,
        x: Tensor<5>,
        affine: [Tensor<1>; 2],
        norm: GroupNormOptions,
    ) -> Tensor<5> {
        self.biased(ops::group_norm_conv3d(x, affine, self.weight.val(), norm, self.stride))
    }

    /// The convolution, normalised; the output of the convolution, which has stride 1 and no bias, is not stored for
    /// the gradient.
    pub(crate) fn before_norm(
        &self,
        x: Tensor<5>,
        affine: [Tensor<1>; 2],
        norm: GroupNormOptions,
    ) -> Tensor<5> {
        assert!(self.stride == 1 && self.bias.is_none(), "a convolution of stride 1 without bias");
        ops::conv3d_group_norm(x, self.weight.val(), affine, norm)
    }

    fn biased(&self, output: Tensor<5>) -> Tensor<5> {
        match &self.bias {
            Some(bias) => output + bias.val().unsqueeze(),
            None => output,
        }
    }
}
