//! UNETR (Hatamizadeh et al., WACV 2022) as in MONAI: a vision transformer on blocks of 16^3 voxels, and a convolutional
//! decoder with skips from three of its layers and from the input.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_WIDTH;
use super::network::{Encode, Features, Level, Network, Preset, Segment, assert_multiples};
use crate::heads::{ConvResidualBlock, ReconstructionDecoder, Segmented, SkipLevel, wrapped};
use crate::layers::{
    Attention, Downsample, LayerNorm, Linear, Mlp, Pass, Pointwise, Upsample, trilinear_resize,
};
use crate::weights::{Entry, Extra, Head, Parts};
use crate::{Error, Init, Result};

/// A token is a block of this many voxels along each axis.
const PATCH: usize = 16;

/// Sizes of a [`Unetr`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UnetrConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the transformer.
    pub width: usize,
    /// Hidden channels of the MLPs.
    pub mlp_width: usize,
    /// Blocks of the transformer.
    pub depth: usize,
    /// Attention heads; divide the channels.
    pub heads: usize,
    /// Whether queries, keys and values have a bias. The published network has none.
    pub qkv_bias: bool,
    /// Tokens along x, y and z for which positions are learnt: the patch in voxels, divided by 16. For other sizes
    /// they are interpolated.
    pub positions: [usize; 3],
    /// Channels of the decoder at the full size.
    pub feature: usize,
}

impl Default for UnetrConfig {
    fn default() -> Self {
        Self::published()
    }
}

impl UnetrConfig {
    /// The published network, for patches of 96^3 voxels.
    pub fn published() -> Self {
        Self {
            in_channels: 1,
            width: 768,
            mlp_width: 3072,
            depth: 12,
            heads: 12,
            qkv_bias: false,
            positions: [6; 3],
            feature: 16,
        }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self {
            width: 32,
            mlp_width: 64,
            depth: 4,
            heads: 4,
            positions: [2; 3],
            feature: 4,
            ..Self::published()
        }
    }

    /// The blocks whose outputs the decoder gets: the 4th, 7th and 10th of 12.
    fn skips(&self) -> [usize; 3] {
        [1, 2, 3].map(|quarter| quarter * self.depth / 4)
    }

    /// Channels of the levels of a decoder, from the deepest.
    fn decoder_widths(&self) -> [usize; 5] {
        [self.width, 8 * self.feature, 4 * self.feature, 2 * self.feature, self.feature]
    }
}

