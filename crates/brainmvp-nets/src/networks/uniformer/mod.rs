//! UniFormer (Li et al., ICLR 2022) in three dimensions, as used by BrainMVP.
//!
//! Four stages, each starting with a 2^3 stride-2 convolution and a layer norm. The first two stages mix neighbours
//! with depthwise convolutions, the last two mix all tokens with attention. The last stage ends with a batch norm.

mod published;

use burn::module::Module;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{Encode, Features, Level, Network, Preset, assert_multiples, listed};
use crate::heads::{ReconstructionDecoder, SkipDecoder};
use crate::layers::{
    Attention, BatchNorm, DepthwiseConv3d, DropPath, LayerNorm, Linear, Mlp, Pass, PatchEmbed, Pointwise,
};
use crate::weights::{Axes, Entry, Extra, Head, Parts};
use crate::{Init, Result};

/// Widths and depths of a [`UniFormer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UniFormerConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the four stages.
    pub widths: [usize; 4],
    /// Blocks of the four stages.
    pub depths: [usize; 4],
    /// Channels of one attention head; divides the widths of stages 3 and 4.
    pub head_width: usize,
    /// Hidden channels of the four stages' MLPs, as multiples of their widths; a single number applies to all four.
    #[serde(with = "one_or_four")]
    #[schemars(with = "[usize; 4]")]
    pub mlp_ratio: [usize; 4],
    /// Probability of dropping the last block's branches; earlier blocks less, linearly from 0.
    pub drop_path: f64,
}

impl Default for UniFormerConfig {
    fn default() -> Self {
        Self::small()
    }
}

impl UniFormerConfig {
    /// UniFormer-S: 23.8 M parameters with the pre-training decoder.
    pub fn small() -> Self {
        Self {
            in_channels: 1,
            widths: [64, 128, 320, 512],
            depths: [3, 4, 8, 3],
            head_width: 64,
            mlp_ratio: [4; 4],
            drop_path: 0.0,
        }
    }

    /// A network of 0.2 M parameters for tests and the demo.
    pub fn tiny() -> Self {
        Self { widths: [16, 32, 48, 64], depths: [1, 1, 1, 1], head_width: 16, ..Self::small() }
    }

    /// A new network.
    #[expect(clippy::expect_used, reason = "as many rates are made as blocks")]
    pub fn init(&self, init: &mut Init<'_>) -> UniFormer {
        let ([w1, w2, w3, w4], ratios) = (self.widths, self.mlp_ratio);
        let total: usize = self.depths.iter().sum();
        let mut rates = (0..total).map(|i| self.drop_path * i as f64 / (total - 1).max(1) as f64);
        let mut rate = || rates.next().expect("there is a rate for every block");
        UniFormer {
            patch_embed1: PatchEmbed::new(self.in_channels, w1, init),
            patch_embed2: PatchEmbed::new(w1, w2, init),
            patch_embed3: PatchEmbed::new(w2, w3, init),
            patch_embed4: PatchEmbed::new(w3, w4, init),
            blocks1: (0..self.depths[0])
                .map(|_| ConvBlock::new([w1, w1 * ratios[0]], rate(), init))
                .collect(),
            blocks2: (0..self.depths[1])
                .map(|_| ConvBlock::new([w2, w2 * ratios[1]], rate(), init))
                .collect(),
            blocks3: (0..self.depths[2])
                .map(|_| AttentionBlock::new([w3, w3 * ratios[2]], self, rate(), init))
                .collect(),
            blocks4: (0..self.depths[3])
                .map(|_| AttentionBlock::new([w4, w4 * ratios[3]], self, rate(), init))
                .collect(),
            norm: BatchNorm::new(w4, init),
        }
    }
}

