//! The decoder of pre-training.

use brainmvp_kernels::ops;
use burn::module::Module;
use burn::tensor::Tensor;

use crate::Init;
use crate::layers::{Pointwise, Upsample};
use crate::networks::Reconstruct;

/// From the deepest features back to a volume: four or five 2^3 stride-2 transposed convolutions and a 1x1x1 convolution.
/// No skips, no norm, no activation: it is linear in the deepest features, so that these must contain all the
/// information.
#[derive(Module, Debug)]
pub struct ReconstructionDecoder {
    /// To twice the size of the deepest features.
    pub decoder5: DecoderLevel,
    /// To four times their size.
    pub decoder4: DecoderLevel,
    /// To eight times.
    pub decoder3: DecoderLevel,
    /// To sixteen times, which is the full size if these are all levels.
    pub decoder2: DecoderLevel,
    /// To 32 times.
    pub decoder1: Option<DecoderLevel>,
    /// To one channel.
    pub out_1: Pointwise,
}

/// A level of a decoder.
#[derive(Module, Debug)]
pub struct DecoderLevel {
    /// Doubles the size.
    pub transp_conv: Upsample,
}

impl ReconstructionDecoder {
    /// A decoder with these channels, those of the deepest features first; with `finest`, it has a fifth level.
    pub fn new([deepest, w5, w4, w3, w2]: [usize; 5], finest: Option<usize>, init: &mut Init<'_>) -> Self {
        let mut level = |inputs, outputs| DecoderLevel { transp_conv: Upsample::new(inputs, outputs, init) };
        Self {
            decoder5: level(deepest, w5),
            decoder4: level(w5, w4),
            decoder3: level(w4, w3),
            decoder2: level(w3, w2),
            decoder1: finest.map(|w1| level(w2, w1)),
            out_1: Pointwise::new(finest.unwrap_or(w2), 1, init),
        }
    }

    /// The last transposed convolution and the 1x1x1 convolution as one. Both are linear, so their product is the same
    /// map, and the widest activations of the network (full size, all channels) are never computed.
    fn last_weight(&self, last: &DecoderLevel) -> Tensor<5> {
        let weight = last.transp_conv.weight.val();
        let [inputs, _, _, _, inner] = weight.dims();
        let taps = weight.reshape([inputs * 8, inner]).matmul(self.out_1.weight.val());
        taps.reshape([inputs, 2, 2, 2, 1])
    }
}

impl Reconstruct for ReconstructionDecoder {
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        let eightfold = [&self.decoder5, &self.decoder4, &self.decoder3]
            .into_iter()
            .fold(deepest, |x, level| level.transp_conv.forward(x));
        let (half, last) = match &self.decoder1 {
            Some(last) => (self.decoder2.transp_conv.forward(eightfold), last),
            None => (eightfold, &self.decoder2),
        };
        ops::upsample(half, self.last_weight(last)) + self.out_1.bias.val().unsqueeze()
    }
}
