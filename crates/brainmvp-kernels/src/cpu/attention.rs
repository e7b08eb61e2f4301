//! Softmax attention and its gradient, a block of queries at a time.
//!
//! Only the scores of one block of queries exist, in a core's cache; the gradient computes them again. Keys and values
//! are packed once for all blocks. A task is some blocks of queries of one head of one case: how many depends on the
//! sizes only, so results are the same for every number of threads.

use rayon::prelude::*;

use super::activation::exp;
use super::buffer::Shared;
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::{InstructionSet, Lanes, WIDEST_LANES, dispatch, sum};

/// Queries of a block: a multiple of every tile's rows.
const QUERIES: usize = 48;
/// Keys of a block whose part of a panel stays in the first-level cache.
const KEYS: usize = 128;
/// Tasks that are enough for the gradient, where each has sums of its own.
const TASKS: usize = 16;

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

    /// Where in the input the queries (0), keys (1) or values (2) of a head are, `[tokens, width]`.
    fn part(self, head: Head, part: usize) -> usize {
        head.batch * self.tokens * 3 * self.channels() + part * self.channels() + head.index * self.width
    }

    /// Where in the output a head is, `[tokens, width]`.
    fn output(self, head: Head) -> usize {
        head.batch * self.tokens * self.channels() + head.index * self.width
    }

    fn scale(self) -> f32 {
        (self.width as f32).sqrt().recip()
    }

    /// Floats from one row of scores to the next: whole vectors, the last one padded.
    fn row(self) -> usize {
        self.tokens.next_multiple_of(WIDEST_LANES)
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

/// The attention of `qkv`, `[batch, tokens, 3, heads, width]`: `[batch, tokens, heads, width]`.
pub(crate) fn forward(qkv: &[f32], sizes: Sizes) -> Vec<f32> {
    assert_eq!(qkv.len(), 3 * sizes.len());
    let set = InstructionSet::detect();
    let heads: Vec<(Head, Panels, Vec<Panels>)> = sizes
        .heads()
        .map(|head| {
            (head, turned(set, qkv, sizes, sizes.part(head, 1)), blocks(set, qkv, sizes, sizes.part(head, 2)))
        })
        .collect();
    let blocks = sizes.tokens.div_ceil(QUERIES);
    let mut output = vec![0.0; sizes.len()];
    let to = Shared::new(&mut output);
    (0..heads.len() * blocks).into_par_iter().for_each_init(Vec::new, |scores, task| {
        let (head, turned_keys, values) = &heads[task / blocks];
        let block = Block::new(set, sizes, task % blocks);
        block.probabilities(qkv, sizes.part(*head, 0), turned_keys, scores);
        // SAFETY: no other task has this block of queries of this head.
        unsafe {
            let to = to.at(sizes.output(*head) + block.first * sizes.channels());
            block.mix(scores, values, to, sizes.channels());
        }
    });
    output
}

/// The gradient for `qkv`, given that for the output.
pub(crate) fn backward(qkv: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    assert!(qkv.len() == 3 * sizes.len() && gradient.len() == sizes.len());
    let set = InstructionSet::detect();
    let heads: Vec<BackwardHead<'_>> =
        sizes.heads().map(|head| BackwardHead::new(set, qkv, gradient, (sizes, head))).collect();
    let blocks = sizes.tokens.div_ceil(QUERIES);
    let groups = TASKS.div_ceil(heads.len().max(1)).min(blocks);
    let mut output = vec![0.0; qkv.len()];
    let to = Shared::new(&mut output);
    let mut sums: Vec<Vec<f32>> = (0..heads.len() * groups)
        .into_par_iter()
        .map_init(Scratch::default, |scratch, task| {
            let (head, group) = (&heads[task / groups], task % groups);
            let mut sums = vec![0.0; 2 * sizes.tokens * sizes.width];
            for index in group * blocks / groups..(group + 1) * blocks / groups {
                let block = Block::new(set, sizes, index);
                // SAFETY: no other task has this block of queries of this head.
                let to = unsafe { to.at(sizes.part(head.head, 0) + block.first * 3 * sizes.channels()) };
                // SAFETY: as above.
                unsafe { head.add_block(block, scratch, to, &mut sums) };
            }
            sums
        })
        .collect();
    sizes.heads().zip(sums.par_chunks_mut(groups.max(1))).for_each(|(head, sums)| {
        // SAFETY: no other task has the keys and values of this head.
        unsafe { write_sums(sums, sizes, to.at(sizes.part(head, 1))) };
    });
    output
}

/// Adds the groups' gradients for keys and values, `[2, tokens, width]`, in order, and writes them where they belong.
///
/// # Safety
/// `to` is where the head's keys are in a gradient for the input, and no other task writes those or the values.
unsafe fn write_sums(sums: &mut [Vec<f32>], sizes: Sizes, to: *mut f32) {
    let Some((total, others)) = sums.split_first_mut() else { return };
    for sums in others {
        total.iter_mut().zip(sums).for_each(|(total, sum)| *total += *sum);
    }
    for (row, total) in total.chunks_exact(sizes.width.max(1)).enumerate() {
        let (part, token) = (row / sizes.tokens, row % sizes.tokens);
        // SAFETY: the token's channels lie in the head's part.
        unsafe {
            let to = to.add((token * 3 + part) * sizes.channels());
            to.copy_from_nonoverlapping(total.as_ptr(), sizes.width);
        }
    }
}

/// The part of `qkv` that begins at a float, one row for each token.
fn matrix(qkv: &[f32], sizes: Sizes, start: usize) -> Matrix {
    Matrix::new(&qkv[start..], 3 * sizes.channels())
}

/// A part of a head, turned: `[width, tokens]`.
fn turned(set: InstructionSet, qkv: &[f32], sizes: Sizes, start: usize) -> Panels {
    // SAFETY: the part has a row for each token.
    unsafe { Panels::packed(set, matrix(qkv, sizes, start).transposed(), (sizes.width, sizes.tokens), &[]) }
}

/// A part of a head in blocks of `KEYS` rows: `[KEYS, width]`.
fn blocks(set: InstructionSet, qkv: &[f32], sizes: Sizes, start: usize) -> Vec<Panels> {
    (0..sizes.tokens)
        .step_by(KEYS)
        .map(|first| {
            let rows = KEYS.min(sizes.tokens - first);
            // SAFETY: the part has a row for each token.
            unsafe {
                let matrix = matrix(qkv, sizes, start).at(first, 0);
                Panels::packed(set, matrix, (rows, sizes.width), &[])
            }
        })
        .collect()
}

/// A block of queries.
#[derive(Clone, Copy)]
struct Block {
    set: InstructionSet,
    sizes: Sizes,
    first: usize,
    count: usize,
}

impl Block {
    fn new(set: InstructionSet, sizes: Sizes, index: usize) -> Self {
        let first = index * QUERIES;
        Self { set, sizes, first, count: QUERIES.min(sizes.tokens - first) }
    }

    /// The block's rows of a left-hand matrix times a turned part, into `scores`; the padding becomes `padding`.
    fn products(self, left: Matrix, right: &Panels, padding: f32, scores: &mut Vec<f32>) {
        let (row, tokens) = (self.sizes.row(), self.sizes.tokens);
        scores.resize(QUERIES * row, 0.0);
        // SAFETY: the left-hand side has a row for each token, and the scores one for each query of the block.
        unsafe {
            multiply(
                self.set,
                &Product {
                    left: left.at(self.first, 0),
                    rows: self.count,
                    right,
                    output: scores.as_mut_ptr(),
                    output_stride: row,
                    accumulate: false,
                },
            );
        }
        for row in scores.chunks_exact_mut(row).take(self.count) {
            row[tokens..].fill(padding);
        }
    }

    /// The softmax of the scaled products of the block's queries, which start at a float of `qkv`, and all keys.
    fn probabilities(self, qkv: &[f32], queries: usize, turned_keys: &Panels, scores: &mut Vec<f32>) {
        self.products(matrix(qkv, self.sizes, queries), turned_keys, f32::NEG_INFINITY, scores);
        softmax_rows_on(self.set, &mut scores[..self.count * self.sizes.row()], self.sizes);
    }

    /// `weights`, a row for each query, times the rows of a part.
    ///
    /// # Safety
    /// `to` has the block's queries, rows `stride` floats apart, and no other task writes them.
    unsafe fn mix(self, weights: &[f32], blocks: &[Panels], to: *mut f32, stride: usize) {
        for (index, right) in blocks.iter().enumerate() {
            // SAFETY: a row of the weights has a float for each token; the rest is the caller's promise.
            unsafe {
                multiply(
                    self.set,
                    &Product {
                        left: Matrix::new(weights, self.sizes.row()).at(0, index * KEYS),
                        rows: self.count,
                        right,
                        output: to,
                        output_stride: stride,
                        accumulate: index > 0,
                    },
                );
            }
        }
    }
}

/// What a task of the gradient works in.
#[derive(Default)]
struct Scratch {
    probabilities: Vec<f32>,
    gradient: Vec<f32>,
    /// A block of queries, or of the gradient, as right-hand side.
    right: Option<Panels>,
}

/// What all blocks of a head's gradient share.
struct BackwardHead<'a> {
    set: InstructionSet,
    sizes: Sizes,
    head: Head,
    qkv: &'a [f32],
    gradient: &'a [f32],
    turned_keys: Panels,
    turned_values: Panels,
    keys: Vec<Panels>,
}

