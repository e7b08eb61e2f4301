//! What the methods on Swin-UNETR share.

use brainmvp_nets::networks::{NetworkConfig, PresetName, SwinUnetrConfig};
use burn::tensor::{Device, Tensor, TensorData};

/// The network that these methods are used with.
#[expect(clippy::expect_used, reason = "the name is of the list of networks")]
pub(super) fn preset() -> PresetName {
    PresetName::named("swin-unetr").expect("a network of the list")
}

/// What is wrong with a network for these methods, if anything.
pub(super) fn problem(network: &NetworkConfig) -> Option<String> {
    if !matches!(network, NetworkConfig::SwinUnetr(_)) {
        return Some("the method trains a Swin transformer: set model.preset to swin-unetr".to_owned());
    }
    (network.in_channels() != 1)
        .then(|| "in_channels of the network must be 1: pre-training sees one modality at a time".to_owned())
}

/// The sizes of the network that [`problem`] has accepted.
pub(super) fn sizes(network: &NetworkConfig) -> &SwinUnetrConfig {
    match network {
        NetworkConfig::SwinUnetr(config) => config,
        other => unreachable!("`problem` refuses {}", other.title()),
    }
}

/// Patches of `size` voxels (x, y, z; x fastest) as `[B, D, H, W, 1]`.
pub(super) fn batch<'a>(
    patches: impl Iterator<Item = &'a [f32]>,
    [x, y, z]: [usize; 3],
    device: &Device,
) -> Tensor<5> {
    let voxels: Vec<f32> = patches.flatten().copied().collect();
    let count = voxels.len() / (x * y * z);
    Tensor::from_data(TensorData::new(voxels, [count, z, y, x, 1]), device)
}

/// One patch of a batch to be shown, `[D, H, W]`.
pub(super) fn picture(x: &Tensor<5>, index: usize) -> Tensor<3> {
    x.clone().detach().narrow(0, index, 1).squeeze_dims::<3>(&[0, 4])
}

/// The mean over all voxels, `[B, D, H, W, C]` to `[B, C]`.
pub(super) fn pooled(x: Tensor<5>) -> Tensor<2> {
    let [batch, d, h, w, channels] = x.dims();
    x.reshape([batch, d * h * w, channels]).mean_dim(1).reshape([batch, channels])
}
