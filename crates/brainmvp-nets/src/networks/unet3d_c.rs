//! The 3-D U-Net of GVSL (He et al., CVPR 2023): pairs of 3^3 convolutions with group norms of eight channels.
//!
//! Five levels at 1, 1/2, 1/4, 1/8 and 1/16 of the size.

use burn::module::Module;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{
    Encode, Features, Level, Network, Preset, Reconstruct, Segment, assert_multiples, listed,
};
use crate::heads::Segmented;
use crate::layers::{Activation, Conv3d, GroupNorm, Pass, max_pool, trilinear_upsample};
use crate::weights::{Entry, Head, Parts};
use crate::{Init, Result};

/// Channels that share their statistics.
const GROUP: usize = 8;

/// The slope of the activations below zero.
const SLOPE: f32 = 0.2;

/// Widths of a [`Unet3dCEncoder`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Unet3dCConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the five levels, multiples of 8.
    pub widths: [usize; 5],
}

impl Default for Unet3dCConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl Unet3dCConfig {
    /// The published network.
    pub fn published() -> Self {
        Self { in_channels: 1, widths: [32, 64, 128, 256, 512] }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self { widths: [8, 8, 16, 16, 24], ..Self::published() }
    }

    fn decoder(&self, outputs: usize, init: &mut Init<'_>) -> Unet3dCDecoder {
        let [w1, w2, w3, w4, w5] = self.widths;
        Unet3dCDecoder {
            up1: ConvPair::new([w5 + w4, w4], init),
            up2: ConvPair::new([w4 + w3, w3], init),
            up3: ConvPair::new([w3 + w2, w2], init),
            up4: ConvPair::new([w2 + w1, w1], init),
            out_conv: Conv3d::new([w1, outputs], 3, init).with_bias(init),
        }
    }
}

