//! The sections that every run has: the network, and its patches.

pub use brainmvp_nets::networks::PresetName as ModelPreset;
use brainmvp_nets::networks::{NetworkConfig, NetworkSection};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// Which network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "NetworkSection", into = "NetworkSection")]
pub struct ModelConfig {
    /// The preset that determines the defaults of the other values.
    pub preset: ModelPreset,
    /// The network's own values, in a section with its name: `[model.uniformer]`.
    pub network: NetworkConfig,
}

impl TryFrom<NetworkSection> for ModelConfig {
    type Error = brainmvp_nets::Error;

    fn try_from(section: NetworkSection) -> brainmvp_nets::Result<Self> {
        let preset = section.preset;
        Ok(match section.network()? {
            Some(network) => Self { preset, network },
            None => Self::of(preset),
        })
    }
}

impl From<ModelConfig> for NetworkSection {
    fn from(config: ModelConfig) -> Self {
        Self::new(config.preset, config.network)
    }
}

impl ModelConfig {
    /// The numbers of a preset.
    pub fn of(preset: ModelPreset) -> Self {
        Self { preset, network: preset.network() }
    }

    /// An existing network, with another number of input channels.
    pub fn with(network: &NetworkConfig, in_channels: usize) -> Self {
        Self { preset: network.preset(), network: network.with_in_channels(in_channels) }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::of(ModelPreset::default())
    }
}

/// The patches of the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatchConfig {
    /// Voxels of a patch along x, y and z, multiples of what the network needs; a single number is for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub size: [usize; 3],
}

impl Default for PatchConfig {
    fn default() -> Self {
        Self { size: [96; 3] }
    }
}

pub(super) fn one_or_three<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<[usize; 3], D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number of voxels, or three: [x, y, z]")]
    enum Size {
        One(usize),
        Three([usize; 3]),
    }
    Ok(match Size::deserialize(deserializer)? {
        Size::One(n) => [n; 3],
        Size::Three(sizes) => sizes,
    })
}