impl Network for UniFormerConfig {
    const TITLE: &'static str = "UniFormer";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "uniformer-small",
            about: "UniFormer-S, the paper's network, 23.8 M parameters with the decoder of pre-training",
            sizes: Self::small,
        },
        Preset {
            name: "tiny",
            about: "a UniFormer of 0.2 M parameters for tests and first tries",
            sizes: Self::tiny,
        },
    ];
    const WEIGHT_DECAY: f32 = 1e-4;
    const OPENING: &'static str = "patch_embed1.proj.weight";
    const PREFIXES: &'static [&'static str] = published::PREFIXES;
    const FIRST_LAYERS: &'static [&'static str] = &["encoder.patch_embed1."];
    const OUTPUTS: &'static [&'static str] = &["decoder.out"];

    type Encoder = UniFormer;
    type Reconstruction = ReconstructionDecoder;
    type Segmentation = SkipDecoder;

    fn problem(&self) -> Option<String> {
        let positive = self.in_channels > 0 && self.head_width > 0;
        if !positive || [self.widths, self.depths, self.mlp_ratio].iter().any(|numbers| numbers.contains(&0))
        {
            return Some("in_channels, widths, depths, head_width and mlp_ratio must be positive".into());
        }
        let limits = [
            ("widths", self.widths.into_iter().max(), MAX_WIDTH),
            ("depths", self.depths.into_iter().max(), 256),
            ("mlp_ratio", self.mlp_ratio.into_iter().max(), 64),
        ];
        if let Some((key, _, limit)) = limits.iter().find(|(_, largest, limit)| *largest > Some(*limit)) {
            return Some(format!("{key} must be at most {limit}"));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            return Some(format!("drop_path must lie in [0, 1), got {}", self.drop_path));
        }
        self.widths[2..].iter().find(|&&width| width % self.head_width != 0).map(|width| {
            format!("head_width {} does not divide the attention stage's width {width}", self.head_width)
        })
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        (0..4).map(|stage| Level { width: self.widths[stage], reduction: 2 << stage }).collect()
    }

    /// The projections and perceptrons of the blocks.
    fn parameters_at_least(&self) -> u64 {
        let stages = self.widths.into_iter().zip(self.depths).zip(self.mlp_ratio);
        let stage = |((width, depth), ratio)| depth as u64 * (2 + 2 * ratio as u64) * (width as u64).pow(2);
        stages.map(stage).sum()
    }

    fn sizes(&self) -> String {
        format!("{} channels, {} blocks", listed(&self.widths), listed(&self.depths))
    }

    fn encoder(&self, init: &mut Init<'_>) -> UniFormer {
        self.init(init)
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> ReconstructionDecoder {
        let [w1, w2, w3, w4] = self.widths;
        ReconstructionDecoder::new([w4, w3, w2, w1, w1], None, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> SkipDecoder {
        SkipDecoder::new(self.widths, [self.in_channels, classes], init)
    }

    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        published::recognise(parts)
    }

    fn take_unseen(&mut self, told: &Self, _head: Head) {
        (self.head_width, self.drop_path) = (told.head_width, told.drop_path);
    }

    fn assumed(&self) -> Option<String> {
        Some(format!("attention heads are {} channels wide", self.head_width))
    }

    fn canonical(head: Head, name: &str) -> Option<String> {
        Some(published::canonical(head, name))
    }

    fn key(&self, head: Head, entry: Entry<'_>) -> String {
        published::key(head, entry)
    }

    fn axes(entry: Entry<'_>) -> Axes {
        published::axes(entry)
    }

    fn extras(&self, head: Head) -> Vec<(String, Extra)> {
        published::idle(self, head)
    }
}

/// Four numbers as written in a configuration: a single one if they are the same.
mod one_or_four {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged, expecting = "a number, or four: one for each stage")]
    enum Numbers {
        One(usize),
        Four([usize; 4]),
    }

    pub(super) fn serialize<S: Serializer>(numbers: &[usize; 4], serializer: S) -> Result<S::Ok, S::Error> {
        let [first, ..] = *numbers;
        let short = if *numbers == [first; 4] { Numbers::One(first) } else { Numbers::Four(*numbers) };
        short.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 4], D::Error> {
        Ok(match Numbers::deserialize(deserializer)? {
            Numbers::One(number) => [number; 4],
            Numbers::Four(numbers) => numbers,
        })
    }
}

/// The encoder.
#[derive(Module, Debug)]
pub struct UniFormer {
    /// Start of stage 1, at 1/2 of the input's size.
    pub patch_embed1: PatchEmbed,
    /// Start of stage 2, at 1/4.
    pub patch_embed2: PatchEmbed,
    /// Start of stage 3, at 1/8.
    pub patch_embed3: PatchEmbed,
    /// Start of stage 4, at 1/16.
    pub patch_embed4: PatchEmbed,
    /// Stage 1.
    pub blocks1: Vec<ConvBlock>,
    /// Stage 2.
    pub blocks2: Vec<ConvBlock>,
    /// Stage 3.
    pub blocks3: Vec<AttentionBlock>,
    /// Stage 4.
    pub blocks4: Vec<AttentionBlock>,
    /// The end of stage 4.
    pub norm: BatchNorm,
}

/// Sizes along each axis must be multiples of this.
const STRIDE: usize = 16;

