//! The downstream networks that contain a pre-trained encoder.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Encoder, NetworkConfig, Segmentation};
use crate::Init;
use crate::heads::Segmented;
use crate::layers::{Linear, Pass, mean_over_voxels};

/// An encoder and a decoder that segments.
#[derive(Module, Debug)]
pub struct SegmentationNetwork {
    /// Pre-trained, except for its first layer.
    pub encoder: Encoder,
    /// Sees the features of all sizes.
    pub decoder: Segmentation,
}

impl SegmentationNetwork {
    /// A new network; its `classes` may overlap, since each has its own logits.
    pub fn new(config: &NetworkConfig, classes: usize, init: &mut Init<'_>) -> Self {
        Self { encoder: config.encoder(init), decoder: config.segmentation(classes, init) }
    }

    /// # Shapes
    /// `[B, D, H, W, in_channels]` to logits `[B, D, H, W, classes]`
    ///
    /// # Panics
    /// If a size is not a multiple of the encoder's stride.
    pub fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Segmented {
        let features = self.encoder.forward(x, pass);
        self.decoder.forward(features, pass)
    }
}

/// Logits of a classification.
pub struct Classified {
    /// `[B, classes]`.
    pub logits: Tensor<2>,
    /// The deepest features of the encoder.
    pub deepest: Tensor<5>,
}

/// An encoder and a classifier on the mean of its deepest features.
#[derive(Module, Debug)]
pub struct ClassificationNetwork {
    /// Pre-trained, except for its first layer.
    pub encoder: Encoder,
    /// From the mean features to logits.
    pub head: Linear,
}

impl ClassificationNetwork {
    /// A new network; a case belongs to exactly one of `classes`.
    pub fn new(config: &NetworkConfig, classes: usize, init: &mut Init<'_>) -> Self {
        Self { encoder: config.encoder(init), head: Linear::new(config.deepest_width(), classes, init) }
    }

    /// # Shapes
    /// `[B, D, H, W, in_channels]` to logits `[B, classes]`
    ///
    /// # Panics
    /// If a size is not a multiple of the encoder's stride.
    pub fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Classified {
        let deepest = self.encoder.forward(x, pass).deepest();
        Classified { logits: self.head.forward(mean_over_voxels(deepest.clone())), deepest }
    }
}
