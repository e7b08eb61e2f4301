//! What is put on the encoder in pre-training, and thrown away.

use brainmvp_nets::Init;
use brainmvp_nets::layers::{Activation, Conv3d, InstanceNorm, Linear, Pointwise, trilinear_upsample};
use burn::module::Module;
use burn::tensor::Tensor;

/// The numbers of right angles that a view may be turned by.
pub(super) const TURNS: usize = 4;

/// Features of the contrast.
const FEATURES: usize = 512;

/// The slope of the activations below zero.
const SLOPE: f32 = 0.01;

/// The three heads on the deepest features. Two of them see one token each, as published.
#[derive(Module, Debug)]
pub struct SwinSslHeads {
    /// How far the view is turned, of its first token.
    pub rotation: Linear,
    /// The features of the contrast, of its second token.
    pub contrast: Linear,
    /// To twice the size each, the deepest first.
    pub convolutions: Vec<Conv3d>,
    /// To one channel.
    pub out: Pointwise,
}

impl SwinSslHeads {
    /// Heads for an encoder of these widths, from the first level to the deepest.
    pub(super) fn new(widths: &[usize], init: &mut Init<'_>) -> Self {
        let deepest = widths.last().copied().unwrap_or_default();
        // From each width to that of the level above, and once more within the first.
        let mut narrower: Vec<[usize; 2]> = widths.windows(2).rev().map(|pair| [pair[1], pair[0]]).collect();
        narrower.push([widths[0]; 2]);
        Self {
            rotation: Linear::new(deepest, TURNS, init),
            contrast: Linear::new(deepest, FEATURES, init),
            convolutions: narrower
                .into_iter()
                .map(|widths| Conv3d::new(widths, 3, init).with_bias(init))
                .collect(),
            out: Pointwise::new(widths[0], 1, init),
        }
    }

    /// The logits of the turns, `[B, TURNS]`, and the features of the contrast, `[B, F]`.
    ///
    /// Tokens are counted as published, where the last of the axes is z.
    pub(super) fn of_tokens(&self, deepest: &Tensor<5>) -> (Tensor<2>, Tensor<2>) {
        let [batch, d, h, w, channels] = deepest.dims();
        let tokens = deepest.clone().permute([0, 3, 2, 1, 4]).reshape([batch, d * h * w, channels]);
        let token = |index| -> Tensor<2> { tokens.clone().narrow(1, index, 1).reshape([batch, channels]) };
        (self.rotation.forward(token(0)), self.contrast.forward(token(1)))
    }

    /// The reconstruction, `[B, D, H, W, 1]`, of the deepest features.
    pub(super) fn reconstruct(&self, deepest: Tensor<5>) -> Tensor<5> {
        let norm = InstanceNorm::new(Activation::LeakyRelu(SLOPE));
        let last = self.convolutions.len() - 1;
        self.convolutions.iter().enumerate().fold(deepest, |x, (level, convolution)| {
            let x = norm.forward(convolution.forward(x));
            // Both are linear, and weights of an interpolation sum to 1: the last map is cheaper before it than after it.
            let x = if level == last { self.out.forward(x) } else { x };
            trilinear_upsample(x, 2)
        })
    }
}
