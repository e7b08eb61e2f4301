//! Swin-UNETR (Hatamizadeh et al., 2022) as in MONAI: a Swin transformer of four stages, and a convolutional decoder with
//! skips from all of them and from the input.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{Encode, Features, Level, Network, Preset, Segment, assert_multiples, listed};
use crate::heads::{ConvResidualBlock, ReconstructionDecoder, Segmented, SkipLevel, wrapped};
use crate::layers::{
    Downsample, LayerNorm, Linear, Mlp, Pass, Pointwise, WindowAttention, blocks, published_offsets,
};
use crate::weights::{Entry, Extra, Head, Parts};
use crate::{Error, Init, Result};

/// Hidden channels of an MLP, as a multiple of its width.
const MLP_RATIO: usize = 4;

/// Which neighbours are joined between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Merging {
    /// All eight.
    #[default]
    Fixed,
    /// As in MONAI before 2025, with which the published weights were trained: two of the eight twice, and two never.
    Legacy,
}

impl Merging {
    /// The voxels of a block of 2^3 in the order in which they are joined: z, y and x as the bits of a number.
    fn order(self) -> [i32; 8] {
        // Written as x, y, z, as MONAI counts.
        let order = match self {
            Self::Fixed => ["000", "100", "010", "001", "110", "101", "011", "111"],
            Self::Legacy => ["000", "100", "010", "001", "101", "010", "001", "111"],
        };
        order.map(|bits| bits.chars().rev().fold(0, |number, bit| 2 * number + i32::from(bit == '1')))
    }
}

/// Sizes of a [`Swin`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SwinUnetrConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the first stage; each further one has twice as many.
    pub feature: usize,
    /// Blocks of the four stages.
    pub depths: [usize; 4],
    /// Attention heads of the four stages; divide their channels.
    pub heads: [usize; 4],
    /// Tokens of a window along each axis.
    pub window: usize,
    /// Which neighbours are joined between two stages.
    pub merging: Merging,
}

impl Default for SwinUnetrConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl SwinUnetrConfig {
    /// The published network, with its later correction of the merging.
    pub fn published() -> Self {
        Self {
            in_channels: 1,
            feature: 48,
            depths: [2; 4],
            heads: [3, 6, 12, 24],
            window: 7,
            merging: Merging::Fixed,
        }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self { feature: 8, heads: [1, 2, 2, 4], window: 3, ..Self::published() }
    }

    /// Channels of the input of a stage, from 0; the fifth are the deepest features.
    fn width(&self, stage: usize) -> usize {
        self.feature << stage
    }
}

