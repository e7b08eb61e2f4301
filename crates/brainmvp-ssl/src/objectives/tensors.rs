//! Patches of samples as tensors, and back as pictures.

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
    let mut values = Vec::new();
    patches.for_each(|patch| values.extend_from_slice(patch));
    let batch = values.len() / (x * y * z);
    Tensor::from_data(TensorData::new(values, [batch, z, y, x, 1]), device)
}

/// The first channel of the first case, `[D, H, W]`, detached.
pub(super) fn picture(x: Tensor<5>) -> Tensor<3> {
    x.detach().narrow(0, 0, 1).narrow(4, 0, 1).squeeze_dims::<3>(&[0, 4])
}
