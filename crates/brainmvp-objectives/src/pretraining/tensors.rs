//! Patches of samples as tensors, and back as pictures; what the methods do with tensors.

use brainmvp_kernels::ops::batch_norm_train;
use brainmvp_ranks::Ranks;
use burn::tensor::{Device, Tensor, TensorData};

/// The patches of some samples as a batch of one channel.
///
/// # Shapes
/// Each of `size` voxels (x, y, z), x fastest, to `[B, D, H, W, 1]`.
pub(super) fn volumes<'a>(
    patches: impl Iterator<Item = &'a [f32]>,
    [x, y, z]: [usize; 3],
    device: &Device,
) -> Tensor<5> {
    let voxels: Vec<f32> = patches.flatten().copied().collect();
    let count = voxels.len() / (x * y * z);
    Tensor::from_data(TensorData::new(voxels, [count, z, y, x, 1]), device)
}

/// The first channel of one patch of a batch to be shown, `[D, H, W]`, detached.
pub(super) fn picture(x: &Tensor<5>, index: usize) -> Tensor<3> {
    x.clone().detach().narrow(0, index, 1).narrow(4, 0, 1).squeeze_dims::<3>(&[0, 4])
}

/// A batch norm without parameters, of the batch that some ranks share: `[B, F]` to the same.
pub(super) fn standardised(x: Tensor<2>, ranks: &Ranks) -> Tensor<2> {
    let (channels, device) = (x.dims()[1], x.device());
    let (scale, shift) = (Tensor::ones([channels], &device), Tensor::zeros([channels], &device));
    batch_norm_train(x, scale, shift, 1e-5, ranks).output
}
