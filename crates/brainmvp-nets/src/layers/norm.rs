//! Norms over the channels.

use brainmvp_kernels::ops::{self, Activation, BatchNormed, GroupNormOptions};
use brainmvp_ranks::Ranks;
use burn::module::{Module, Param, RunningState};
use burn::tensor::{Device, Tensor};

use super::{Conv3d, Pass};
use crate::Init;

/// Layer norm over the channels of each voxel.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f32,
}

impl LayerNorm {
    /// Scale 1, shift 0.
    pub fn new(channels: usize, epsilon: f32, init: &Init<'_>) -> Self {
        Self { weight: init.constant([channels], 1.0), bias: init.constant([channels], 0.0), epsilon }
    }

    /// # Shapes
    /// `[.., C]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}

/// Group norm over the voxels of each case, with an activation.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    options: GroupNormOptions,
}

impl GroupNorm {
    /// Scale 1, shift 0, epsilon 1e-5.
    pub fn new(channels: usize, groups: usize, activation: Activation, init: &Init<'_>) -> Self {
        Self {
            weight: init.constant([channels], 1.0),
            bias: init.constant([channels], 0.0),
            options: GroupNormOptions { groups, epsilon: 1e-5, activation },
        }
    }

    /// # Shapes
    /// `[B, .., C]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::group_norm(x, self.weight.val(), self.bias.val(), self.options)
    }

    /// The norm, then a convolution. The values between the two are not stored for the gradient.
    pub fn then(&self, conv: &Conv3d, x: Tensor<5>) -> Tensor<5> {
        conv.after_norm(x, [self.weight.val(), self.bias.val()], self.options)
    }
}

/// Normalises each channel of each case by its own mean and deviation, epsilon 1e-5; then an activation. No parameters.
#[derive(Debug, Clone, Copy)]
pub struct InstanceNorm {
    activation: Activation,
}

impl InstanceNorm {
    /// With this activation.
    pub fn new(activation: Activation) -> Self {
        Self { activation }
    }

    /// # Shapes
    /// `[B, .., C]` to the same.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        let ([scale, shift], options) = self.of(x.dims()[D - 1], &x.device());
        ops::group_norm(x, scale, shift, options)
    }

    /// The norm, then a convolution. The values between the two are not stored for the gradient.
    pub fn then(self, conv: &Conv3d, x: Tensor<5>) -> Tensor<5> {
        let (affine, options) = self.of(x.dims()[4], &x.device());
        conv.after_norm(x, affine, options)
    }

    /// A convolution of stride 1 without bias, then the norm. The values between the two are not stored for the
    /// gradient: for cheap convolutions.
    pub fn after(self, conv: &Conv3d, x: Tensor<5>) -> Tensor<5> {
        let (affine, options) = self.of(conv.weight.dims()[4], &x.device());
        conv.before_norm(x, affine, options)
    }

    /// Scale 1 and shift 0, and one group for each channel.
    fn of(self, channels: usize, device: &Device) -> ([Tensor<1>; 2], GroupNormOptions) {
        let options = GroupNormOptions { groups: channels, epsilon: 1e-5, activation: self.activation };
        ([Tensor::ones([channels], device), Tensor::zeros([channels], device)], options)
    }
}

/// Batch norm over the batch and all voxels. In training it uses the statistics of the batch, and updates the running ones;
/// otherwise it uses the running ones, unless it is [`BatchNorm::of_batch`].
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Running mean, `[C]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance (unbiased), `[C]`.
    pub running_var: RunningState<Tensor<1>>,
    #[module(skip)]
    epsilon: f32,
    #[module(skip)]
    momentum: f32,
    #[module(skip)]
    of_batch: bool,
}

impl BatchNorm {
    /// Scale 1, shift 0, epsilon 1e-5, momentum 0.1.
    pub fn new(channels: usize, init: &Init<'_>) -> Self {
        Self {
            weight: init.constant([channels], 1.0),
            bias: init.constant([channels], 0.0),
            running_mean: RunningState::new(Tensor::zeros([channels], init.device)),
            running_var: RunningState::new(Tensor::ones([channels], init.device)),
            epsilon: 1e-5,
            momentum: 0.1,
            of_batch: false,
        }
    }

    /// With the statistics of the batch in evaluation too.
    pub fn of_batch(self, of_batch: bool) -> Self {
        Self { of_batch, ..self }
    }

    /// # Shapes
    /// `[.., C]` to the same.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, pass: &Pass<'_>) -> Tensor<D> {
        match (pass.training, self.of_batch) {
            (true, _) => self.forward_train(x, &pass.norms),
            (false, true) => self.of_this_batch(x, &Ranks::alone()).output,
            (false, false) => self.forward_running(x),
        }
    }

    fn of_this_batch<const D: usize>(&self, x: Tensor<D>, ranks: &Ranks) -> BatchNormed<D> {
        ops::batch_norm_train(x, self.weight.val(), self.bias.val(), self.epsilon, ranks)
    }

    fn forward_train<const D: usize>(&self, x: Tensor<D>, ranks: &Ranks) -> Tensor<D> {
        let dims = x.dims();
        let count = (ranks.count() * dims[..D - 1].iter().product::<usize>()) as f32;
        let normed = self.of_this_batch(x, ranks);
        let unbiased = normed.variance.detach() * (count / (count - 1.0).max(1.0));
        self.update(&self.running_mean, normed.mean.detach());
        self.update(&self.running_var, unbiased);
        normed.output
    }

    fn update(&self, state: &RunningState<Tensor<1>>, batch: Tensor<1>) {
        let value = state.value_sync() * (1.0 - self.momentum) + batch * self.momentum;
        state.update(value);
        // Apply the update at once, so that visitors (checkpoints) see it.
        state.value_sync();
    }

    fn forward_running<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let factor = self.weight.val() / (self.running_var.value_sync() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.value_sync() * factor.clone();
        ops::channel_affine(x, factor, shift)
    }
}
