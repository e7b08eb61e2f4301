//! The networks: one file or folder each, and the list of them here.
//!
//! A network is an encoder, which makes features of several sizes, and a head: a decoder that reconstructs in pre-training,
//! one that segments, or a layer on the mean of the deepest features. [`Network`] says what a file must define; the list
//! makes of it [`NetworkConfig`], which builds the parts, and the types of the parts.

#[macro_use]
mod list;
mod network;
mod preset;
mod swin_unetr;
mod task;
mod unet3d;
mod unetr;
mod uniformer;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::heads::Segmented;
use crate::layers::Pass;
use crate::weights::{Axes, Entry, Extra, Head, Known};
use crate::{Error, Init, Result};

pub use network::{Encode, Features, Level, Network, Preset, Reconstruct, Segment};
pub use preset::PresetName;
pub use swin_unetr::{
    Embedding, Merging, PatchMerging, Swin, SwinBlock, SwinStage, SwinUnetrConfig, SwinUnetrDecoder,
};
pub use task::{ClassificationNetwork, Classified, SegmentationNetwork};
pub use unet3d::{ResidualBlock, Unet3dConfig, Unet3dDecoder, Unet3dEncoder};
pub use unetr::{Climb, ClimbStep, PatchEmbedding, TransformerBlock, Unetr, UnetrConfig, UnetrDecoder};
pub use uniformer::{AttentionBlock, ConvBlock, UniFormer, UniFormerConfig};

/// The largest number of channels of a stage; more must be a typing error.
const MAX_WIDTH: usize = 8192;

// A new network is a line here: its variant, the name of its section in a configuration, and its sizes.
networks! {
    UniFormer, uniformer, UniFormerConfig;
    Unet3d, unet3d, Unet3dConfig;
    Unetr, unetr, UnetrConfig;
    SwinUnetr, swin_unetr, SwinUnetrConfig;
}

impl NetworkConfig {
    /// Channels of the deepest features.
    pub fn deepest_width(&self) -> usize {
        self.levels().last().map_or(0, |deepest| deepest.width)
    }
}
