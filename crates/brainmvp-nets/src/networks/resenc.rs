//! The residual-encoder U-Net of nnU-Net (Isensee et al., 2024), with which nnssl pre-trains: ResEnc-L.
//!
//! Each stage halves the size, except for the first. Residual blocks of two 3^3 convolutions with instance norms in the
//! encoder, one convolution per stage in the decoder. In training, each stage of the decoder has an output.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use brainmvp_kernels::ops;

use super::network::{
    Encode, Features, Level, Network, Preset, Reconstruct, Segment, assert_multiples, listed,
};
use super::{MAX_WIDTH, NetworkConfig};
use crate::heads::Segmented;
use crate::layers::{
    Activation, Conv3d, GroupNorm, Pass, Pointwise, Upsample, average_pool, trilinear_upsample,
};
use crate::weights::{Entry, Extra, Head, Parts, Upstream, visit};
use crate::{Error, Init, Result};

/// The slope of the activations below zero.
const SLOPE: f32 = 0.01;

/// Widths and depths of a [`ResEnc`] and its decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResEncConfig {
    /// Channels of the input.
    #[schemars(skip)]
    pub in_channels: usize,
    /// Channels of the stages; as many stages as numbers.
    pub widths: Vec<usize>,
    /// Residual blocks of the stages.
    pub blocks: Vec<usize>,
    /// Convolutions of each stage of the decoder.
    pub decoder_convs: usize,
}

impl Default for ResEncConfig {
    fn default() -> Self {
        Self::large()
    }
}

impl ResEncConfig {
    /// ResEnc-L.
    pub fn large() -> Self {
        Self {
            in_channels: 1,
            widths: vec![32, 64, 128, 256, 320, 320],
            blocks: vec![1, 3, 4, 6, 6, 6],
            decoder_convs: 1,
        }
    }

    /// A small network for tests and first tries.
    pub fn tiny() -> Self {
        Self { widths: vec![8, 12, 16, 16], blocks: vec![1, 2, 1, 1], ..Self::large() }
    }

    /// A decoder with outputs on the last `outputs` of its stages.
    fn decoder(&self, channels: usize, outputs: usize, init: &mut Init<'_>) -> ResEncDecoder {
        // From the deepest stage upwards.
        let pairs: Vec<[usize; 2]> = self.widths.windows(2).rev().map(|pair| [pair[1], pair[0]]).collect();
        let stage = |[_, width]: [usize; 2], init: &mut Init<'_>| ConvStack {
            convs: (0..self.decoder_convs)
                .map(|conv| ConvUnit::new([if conv == 0 { 2 * width } else { width }, width], true, init))
                .collect(),
        };
        ResEncDecoder {
            stages: pairs.iter().map(|pair| stage(*pair, init)).collect(),
            transpconvs: pairs
                .iter()
                .map(|[below, width]| Upsample::new(*below, *width, init).with_bias(init))
                .collect(),
            seg_layers: self.outputs(channels, outputs, init),
        }
    }

    /// The outputs of the last `count` stages of a decoder.
    fn outputs(&self, channels: usize, count: usize, init: &mut Init<'_>) -> Vec<Pointwise> {
        let widths = self.widths[..count].iter().rev();
        widths.map(|width| Pointwise::new(*width, channels, init)).collect()
    }

    /// Stages of the decoder.
    fn decoder_stages(&self) -> usize {
        self.widths.len() - 1
    }
}