impl Network for SwinUnetrConfig {
    const TITLE: &'static str = "Swin-UNETR";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "swin-unetr",
            about: "Swin-UNETR as published, 62.2 M parameters with the decoder of segmentation",
            sizes: Self::published,
        },
        Preset { name: "swin-unetr-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 1e-4;
    const OPENING: &'static str = "patch_embed.proj.weight";
    const PREFIXES: &'static [&'static str] = &["swinViT.", "swin_vit.", "encoder."];
    const FIRST_LAYERS: &'static [&'static str] =
        &["encoder.patch_embed.", "decoder.encoder1.conv1.", "decoder.encoder1.conv3."];
    const OUTPUTS: &'static [&'static str] = &["decoder.out"];

    type Encoder = Swin;
    type Reconstruction = ReconstructionDecoder;
    type Segmentation = SwinUnetrDecoder;

    fn problem(&self) -> Option<String> {
        if self.in_channels == 0 || self.depths.contains(&0) || self.heads.contains(&0) {
            return Some("in_channels, depths and heads must be positive".into());
        }
        if self.feature == 0 || self.feature > MAX_WIDTH / 16 {
            return Some(format!(
                "feature must be a number from 1 to {}, got {}",
                MAX_WIDTH / 16,
                self.feature
            ));
        }
        if self.depths.iter().any(|&depth| depth > 256) {
            return Some("depths must be at most 256".into());
        }
        if !(2..=16).contains(&self.window) {
            return Some(format!("window must be a number from 2 to 16, got {}", self.window));
        }
        let wrong = (0..4).find(|&stage| !self.width(stage).is_multiple_of(self.heads[stage]));
        wrong.map(|stage| {
            let (heads, width) = (self.heads[stage], self.width(stage));
            format!("{heads} heads do not divide the stage's {width} channels")
        })
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        (0..5).map(|level| Level { width: self.width(level), reduction: 2 << level }).collect()
    }

    /// The projections and perceptrons of the blocks, and the mergings.
    fn parameters_at_least(&self) -> u64 {
        let stage = |stage: usize| {
            let square = (self.width(stage) as u64).pow(2);
            (4 + 2 * MLP_RATIO as u64) * self.depths[stage] as u64 * square + 16 * square
        };
        (0..4).map(stage).sum()
    }

    fn sizes(&self) -> String {
        let widths: Vec<usize> = (0..4).map(|stage| self.width(stage)).collect();
        format!("{} channels, {} blocks", listed(&widths), listed(&self.depths))
    }

    fn encoder(&self, init: &mut Init<'_>) -> Swin {
        Swin {
            patch_embed: Embedding::new([self.in_channels, self.feature], init),
            layers: (0..4).map(|stage| SwinStage::new(self, stage, init)).collect(),
        }
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> ReconstructionDecoder {
        let widths = [4, 3, 2, 1, 0].map(|stage| self.width(stage));
        ReconstructionDecoder::new(widths, Some(self.feature), init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> SwinUnetrDecoder {
        let [w0, w1, w2, w3, w4] = [0, 1, 2, 3, 4].map(|stage| self.width(stage));
        SwinUnetrDecoder {
            encoder1: ConvResidualBlock::new(self.in_channels, w0, init),
            encoder2: ConvResidualBlock::new(w0, w0, init),
            encoder3: ConvResidualBlock::new(w1, w1, init),
            encoder4: ConvResidualBlock::new(w2, w2, init),
            encoder10: ConvResidualBlock::new(w4, w4, init),
            decoder5: SkipLevel::new(w4, w3, init),
            decoder4: SkipLevel::new(w3, w2, init),
            decoder3: SkipLevel::new(w2, w1, init),
            decoder2: SkipLevel::new(w1, w0, init),
            decoder1: SkipLevel::new(w0, w0, init),
            out: Pointwise::new(w0, classes, init),
        }
    }

    /// Weights that do not say with which merging they were trained are taken for those of the first version.
    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let named = |name: &str| format!("{}{name}", parts.prefix);
        let [feature, in_channels, ..] = parts.needed::<5>(&named(Self::OPENING))?;
        if parts.count(&named("layers1c.")) > 0 {
            return Err(Error::Numbers("the second version of Swin-UNETR".into()));
        }
        // In the weights of DAE, each stage is inside one more list.
        let nested = parts.count(&named("layers1.0.0.")) > 0;
        let stages = [1, 2, 3, 4].map(|stage| {
            named(&if nested {
                format!("layers{stage}.0.0.blocks.")
            } else {
                format!("layers{stage}.0.blocks.")
            })
        });
        let tables = parts.each(stages.clone(), |parts, stage| {
            parts.needed::<2>(&format!("{stage}0.attn.relative_position_bias_table"))
        })?;
        let [[offsets, _], ..] = tables;
        let window = (1..=16).find(|window: &usize| (2 * window - 1).pow(3) == offsets);
        let config = Self {
            in_channels,
            feature,
            depths: stages.map(|stage| parts.count(&stage)),
            heads: tables.map(|[_, heads]| heads),
            window: window.ok_or_else(|| Error::Numbers(format!("{offsets} offsets in a window")))?,
            merging: Merging::Legacy,
        };
        Ok((config, parts.head_of_monai()))
    }

    fn take_unseen(&mut self, told: &Self, _head: Head) {
        self.merging = told.merging;
    }

    fn assumed(&self) -> Option<String> {
        let merging = match self.merging {
            Merging::Legacy => "stages are joined as in MONAI before 2025 (merging = \"legacy\")",
            Merging::Fixed => "stages are joined as in MONAI since 2025 (merging = \"fixed\")",
        };
        Some(merging.to_owned())
    }

    /// What stands before the encoder's names, and the names of its MLPs, depend on the program that wrote them.
    fn canonical(_head: Head, name: &str) -> Option<String> {
        if name.ends_with(".relative_position_index") {
            return None;
        }
        let inner = Self::PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let is_encoder = inner.starts_with("patch_embed.") || inner.starts_with("layers");
        let one_list = |inner: &str| inner.replacen(".0.0.", ".0.", 1).replace(".mlp.fc", ".mlp.linear");
        Some(if is_encoder { format!("swinViT.{}", one_list(inner)) } else { name.to_owned() })
    }

    fn key(&self, _head: Head, entry: Entry<'_>) -> String {
        if let Some(rest) = entry.path.strip_prefix("encoder.") {
            // The first stage is `layers1.0` there, and `layers.0` here.
            let stage = rest.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
            let stage = stage.and_then(|(stage, rest)| Some((stage.parse::<usize>().ok()?, rest)));
            let rest = match stage {
                Some((stage, rest)) => format!("layers{}.0.{rest}", stage + 1),
                None => rest.to_owned(),
            };
            return format!("swinViT.{}", rest.replace(".mlp.fc", ".mlp.linear"));
        }
        entry.path.strip_prefix("decoder.").map_or_else(|| entry.path.to_owned(), wrapped)
    }

    fn extras(&self, _head: Head) -> Vec<(String, Extra)> {
        let tokens = self.window.pow(3);
        let index = TensorData::new(published_offsets(self.window), [tokens, tokens]);
        let of_stage = |(stage, depth): (usize, usize)| {
            (0..depth).map(move |block| {
                format!("swinViT.layers{}.0.blocks.{block}.attn.relative_position_index", stage + 1)
            })
        };
        let names = self.depths.into_iter().enumerate().flat_map(of_stage);
        names.map(|name| (name, Extra::Constant(index.clone()))).collect()
    }
}

/// The encoder: a Swin transformer.
#[derive(Module, Debug)]
pub struct Swin {
    /// From the volume to tokens, at 1/2 of its size.
    pub patch_embed: Embedding,
    /// The stages.
    pub layers: Vec<SwinStage>,
}

/// The start of the first stage.
#[derive(Module, Debug)]
pub struct Embedding {
    /// The projection.
    pub proj: Downsample,
}

impl Embedding {
    /// As convolutions are initialised in PyTorch, with a bias: without one, all layers would keep the background, which is
    /// 0, at exactly 0, where the norms are so steep that gradients explode.
    fn new([inputs, outputs]: [usize; 2], init: &mut Init<'_>) -> Self {
        let deviation = (1.0 / (3 * 8 * inputs) as f32).sqrt();
        let proj = Downsample::new([inputs, outputs], 2, deviation, init);
        Self { proj: Downsample { bias: init.normal([outputs], deviation), ..proj } }
    }
}

/// Blocks of one size, and the way to half of it.
#[derive(Module, Debug)]
pub struct SwinStage {
    /// Every second one has its windows shifted.
    pub blocks: Vec<SwinBlock>,
    /// To half of the size.
    pub downsample: PatchMerging,
}

impl SwinStage {
    fn new(config: &SwinUnetrConfig, stage: usize, init: &mut Init<'_>) -> Self {
        let (width, heads, window) = (config.width(stage), config.heads[stage], config.window);
        let shift = |block: usize| if block.is_multiple_of(2) { 0 } else { window / 2 };
        Self {
            blocks: (0..config.depths[stage])
                .map(|block| SwinBlock {
                    norm1: LayerNorm::new(width, 1e-5, init),
                    attn: WindowAttention::new(width, heads, [window, shift(block)], init),
                    norm2: LayerNorm::new(width, 1e-5, init),
                    mlp: Mlp::tokens(width, MLP_RATIO * width, init),
                })
                .collect(),
            downsample: PatchMerging {
                norm: LayerNorm::new(8 * width, 1e-5, init),
                reduction: Linear::new(8 * width, 2 * width, init).unbiased(),
                merging: config.merging.order(),
            },
        }
    }
}

/// Attention within windows, then an MLP, each after a layer norm.
#[derive(Module, Debug)]
pub struct SwinBlock {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Within windows.
    pub attn: WindowAttention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// Per token.
    pub mlp: Mlp<Linear>,
}

impl SwinBlock {
    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let normed = self.norm1.forward(x.clone());
        let x = self.attn.forward_onto(x, normed);
        let normed = self.norm2.forward(x.clone());
        self.mlp.forward_onto(x, normed)
    }
}

