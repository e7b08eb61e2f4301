//! The networks: one file each, and the list of them here.
//!
//! A network is an encoder, which produces features at four sizes, and a head: a decoder that reconstructs in
//! pre-training, one that segments, or a classifier. [`NetworkConfig`] builds each of them.

mod downstream;
mod unet3d;
mod uniformer;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::Init;
use crate::heads::{ReconstructionDecoder, Segmented, SkipDecoder};
use crate::layers::Noise;

pub use downstream::{ClassificationNetwork, Classified, SegmentationNetwork};
pub use unet3d::{ResidualBlock, Unet3dConfig, Unet3dDecoder, Unet3dEncoder};
pub use uniformer::{AttentionBlock, ConvBlock, UniFormer, UniFormerConfig};

/// The largest number of channels of a stage; more must be a typing error.
const MAX_WIDTH: usize = 8192;

/// The kind of network, and its sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkConfig {
    /// Convolutions and attention.
    UniFormer(UniFormerConfig),
    /// Convolutions alone.
    Unet3d(Unet3dConfig),
}

impl NetworkConfig {
    /// What is wrong with the sizes, if anything.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::UniFormer(config) => config.problem(),
            Self::Unet3d(config) => config.problem(),
        }
    }

    /// Sizes along each axis must be multiples of this.
    pub fn stride(&self) -> usize {
        match self {
            Self::UniFormer(_) => UniFormer::STRIDE,
            Self::Unet3d(_) => Unet3dEncoder::STRIDE,
        }
    }

    /// Channels of the input.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::UniFormer(config) => config.in_channels,
            Self::Unet3d(config) => config.in_channels,
        }
    }

    /// The same network with another number of input channels.
    pub fn with_in_channels(&self, in_channels: usize) -> Self {
        match self.clone() {
            Self::UniFormer(config) => Self::UniFormer(UniFormerConfig { in_channels, ..config }),
            Self::Unet3d(config) => Self::Unet3d(Unet3dConfig { in_channels, ..config }),
        }
    }

    /// Channels of the deepest features.
    pub fn deepest_width(&self) -> usize {
        match self {
            Self::UniFormer(config) => config.widths[3],
            Self::Unet3d(config) => config.widths[3],
        }
    }

    /// A lower bound of the encoder's number of parameters, within a factor of three for all but the narrowest.
    pub fn parameters_at_least(&self) -> u64 {
        match self {
            Self::UniFormer(config) => config.parameters_at_least(),
            Self::Unet3d(config) => config.parameters_at_least(),
        }
    }

    /// A new encoder.
    pub fn encoder(&self, init: &mut Init<'_>) -> Encoder {
        match self {
            Self::UniFormer(config) => Encoder::UniFormer(config.init(init)),
            Self::Unet3d(config) => Encoder::Unet3d(config.encoder(init)),
        }
    }

    /// A new decoder for pre-training.
    pub fn reconstruction(&self, init: &mut Init<'_>) -> Reconstruction {
        match self {
            Self::UniFormer(config) => {
                Reconstruction::UniFormer(ReconstructionDecoder::new(config.widths, init))
            }
            Self::Unet3d(config) => Reconstruction::Unet3d(config.decoder(1, init)),
        }
    }

    /// A new decoder for segmentation.
    pub fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Segmentation {
        match self {
            Self::UniFormer(config) => {
                let channels = [config.in_channels, classes];
                Segmentation::UniFormer(SkipDecoder::new(config.widths, channels, init))
            }
            Self::Unet3d(config) => Segmentation::Unet3d(config.decoder(classes, init)),
        }
    }
}

/// From a volume to features.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a run has one of them
pub enum Encoder {
    /// Convolutions and attention.
    UniFormer(UniFormer),
    /// Convolutions alone.
    Unet3d(Unet3dEncoder),
}

impl Encoder {
    /// The features of its four stages, each half the size of the one before. `noise` is for stochastic depth.
    ///
    /// # Shapes
    /// `x`: `[B, D, H, W, in_channels]`, D, H, W multiples of [`NetworkConfig::stride`]
    ///
    /// # Panics
    /// If a size is not a multiple of the stride.
    pub fn forward(&self, x: Tensor<5>, noise: &mut Noise<'_>) -> [Tensor<5>; 4] {
        match self {
            Self::UniFormer(encoder) => encoder.forward(x, noise),
            Self::Unet3d(encoder) => encoder.forward(x),
        }
    }
}

/// From the deepest features back to the volume.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // a run has one of them
pub enum Reconstruction {
    /// Transposed convolutions.
    UniFormer(ReconstructionDecoder),
    /// Residual blocks.
    Unet3d(Unet3dDecoder),
}

impl Reconstruction {
    /// # Shapes
    /// The deepest features of an encoder to `[B, D, H, W, 1]`.
    pub fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        match self {
            Self::UniFormer(decoder) => decoder.forward(deepest),
            Self::Unet3d(decoder) => decoder.forward(deepest, [None, None, None]),
        }
    }
}

/// From the features of all sizes to logits.
#[derive(Module, Debug)]
pub enum Segmentation {
    /// Transposed convolutions, with the encoder's features concatenated.
    UniFormer(SkipDecoder),
    /// Residual blocks, with the encoder's features added.
    Unet3d(Unet3dDecoder),
}

impl Segmentation {
    /// # Shapes
    /// - `x`: the input of the encoder, `[B, D, H, W, C]`
    /// - `stages`: the encoder's features
    pub fn forward(&self, x: Tensor<5>, stages: [Tensor<5>; 4]) -> Segmented {
        match self {
            Self::UniFormer(decoder) => decoder.forward(x, stages),
            Self::Unet3d(decoder) => {
                let [x1, x2, x3, deepest] = stages;
                let logits = decoder.forward(deepest.clone(), [x3, x2, x1].map(Some));
                Segmented { logits, coarse: Vec::new(), deepest }
            }
        }
    }
}
