//! The backend extension: the operations, and the backends that implement them.

use brainmvp_ranks::Ranks;
use burn::backend::{Backend, backend_extension, tensor::FloatTensor};

use crate::ops::{
    AdamWStep, CropOptions, GroupNormOptions, WindowOptions, adamw, attention, conv, crop, depthwise, expand,
    group_norm, linear, mlp, norm, overlap, patch, ranks, residual, window,
};

/// The operations of channels-last 3-D networks, on the primitives of a backend, and their gradients.
///
/// Shapes are those of the functions of the same name in [`crate::ops`]. The methods do not check them again.
/// A `_backward` method takes the gradient for its operation's output and returns those for its inputs, in their order.
#[backend_extension(Flex, Cube: cfg(feature = "wgpu"), Autodiff)]
pub trait VolumeOps: Backend {
    /// See [`crate::ops::depthwise_conv3d`].
    fn depthwise_conv3d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        depthwise::reference::<Self>(x, weight, bias)
    }

    /// Gradients of [`VolumeOps::depthwise_conv3d`] for input, weight and bias.
    fn depthwise_conv3d_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        depthwise::reference_backward::<Self>(x, weight, gradient)
    }

    /// See [`crate::ops::conv3d`].
    fn dense_conv3d(x: FloatTensor<Self>, weight: FloatTensor<Self>, stride: usize) -> FloatTensor<Self> {
        conv::reference::<Self>(x, weight, stride)
    }

    /// Gradient of [`VolumeOps::dense_conv3d`] for the input. Only the shape of the input `x` matters.
    fn dense_conv3d_backward_input(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        conv::reference_backward_input::<Self>(x, weight, gradient, stride)
    }

    /// Gradient of [`VolumeOps::dense_conv3d`] for the weight, of which only the shape matters.
    fn dense_conv3d_backward_weight(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        conv::reference_backward_weight::<Self>(x, weight, gradient, stride)
    }

    /// See [`crate::ops::linear`].
    fn voxel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::reference::<Self>(x, weight, bias)
    }

    /// Gradients of [`VolumeOps::voxel_linear`] for input, weight and bias.
    fn voxel_linear_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        linear::reference_backward::<Self>(x, weight, gradient)
    }

    /// See [`crate::ops::linear_onto`]. Its gradients are those of [`VolumeOps::voxel_linear`]; `onto` has the output's.
    fn voxel_linear_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::reference_onto::<Self>(onto, x, weight, bias)
    }

    /// See [`crate::ops::mlp_onto`].
    fn voxel_mlp_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight1: FloatTensor<Self>,
        bias1: FloatTensor<Self>,
        weight2: FloatTensor<Self>,
        bias2: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        mlp::reference::<Self>(onto, x, mlp::Weights { weight1, bias1, weight2 }, bias2)
    }

    /// Gradients of [`VolumeOps::voxel_mlp_onto`] for input, weight, bias, weight and bias; `onto` has the output's.
    // The macro reads the type as it is written here.
    #[allow(clippy::type_complexity)]
    fn voxel_mlp_backward(
        x: FloatTensor<Self>,
        weight1: FloatTensor<Self>,
        bias1: FloatTensor<Self>,
        weight2: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        mlp::reference_backward::<Self>(x, mlp::Weights { weight1, bias1, weight2 }, gradient).into()
    }

    /// See [`crate::ops::layer_norm`].
    fn channel_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        norm::layer_norm_reference::<Self>(x, scale, shift, epsilon)
    }

    /// Gradients of [`VolumeOps::channel_layer_norm`] for input, scale and shift.
    fn channel_layer_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        norm::layer_norm_backward_reference::<Self>(x, scale, gradient, epsilon)
    }

    /// See [`crate::ops::batch_norm_train`]: output, mean and biased variance. Gradients flow through the output only.
    fn channel_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        norm::batch_norm_reference::<Self>(x, scale, shift, epsilon)
    }

    /// Gradients of [`VolumeOps::channel_batch_norm`]'s output for input, scale and shift, given the statistics.
    fn channel_batch_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        norm::batch_norm_backward_reference::<Self>(x, scale, [mean, variance], gradient, epsilon)
    }

    /// See [`crate::ops::batch_norm_train`]: like [`VolumeOps::channel_batch_norm`], of the samples of several ranks.
    fn shared_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        ranks: Ranks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        ranks::batch_norm::<Self>(x, scale, shift, epsilon, &ranks)
    }

    /// See [`crate::ops::ranks::when_gradient`].
    fn when_gradient(
        x: FloatTensor<Self>,
        _depth: FloatTensor<Self>,
        _hook: ranks::GradientHook,
    ) -> FloatTensor<Self> {
        x
    }

    /// See [`crate::ops::group_norm`]: output, and the moments `[B, 2, groups]`, mean and then biased variance. Gradients
    /// flow through the output only.
    fn channel_group_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        group_norm::reference::<Self>(x, scale, shift, options)
    }

    /// Gradients of [`VolumeOps::channel_group_norm`]'s output for input, scale and shift, given the moments.
    fn channel_group_norm_backward(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        group_norm::reference_backward::<Self>(x, [scale, shift], moments, gradient, options)
    }

    /// See [`crate::ops::group_norm_conv3d`].
    fn group_norm_conv(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        norm: GroupNormOptions,
        stride: usize,
    ) -> FloatTensor<Self> {
        let (normed, _) = Self::channel_group_norm(x, scale, shift, norm);
        Self::dense_conv3d(normed, weight, stride)
    }

    /// See [`crate::ops::conv3d_group_norm`].
    fn conv_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNormOptions,
    ) -> FloatTensor<Self> {
        Self::channel_group_norm(Self::dense_conv3d(x, weight, 1), scale, shift, norm).0
    }

    /// See [`crate::ops::leaky_sum`].
    fn leaky_sum(x: FloatTensor<Self>, y: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        residual::reference::<Self>(x, y, slope)
    }

    /// Gradient of [`VolumeOps::leaky_sum`] for either path, given its output.
    fn leaky_sum_backward(
        output: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        slope: f32,
    ) -> FloatTensor<Self> {
        residual::reference_backward::<Self>(output, gradient, slope)
    }

    /// See [`crate::ops::overlap_sums`].
    fn overlap_sums(logits: FloatTensor<Self>, members: FloatTensor<Self>) -> FloatTensor<Self> {
        overlap::reference::<Self>(logits, members)
    }

    /// Gradient of [`VolumeOps::overlap_sums`] for the logits.
    fn overlap_sums_backward(
        logits: FloatTensor<Self>,
        members: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        overlap::reference_backward::<Self>(logits, members, gradient)
    }

    /// See [`crate::ops::channel_affine`].
    fn channel_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        norm::affine_reference::<Self>(x, scale, shift)
    }

    /// See [`crate::ops::attention`]: output, and the logarithm of each softmax's sum, `[B, heads, N]`. Gradients flow
    /// through the output only.
    fn token_attention(qkv: FloatTensor<Self>, heads: usize) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention::reference::<Self>(qkv, heads)
    }

    /// Gradient of [`VolumeOps::token_attention`], given its results.
    fn token_attention_backward(
        qkv: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        heads: usize,
    ) -> FloatTensor<Self> {
        attention::reference_backward::<Self>(qkv, [output, log_sums], gradient, heads)
    }

    /// See [`crate::ops::window_attention`]: output, and the logarithm of each softmax's sum, `[B windows, heads, N]`.
    /// Gradients flow through the output only.
    fn window_attention(
        qkv: FloatTensor<Self>,
        outside: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: WindowOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        window::reference::<Self>(qkv, outside, bias, options)
    }

    /// Gradients of [`VolumeOps::window_attention`]'s output for its three inputs, given its results.
    fn window_attention_backward(
        qkv: FloatTensor<Self>,
        outside: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        options: WindowOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let inputs = [qkv, outside, bias];
        window::reference_backward::<Self>(inputs, [output, log_sums], gradient, options).into()
    }

    /// See [`crate::ops::normalized_crop`].
    fn normalized_crop(x: FloatTensor<Self>, options: CropOptions) -> FloatTensor<Self> {
        crop::reference::<Self>(x, options)
    }

    /// Gradient of [`VolumeOps::normalized_crop`].
    fn normalized_crop_backward(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        options: CropOptions,
    ) -> FloatTensor<Self> {
        crop::reference_backward::<Self>(x, gradient, options)
    }

    /// See [`crate::ops::expand_onto`].
    fn expand_onto(fine: FloatTensor<Self>, coarse: FloatTensor<Self>) -> FloatTensor<Self> {
        expand::reference::<Self>(fine, coarse)
    }

    /// Gradient of [`VolumeOps::expand_onto`] for the coarse level; the fine one has the output's.
    fn expand_onto_backward(gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        expand::reference_backward::<Self>(gradient)
    }

    /// See [`crate::ops::downsample`].
    fn patch_downsample(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        patch::downsample_reference::<Self>(x, weight, bias)
    }

    /// Gradients of [`VolumeOps::patch_downsample`] for input, weight and bias.
    fn patch_downsample_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        patch::downsample_backward_reference::<Self>(x, weight, gradient)
    }

    /// See [`crate::ops::upsample`].
    fn patch_upsample(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        patch::upsample_reference::<Self>(x, weight)
    }

    /// Gradients of [`VolumeOps::patch_upsample`] for input and weight.
    fn patch_upsample_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        patch::upsample_backward_reference::<Self>(x, weight, gradient)
    }

    /// See [`crate::ops::adamw`].
    fn adamw(
        value: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw::reference::<Self>(value, gradient, first, second, step)
    }

    /// See [`crate::ops::sum_of_squares`].
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        adamw::sum_of_squares::<Self>(x)
    }
}

#[cfg(feature = "wgpu")]
impl VolumeOps for burn::backend::Cube {}