impl Network for UnetrConfig {
    const TITLE: &'static str = "UNETR";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "unetr",
            about: "UNETR as published, 92.8 M parameters with the decoder of segmentation",
            sizes: Self::published,
        },
        Preset { name: "unetr-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 1e-3;
    const OPENING: &'static str = "patch_embedding.patch_embeddings.weight";
    const PREFIXES: &'static [&'static str] = &["vit."];
    const FIRST_LAYERS: &'static [&'static str] =
        &["encoder.patch_embedding.patch_embeddings.", "decoder.encoder1.conv1.", "decoder.encoder1.conv3."];
    const OUTPUTS: &'static [&'static str] = &["decoder.out"];

    type Encoder = Unetr;
    type Reconstruction = ReconstructionDecoder;
    type Segmentation = UnetrDecoder;

    fn problem(&self) -> Option<String> {
        let limits = [
            ("in_channels", self.in_channels, MAX_WIDTH),
            ("width", self.width, MAX_WIDTH),
            ("mlp_width", self.mlp_width, 4 * MAX_WIDTH),
            ("heads", self.heads, MAX_WIDTH),
            ("feature", self.feature, 256),
        ];
        if let Some((key, found, limit)) =
            limits.iter().find(|(_, found, limit)| !(1..=*limit).contains(found))
        {
            return Some(format!("{key} must be a number from 1 to {limit}, got {found}"));
        }
        if !(4..=256).contains(&self.depth) {
            return Some(format!("depth must be a number from 4 to 256, got {}", self.depth));
        }
        if self.positions.iter().any(|size| !(1..=32).contains(size)) {
            return Some(format!("positions must be numbers from 1 to 32, got {:?}", self.positions));
        }
        (!self.width.is_multiple_of(self.heads))
            .then(|| format!("{} heads do not divide the width {}", self.heads, self.width))
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    /// The three layers that the decoder gets, and the last, all of one size.
    fn levels(&self) -> Vec<Level> {
        vec![Level { width: self.width, reduction: PATCH }; 4]
    }

    fn finest_width(&self) -> usize {
        self.feature
    }

    /// The projections and perceptrons of the blocks, and the embedding.
    fn parameters_at_least(&self) -> u64 {
        let (width, mlp) = (self.width as u64, self.mlp_width as u64);
        let embedding = (PATCH as u64).pow(3) * self.in_channels as u64 * width;
        self.depth as u64 * (4 * width.pow(2) + 2 * width * mlp) + embedding
    }

    fn sizes(&self) -> String {
        format!("{} channels, {} blocks of {} heads", self.width, self.depth, self.heads)
    }

    fn encoder(&self, init: &mut Init<'_>) -> Unetr {
        Unetr {
            patch_embedding: PatchEmbedding {
                patch_embeddings: Downsample::new([self.in_channels, self.width], PATCH, 0.02, init),
                position_embeddings: init.normal([1, self.positions.iter().product(), self.width], 0.02),
                positions: self.positions,
            },
            blocks: (0..self.depth)
                .map(|_| TransformerBlock::new([self.width, self.mlp_width], self.heads, self.qkv_bias, init))
                .collect(),
            norm: LayerNorm::new(self.width, 1e-5, init),
            skips: self.skips(),
        }
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> ReconstructionDecoder {
        ReconstructionDecoder::new(self.decoder_widths(), None, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> UnetrDecoder {
        let [width, eighth, quarter, half, full] = self.decoder_widths();
        UnetrDecoder {
            encoder1: ConvResidualBlock::new(self.in_channels, full, init),
            encoder2: Climb::new([width, half], 2, init),
            encoder3: Climb::new([width, quarter], 1, init),
            encoder4: Climb::new([width, eighth], 0, init),
            decoder5: SkipLevel::new(width, eighth, init),
            decoder4: SkipLevel::new(eighth, quarter, init),
            decoder3: SkipLevel::new(quarter, half, init),
            decoder2: SkipLevel::new(half, full, init),
            out: Pointwise::new(full, classes, init),
        }
    }

    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let named = |name: &str| format!("{}{name}", parts.prefix);
        let [width, in_channels, patch, ..] = parts.needed::<5>(&named(Self::OPENING))?;
        if patch != PATCH {
            return Err(Error::Numbers(format!("a UNETR of tokens of {patch} instead of {PATCH} voxels")));
        }
        let [_, tokens, _] = parts.needed::<3>(&named("patch_embedding.position_embeddings"))?;
        let [mlp_width, _] = parts.needed::<2>(&named("blocks.0.mlp.linear1.weight"))?;
        let head = parts.head_of_monai();
        let feature = parts.shape::<5>("decoder2.transp_conv.conv.weight").map(|[_, feature, ..]| feature);
        let config = Self {
            in_channels,
            width,
            mlp_width,
            depth: parts.count(&named("blocks.")),
            heads: if width.is_multiple_of(12) { 12 } else { 1 },
            qkv_bias: parts.any_shape(&named("blocks.0.attn.qkv.bias")).is_ok(),
            positions: assumed_positions(tokens),
            feature: feature.unwrap_or(Self::published().feature),
        };
        Ok((config, head))
    }

    fn take_unseen(&mut self, told: &Self, head: Head) {
        self.heads = told.heads;
        if told.positions.iter().product::<usize>() == self.positions.iter().product::<usize>() {
            self.positions = told.positions;
        }
        if matches!(head, Head::None | Head::Classification { .. } | Head::Regression) {
            self.feature = told.feature;
        }
    }

    fn assumed(&self) -> Option<String> {
        let [x, y, z] = self.positions;
        Some(format!("there are {} attention heads, and {x}x{y}x{z} positions", self.heads))
    }

    /// What stands before the encoder's names depends on the program that wrote them.
    fn canonical(_head: Head, name: &str) -> Option<String> {
        let inner = Self::PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let is_encoder = ["patch_embedding.", "blocks.", "norm."].iter().any(|part| inner.starts_with(part));
        Some(if is_encoder { format!("vit.{inner}") } else { name.to_owned() })
    }

    fn key(&self, _head: Head, entry: Entry<'_>) -> String {
        if let Some(rest) = entry.path.strip_prefix("encoder.") {
            let rest = rest.replace(".mlp.fc", ".mlp.linear").replace(".attn.proj.", ".attn.out_proj.");
            return format!("vit.{rest}");
        }
        match entry.path.strip_prefix("decoder.") {
            Some(rest) => wrapped(&rest.replace(".up.", ".0.conv.").replace(".mix.", ".1.")),
            None => entry.path.to_owned(),
        }
    }

    /// MONAI's blocks have a norm for a cross-attention that this network does not have.
    fn extras(&self, _head: Head) -> Vec<(String, Extra)> {
        let norm = |block: usize| {
            [("weight", 1.0_f32), ("bias", 0.0)].map(|(name, value)| {
                let values = TensorData::new(vec![value; self.width], [self.width]);
                (format!("vit.blocks.{block}.norm_cross_attn.{name}"), Extra::Idle(values))
            })
        };
        (0..self.depth).flat_map(norm).collect()
    }
}

/// As many positions along each axis, if that is possible.
fn assumed_positions(tokens: usize) -> [usize; 3] {
    let side = (1..=32).find(|side: &usize| side.pow(3) == tokens);
    side.map_or([1, 1, tokens], |side| [side; 3])
}

/// The encoder: a vision transformer.
#[derive(Module, Debug)]
pub struct Unetr {
    /// From the volume to tokens.
    pub patch_embedding: PatchEmbedding,
    /// The transformer.
    pub blocks: Vec<TransformerBlock>,
    /// After the last block.
    pub norm: LayerNorm,
    #[module(skip)]
    skips: [usize; 3],
}

/// Blocks of 16^3 voxels as tokens, with learnt positions.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// The projection.
    pub patch_embeddings: Downsample,
    /// `[1, x * y * z, width]`, z fastest, as published.
    pub position_embeddings: Param<Tensor<3>>,
    #[module(skip)]
    positions: [usize; 3],
}

impl PatchEmbedding {
    /// Tokens with their positions.
    ///
    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D/16, H/16, W/16, width]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let tokens = self.project(x);
        let [_, d, h, w, _] = tokens.dims();
        tokens + self.positions([d, h, w])
    }

    /// Tokens without positions. Shapes as in [`Self::forward`].
    pub fn project(&self, x: Tensor<5>) -> Tensor<5> {
        self.patch_embeddings.forward(x)
    }

    /// The positions of tokens on a grid of this size (z, y, x), `[1, size.., width]`.
    pub fn positions(&self, size: [usize; 3]) -> Tensor<5> {
        let table = self.position_embeddings.val();
        let ([x, y, z], width) = (self.positions, table.dims()[2]);
        let positions = table.reshape([1, x, y, z, width]).permute([0, 3, 2, 1, 4]);
        if [z, y, x] == size { positions } else { trilinear_resize(positions, size) }
    }
}

