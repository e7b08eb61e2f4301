//! Self-attention over tokens.

use brainmvp_kernels::ops;
use burn::module::Module;
use burn::tensor::Tensor;

use super::Linear;
use crate::Init;

/// Multi-head self-attention with its projections.
#[derive(Module, Debug)]
pub struct Attention {
    /// Projects to the queries, keys and values of all heads at once.
    pub qkv: Linear,
    /// Mixes the heads.
    pub proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    /// `heads` heads of `width / heads` channels each.
    pub fn new(width: usize, heads: usize, init: &mut Init<'_>) -> Self {
        Self { qkv: Linear::new(width, 3 * width, init), proj: Linear::new(width, width, init), heads }
    }

    /// Without the bias of queries, keys and values.
    pub fn unbiased(self) -> Self {
        Self { qkv: self.qkv.unbiased(), ..self }
    }

    /// `onto` plus the attention of `x`.
    ///
    /// # Shapes
    /// `[B, tokens, C]` each, to the same.
    pub fn forward_onto(&self, onto: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        self.proj.forward_onto(onto, ops::attention(self.qkv.forward(x), self.heads))
    }
}