/// Joins the voxels of each block of 2^3, and narrows them to twice the channels of one.
#[derive(Module, Debug)]
pub struct PatchMerging {
    /// Narrows.
    pub reduction: Linear,
    /// Before it.
    pub norm: LayerNorm,
    #[module(skip)]
    merging: [i32; 8],
}

impl PatchMerging {
    /// # Shapes
    /// `[B, D, H, W, C]` to `[B, D/2, H/2, W/2, 2 C]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, _, _, _, channels] = x.dims();
        let joined = blocks(x, 2);
        let [batch, d, h, w, all] = joined.dims();
        let order =
            Tensor::<1, Int>::from_data(TensorData::new(self.merging.to_vec(), [8]), &joined.device());
        let voxels: Tensor<3> = joined.reshape([batch * d * h * w, 8, channels]);
        let ordered = voxels.select(1, order).reshape([batch, d, h, w, all]);
        self.reduction.forward(self.norm.forward(ordered))
    }
}

/// Sizes along each axis must be multiples of this.
const STRIDE: usize = 32;

impl Swin {
    /// The tokens of a volume, of half its size along each axis.
    ///
    /// # Shapes
    /// `[B, D, H, W, in_channels]` to `[B, D/2, H/2, W/2, feature]`
    ///
    /// # Panics
    /// If a size is not a multiple of the network's stride.
    pub fn embed(&self, x: Tensor<5>) -> Tensor<5> {
        assert_multiples(SwinUnetrConfig::TITLE, &x, STRIDE);
        self.patch_embed.proj.forward(x)
    }

