//! What the methods on Swin-UNETR share.

use brainmvp_nets::networks::{NetworkConfig, PresetName, SwinUnetrConfig};

/// The network that these methods are used with.
pub(super) fn preset() -> PresetName {
    PresetName::known("swin-unetr")
}

/// What is wrong with a network for these methods, if anything.
pub(super) fn problem(network: &NetworkConfig) -> Option<String> {
    let fits = matches!(network, NetworkConfig::SwinUnetr(_));
    (!fits).then(|| "the method trains a Swin transformer: set model.preset to swin-unetr".to_owned())
}

/// The sizes of the network that [`problem`] has accepted.
pub(super) fn sizes(network: &NetworkConfig) -> &SwinUnetrConfig {
    match network {
        NetworkConfig::SwinUnetr(config) => config,
        other => unreachable!("`problem` refuses {}", other.title()),
    }
}
