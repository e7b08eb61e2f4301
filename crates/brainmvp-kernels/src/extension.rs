//! The backend extension: which operations there are, and which backend runs what.

use burn::backend::{Backend, backend_extension, tensor::FloatTensor};

use crate::ops::{attention, conv, depthwise, linear, norm, patch};

/// The operations of channels-last 3-D networks, on the primitives of a backend.
///
/// Shapes are those of the functions of the same name in [`crate::ops`]. The methods do not check them again.
#[backend_extension(Flex, Cube: cfg(feature = "cube"), Autodiff)]
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

    /// See [`crate::ops::linear`].
    fn voxel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::reference::<Self>(x, weight, bias)
    }

    /// See [`crate::ops::linear_gelu`].
    fn voxel_linear_gelu(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear::reference_gelu::<Self>(x, weight, bias)
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

    /// See [`crate::ops::batch_norm_train`]: output, mean and biased variance.
    fn channel_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        norm::batch_norm_reference::<Self>(x, scale, shift, epsilon)
    }

    /// See [`crate::ops::attention`].
    fn token_attention(qkv: FloatTensor<Self>, heads: usize) -> FloatTensor<Self> {
        attention::reference::<Self>(qkv, heads)
    }

    /// See [`crate::ops::downsample`].
    fn patch_downsample(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        patch::downsample_reference::<Self>(x, weight, bias)
    }

    /// See [`crate::ops::upsample`].
    fn patch_upsample(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        patch::upsample_reference::<Self>(x, weight)
    }
}

#[cfg(feature = "cube")]
mod cube {
    use burn::backend::CubeBackend;

    impl super::VolumeOps for CubeBackend {}
}