impl<'a> BackwardHead<'a> {
    fn new(set: InstructionSet, qkv: &'a [f32], gradient: &'a [f32], (sizes, head): (Sizes, Head)) -> Self {
        Self {
            set,
            sizes,
            head,
            qkv,
            gradient,
            turned_keys: turned(set, qkv, sizes, sizes.part(head, 1)),
            turned_values: turned(set, qkv, sizes, sizes.part(head, 2)),
            keys: blocks(set, qkv, sizes, sizes.part(head, 1)),
        }
    }

    /// Writes the gradient of a block of queries, and adds what it gives to those of keys and values.
    ///
    /// # Safety
    /// `to` is where the block's queries are in a gradient for the input, and no other task writes them.
    unsafe fn add_block(&self, block: Block, scratch: &mut Scratch, to: *mut f32, sums: &mut [f32]) {
        let (sizes, channels) = (self.sizes, self.sizes.channels());
        let queries = sizes.part(self.head, 0);
        let Scratch { probabilities, gradient, right } = scratch;
        let right = right.get_or_insert_with(|| Panels::new(self.set));
        let upstream = Matrix::new(&self.gradient[sizes.output(self.head)..], channels);
        block.probabilities(self.qkv, queries, &self.turned_keys, probabilities);
        block.products(upstream, &self.turned_values, 0.0, gradient);
        let len = block.count * sizes.row();
        softmax_gradient_rows_on(self.set, &probabilities[..len], &mut gradient[..len], sizes);
        let (key_sums, value_sums) = sums.split_at_mut(sizes.tokens * sizes.width);
        // SAFETY: the upstream gradient and the queries have a row for each token; `to` is the caller's promise.
        unsafe {
            right.pack(upstream.at(block.first, 0), (block.count, sizes.width), &[]);
            self.add_turned(probabilities, right, value_sums);
            right.pack(matrix(self.qkv, sizes, queries).at(block.first, 0), (block.count, sizes.width), &[]);
            self.add_turned(gradient, right, key_sums);
            block.mix(gradient, &self.keys, to, 3 * channels);
        }
    }

