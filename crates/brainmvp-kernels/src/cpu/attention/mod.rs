//! Softmax attention and its gradient, one block at a time.
//!
//! Only the scores of one block of queries exist at a time, in a core's cache: with all keys in the forward pass, with
//! a block of keys in the backward pass, which starts from the logarithms of the softmaxes' sums (Dao et al. 2022,
//! "FlashAttention"). Matrices that are multiplied many times are packed once for all blocks. The partition of the work
//! depends only on the sizes, so results are the same for every number of threads.

mod added;
mod backward;
mod forward;
mod softmax;
pub(super) mod window;

use rayon::prelude::*;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

use super::panels::Panels;
use super::product::{Matrix, lanes};
use super::simd::InstructionSet;

/// Keys per block: a multiple of every panel's width.
const KEYS: usize = 128;

/// Sizes of an attention over `[batch, tokens, 3, heads, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    pub(crate) width: usize,
}

impl Sizes {
    fn channels(self) -> usize {
        self.heads * self.width
    }

    /// Number of floats of the output; of the input it is three times that.
    pub(crate) fn len(self) -> usize {
        self.batch * self.tokens * self.channels()
    }

    /// Number of softmaxes: one for each token of each head.
    pub(crate) fn rows(self) -> usize {
        self.batch * self.heads * self.tokens
    }

    /// Where in the input the queries (0), keys (1) or values (2) of a head are, `[tokens, width]`.
    fn part(self, head: Head, part: usize) -> usize {
        head.batch * self.tokens * 3 * self.channels() + part * self.channels() + head.index * self.width
    }

    /// Where in the output a head is, `[tokens, width]`.
    fn output(self, head: Head) -> usize {
        head.batch * self.tokens * self.channels() + head.index * self.width
    }

    /// Where among the softmaxes those of a head are, `[tokens]`.
    fn row(self, head: Head) -> usize {
        (head.batch * self.heads + head.index) * self.tokens
    }

    /// The factor of the products of queries and keys.
    fn scale(self) -> f32 {
        (self.width as f32).sqrt().recip()
    }

    fn heads(self) -> impl IndexedParallelIterator<Item = Head> {
        (0..self.batch * self.heads)
            .into_par_iter()
            .map(move |i| Head { batch: i / self.heads, index: i % self.heads })
    }
}

/// One head of one case.
#[derive(Clone, Copy)]
struct Head {
    batch: usize,
    index: usize,
}

/// Where blocks of some tokens begin, and how many tokens each has.
fn blocks(tokens: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..tokens).step_by(size).map(move |first| (first, size.min(tokens - first)))
}

/// The vectors of a head's tokens: queries, keys, values, or the gradient for what they give. `[tokens, width]`.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    set: InstructionSet,
    values: &'a [f32],
    /// Floats from one token to the next.
    stride: usize,
    sizes: Sizes,
}

impl<'a> Tokens<'a> {
    /// The queries (0), keys (1) or values (2) of a head.
    fn part(set: InstructionSet, qkv: &'a [f32], (sizes, head): (Sizes, Head), part: usize) -> Self {
        Self { set, values: &qkv[sizes.part(head, part)..], stride: 3 * sizes.channels(), sizes }
    }

    /// The vectors of a head in a tensor of the output's shape.
    fn output(set: InstructionSet, output: &'a [f32], (sizes, head): (Sizes, Head)) -> Self {
        Self { set, values: &output[sizes.output(head)..], stride: sizes.channels(), sizes }
    }

    fn matrix(self) -> Matrix {
        Matrix::new(self.values, self.stride)
    }

    /// The vector of a token.
    fn token(self, token: usize) -> &'a [f32] {
        &self.values[token * self.stride..][..self.sizes.width]
    }

    /// As left-hand side.
    fn lanes(self) -> LeftTokens {
        let mut memory = Vec::new();
        // SAFETY: there is a row for each token.
        let matrix =
            unsafe { lanes(self.set, self.matrix(), (self.sizes.tokens, self.sizes.width), &mut memory) };
        LeftTokens { matrix, _memory: memory }
    }

    /// As right-hand sides, blocks of rows: `[block, width]`.
    fn panels(self, size: usize) -> Vec<Panels> {
        let pack = |(first, count)| {
            // SAFETY: there is a row for each token.
            unsafe { Panels::packed(self.set, self.matrix().at(first, 0), (count, self.sizes.width), &[]) }
        };
        blocks(self.sizes.tokens, size).map(pack).collect()
    }

    /// As right-hand sides, turned: `[width, block]`.
    fn turned_panels(self, size: usize) -> Vec<Panels> {
        blocks(self.sizes.tokens, size).map(|(first, count)| self.turned(first, count)).collect()
    }

    /// Some tokens as right-hand side, turned: `[width, count]`.
    fn turned(self, first: usize, count: usize) -> Panels {
        let shape = (self.sizes.width, count);
        // SAFETY: there is a row for each token.
        unsafe { Panels::packed(self.set, self.matrix().at(first, 0).transposed(), shape, &[]) }
    }
}

/// The vectors of a head's tokens as the register kernel reads a left-hand side.
struct LeftTokens {
    matrix: Matrix,
    /// Where the matrix lies, if not where the vectors do.
    _memory: Vec<f32>,
}

impl LeftTokens {
    /// From a token on.
    ///
    /// # Safety
    /// There is such a token.
    unsafe fn from(&self, token: usize) -> Matrix {
        // SAFETY: the caller's promise.
        unsafe { self.matrix.at(token, 0) }
    }
}