impl Encode for UniFormer {
    /// Stage s (1 to 4) is `[B, D/2^s, H/2^s, W/2^s, widths[s-1]]`.
    fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Features {
        assert_multiples(UniFormerConfig::TITLE, &x, STRIDE);
        let start = self.patch_embed1.forward(x.clone());
        let x1 = self.blocks1.iter().fold(start, |x, b| b.forward(x, pass));
        let x2 = self.blocks2.iter().fold(self.patch_embed2.forward(x1.clone()), |x, b| b.forward(x, pass));
        let x3 = self.blocks3.iter().fold(self.patch_embed3.forward(x2.clone()), |x, b| b.forward(x, pass));
        let x4 = self.blocks4.iter().fold(self.patch_embed4.forward(x3.clone()), |x, b| b.forward(x, pass));
        Features { input: x, levels: vec![x1, x2, x3, self.norm.forward(x4, pass)] }
    }
}

/// Mixes neighbours: `x + dw3(x)`, then a depthwise 5^3 between two 1x1x1 convolutions, then an MLP.
#[derive(Module, Debug)]
pub struct ConvBlock {
    /// Positional encoding, depthwise 3^3.
    pub pos_embed: DepthwiseConv3d,
    /// Before the convolutions.
    pub norm1: BatchNorm,
    /// Into the depthwise convolution.
    pub conv1: Pointwise,
    /// Out of it.
    pub conv2: Pointwise,
    /// Local mixing, depthwise 5^3.
    pub attn: DepthwiseConv3d,
    /// Before the MLP.
    pub norm2: BatchNorm,
    /// Per voxel.
    pub mlp: Mlp<Pointwise>,
    /// Stochastic depth of both branches.
    pub drop_path: DropPath,
}

impl ConvBlock {
    fn new([width, hidden]: [usize; 2], drop: f64, init: &mut Init<'_>) -> Self {
        Self {
            pos_embed: DepthwiseConv3d::new(width, 3, init),
            norm1: BatchNorm::new(width, init),
            conv1: Pointwise::new(width, width, init),
            conv2: Pointwise::new(width, width, init),
            attn: DepthwiseConv3d::new(width, 5, init),
            norm2: BatchNorm::new(width, init),
            mlp: Mlp::voxels(width, hidden, init),
            drop_path: DropPath::new(drop),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Tensor<5> {
        let x = self.pos_embed.forward_residual(x);
        let local = self.attn.forward(self.conv1.forward(self.norm1.forward(x.clone(), pass)));
        let x = self.drop_path.add(x, pass, |x| self.conv2.forward_onto(x, local));
        let normed = self.norm2.forward(x.clone(), pass);
        self.drop_path.add(x, pass, |x| self.mlp.forward_onto(x, normed))
    }
}

/// Mixes all tokens: `x + dw3(x)`, then attention, then an MLP.
#[derive(Module, Debug)]
pub struct AttentionBlock {
    /// Positional encoding, depthwise 3^3.
    pub pos_embed: DepthwiseConv3d,
    /// Before the attention, epsilon 1e-6.
    pub norm1: LayerNorm,
    /// Over all voxels of the volume.
    pub attn: Attention,
    /// Before the MLP, epsilon 1e-6.
    pub norm2: LayerNorm,
    /// Per token.
    pub mlp: Mlp<Linear>,
    /// Stochastic depth of both branches.
    pub drop_path: DropPath,
}

impl AttentionBlock {
    fn new([width, hidden]: [usize; 2], config: &UniFormerConfig, drop: f64, init: &mut Init<'_>) -> Self {
        Self {
            pos_embed: DepthwiseConv3d::new(width, 3, init),
            norm1: LayerNorm::new(width, 1e-6, init),
            attn: Attention::new(width, width / config.head_width, init),
            norm2: LayerNorm::new(width, 1e-6, init),
            mlp: Mlp::tokens(width, hidden, init),
            drop_path: DropPath::new(drop),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Tensor<5> {
        let shape @ [batch, d, h, w, channels] = x.dims();
        let x = self.pos_embed.forward_residual(x);
        let x = x.reshape([batch, d * h * w, channels]);
        let normed = self.norm1.forward(x.clone());
        let x = self.drop_path.add(x, pass, |x| self.attn.forward_onto(x, normed));
        let normed = self.norm2.forward(x.clone());
        let x = self.drop_path.add(x, pass, |x| self.mlp.forward_onto(x, normed));
        x.reshape(shape)
    }
}