impl Network for ResEncConfig {
    const TITLE: &'static str = "ResEnc";
    const PRESETS: &'static [Preset<Self>] = &[
        Preset {
            name: "resenc-l",
            about: "ResEnc-L of nnU-Net and nnssl, 102.3 M parameters",
            sizes: Self::large,
        },
        Preset { name: "resenc-l-tiny", about: "for tests and first tries", sizes: Self::tiny },
    ];
    const WEIGHT_DECAY: f32 = 3e-5;
    const OPENING: &'static str = "encoder.stem.convs.0.conv.weight";
    const COPIED_UNDER: &'static [&'static str] = &["decoder."];
    const FIRST_LAYERS: &'static [&'static str] = &["encoder.stem.convs.0.conv."];
    const OUTPUTS: &'static [&'static str] = &["decoder.seg_layers."];
    const ONE_DECODER: bool = true;

    type Encoder = ResEnc;
    type Reconstruction = ResEncDecoder;
    type Segmentation = ResEncDecoder;

    fn problem(&self) -> Option<String> {
        let (stages, blocks) = (self.widths.len(), self.blocks.len());
        if !(2..=8).contains(&stages) || blocks != stages {
            return Some(format!("widths and blocks must be of 2 to 8 stages, got {stages} and {blocks}"));
        }
        if self.in_channels == 0 || self.widths.iter().any(|width| !(1..=MAX_WIDTH).contains(width)) {
            return Some(format!("in_channels must be positive, and widths from 1 to {MAX_WIDTH}"));
        }
        let fits = self.blocks.iter().all(|blocks| (1..=64).contains(blocks));
        let fits = fits && (1..=8).contains(&self.decoder_convs);
        (!fits).then(|| "blocks must be numbers from 1 to 64, and decoder_convs from 1 to 8".into())
    }

    fn in_channels(&self) -> usize {
        self.in_channels
    }

    fn with_in_channels(&self, in_channels: usize) -> Self {
        Self { in_channels, ..self.clone() }
    }

    fn levels(&self) -> Vec<Level> {
        self.widths.iter().enumerate().map(|(level, &width)| Level { width, reduction: 1 << level }).collect()
    }

    /// The convolutions of the blocks, of which the first of a stage has fewer inputs.
    fn parameters_at_least(&self) -> u64 {
        let stages = self.widths.iter().zip(&self.blocks);
        stages.map(|(&width, &blocks)| (2 * blocks - 1) as u64 * 27 * (width as u64).pow(2)).sum()
    }

    fn sizes(&self) -> String {
        format!("{} channels, {} blocks", listed(&self.widths), listed(&self.blocks))
    }

    fn encoder(&self, init: &mut Init<'_>) -> ResEnc {
        let first = self.widths.first().copied().unwrap_or(0);
        let mut inputs = first;
        let mut stages = Vec::new();
        for (stage, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            let blocks = (0..blocks).map(|block| {
                let new = ResidualConvBlock::new([inputs, width], stage > 0 && block == 0, init);
                inputs = width;
                new
            });
            stages.push(ResEncStage { blocks: blocks.collect() });
        }
        let stem = ConvStack { convs: vec![ConvUnit::new([self.in_channels, first], true, init)] };
        ResEnc { stem, stages }
    }

    fn reconstruction(&self, init: &mut Init<'_>) -> ResEncDecoder {
        self.decoder(1, 1, init)
    }

    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> ResEncDecoder {
        self.decoder(classes, self.decoder_stages(), init)
    }

    /// The decoders of pre-training and of segmentation are the same; pre-training has one channel in and out.
    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)> {
        let [_, in_channels, ..] = parts.needed::<5>(Self::OPENING)?;
        let (mut widths, mut blocks) = (Vec::new(), Vec::new());
        for stage in 0..parts.count("encoder.stages.") {
            let name = format!("encoder.stages.{stage}.blocks.");
            let [width, _, kernel @ ..] = parts.needed::<5>(&format!("{name}0.conv1.conv.weight"))?;
            if kernel != [3; 3] {
                return Err(Error::Numbers(format!("kernels of {kernel:?} voxels in stage {stage}")));
            }
            widths.push(width);
            blocks.push(parts.count(&name));
        }
        let has_decoder = parts.any_shape("decoder.transpconvs.0.weight").is_ok();
        for stage in (0..widths.len().saturating_sub(1)).filter(|_| has_decoder) {
            let [_, _, steps @ ..] = parts.needed::<5>(&format!("decoder.transpconvs.{stage}.weight"))?;
            if steps != [2; 3] {
                return Err(Error::Numbers(format!("a decoder that enlarges by {steps:?}")));
            }
        }
        let head = match parts.shape::<5>("decoder.seg_layers.0.weight") {
            Some([1, ..]) if in_channels == 1 => Head::Reconstruction,
            Some([classes, ..]) => Head::Segmentation { classes },
            None if has_decoder => Head::Reconstruction,
            None => parts.classifier(),
        };
        let decoder_convs = if has_decoder { parts.count("decoder.stages.0.convs.") } else { 1 };
        Ok((Self { in_channels, widths, blocks, decoder_convs }, head))
    }

    fn take_unseen(&mut self, told: &Self, head: Head) {
        if matches!(head, Head::None | Head::Classification { .. } | Head::Regression) {
            self.decoder_convs = told.decoder_convs;
        }
    }

    /// Every convolution and its norm have two names, and the encoder is a part of the decoder too.
    fn canonical(_head: Head, name: &str) -> Option<String> {
        let is_copy = name.contains(".all_modules.") || name.starts_with("decoder.encoder.");
        (!is_copy).then(|| name.to_owned())
    }

    fn key(&self, head: Head, entry: Entry<'_>) -> String {
        let path = entry.path;
        match path.strip_prefix("decoder.seg_layers.0.") {
            Some(name) if head == Head::Reconstruction => {
                format!("decoder.seg_layers.{}.{name}", self.decoder_stages() - 1)
            }
            // A pooling comes before the convolution there.
            _ => path.replace(".skip.", ".skip.1."),
        }
    }

    /// The published decoder of pre-training has outputs on all stages, of which it uses the last.
    #[expect(clippy::expect_used, reason = "parameters are fp32")]
    fn extras(&self, head: Head) -> Vec<(String, Extra)> {
        if head != Head::Reconstruction {
            return Vec::new();
        }
        let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(0));
        let mut seg_layers =
            self.outputs(1, self.decoder_stages(), &mut Init { device: &device, rng: &mut rng });
        seg_layers.pop();
        let (stages, transpconvs) = (Vec::new(), Vec::new());
        let idle = Outputs { decoder: ResEncDecoder { stages, transpconvs, seg_layers } };
        let network = NetworkConfig::ResEnc(self.clone());
        let mut extras = Vec::new();
        visit(&idle, |entry, values| {
            let upstream = Upstream::of(&network, Head::Segmentation { classes: 1 }, entry);
            let values = values.as_slice::<f32>().expect("new parameters are fp32");
            let theirs = TensorData::new(upstream.to_upstream(values, entry.shape), upstream.shape);
            extras.push((upstream.key, Extra::Idle(theirs)));
        });
        extras
    }

    fn copies(key: &str) -> Vec<String> {
        let mut names = vec![key.to_owned()];
        for (name, place) in [(".conv.", ".all_modules.0."), (".norm.", ".all_modules.1.")] {
            if let Some((before, after)) = key.rsplit_once(name) {
                names.push(format!("{before}{place}{after}"));
            }
        }
        let in_decoder: Vec<String> = names
            .iter()
            .filter(|name| name.starts_with("encoder."))
            .map(|name| format!("decoder.{name}"))
            .collect();
        names.extend(in_decoder);
        names.split_off(1)
    }
}