/// Attention over all tokens, then an MLP, each after a layer norm.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    /// Before the attention.
    pub norm1: LayerNorm,
    /// Over all tokens.
    pub attn: Attention,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// Per token.
    pub mlp: Mlp<Linear>,
}

impl TransformerBlock {
    /// A block of this width, with an MLP of this width inside, and this many attention heads.
    pub fn new([width, mlp]: [usize; 2], heads: usize, qkv_bias: bool, init: &mut Init<'_>) -> Self {
        let attn = Attention::new(width, heads, init);
        Self {
            norm1: LayerNorm::new(width, 1e-5, init),
            attn: if qkv_bias { attn } else { attn.unbiased() },
            norm2: LayerNorm::new(width, 1e-5, init),
            mlp: Mlp::tokens(width, mlp, init),
        }
    }

    /// # Shapes
    /// `[B, tokens, C]` to the same.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let x = self.attn.forward_onto(x, normed);
        let normed = self.norm2.forward(x.clone());
        self.mlp.forward_onto(x, normed)
    }
}

impl Encode for Unetr {
    /// All levels are `[B, D/16, H/16, W/16, width]`.
    fn forward(&self, x: Tensor<5>, _pass: &mut Pass<'_>) -> Features {
        assert_multiples(UnetrConfig::TITLE, &x, PATCH);
        let tokens = self.patch_embedding.forward(x.clone());
        let shape @ [batch, d, h, w, width] = tokens.dims();
        let mut tokens: Tensor<3> = tokens.reshape([batch, d * h * w, width]);
        let mut levels = Vec::with_capacity(4);
        for (index, block) in self.blocks.iter().enumerate() {
            tokens = block.forward(tokens);
            if self.skips.contains(&index) {
                levels.push(tokens.clone().reshape(shape));
            }
        }
        levels.push(self.norm.forward(tokens).reshape(shape));
        Features { input: x, levels }
    }
}

