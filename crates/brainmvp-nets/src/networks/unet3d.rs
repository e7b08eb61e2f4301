//! A residual 3-D U-Net: blocks of group norm, ReLU and 3^3 convolutions, the second backbone of BrainMVP.
//!
//! Four levels at 1, 1/2, 1/4 and 1/8 of the size. In pre-training the decoder gets only the deepest features;
//! downstream each of its levels adds the encoder's features of the same size.

use burn::module::Module;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{
    Encode, Features, Level, Network, Preset, Reconstruct, Segment, assert_multiples, listed,
};
use crate::heads::Segmented;
use crate::layers::{Activation, Conv3d, GroupNorm, Pass, Pointwise, nearest_upsample};
use crate::weights::{Entry, Head, Parts};
use crate::{Init, Result};

/// Groups of channels that share their statistics.
const GROUPS: usize = 8;

/// Widths of a [`Unet3dEncoder`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unet3dConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the four levels, multiples of 8.
    pub widths: [usize; 4],
}

impl Default for Unet3dConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl Unet3dConfig {
    /// The network of the paper.
    pub fn published() -> Self {
        Self { in_channels: 1, widths: [32, 64, 128, 256] }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self { widths: [8, 16, 24, 32], ..Self::published() }
    }

    /// A new encoder.
    fn new_encoder(&self, init: &mut Init<'_>) -> Unet3dEncoder {
        let [w1, w2, w3, w4] = self.widths;
        Unet3dEncoder {
            conv1a: conv(self.in_channels, w1, init),
            conv1b: ResidualBlock::new(w1, init),
            ds1: conv(w1, w2, init).halving(),
            conv2a: ResidualBlock::new(w2, init),
            conv2b: ResidualBlock::new(w2, init),
            ds2: conv(w2, w3, init).halving(),
            conv3a: ResidualBlock::new(w3, init),
            conv3b: ResidualBlock::new(w3, init),
            ds3: conv(w3, w4, init).halving(),
            conv4a: ResidualBlock::new(w4, init),
            conv4b: ResidualBlock::new(w4, init),
            conv4c: ResidualBlock::new(w4, init),
            conv4d: ResidualBlock::new(w4, init),
        }
    }

    /// A new decoder of `outputs` channels.
    fn new_decoder(&self, outputs: usize, init: &mut Init<'_>) -> Unet3dDecoder {
        let [w1, w2, w3, w4] = self.widths;
        Unet3dDecoder {
            up4conva: Pointwise::new(w4, w3, init),
            up4convb: ResidualBlock::new(w3, init),
            up3conva: Pointwise::new(w3, w2, init),
            up3convb: ResidualBlock::new(w2, init),
            up2conva: Pointwise::new(w2, w1, init),
            up2convb: ResidualBlock::new(w1, init),
            up1conv: Pointwise::new(w1, outputs, init),
        }
    }
}

