//! The 3-D U-Net of Models Genesis (Zhou et al., 2019) and TransVW (Haghighi et al., 2021): pairs of 3^3 convolutions with
//! batch norms.
//!
//! Four levels at 1, 1/2, 1/4 and 1/8 of the size. Unlike other networks, the published one uses the statistics of the
//! batch in evaluation too.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{relu, sigmoid};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{
    Encode, Features, Level, Network, Preset, Reconstruct, Segment, assert_multiples, listed,
};
use crate::heads::Segmented;
use crate::layers::{BatchNorm, Conv3d, Pass, Pointwise, Upsample, max_pool};
use crate::weights::{Entry, Head, Parts};
use crate::{Init, Result};

/// Sizes of a [`Unet3dBEncoder`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unet3dBConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels after the first convolution; the first level has twice as many, each further one twice those before.
    pub width: usize,
    /// Whether the batch norms use the statistics of the batch in evaluation too, as published.
    pub always_batch_stats: bool,
}

impl Default for Unet3dBConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl Unet3dBConfig {
    /// The published network.
    pub fn published() -> Self {
        Self { in_channels: 1, width: 32, always_batch_stats: true }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self { width: 4, ..Self::published() }
    }

    /// Channels of the four levels.
    fn widths(&self) -> [usize; 4] {
        [2, 4, 8, 16].map(|factor| factor * self.width)
    }

    fn pair(&self, channels: [usize; 3], init: &mut Init<'_>) -> Vec<NormedConv> {
        let mut unit = |inputs, outputs| NormedConv {
            conv1: Conv3d::new([inputs, outputs], 3, init).with_bias(init),
            bn1: BatchNorm::new(outputs, init).of_batch(self.always_batch_stats),
        };
        vec![unit(channels[0], channels[1]), unit(channels[1], channels[2])]
    }

    fn decoder(&self, outputs: usize, init: &mut Init<'_>) -> Unet3dBDecoder {
        let [w1, w2, w3, w4] = self.widths();
        let mut up = |below, beside| UpTransition {
            up_conv: Upsample::new(below, below, init).with_bias(init),
            ops: self.pair([below + beside, beside, beside], init),
        };
        Unet3dBDecoder {
            up_tr256: up(w4, w3),
            up_tr128: up(w3, w2),
            up_tr64: up(w2, w1),
            out_tr: OutputTransition { final_conv: Pointwise::new(w1, outputs, init) },
        }
    }
}

