//! The decoder of pre-training.

use brainmvp_kernels::ops;
use burn::module::Module;
use burn::tensor::Tensor;

use crate::Init;
use crate::layers::{Pointwise, Upsample};
use crate::networks::Reconstruct;

/// From the deepest features back to a volume: four 2^3 stride-2 transposed convolutions and a 1x1x1 convolution.
/// No skips, no norm, no activation: it is linear in the deepest features, so that these must contain all the
/// information.
#[derive(Module, Debug)]
pub struct ReconstructionDecoder {
    /// From 1/16 to 1/8 of the size.
    pub decoder5: DecoderLevel,
    /// To 1/4.
    pub decoder4: DecoderLevel,
    /// To 1/2.
    pub decoder3: DecoderLevel,
    /// To the full size.
    pub decoder2: DecoderLevel,
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
    /// A decoder for an encoder with these stage widths.
    pub fn new([w1, w2, w3, w4]: [usize; 4], init: &mut Init<'_>) -> Self {
        let mut level = |inputs, outputs| DecoderLevel { transp_conv: Upsample::new(inputs, outputs, init) };
        Self {
            decoder5: level(w4, w3),
            decoder4: level(w3, w2),
            decoder3: level(w2, w1),
            decoder2: level(w1, w1),
            out_1: Pointwise::new(w1, 1, init),
        }
    }

    /// The last transposed convolution and the 1x1x1 convolution as one. Both are linear, so their product is the same
    /// map, and the widest activations of the network (full size, all channels) are never computed.
    fn last_weight(&self) -> Tensor<5> {
        let weight = self.decoder2.transp_conv.weight.val();
        let [inputs, _, _, _, inner] = weight.dims();
        let taps = weight.reshape([inputs * 8, inner]).matmul(self.out_1.weight.val());
        taps.reshape([inputs, 2, 2, 2, 1])
    }
}

impl Reconstruct for ReconstructionDecoder {
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
        let levels = [&self.decoder5, &self.decoder4, &self.decoder3];
        let half = levels.into_iter().fold(deepest, |x, level| level.transp_conv.forward(x));
        ops::upsample(half, self.last_weight()) + self.out_1.bias.val().unsqueeze()
    }
}