/// The decoder of segmentation.
#[derive(Module, Debug)]
pub struct UnetrDecoder {
    /// Features of the input itself.
    pub encoder1: ConvResidualBlock,
    /// From the first of the transformer's layers to 1/2 of the size.
    pub encoder2: Climb,
    /// From the second to 1/4.
    pub encoder3: Climb,
    /// From the third to 1/8.
    pub encoder4: Climb,
    /// From the last layer, at 1/16, to 1/8.
    pub decoder5: SkipLevel,
    /// To 1/4.
    pub decoder4: SkipLevel,
    /// To 1/2.
    pub decoder3: SkipLevel,
    /// To the full size.
    pub decoder2: SkipLevel,
    /// Logits.
    pub out: Pointwise,
}

impl Segment for UnetrDecoder {
    fn forward(&self, features: Features, _pass: &mut Pass<'_>) -> Segmented {
        let full = self.encoder1.forward(features.input.clone());
        let [first, second, third, deepest] = features.into_levels();
        let eighth = self.decoder5.forward(deepest.clone(), self.encoder4.forward(third));
        let quarter = self.decoder4.forward(eighth, self.encoder3.forward(second));
        let half = self.decoder3.forward(quarter, self.encoder2.forward(first));
        let finest = self.decoder2.forward(half, full);
        Segmented { logits: self.out.forward(finest.clone()), coarse: Vec::new(), deepest, finest }
    }
}

/// From tokens to the size of a level of the decoder.
#[derive(Module, Debug)]
pub struct Climb {
    /// Doubles the size.
    pub transp_conv_init: Upsample,
    /// Double it again.
    pub blocks: Vec<ClimbStep>,
}

/// Doubles the size, and mixes neighbours.
#[derive(Module, Debug)]
pub struct ClimbStep {
    /// Doubles the size.
    pub up: Upsample,
    /// Mixes neighbours.
    pub mix: ConvResidualBlock,
}

impl Climb {
    fn new([inputs, outputs]: [usize; 2], steps: usize, init: &mut Init<'_>) -> Self {
        let transp_conv_init = Upsample::new(inputs, outputs, init);
        let mut step = || ClimbStep {
            up: Upsample::new(outputs, outputs, init),
            mix: ConvResidualBlock::new(outputs, outputs, init),
        };
        Self { transp_conv_init, blocks: (0..steps).map(|_| step()).collect() }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, fD, fH, fW, Cout]`, f 2 for the first layer and for each block.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let first = self.transp_conv_init.forward(x);
        self.blocks.iter().fold(first, |x, step| step.mix.forward(step.up.forward(x)))
    }
}