    /// Adds the product of `weights`, turned, and a block to the sums of all tokens.
    ///
    /// # Safety
    /// The weights have a row for each row of the block.
    unsafe fn add_turned(&self, weights: &[f32], right: &Panels, sums: &mut [f32]) {
        // SAFETY: the sums have a row for each token; the rest is the caller's promise.
        unsafe {
            multiply(
                self.set,
                &Product {
                    left: Matrix::new(weights, self.sizes.row()).transposed(),
                    rows: self.sizes.tokens,
                    right,
                    output: sums.as_mut_ptr(),
                    output_stride: self.sizes.width,
                    accumulate: true,
                },
            );
        }
    }
}

dispatch! {
    /// The softmax of each row of scores, times the scale, in place.
    fn softmax_rows_on(scores: &mut [f32], sizes: Sizes) = softmax_rows
}

dispatch! {
    /// The gradient for the products of queries and keys, given that for the probabilities, in place.
    fn softmax_gradient_rows_on(probabilities: &[f32], gradient: &mut [f32], sizes: Sizes) = softmax_gradient_rows
}

#[inline(always)]
unsafe fn softmax_rows<L: Lanes>(scores: &mut [f32], sizes: Sizes) {
    for row in scores.chunks_exact_mut(sizes.row()) {
        // SAFETY: a row is whole vectors.
        unsafe {
            let (start, len) = (row.as_mut_ptr(), row.len());
            let mut largest = L::load(start);
            for at in (0..len).step_by(L::N) {
                largest = largest.max(L::load(start.add(at)));
            }
            let mut lanes = [f32::NEG_INFINITY; WIDEST_LANES];
            largest.store(lanes.as_mut_ptr());
            let largest = L::splat(lanes.into_iter().fold(f32::NEG_INFINITY, f32::max));
            let mut total = L::zero();
            for at in (0..len).step_by(L::N) {
                let value = exp(L::load(start.add(at)).sub(largest).mul(L::splat(sizes.scale())));
                total = total.add(value);
                value.store(start.add(at));
            }
            let inverse = L::splat(sum(total).recip());
            for at in (0..len).step_by(L::N) {
                L::load(start.add(at)).mul(inverse).store(start.add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn softmax_gradient_rows<L: Lanes>(probabilities: &[f32], gradient: &mut [f32], sizes: Sizes) {
    let rows = probabilities.chunks_exact(sizes.row()).zip(gradient.chunks_exact_mut(sizes.row()));
    for (probabilities, gradient) in rows {
        // SAFETY: the rows are whole vectors, of the same number.
        unsafe {
            let (from, to) = (probabilities.as_ptr(), gradient.as_mut_ptr());
            let mut total = L::zero();
            for at in (0..gradient.len()).step_by(L::N) {
                total = total.mul_add(L::load(from.add(at)), L::load(to.add(at)));
            }
            let (mean, scale) = (L::splat(sum(total)), L::splat(sizes.scale()));
            for at in (0..gradient.len()).step_by(L::N) {
                let centred = L::load(to.add(at)).sub(mean).mul(scale);
                centred.mul(L::load(from.add(at))).store(to.add(at));
            }
        }
    }
}