    /// The tokens, and what each stage makes of them: the levels of the features, which are not normalised yet.
    ///
    /// # Shapes
    /// As [`Swin::embed`] returns them; level s (0 to 4) is `[B, D/2^(s+1), H/2^(s+1), W/2^(s+1), feature * 2^s]`.
    pub fn levels(&self, tokens: Tensor<5>) -> Vec<Tensor<5>> {
        let mut levels = vec![tokens.clone()];
        self.layers.iter().fold(tokens, |x, stage| {
            let x = stage.blocks.iter().fold(x, |x, block| block.forward(x));
            let smaller = stage.downsample.forward(x);
            levels.push(smaller.clone());
            smaller
        });
        levels
    }
}

impl Encode for Swin {
    /// Level s (0 to 4) is `[B, D/2^(s+1), H/2^(s+1), W/2^(s+1), feature * 2^s]`, normalised over its channels.
    fn forward(&self, x: Tensor<5>, _pass: &mut Pass<'_>) -> Features {
        let levels = self.levels(self.embed(x.clone()));
        Features { input: x, levels: levels.into_iter().map(normalised).collect() }
    }
}

/// A layer norm without parameters.
fn normalised(x: Tensor<5>) -> Tensor<5> {
    let ([_, _, _, _, channels], device) = (x.dims(), x.device());
    let (scale, shift) = (Tensor::ones([channels], &device), Tensor::zeros([channels], &device));
    brainmvp_kernels::ops::layer_norm(x, scale, shift, 1e-5)
}

/// The decoder of segmentation.
#[derive(Module, Debug)]
pub struct SwinUnetrDecoder {
    /// Features of the input itself.
    pub encoder1: ConvResidualBlock,
    /// On the first level, at 1/2 of the size.
    pub encoder2: ConvResidualBlock,
    /// On the second, at 1/4.
    pub encoder3: ConvResidualBlock,
    /// On the third, at 1/8.
    pub encoder4: ConvResidualBlock,
    /// On the deepest, at 1/32.
    pub encoder10: ConvResidualBlock,
    /// To 1/16.
    pub decoder5: SkipLevel,
    /// To 1/8.
    pub decoder4: SkipLevel,
    /// To 1/4.
    pub decoder3: SkipLevel,
    /// To 1/2.
    pub decoder2: SkipLevel,
    /// To the full size.
    pub decoder1: SkipLevel,
    /// Logits.
    pub out: Pointwise,
}

impl Segment for SwinUnetrDecoder {
    fn forward(&self, features: Features, _pass: &mut Pass<'_>) -> Segmented {
        let full = self.encoder1.forward(features.input.clone());
        let [x0, x1, x2, x3, deepest] = features.into_levels();
        let sixteenth = self.decoder5.forward(self.encoder10.forward(deepest.clone()), x3);
        let eighth = self.decoder4.forward(sixteenth, self.encoder4.forward(x2));
        let quarter = self.decoder3.forward(eighth, self.encoder3.forward(x1));
        let half = self.decoder2.forward(quarter, self.encoder2.forward(x0));
        let finest = self.decoder1.forward(half, full);
        Segmented { logits: self.out.forward(finest.clone()), coarse: Vec::new(), deepest, finest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_takes_all_neighbours_or_those_of_the_first_version() {
        // z, y and x are the bits 4, 2 and 1.
        assert_eq!(Merging::Legacy.order(), [0, 1, 2, 4, 5, 2, 4, 7]);
        assert_eq!(Merging::Fixed.order(), [0, 1, 2, 4, 3, 5, 6, 7]);
    }

    #[test]
    fn names_of_other_programs() {
        for (theirs, expected) in [
            (
                "swin_vit.layers1.0.blocks.0.mlp.fc1.weight",
                Some("swinViT.layers1.0.blocks.0.mlp.linear1.weight"),
            ),
            ("encoder.layers2.0.0.blocks.1.norm1.bias", Some("swinViT.layers2.0.blocks.1.norm1.bias")),
            ("patch_embed.proj.bias", Some("swinViT.patch_embed.proj.bias")),
            ("encoder1.layer.conv1.conv.weight", Some("encoder1.layer.conv1.conv.weight")),
            ("swinViT.layers1.0.blocks.0.attn.relative_position_index", None),
        ] {
            assert_eq!(SwinUnetrConfig::canonical(Head::None, theirs).as_deref(), expected, "{theirs}");
        }
    }
}
