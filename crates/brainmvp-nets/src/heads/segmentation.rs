//! The decoder of segmentation on a UniFormer, and its parts, which are MONAI's.

use brainmvp_kernels::ops;
use burn::module::Module;
use burn::tensor::Tensor;

use crate::Init;
use crate::layers::{
    Activation, Conv3d, InstanceNorm, LayerNorm, Pass, Pointwise, Upsample, trilinear_upsample,
};
use crate::networks::{Features, Segment};

/// The slope of the activations below zero.
const SLOPE: f32 = 0.01;

/// The logits of a segmentation.
pub struct Segmented {
    /// `[B, D, H, W, classes]`.
    pub logits: Tensor<5>,
    /// In training, the logits of coarser levels at full size, coarsest first: deep supervision.
    pub coarse: Vec<Tensor<5>>,
    /// The deepest features of the encoder.
    pub deepest: Tensor<5>,
    /// What the logits are made of, `[B, D, H, W, C]` with C as in [`Network::finest_width`](crate::networks::Network::finest_width).
    pub finest: Tensor<5>,
}

/// From the deepest features back to the full size, concatenating the encoder's features of each size.
#[derive(Module, Debug)]
pub struct SkipDecoder {
    /// From 1/16 to 1/8 of the size.
    pub decoder5: SkipLevel,
    /// To 1/4.
    pub decoder4: SkipLevel,
    /// To 1/2.
    pub decoder3: SkipLevel,
    /// To the full size.
    pub decoder2: SkipLevel,
    /// The features of the input itself, concatenated in the last level.
    pub proj1: InputProjection,
    /// Logits at the full size.
    pub out: Pointwise,
    /// Logits at 1/4 and at 1/2 of the size.
    pub ms_out: Vec<Pointwise>,
}

impl SkipDecoder {
    /// A decoder for an encoder with these stage widths and `inputs` channels, and a number of classes.
    pub fn new([w1, w2, w3, w4]: [usize; 4], [inputs, classes]: [usize; 2], init: &mut Init<'_>) -> Self {
        Self {
            decoder5: SkipLevel::new(w4, w3, init),
            decoder4: SkipLevel::new(w3, w2, init),
            decoder3: SkipLevel::new(w2, w1, init),
            decoder2: SkipLevel::new(w1, w1, init),
            proj1: InputProjection::new(inputs, w1, init),
            out: Pointwise::new(w1, classes, init),
            ms_out: vec![Pointwise::new(w2, classes, init), Pointwise::new(w1, classes, init)],
        }
    }
}

impl Segment for SkipDecoder {
    /// The levels are at 1/2, 1/4, 1/8 and 1/16 of the size.
    fn forward(&self, features: Features, pass: &mut Pass<'_>) -> Segmented {
        let input = features.input.clone();
        let [x1, x2, x3, deepest] = features.into_levels();
        let eighth = self.decoder5.forward(deepest.clone(), x3);
        let quarter = self.decoder4.forward(eighth, x2);
        let half = self.decoder3.forward(quarter.clone(), x1);
        let full = self.decoder2.forward(half.clone(), self.proj1.forward(input));
        let coarse = self.ms_out.iter().zip([(quarter, 4), (half, 2)]).filter(|_| pass.training);
        Segmented {
            logits: self.out.forward(full.clone()),
            coarse: coarse.map(|(head, (x, factor))| trilinear_upsample(head.forward(x), factor)).collect(),
            deepest,
            finest: full,
        }
    }
}

/// One level of the decoder.
#[derive(Module, Debug)]
pub struct SkipLevel {
    /// Doubles the size.
    pub transp_conv: Upsample,
    /// Mixes the features from the level below with those of the encoder.
    pub conv_block: ConvResidualBlock,
}

impl SkipLevel {
    /// From the level below with `inputs` channels, and a level of the encoder with `outputs`.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self {
            transp_conv: Upsample::new(inputs, outputs, init),
            conv_block: ConvResidualBlock::new(2 * outputs, outputs, init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` and `[B, 2D, 2H, 2W, Cout]` to the latter.
    pub fn forward(&self, below: Tensor<5>, beside: Tensor<5>) -> Tensor<5> {
        self.conv_block.forward(Tensor::cat(vec![self.transp_conv.forward(below), beside], 4))
    }
}

/// Two 3^3 convolutions with instance norms, and a shortcut, which is a 1^3 one if the channels change. LeakyReLU after the
/// first and after the sum.
#[derive(Module, Debug)]
pub struct ConvResidualBlock {
    /// The first.
    pub conv1: Conv3d,
    /// The second.
    pub conv2: Conv3d,
    /// The shortcut, if it is not the identity.
    pub conv3: Option<Conv3d>,
}

impl ConvResidualBlock {
    /// A new block.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self {
            conv1: Conv3d::new([inputs, outputs], 3, init),
            conv2: Conv3d::new([outputs, outputs], 3, init),
            conv3: (inputs != outputs).then(|| Conv3d::new([inputs, outputs], 1, init)),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D, H, W, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let leaky = InstanceNorm::new(Activation::LeakyRelu(SLOPE));
        let plain = InstanceNorm::new(Activation::None);
        // Cheap values are computed again for the gradient: at the full size an activation takes hundreds of megabytes.
        let inner = leaky.then(&self.conv2, self.conv1.forward(x.clone()));
        let shortcut = match &self.conv3 {
            Some(conv) => plain.after(conv, x),
            None => x,
        };
        ops::leaky_sum(plain.forward(inner), shortcut, SLOPE)
    }
}

/// A 3^3 convolution of the input and a layer norm.
#[derive(Module, Debug)]
pub struct InputProjection {
    /// The convolution.
    pub proj: Conv3d,
    /// The norm, epsilon 1e-5.
    pub norm: LayerNorm,
}

impl InputProjection {
    fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self {
            proj: Conv3d::new([inputs, outputs], 3, init).with_bias(init),
            norm: LayerNorm::new(outputs, 1e-5, init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, Cin]` to `[B, D, H, W, Cout]`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        self.norm.forward(self.proj.forward(x))
    }
}

/// The published name of a layer of these decoders, without `decoder.`: MONAI's convolutions are inside other modules.
pub(crate) fn wrapped(path: &str) -> String {
    let Some((layer, name)) = path.rsplit_once('.') else { return path.to_owned() };
    let (before, last) = layer.rsplit_once('.').unwrap_or(("", layer));
    // A block of its own, as on the levels of an encoder, is one module deeper than those in a level of the decoder.
    let block = if before.starts_with("encoder") && !before.contains('.') { "layer." } else { "" };
    match last {
        "conv1" | "conv2" | "conv3" => format!("{before}.{block}{last}.conv.{name}"),
        "transp_conv" | "transp_conv_init" => format!("{layer}.conv.{name}"),
        "out" | "out_1" => format!("{layer}.conv.conv.{name}"),
        _ => path.to_owned(),
    }
}
