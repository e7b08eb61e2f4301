//! From the gradient for the attention's output to those for queries, keys and values.
//!
//! With probabilities P, and dO the gradient for the output O = P V: dV = P' dO, dP = dO V',
//! dS = P (dP - rowsum(dO O)), dQ = dS K, dK = dS' Q, times the scale (Dao et al. 2022, appendix B.2).

use std::ops::Range;

use rayon::prelude::*;

use super::added::{Added, Pairs, add_gradient};
use super::softmax::{SoftmaxRow, probabilities_with_gradient_on};
use super::{Head, KEYS, LeftTokens, Sizes, Tokens, blocks};
use crate::cpu::buffer::{Shared, add, build_scattered, build_scattered_into};
use crate::cpu::panels::Panels;
use crate::cpu::product::{Matrix, Product, multiply, multiply_lanes};
use crate::cpu::simd::InstructionSet;

/// Queries per block: a multiple of every tile's rows.
const QUERIES: usize = 96;
/// The target number of tasks; all but the first of a head have sums of their own.
const TASKS: usize = 16;

/// The gradient for `qkv`, given the [`super::forward`] output and logarithms, and the gradient for the output.
pub(crate) fn backward(
    qkv: &[f32],
    [output, log_sums]: [&[f32]; 2],
    gradient: &[f32],
    sizes: Sizes,
) -> Vec<f32> {
    assert!(qkv.len() == 3 * sizes.len() && gradient.len() == sizes.len() && output.len() == sizes.len());
    assert_eq!(log_sums.len(), sizes.rows());
    let set = InstructionSet::detect();
    let new = |head| BackwardHead::new(set, qkv, [output, log_sums, gradient], (sizes, head));
    let heads: Vec<BackwardHead> = sizes.heads().map(new).collect();
    let key_blocks = sizes.tokens.div_ceil(KEYS);
    let groups = TASKS.div_ceil(heads.len().max(1)).min(key_blocks).max(1);
    let fill = |to: Shared| {
        let work = |scratch: &mut BackwardScratch, task: usize| {
            let (head, group) = (&heads[task / groups], task % groups);
            let keys = group * key_blocks / groups..(group + 1) * key_blocks / groups;
            // SAFETY: no other task has these keys of this head, and of its queries each group has its own sums.
            unsafe {
                if group == 0 {
                    let queries = (to.at(sizes.part(head.head, 0)), 3 * sizes.channels());
                    head.add(keys, scratch, to, queries, None);
                    return Vec::new();
                }
                build_scattered(sizes.tokens * sizes.width, |sums| {
                    head.add(keys, scratch, to, (sums.at(0), sizes.width), None);
                })
            }
        };
        let sums: Vec<Vec<f32>> =
            (0..heads.len() * groups).into_par_iter().map_init(BackwardScratch::default, work).collect();
        heads.par_iter().zip(sums.par_chunks(groups)).for_each(|(head, sums)| {
            // SAFETY: the first group wrote the gradient for the queries, and no other task has this head.
            unsafe { add_sums(&sums[1..], to.at(sizes.part(head.head, 0)), sizes) };
        });
    };
    // SAFETY: all blocks of keys of all heads write all keys and values, the first of each group all queries.
    unsafe { build_scattered(qkv.len(), fill) }
}

/// Adds the groups' gradients for queries, `[tokens, width]`, in order.
///
/// # Safety
/// `to` is where the head's queries are in a gradient for the input, and no other task writes those.
unsafe fn add_sums(sums: &[Vec<f32>], to: *mut f32, sizes: Sizes) {
    for sums in sums {
        for (token, sums) in sums.chunks_exact(sizes.width.max(1)).enumerate() {
            // SAFETY: the token's channels lie in the head's part.
            let total =
                unsafe { std::slice::from_raw_parts_mut(to.add(token * 3 * sizes.channels()), sizes.width) };
            add(total, sums);
        }
    }
}

/// The working memory of a task.
pub(super) struct BackwardScratch {
    /// `[QUERIES, KEYS]`
    scores: Vec<f32>,
    gradient: Vec<f32>,
    /// Of a block of keys, the gradients for these and for their values, `[KEYS, width]` each.
    sums: [Vec<f32>; 2],
}

impl Default for BackwardScratch {
    fn default() -> Self {
        let block = || vec![0.0; QUERIES * KEYS];
        Self { scores: block(), gradient: block(), sums: Default::default() }
    }
}

/// What was added to the scores, and the sums of its gradient, `[tokens, tokens]`.
pub(super) struct BiasGradient<'a> {
    pub(super) added: Added<'a>,
    pub(super) sums: &'a mut [f32],
}

/// The data that all blocks of a head share.
pub(super) struct BackwardHead {
    set: InstructionSet,
    sizes: Sizes,
    head: Head,
    queries: LeftTokens,
    upstream: LeftTokens,
    /// For each block of queries.
    query_panels: Vec<Panels>,
    upstream_panels: Vec<Panels>,
    /// For each block of keys.
    keys: Vec<Panels>,
    turned_keys: Vec<Panels>,
    turned_values: Vec<Panels>,
    /// For each query.
    rows: Vec<SoftmaxRow>,
}