impl Network for Unet3dConfig {
    const TITLE: &'static str = "UNET3D";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "unet3d",
            about: "the paper's second network, 18.8 M parameters",
            sizes: Self::published,
        },
        Preset { name: "unet3d-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 1e-5;
    const OPENING: &'static str = "conv1a.weight";
    const FIRST_LAYERS: &'static [&'static str] = &["encoder.conv1a."];
    const OUTPUTS: &'static [&'static str] = &["decoder.up1conv."];
    const ONE_DECODER: bool = true;

    type Encoder = Unet3dEncoder;
    type Reconstruction = Unet3dDecoder;
    type Segmentation = Unet3dDecoder;

    fn problem(&self) -> Option<String> {
        if self.in_channels == 0 {
            return Some("in_channels must be positive".into());
        }
        let fits = |width: usize| (GROUPS..=MAX_WIDTH).contains(&width) && width.is_multiple_of(GROUPS);
        let wrong = self.widths.iter().find(|&&width| !fits(width));
        wrong.map(|width| format!("widths must be multiples of {GROUPS} up to {MAX_WIDTH}, got {width}"))
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        (0..4).map(|level| Level { width: self.widths[level], reduction: 1 << level }).collect()
    }

    /// The convolutions of the blocks.
    fn parameters_at_least(&self) -> u64 {
        let blocks = self.widths.into_iter().zip([1, 2, 2, 4]);
        blocks.map(|(width, blocks)| blocks * 2 * 27 * (width as u64).pow(2)).sum()
    }

    fn sizes(&self) -> String {
        format!("{} channels", listed(&self.widths))
    }

    fn encoder(&self, init: &mut Init<'_>) -> Unet3dEncoder {
        self.new_encoder(init)
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> Unet3dDecoder {
        self.new_decoder(1, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Unet3dDecoder {
        self.new_decoder(classes, init)
    }

    /// The decoders of pre-training and of segmentation differ only in their use; pre-training has one channel in and out.
    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let starts = ["conv1a.weight", "ds1.weight", "ds2.weight", "ds3.weight"];
        let [[w1, in_channels, ..], [w2, ..], [w3, ..], [w4, ..]] = parts.each(starts, Parts::needed::<5>)?;
        let head = match parts.shape::<5>("up1conv.weight") {
            Some([1, ..]) if in_channels == 1 => Head::Reconstruction,
            Some([classes, ..]) => Head::Segmentation { classes },
            None => parts.classifier(),
        };
        Ok((Self { in_channels, widths: [w1, w2, w3, w4] }, head))
    }

    /// The published network is not divided into encoder and decoder.
    fn key(&self, _head: Head, entry: Entry<'_>) -> String {
        let flat = entry.path.strip_prefix("encoder.").or_else(|| entry.path.strip_prefix("decoder."));
        flat.unwrap_or(entry.path).to_owned()
    }
}

/// A 3^3 convolution with bias.
fn conv(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Conv3d {
    Conv3d::new([inputs, outputs], 3, init).with_bias(init)
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Unet3dEncoder {
    /// Start of level 1, at the full size.
    pub conv1a: Conv3d,
    /// Level 1.
    pub conv1b: ResidualBlock,
    /// Down to 1/2.
    pub ds1: Conv3d,
    /// Level 2.
    pub conv2a: ResidualBlock,
    /// Level 2.
    pub conv2b: ResidualBlock,
    /// Down to 1/4.
    pub ds2: Conv3d,
    /// Level 3.
    pub conv3a: ResidualBlock,
    /// Level 3.
    pub conv3b: ResidualBlock,
    /// Down to 1/8.
    pub ds3: Conv3d,
    /// Level 4.
    pub conv4a: ResidualBlock,
    /// Level 4.
    pub conv4b: ResidualBlock,
    /// Level 4.
    pub conv4c: ResidualBlock,
    /// Level 4.
    pub conv4d: ResidualBlock,
}

/// Sizes along each axis must be multiples of this.
const STRIDE: usize = 8;

impl Encode for Unet3dEncoder {
    /// Level s (0 to 3) is `[B, D/2^s, H/2^s, W/2^s, widths[s]]`.
    fn forward(&self, x: Tensor<5>, _pass: &mut Pass<'_>) -> Features {
        assert_multiples(Unet3dConfig::TITLE, &x, STRIDE);
        let through = |blocks: &[&ResidualBlock], x| blocks.iter().fold(x, |x, block| block.forward(x));
        let x1 = through(&[&self.conv1b], self.conv1a.forward(x.clone()));
        let x2 = through(&[&self.conv2a, &self.conv2b], self.ds1.forward(x1.clone()));
        let x3 = through(&[&self.conv3a, &self.conv3b], self.ds2.forward(x2.clone()));
        let deepest = [&self.conv4a, &self.conv4b, &self.conv4c, &self.conv4d];
        let x4 = through(&deepest, self.ds3.forward(x3.clone()));
        Features { input: x, levels: vec![x1, x2, x3, x4] }
    }
}

/// The decoder, for pre-training and for segmentation.
#[derive(Module, Debug)]
pub struct Unet3dDecoder {
    /// Narrows on the way from 1/8 to 1/4 of the size.
    pub up4conva: Pointwise,
    /// At 1/4.
    pub up4convb: ResidualBlock,
    /// Narrows on the way to 1/2.
    pub up3conva: Pointwise,
    /// At 1/2.
    pub up3convb: ResidualBlock,
    /// Narrows on the way to the full size.
    pub up2conva: Pointwise,
    /// At the full size.
    pub up2convb: ResidualBlock,
    /// The output.
    pub up1conv: Pointwise,
}

impl Unet3dDecoder {
    /// From the deepest features alone, or with the features of the encoder's levels 3, 2 and 1 added.
    ///
    /// # Shapes
    /// `[B, D/8, H/8, W/8, widths[3]]` to what the output is made of, `[B, D, H, W, widths[0]]`.
    fn decode(&self, deepest: Tensor<5>, skips: [Option<Tensor<5>>; 3]) -> Tensor<5> {
        let levels = [
            (&self.up4conva, &self.up4convb),
            (&self.up3conva, &self.up3convb),
            (&self.up2conva, &self.up2convb),
        ];
        levels.into_iter().zip(skips).fold(deepest, |x, ((narrow, block), skip)| {
            let x = nearest_upsample(narrow.forward(x));
            block.forward(match skip {
                Some(skip) => x + skip,
                None => x,
            })
        })
    }
}

impl Reconstruct for Unet3dDecoder {
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        self.up1conv.forward(self.decode(deepest, [None, None, None]))
    }
}

impl Segment for Unet3dDecoder {
    fn forward(&self, features: Features, _pass: &mut Pass<'_>) -> Segmented {
        let [x1, x2, x3, deepest] = features.into_levels();
        let finest = self.decode(deepest.clone(), [x3, x2, x1].map(Some));
        Segmented { logits: self.up1conv.forward(finest.clone()), coarse: Vec::new(), deepest, finest }
    }
}

/// `x + conv(relu(norm(conv(relu(norm(x))))))`.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// Before the first convolution, with its ReLU.
    pub gn1: GroupNorm,
    /// The first convolution.
    pub conv1: Conv3d,
    /// Before the second, with its ReLU.
    pub gn2: GroupNorm,
    /// The second convolution.
    pub conv2: Conv3d,
}

impl ResidualBlock {
    fn new(width: usize, init: &mut Init<'_>) -> Self {
        Self {
            gn1: GroupNorm::new(width, GROUPS, Activation::Relu, init),
            conv1: conv(width, width, init),
            gn2: GroupNorm::new(width, GROUPS, Activation::Relu, init),
            conv2: conv(width, width, init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let inner = self.gn1.then(&self.conv1, x.clone());
        x + self.gn2.then(&self.conv2, inner)
    }
}
