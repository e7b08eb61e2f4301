//! From queries, keys and values to what is mixed of the values.

use rayon::prelude::*;

use super::softmax::{RunningSoftmax, exponentials_on, scale_rows_on};
use super::{Head, KEYS, LeftTokens, QUERIES, Sizes, Tokens};
use crate::cpu::buffer::{Shared, build_scattered};
use crate::cpu::panels::Panels;
use crate::cpu::product::{Matrix, Product, multiply, multiply_lanes};
use crate::cpu::simd::InstructionSet;

/// The attention of `qkv`, `[batch, tokens, 3, heads, width]`: `[batch, tokens, heads, width]`; and the logarithm of
/// each softmax's sum, `[batch, heads, tokens]`.
pub(crate) fn forward(qkv: &[f32], sizes: Sizes) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(qkv.len(), 3 * sizes.len());
    let set = InstructionSet::detect();
    let heads: Vec<ForwardHead> =
        sizes.heads().map(|head| ForwardHead::new(set, qkv, (sizes, head))).collect();
    let blocks: Vec<(usize, usize)> = sizes.query_blocks().collect();
    let mut log_sums = vec![0.0; sizes.rows()];
    let log_sums_to = Shared::new(&mut log_sums);
    let fill = |to: Shared| {
        (0..heads.len() * blocks.len()).into_par_iter().for_each_init(
            || vec![0.0; QUERIES * KEYS],
            |scores, task| {
                let (head, block) = (&heads[task / blocks.len()], blocks[task % blocks.len()]);
                // SAFETY: no other task has this block of queries of this head.
                unsafe {
                    let to = to.at(sizes.output(head.head) + block.0 * sizes.channels());
                    let softmax = head.attend(block, scores, to);
                    for (row, log_sum) in softmax.log_sums().take(block.1).enumerate() {
                        *log_sums_to.at(sizes.row(head.head) + block.0 + row) = log_sum;
                    }
                }
            },
        );
    };
    // SAFETY: the blocks of queries of all heads are the whole output; without keys there are no queries either.
    let output = unsafe { build_scattered(sizes.len(), fill) };
    (output, log_sums)
}

/// What all blocks of a head's queries share.
struct ForwardHead {
    set: InstructionSet,
    sizes: Sizes,
    head: Head,
    queries: LeftTokens,
    /// For each block of keys.
    turned_keys: Vec<Panels>,
    values: Vec<Panels>,
}

impl ForwardHead {
    fn new(set: InstructionSet, qkv: &[f32], (sizes, head): (Sizes, Head)) -> Self {
        let part = |part| Tokens::part(set, qkv, (sizes, head), part);
        Self {
            set,
            sizes,
            head,
            queries: part(0).lanes(),
            turned_keys: part(1).turned_panels(KEYS),
            values: part(2).panels(KEYS),
        }
    }

    /// Writes what a block of queries mixes of the values.
    ///
    /// # Safety
    /// `to` is where the block is in an output, and no other task writes it.
    unsafe fn attend(
        &self,
        (first, rows): (usize, usize),
        scores: &mut [f32],
        to: *mut f32,
    ) -> RunningSoftmax {
        let (set, output_stride) = (self.set, self.sizes.channels());
        let mut softmax = RunningSoftmax::default();
        for (index, (keys, values)) in self.turned_keys.iter().zip(&self.values).enumerate() {
            let count = values.rows();
            // SAFETY: the scores have room for the block; the queries are there; the rest is the caller's promise.
            unsafe {
                let left = self.queries.from(first);
                let output = scores.as_mut_ptr();
                multiply_lanes(
                    set,
                    &Product { left, rows, right: keys, output, output_stride: KEYS, onto: None },
                );
                exponentials_on(set, &mut scores[..rows * KEYS], count, self.sizes.scale(), &mut softmax);
                if index > 0 {
                    scale_rows_on(set, to, (output_stride, self.sizes.width), &softmax.factors[..rows]);
                }
                let left = Matrix::new(scores, KEYS);
                let onto = (index > 0).then_some(to.cast_const());
                multiply(set, &Product { left, rows, right: values, output: to, output_stride, onto });
            }
        }
        let inverse = softmax.totals.map(f32::recip);
        // SAFETY: the block's rows are in the output.
        unsafe { scale_rows_on(set, to, (output_stride, self.sizes.width), &inverse[..rows]) };
        softmax
    }
}