impl BackwardHead {
    pub(super) fn new(
        set: InstructionSet,
        qkv: &[f32],
        [output, log_sums, gradient]: [&[f32]; 3],
        (sizes, head): (Sizes, Head),
    ) -> Self {
        let part = |part| Tokens::part(set, qkv, (sizes, head), part);
        let [output, upstream] = [output, gradient].map(|values| Tokens::output(set, values, (sizes, head)));
        let row = |(token, &log_sum): (usize, &f32)| {
            let products = output.token(token).iter().zip(upstream.token(token)).map(|(x, y)| x * y);
            SoftmaxRow { log_sum, mean: products.sum() }
        };
        Self {
            set,
            sizes,
            head,
            queries: part(0).lanes(),
            upstream: upstream.lanes(),
            query_panels: part(0).panels(QUERIES),
            upstream_panels: upstream.panels(QUERIES),
            keys: part(1).panels(KEYS),
            turned_keys: part(1).turned_panels(KEYS),
            turned_values: part(2).turned_panels(KEYS),
            rows: log_sums[sizes.row(head)..][..sizes.tokens].iter().enumerate().map(row).collect(),
        }
    }

    /// Writes the gradients for some blocks of keys and for their values, and the contribution of these keys to the
    /// gradient for all queries, rows `stride` floats apart.
    ///
    /// # Safety
    /// `to` is a gradient for the input, and no other task writes these keys and values, nor the queries.
    pub(super) unsafe fn add(
        &self,
        key_blocks: Range<usize>,
        scratch: &mut BackwardScratch,
        to: Shared,
        (queries, stride): (*mut f32, usize),
        mut bias: Option<&mut BiasGradient<'_>>,
    ) {
        let Sizes { width, .. } = self.sizes;
        let start = key_blocks.start;
        for block in key_blocks {
            let count = self.keys[block].rows();
            let BackwardScratch { scores, gradient, sums } = scratch;
            for (index, (first, rows)) in blocks(self.sizes.tokens, QUERIES).enumerate() {
                // SAFETY: the queries are there, and the caller's promise.
                let to = unsafe { queries.add(first * stride) };
                let onto = (block > start).then_some(to.cast_const());
                self.scores((first, rows), block, [&mut *scores, &mut *gradient], bias.as_deref_mut());
                let [left, right] = [&*scores, &*gradient].map(|values| Matrix::new(values, KEYS));
                // SAFETY: the scores have a row for each query of the block, and `count` columns.
                unsafe {
                    let product = Product {
                        left: right,
                        rows,
                        right: &self.keys[block],
                        output: to,
                        output_stride: stride,
                        onto,
                    };
                    multiply(self.set, &product);
                    let [keys, values] = &mut *sums;
                    self.add_turned((right, count), &self.query_panels[index], index, keys);
                    self.add_turned((left, count), &self.upstream_panels[index], index, values);
                }
            }
            for (sums, part) in sums.iter().zip([1, 2]) {
                for (token, sums) in sums.chunks_exact(width.max(1)).take(count).enumerate() {
                    let place = (block * KEYS + token) * 3 * self.sizes.channels();
                    // SAFETY: the token is this task's.
                    unsafe {
                        let to = to.at(self.sizes.part(self.head, part) + place);
                        to.copy_from_nonoverlapping(sums.as_ptr(), width);
                    }
                }
            }
        }
    }

    /// The probabilities of a block of queries and keys, and the gradient for the products of these.
    fn scores(
        &self,
        (first, rows): (usize, usize),
        block: usize,
        [scores, gradient]: [&mut [f32]; 2],
        bias: Option<&mut BiasGradient<'_>>,
    ) {
        // SAFETY: both have room for the block; queries and gradient have the rows.
        unsafe {
            for (left, right, to) in [
                (&self.queries, &self.turned_keys[block], &mut *scores),
                (&self.upstream, &self.turned_values[block], &mut *gradient),
            ] {
                let (left, output) = (left.from(first), to.as_mut_ptr());
                multiply_lanes(
                    self.set,
                    &Product { left, rows, right, output, output_stride: KEYS, onto: None },
                );
            }
        }
        let (count, scale) = (self.keys[block].rows(), self.sizes.scale());
        let pairs = Pairs::of_block((first, rows), block, self.sizes.tokens);
        if let Some(bias) = &bias {
            // SAFETY: the block has room for the rows.
            unsafe { bias.added.add_to(self.set, (scores.as_mut_ptr(), KEYS), pairs, scale) };
        }
        let [scores, gradient] = [scores, gradient].map(|block| &mut block[..rows * KEYS]);
        probabilities_with_gradient_on(
            self.set,
            scores,
            gradient,
            count,
            scale,
            &self.rows[first..first + rows],
        );
        if let Some(bias) = bias {
            // SAFETY: the block has the rows, and the sums all pairs.
            unsafe { add_gradient(self.set, (bias.sums, self.sizes.tokens), gradient, pairs, scale) };
        }
    }

    /// Adds the product of some weights, turned, and a block of vectors to the sums of a block of keys; with the first
    /// block of queries, makes them.
    ///
    /// # Safety
    /// The weights have a row for each vector of the block, and `count` columns.
    unsafe fn add_turned(
        &self,
        (weights, count): (Matrix, usize),
        right: &Panels,
        index: usize,
        sums: &mut Vec<f32>,
    ) {
        let width = self.sizes.width;
        let add = |to: Shared| {
            // SAFETY: the sums have a row for each column of the weights.
            unsafe {
                let output = to.at(0);
                let onto = (index > 0).then_some(output.cast_const());
                let left = weights.transposed();
                multiply(self.set, &Product { left, rows: count, right, output, output_stride: width, onto });
            }
        };
        // SAFETY: the first product writes all sums, and the memory is kept for the others.
        unsafe { build_scattered_into(sums, count * width, add) };
    }
}
