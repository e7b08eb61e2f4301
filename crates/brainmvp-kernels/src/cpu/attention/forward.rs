//! From queries, keys and values to the attention's output.

use rayon::prelude::*;

use super::added::{Added, Pairs};
use super::softmax::{SoftmaxSum, exponentials_on, scale_rows_on};
use super::{Head, KEYS, LeftTokens, Sizes, Tokens, blocks};
use crate::cpu::buffer::{Shared, build_scattered};
use crate::cpu::panels::Panels;
use crate::cpu::product::{Matrix, Product, multiply, multiply_lanes};
use crate::cpu::simd::{InstructionSet, WIDEST_LANES};

/// Queries per block: a multiple of every tile's rows.
pub(super) const QUERIES: usize = 48;

/// The attention of `qkv`, `[batch, tokens, 3, heads, width]`: `[batch, tokens, heads, width]`; and the logarithm of
/// each softmax's sum, `[batch, heads, tokens]`.
pub(crate) fn forward(qkv: &[f32], sizes: Sizes) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(qkv.len(), 3 * sizes.len());
    let set = InstructionSet::detect();
    let heads: Vec<ForwardHead> =
        sizes.heads().map(|head| ForwardHead::new(set, qkv, (sizes, head))).collect();
    let blocks: Vec<(usize, usize)> = blocks(sizes.tokens, QUERIES).collect();
    let mut log_sums = vec![0.0; sizes.rows()];
    let log_sums_to = Shared::new(&mut log_sums);
    let scratch = || vec![0.0; QUERIES * sizes.tokens.next_multiple_of(WIDEST_LANES)];
    let fill = |to: Shared| {
        (0..heads.len() * blocks.len()).into_par_iter().for_each_init(scratch, |scores, task| {
            let (head, block) = (&heads[task / blocks.len()], blocks[task % blocks.len()]);
            // SAFETY: no other task has this block of queries of this head.
            unsafe {
                let to = to.at(sizes.output(head.head) + block.0 * sizes.channels());
                let log_sums = log_sums_to.at(sizes.row(head.head) + block.0);
                for (row, sum) in head.attend(block, scores, to, None)[..block.1].iter().enumerate() {
                    *log_sums.add(row) = sum.log();
                }
            }
        });
    };
    // SAFETY: the blocks of queries of all heads are the whole output.
    let output = unsafe { build_scattered(sizes.len(), fill) };
    (output, log_sums)
}

/// The data that all blocks of a head's queries share.
pub(super) struct ForwardHead {
    set: InstructionSet,
    sizes: Sizes,
    head: Head,
    queries: LeftTokens,
    turned_keys: Panels,
    /// For each block of keys.
    values: Vec<Panels>,
}

impl ForwardHead {
    pub(super) fn new(set: InstructionSet, qkv: &[f32], (sizes, head): (Sizes, Head)) -> Self {
        let part = |part| Tokens::part(set, qkv, (sizes, head), part);
        Self {
            set,
            sizes,
            head,
            queries: part(0).lanes(),
            turned_keys: part(1).turned(0, sizes.tokens),
            values: part(2).panels(KEYS),
        }
    }

    /// Writes the output for a block of queries, with something added to the scores if need be. Returns the sums of the
    /// queries' softmaxes.
    ///
    /// # Safety
    /// `to` is where the block is in an output, and no other task writes it.
    pub(super) unsafe fn attend(
        &self,
        (first, rows): (usize, usize),
        scores: &mut [f32],
        to: *mut f32,
        added: Option<&Added<'_>>,
    ) -> [SoftmaxSum; QUERIES] {
        let Sizes { tokens, width, .. } = self.sizes;
        let (set, row, stride) = (self.set, tokens.next_multiple_of(WIDEST_LANES), self.sizes.channels());
        let mut sums = [SoftmaxSum::default(); QUERIES];
        // SAFETY: there is a query and a row of scores for each row; the rest is the caller's promise.
        unsafe {
            let (left, output) = (self.queries.from(first), scores.as_mut_ptr());
            let right = &self.turned_keys;
            multiply_lanes(set, &Product { left, rows, right, output, output_stride: row, onto: None });
            if let Some(added) = added {
                let pairs = Pairs::of_all_keys((first, rows), tokens);
                added.add_to(set, (scores.as_mut_ptr(), row), pairs, self.sizes.scale());
            }
            exponentials_on(set, &mut scores[..rows * row], tokens, self.sizes.scale(), &mut sums);
            for (index, right) in self.values.iter().enumerate() {
                let left = Matrix::new(scores, row).at(0, index * KEYS);
                let onto = (index > 0).then_some(to.cast_const());
                multiply(set, &Product { left, rows, right, output: to, output_stride: stride, onto });
            }
            let inverse = sums.map(|sum| sum.total.recip());
            scale_rows_on(set, to, (stride, width), &inverse[..rows]);
        }
        sums
    }
}