/// Gives the idle outputs of a decoder their path.
#[derive(Module, Debug)]
struct Outputs {
    decoder: ResEncDecoder,
}

/// A convolution with bias, an instance norm, and an activation or none.
#[derive(Module, Debug)]
pub struct ConvUnit {
    /// The convolution.
    pub conv: Conv3d,
    /// The norm, with a scale and a shift.
    pub norm: GroupNorm,
}

impl ConvUnit {
    fn new([inputs, outputs]: [usize; 2], activated: bool, init: &mut Init<'_>) -> Self {
        Self::of(Conv3d::new([inputs, outputs], 3, init).with_bias(init), activated, init)
    }

    fn of(conv: Conv3d, activated: bool, init: &Init<'_>) -> Self {
        let activation = if activated { Activation::LeakyRelu(SLOPE) } else { Activation::None };
        let outputs = conv.weight.dims()[4];
        Self { conv, norm: GroupNorm::new(outputs, outputs, activation, init) }
    }

    /// # Shapes
    /// As its convolution.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// Convolutions one after the other.
#[derive(Module, Debug)]
pub struct ConvStack {
    /// The convolutions.
    pub convs: Vec<ConvUnit>,
}

/// Two convolutions and a shortcut. The first block of a stage halves the size; its shortcut takes means.
#[derive(Module, Debug)]
pub struct ResidualConvBlock {
    /// The first convolution.
    pub conv1: ConvUnit,
    /// The second, without activation.
    pub conv2: ConvUnit,
    /// The shortcut's 1^3 convolution, where the number of channels changes.
    pub skip: Option<ConvUnit>,
    #[module(skip)]
    halves: bool,
}

impl ResidualConvBlock {
    fn new([inputs, outputs]: [usize; 2], halves: bool, init: &mut Init<'_>) -> Self {
        let conv = Conv3d::new([inputs, outputs], 3, init).with_bias(init);
        let conv = if halves { conv.halving() } else { conv };
        Self {
            conv1: ConvUnit::of(conv, true, init),
            conv2: ConvUnit::new([outputs, outputs], false, init),
            skip: (inputs != outputs)
                .then(|| ConvUnit::of(Conv3d::new([inputs, outputs], 1, init), false, init)),
            halves,
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D, H, W, Cout]`, or half of each size.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let inner = self.conv1.norm.then(&self.conv2.conv, self.conv1.conv.forward(x.clone()));
        let pooled = if self.halves { average_pool(x) } else { x };
        let shortcut = match &self.skip {
            Some(skip) => skip.forward(pooled),
            None => pooled,
        };
        ops::leaky_sum(self.conv2.norm.forward(inner), shortcut, SLOPE)
    }
}

/// Blocks of one size.
#[derive(Module, Debug)]
pub struct ResEncStage {
    /// The blocks.
    pub blocks: Vec<ResidualConvBlock>,
}

/// The encoder.
#[derive(Module, Debug)]
pub struct ResEnc {
    /// Before the first stage, at the full size.
    pub stem: ConvStack,
    /// The stages, the first at the full size.
    pub stages: Vec<ResEncStage>,
}

impl Encode for ResEnc {
    /// Level s (from 0) is `[B, D/2^s, H/2^s, W/2^s, widths[s]]`.
    fn forward(&self, x: Tensor<5>, _pass: &mut Pass<'_>) -> Features {
        assert_multiples(ResEncConfig::TITLE, &x, 1 << (self.stages.len() - 1));
        let mut finest = self.stem.convs.iter().fold(x.clone(), |x, unit| unit.forward(x));
        let mut levels = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            finest = stage.blocks.iter().fold(finest, |x, block| block.forward(x));
            levels.push(finest.clone());
        }
        Features { input: x, levels }
    }
}

/// The decoder, for pre-training and for segmentation.
#[derive(Module, Debug)]
pub struct ResEncDecoder {
    /// The convolutions of the stages, the deepest first.
    pub stages: Vec<ConvStack>,
    /// Before them, these double the size.
    pub transpconvs: Vec<Upsample>,
    /// The outputs: of all stages in segmentation, of the last in pre-training.
    pub seg_layers: Vec<Pointwise>,
}

impl ResEncDecoder {
    /// The features of all stages. `skips` begin with the encoder's deepest but one; without them, they are taken to be
    /// zero.
    fn decode(&self, deepest: Tensor<5>, mut skips: impl Iterator<Item = Tensor<5>>) -> Vec<Tensor<5>> {
        let mut finest = deepest;
        let mut all = Vec::with_capacity(self.stages.len());
        for (stage, up) in self.stages.iter().zip(&self.transpconvs) {
            let up = up.forward(finest);
            let joined = match skips.next() {
                Some(skip) => Tensor::cat(vec![up, skip], 4),
                None => up,
            };
            // Without a skip, the first convolution has more inputs than there are.
            finest =
                stage.convs.iter().fold(joined, |x, unit| unit.norm.forward(unit.conv.forward_part(x, 0)));
            all.push(finest.clone());
        }
        all
    }
}

impl Reconstruct for ResEncDecoder {
    #[expect(clippy::expect_used, reason = "every decoder has a stage and an output")]
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        let finest = self.decode(deepest, std::iter::empty()).pop().expect("a decoder has a stage");
        self.seg_layers.last().expect("a decoder has an output").forward(finest)
    }
}

impl Segment for ResEncDecoder {
    #[expect(clippy::expect_used, reason = "every decoder has a stage and an output")]
    fn forward(&self, features: Features, pass: &mut Pass<'_>) -> Segmented {
        let deepest = features.deepest();
        let skips = features.levels.into_iter().rev().skip(1);
        let mut stages = self.decode(deepest.clone(), skips);
        let finest = stages.pop().expect("a decoder has a stage");
        let (last, coarser) = self.seg_layers.split_last().expect("a decoder has an output");
        let heads = coarser.iter().zip(stages).enumerate().filter(|_| pass.training);
        let coarse =
            heads.map(|(stage, (head, x))| trilinear_upsample(head.forward(x), 1 << (coarser.len() - stage)));
        Segmented { coarse: coarse.collect(), logits: last.forward(finest.clone()), deepest, finest }
    }
}