impl Network for Unet3dBConfig {
    const TITLE: &'static str = "UNET3D-B";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "unet3d-b",
            about: "the U-Net of Models Genesis and TransVW, 19.1 M parameters",
            sizes: Self::published,
        },
        Preset { name: "unet3d-b-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 1e-5;
    const OPENING: &'static str = "down_tr64.ops.0.conv1.weight";
    const FIRST_LAYERS: &'static [&'static str] = &["encoder.down_tr64.ops.0.conv1."];
    const OUTPUTS: &'static [&'static str] = &["decoder.out_tr."];
    const ONE_DECODER: bool = true;

    type Encoder = Unet3dBEncoder;
    type Reconstruction = Unet3dBDecoder;
    type Segmentation = Unet3dBDecoder;

    fn problem(&self) -> Option<String> {
        let fits = self.in_channels > 0 && (1..=MAX_WIDTH / 16).contains(&self.width);
        (!fits).then(|| format!("in_channels must be positive, and width from 1 to {}", MAX_WIDTH / 16))
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        let level = |(level, width)| Level { width, reduction: 1_usize << level };
        self.widths().into_iter().enumerate().map(level).collect()
    }

    /// The second convolution of each level.
    fn parameters_at_least(&self) -> u64 {
        self.widths().into_iter().map(|width| 27 * (width as u64).pow(2) / 2).sum()
    }

    fn sizes(&self) -> String {
        format!("{} channels", listed(&self.widths()))
    }

    fn encoder(&self, init: &mut Init<'_>) -> Unet3dBEncoder {
        let [w1, w2, w3, w4] = self.widths();
        let mut down =
            |inputs, outputs: usize| DownTransition { ops: self.pair([inputs, outputs / 2, outputs], init) };
        Unet3dBEncoder {
            down_tr64: down(self.in_channels, w1),
            down_tr128: down(w1, w2),
            down_tr256: down(w2, w3),
            down_tr512: down(w3, w4),
        }
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> Unet3dBDecoder {
        self.decoder(1, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Unet3dBDecoder {
        self.decoder(classes, init)
    }

    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let [width, in_channels, ..] = parts.needed::<5>(Self::OPENING)?;
        let head = match parts.shape::<5>("out_tr.final_conv.weight") {
            Some([1, ..]) if in_channels == 1 => Head::Reconstruction,
            Some([classes, ..]) => Head::Segmentation { classes },
            None => parts.classifier(),
        };
        Ok((Self { in_channels, width, ..Self::published() }, head))
    }

    fn take_unseen(&mut self, told: &Self, _head: Head) {
        self.always_batch_stats = told.always_batch_stats;
    }

    /// The published network is not divided into encoder and decoder.
    fn key(&self, _head: Head, entry: Entry<'_>) -> String {
        let flat = entry.path.strip_prefix("encoder.").or_else(|| entry.path.strip_prefix("decoder."));
        flat.unwrap_or(entry.path).to_owned()
    }
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Unet3dBEncoder {
    /// At the full size.
    pub down_tr64: DownTransition,
    /// At 1/2.
    pub down_tr128: DownTransition,
    /// At 1/4.
    pub down_tr256: DownTransition,
    /// At 1/8.
    pub down_tr512: DownTransition,
}

/// Sizes along each axis must be multiples of this.
const STRIDE: usize = 8;

impl Encode for Unet3dBEncoder {
    /// Level s (0 to 3) is `[B, D/2^s, H/2^s, W/2^s, width * 2^(s + 1)]`.
    fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Features {
        assert_multiples(Unet3dBConfig::TITLE, &x, STRIDE);
        let x1 = through(&self.down_tr64.ops, x.clone(), pass);
        let x2 = through(&self.down_tr128.ops, max_pool(x1.clone()), pass);
        let x3 = through(&self.down_tr256.ops, max_pool(x2.clone()), pass);
        let x4 = through(&self.down_tr512.ops, max_pool(x3.clone()), pass);
        Features { input: x, levels: vec![x1, x2, x3, x4] }
    }
}

fn through(units: &[NormedConv], x: Tensor<5>, pass: &Pass<'_>) -> Tensor<5> {
    units.iter().fold(x, |x, unit| unit.activated(unit.conv1.forward(x), pass))
}

/// A level of the encoder.
#[derive(Module, Debug)]
pub struct DownTransition {
    /// Two convolutions.
    pub ops: Vec<NormedConv>,
}

/// A 3^3 convolution, a batch norm and a ReLU.
#[derive(Module, Debug)]
pub struct NormedConv {
    /// The convolution.
    pub conv1: Conv3d,
    /// The norm.
    pub bn1: BatchNorm,
}

impl NormedConv {
    fn activated(&self, x: Tensor<5>, pass: &Pass<'_>) -> Tensor<5> {
        relu(self.bn1.forward(x, pass))
    }
}

/// The decoder, for pre-training and for segmentation.
#[derive(Module, Debug)]
pub struct Unet3dBDecoder {
    /// From 1/8 to 1/4 of the size.
    pub up_tr256: UpTransition,
    /// To 1/2.
    pub up_tr128: UpTransition,
    /// To the full size.
    pub up_tr64: UpTransition,
    /// The output.
    pub out_tr: OutputTransition,
}

/// A level of the decoder.
#[derive(Module, Debug)]
pub struct UpTransition {
    /// Doubles the size.
    pub up_conv: Upsample,
    /// Two convolutions of the result and the encoder's features.
    pub ops: Vec<NormedConv>,
}

impl UpTransition {
    /// Without the encoder's features, they are taken to be zero.
    fn forward(&self, below: Tensor<5>, beside: Option<Tensor<5>>, pass: &Pass<'_>) -> Tensor<5> {
        let up = self.up_conv.forward(below);
        let [first, second] = self.ops.as_slice() else { return up };
        let mixed = match beside {
            Some(beside) => first.conv1.forward(Tensor::cat(vec![up, beside], 4)),
            None => first.conv1.forward_part(up, 0),
        };
        second.activated(second.conv1.forward(first.activated(mixed, pass)), pass)
    }
}

/// The output of the decoder.
#[derive(Module, Debug)]
pub struct OutputTransition {
    /// Its convolution.
    pub final_conv: Pointwise,
}

impl Unet3dBDecoder {
    /// `[B, D/8, H/8, W/8, C]` to what the output is made of.
    fn decode(&self, deepest: Tensor<5>, skips: [Option<Tensor<5>>; 3], pass: &Pass<'_>) -> Tensor<5> {
        let levels = [&self.up_tr256, &self.up_tr128, &self.up_tr64];
        levels.into_iter().zip(skips).fold(deepest, |x, (level, skip)| level.forward(x, skip, pass))
    }
}

impl Reconstruct for Unet3dBDecoder {
    /// Values from 0 to 1. The batch norms use the statistics of the batch.
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        let finest = self.decode(deepest, [None, None, None], &Pass::still());
        sigmoid(self.out_tr.final_conv.forward(finest))
    }
}

impl Segment for Unet3dBDecoder {
    fn forward(&self, features: Features, pass: &mut Pass<'_>) -> Segmented {
        let [x1, x2, x3, deepest] = features.into_levels();
        let finest = self.decode(deepest.clone(), [x3, x2, x1].map(Some), pass);
        let logits = self.out_tr.final_conv.forward(finest.clone());
        Segmented { logits, coarse: Vec::new(), deepest, finest }
    }
}
