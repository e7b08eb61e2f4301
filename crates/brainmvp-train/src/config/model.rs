//! The sections that every run has: the network, and its patches.

use brainmvp_nets::networks::{NetworkConfig, Unet3dConfig, UniFormerConfig};
use serde::{Deserialize, Deserializer, Serialize};

/// Networks by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelPreset {
    /// UniFormer-S, as in the paper.
    #[default]
    UniformerSmall,
    /// A UniFormer with 0.2 M parameters for tests and first experiments.
    Tiny,
    /// UNET3D, the paper's second network.
    Unet3d,
    /// A small UNET3D for tests and first experiments.
    Unet3dTiny,
}

/// Which network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelSection", into = "ModelSection")]
pub struct ModelConfig {
    /// The preset that determines the defaults of the other values.
    pub preset: ModelPreset,
    /// The network's own values, in a section with its name: `[model.uniformer]`.
    pub network: NetworkConfig,
}

/// `[model]` as written in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelSection {
    #[serde(default)]
    preset: ModelPreset,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uniformer: Option<UniFormerConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unet3d: Option<Unet3dConfig>,
}

impl TryFrom<ModelSection> for ModelConfig {
    type Error = &'static str;

    fn try_from(section: ModelSection) -> std::result::Result<Self, Self::Error> {
        let preset = section.preset;
        let network = match (section.uniformer, section.unet3d) {
            (None, None) => return Ok(Self::of(preset)),
            (Some(config), None) => NetworkConfig::UniFormer(config),
            (None, Some(config)) => NetworkConfig::Unet3d(config),
            (Some(_), Some(_)) => {
                return Err(
                    "model.uniformer and model.unet3d are two networks: set the one that model.preset names",
                );
            }
        };
        Ok(Self { preset, network })
    }
}

impl From<ModelConfig> for ModelSection {
    fn from(config: ModelConfig) -> Self {
        let (uniformer, unet3d) = match config.network {
            NetworkConfig::UniFormer(network) => (Some(network), None),
            NetworkConfig::Unet3d(network) => (None, Some(network)),
        };
        Self { preset: config.preset, uniformer, unet3d }
    }
}

impl ModelConfig {
    /// The numbers of a preset.
    pub fn of(preset: ModelPreset) -> Self {
        let network = match preset {
            ModelPreset::UniformerSmall => NetworkConfig::UniFormer(UniFormerConfig::small()),
            ModelPreset::Tiny => NetworkConfig::UniFormer(UniFormerConfig::tiny()),
            ModelPreset::Unet3d => NetworkConfig::Unet3d(Unet3dConfig::published()),
            ModelPreset::Unet3dTiny => NetworkConfig::Unet3d(Unet3dConfig::tiny()),
        };
        Self { preset, network }
    }
}

impl ModelConfig {
    /// An existing network, with another number of input channels.
    pub fn with(network: &NetworkConfig, in_channels: usize) -> Self {
        let preset = match network {
            NetworkConfig::UniFormer(_) => ModelPreset::UniformerSmall,
            NetworkConfig::Unet3d(_) => ModelPreset::Unet3d,
        };
        Self { preset, network: network.with_in_channels(in_channels) }
    }
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self::of(ModelPreset::default())
    }
}

/// The patches of the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchConfig {
    /// Voxels along x, y and z; a single number applies to all three.
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