impl Network for Unet3dCConfig {
    const TITLE: &'static str = "UNET3D-C";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset { name: "unet3d-c", about: "the U-Net of GVSL, 23.5 M parameters", sizes: Self::published },
        Preset { name: "unet3d-c-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 1e-5;
    const OPENING: &'static str = "inc.double_conv.0.weight";
    const PREFIXES: &'static [&'static str] = &["unet."];
    const COPIED_UNDER: &'static [&'static str] = &["unet_pre.unet."];
    const FIRST_LAYERS: &'static [&'static str] = &["encoder.inc.conv1."];
    const OUTPUTS: &'static [&'static str] = &["decoder.out_conv."];
    const ONE_DECODER: bool = true;

    type Encoder = Unet3dCEncoder;
    type Reconstruction = Unet3dCDecoder;
    type Segmentation = Unet3dCDecoder;

    fn problem(&self) -> Option<String> {
        if self.in_channels == 0 {
            return Some("in_channels must be positive".into());
        }
        let fits = |width: usize| (GROUP..=MAX_WIDTH).contains(&width) && width.is_multiple_of(GROUP);
        let wrong = self.widths.iter().find(|&&width| !fits(width));
        wrong.map(|width| format!("widths must be multiples of {GROUP} up to {MAX_WIDTH}, got {width}"))
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        let level = |(level, width)| Level { width, reduction: 1_usize << level };
        self.widths.into_iter().enumerate().map(level).collect()
    }

    /// The second convolution of each level.
    fn parameters_at_least(&self) -> u64 {
        self.widths.into_iter().map(|width| 27 * (width as u64).pow(2)).sum()
    }

    fn sizes(&self) -> String {
        format!("{} channels", listed(&self.widths))
    }

    fn encoder(&self, init: &mut Init<'_>) -> Unet3dCEncoder {
        let [w1, w2, w3, w4, w5] = self.widths;
        Unet3dCEncoder {
            inc: ConvPair::new([self.in_channels, w1], init),
            down1: ConvPair::new([w1, w2], init),
            down2: ConvPair::new([w2, w3], init),
            down3: ConvPair::new([w3, w4], init),
            down4: ConvPair::new([w4, w5], init),
        }
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> Unet3dCDecoder {
        self.decoder(1, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Unet3dCDecoder {
        self.decoder(classes, init)
    }

    /// The published pre-trained weights have a decoder, but no output layer.
    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let name = |level: &str| format!("{}{level}double_conv.0.weight", parts.prefix);
        let levels = ["inc.", "down1.maxpool_conv.1.", "down2.maxpool_conv.1."];
        let deep = ["down3.maxpool_conv.1.", "down4.maxpool_conv.1."];
        let [[w1, in_channels, ..], [w2, ..], [w3, ..]] = parts.each(levels.map(name), Parts::needed::<5>)?;
        let [[w4, ..], [w5, ..]] = parts.each(deep.map(name), Parts::needed::<5>)?;
        let head = match parts.shape::<5>("out_conv.weight") {
            Some([1, ..]) if in_channels == 1 => Head::Reconstruction,
            Some([classes, ..]) => Head::Segmentation { classes },
            None if parts.any_shape(&name("up1.conv.")).is_ok() => Head::Reconstruction,
            None => parts.classifier(),
        };
        Ok((Self { in_channels, widths: [w1, w2, w3, w4, w5] }, head))
    }

    fn canonical(_head: Head, name: &str) -> Option<String> {
        if name.starts_with("unet_pre.") {
            return None;
        }
        let is_inner = ["inc.", "down", "up"].iter().any(|part| name.starts_with(part));
        Some(if is_inner { format!("unet.{name}") } else { name.to_owned() })
    }

    fn key(&self, _head: Head, entry: Entry<'_>) -> String {
        let flat = entry.path.strip_prefix("encoder.").or_else(|| entry.path.strip_prefix("decoder."));
        let mut names = flat.unwrap_or(entry.path).split('.');
        let (Some(level), Some(layer), Some(name), None) =
            (names.next(), names.next(), names.next(), names.next())
        else {
            return flat.unwrap_or(entry.path).to_owned();
        };
        let before = match level {
            "inc" => "",
            _ if level.starts_with("down") => ".maxpool_conv.1",
            _ => ".conv",
        };
        // The activations are counted too.
        let place = ["conv1", "norm1", "", "conv2", "norm2"].iter().position(|known| *known == layer);
        format!("unet.{level}{before}.double_conv.{}.{name}", place.unwrap_or_default())
    }
}

/// Two 3^3 convolutions, each with a group norm and a leaky ReLU.
#[derive(Module, Debug)]
pub struct ConvPair {
    /// The first convolution.
    pub conv1: Conv3d,
    /// Its norm.
    pub norm1: GroupNorm,
    /// The second convolution.
    pub conv2: Conv3d,
    /// Its norm.
    pub norm2: GroupNorm,
}

impl ConvPair {
    /// From `inputs` to `outputs` channels, of which the latter are a multiple of 8.
    pub fn new([inputs, outputs]: [usize; 2], init: &mut Init<'_>) -> Self {
        let norm =
            |init: &Init<'_>| GroupNorm::new(outputs, outputs / GROUP, Activation::LeakyRelu(SLOPE), init);
        Self {
            conv1: Conv3d::new([inputs, outputs], 3, init).with_bias(init),
            norm1: norm(init),
            conv2: Conv3d::new([outputs, outputs], 3, init).with_bias(init),
            norm2: norm(init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D, H, W, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.rest(self.conv1.forward(x))
    }

    /// From the level below, and the encoder's features of this one; without these, they are taken to be zero.
    fn up(&self, below: Tensor<5>, beside: Option<Tensor<5>>) -> Tensor<5> {
        let up = trilinear_upsample(below, 2);
        if let Some(beside) = beside {
            return self.forward(Tensor::cat(vec![beside, up], 4));
        }
        let first = self.conv1.weight.dims()[3] - up.dims()[4];
        self.rest(self.conv1.forward_part(up, first))
    }

    /// What follows the first convolution.
    fn rest(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm2.forward(self.norm1.then(&self.conv2, x))
    }
}

/// The encoder.
#[derive(Module, Debug)]
pub struct Unet3dCEncoder {
    /// At the full size.
    pub inc: ConvPair,
    /// At 1/2.
    pub down1: ConvPair,
    /// At 1/4.
    pub down2: ConvPair,
    /// At 1/8.
    pub down3: ConvPair,
    /// At 1/16.
    pub down4: ConvPair,
}

/// Sizes along each axis must be multiples of this.
const STRIDE: usize = 16;

impl Encode for Unet3dCEncoder {
    /// Level s (0 to 4) is `[B, D/2^s, H/2^s, W/2^s, widths[s]]`.
    fn forward(&self, x: Tensor<5>, _pass: &mut Pass<'_>) -> Features {
        assert_multiples(Unet3dCConfig::TITLE, &x, STRIDE);
        let mut levels = vec![self.inc.forward(x.clone())];
        let mut finest = levels[0].clone();
        for level in [&self.down1, &self.down2, &self.down3, &self.down4] {
            finest = level.forward(max_pool(finest));
            levels.push(finest.clone());
        }
        Features { input: x, levels }
    }
}

/// The decoder, for pre-training and for segmentation.
#[derive(Module, Debug)]
pub struct Unet3dCDecoder {
    /// At 1/8 of the size.
    pub up1: ConvPair,
    /// At 1/4.
    pub up2: ConvPair,
    /// At 1/2.
    pub up3: ConvPair,
    /// At the full size.
    pub up4: ConvPair,
    /// The output.
    pub out_conv: Conv3d,
}

impl Unet3dCDecoder {
    /// `[B, D/16, H/16, W/16, C]` to what the output is made of.
    fn decode(&self, deepest: Tensor<5>, skips: [Option<Tensor<5>>; 4]) -> Tensor<5> {
        let levels = [&self.up1, &self.up2, &self.up3, &self.up4];
        levels.into_iter().zip(skips).fold(deepest, |x, (level, skip)| level.up(x, skip))
    }
}

impl Reconstruct for Unet3dCDecoder {
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        self.out_conv.forward(self.decode(deepest, [None, None, None, None]))
    }
}

impl Segment for Unet3dCDecoder {
    fn forward(&self, features: Features, _pass: &mut Pass<'_>) -> Segmented {
        let [x1, x2, x3, x4, deepest] = features.into_levels();
        let finest = self.decode(deepest.clone(), [x4, x3, x2, x1].map(Some));
        Segmented { logits: self.out_conv.forward(finest.clone()), coarse: Vec::new(), deepest, finest }
    }
}
