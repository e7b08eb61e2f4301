//! Gradients of the weights and biases of linear layers, summed over the rows of activations.
//!
//! Rows are processed in chunks: a task that has a chunk in its core's cache packs it there, once for all products that
//! it is part of. If the sums for all weights fit into that cache too, the same task adds the chunk to sums of its own.
//! Otherwise packed chunks are collected until there is a span of them, and the sums are divided among tasks. The
//! choice depends only on the sizes, so results are the same for every number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Shared, add};
use super::linear::Sizes;
use super::panels::{Panels, Turned};
use super::product::{Matrix, Product, add_column_sums, multiply_lanes};
use super::simd::InstructionSet;

/// Inputs per block of a weight: a multiple of every tile's rows.
const INPUTS: usize = 96;
/// Outputs per block: a multiple of every panel's width.
const OUTPUTS: usize = 128;
/// The target number of tasks, each with sums of its own.
const GROUPS: usize = 32;
/// The target number of tasks, each with a block of the sums.
const BLOCKS: usize = 16;
/// The number of sums that fit into a core's second-level cache together with a chunk.
const CACHED_SUMS: usize = 1 << 16;
/// Inputs or outputs per span: packed, they fit into the last-level cache.
const SPAN: usize = 1 << 20;

/// Some rows of a layer's inputs and of its output's gradient, packed for the product that yields the weight's gradient.
#[derive(Default)]
pub(crate) struct PackedRows {
    /// One for each block of inputs.
    left: Vec<Turned>,
    /// One for each block of outputs.
    right: Vec<Panels>,
}

/// The weight's gradient, `[inputs, outputs]`, and the bias's.
pub(crate) type Sums = (Vec<f32>, Vec<f32>);

/// The gradients of one or more layers with the same number of rows. `work` does all other work for a range of rows,
/// and packs them for each layer.
pub(crate) fn weight_gradients<S: Default, const N: usize>(
    layers: [Sizes; N],
    rows_per_chunk: usize,
    work: impl Fn(Range<usize>, &mut S, &mut [PackedRows; N]) + Sync,
) -> [Sums; N] {
    let chunks = Chunks { rows: layers[0].rows, rows_per_chunk };
    let mut sums = if layers.iter().map(|layer| sums_of(*layer)).sum::<usize>() <= CACHED_SUMS {
        sum_in_tasks(layers, chunks, work)
    } else {
        sum_in_blocks(layers, chunks, work)
    };
    std::array::from_fn(|layer| {
        let mut weights = std::mem::take(&mut sums[layer]);
        let bias = weights.split_off(layers[layer].inputs * layers[layer].outputs);
        (weights, bias)
    })
}

/// Rows divided into chunks.
#[derive(Clone, Copy)]
struct Chunks {
    rows: usize,
    rows_per_chunk: usize,
}

impl Chunks {
    fn count(self) -> usize {
        self.rows.div_ceil(self.rows_per_chunk)
    }

    fn rows(self, chunk: usize) -> Range<usize> {
        let first = chunk * self.rows_per_chunk;
        first..self.rows.min(first + self.rows_per_chunk)
    }
}

/// Sums of a layer, `[inputs + 1, outputs]`, the bias last.
fn sums_of(layer: Sizes) -> usize {
    (layer.inputs + 1) * layer.outputs
}

/// Blocks of inputs and of outputs; of inputs at least one, which the bias goes with.
fn blocks_of(layer: Sizes) -> (usize, usize) {
    (layer.inputs.div_ceil(INPUTS).max(1), layer.outputs.div_ceil(OUTPUTS))
}

/// Each task is a group of chunks, with sums of its own.
fn sum_in_tasks<S: Default, const N: usize>(
    layers: [Sizes; N],
    chunks: Chunks,
    work: impl Fn(Range<usize>, &mut S, &mut [PackedRows; N]) + Sync,
) -> [Vec<f32>; N] {
    let groups = GROUPS.min(chunks.count());
    let sum = |(scratch, packed): &mut (S, [PackedRows; N]), group: usize| {
        let mut sums = layers.map(|layer| vec![0.0; sums_of(layer)]);
        for chunk in group * chunks.count() / groups..(group + 1) * chunks.count() / groups {
            work(chunks.rows(chunk), scratch, packed);
            for ((layer, packed), sums) in layers.iter().zip(&*packed).zip(&mut sums) {
                let (inputs, outputs) = blocks_of(*layer);
                for block in 0..inputs * outputs {
                    // SAFETY: the sums are this task's.
                    unsafe { add_block(packed, block, *layer, sums.as_mut_ptr()) };
                }
            }
        }
        sums
    };
    let init = || (S::default(), std::array::from_fn(|_| PackedRows::default()));
    let sums: Vec<[Vec<f32>; N]> = (0..groups).into_par_iter().map_init(init, sum).collect();
    let mut total = layers.map(|layer| vec![0.0; sums_of(layer)]);
    for sums in sums {
        total.iter_mut().zip(&sums).for_each(|(total, sums)| add(total, sums));
    }
    total
}

/// Each task is a block of the sums, and a group of chunks if there are too few blocks.
fn sum_in_blocks<S: Default, const N: usize>(
    layers: [Sizes; N],
    chunks: Chunks,
    work: impl Fn(Range<usize>, &mut S, &mut [PackedRows; N]) + Sync,
) -> [Vec<f32>; N] {
    let widest = layers.iter().map(|layer| layer.inputs.max(layer.outputs)).fold(1, usize::max);
    let span = (SPAN / widest).div_ceil(chunks.rows_per_chunk).max(1);
    let blocks = layers.map(|layer| {
        let (inputs, outputs) = blocks_of(layer);
        inputs * outputs
    });
    let groups = blocks.map(|blocks| BLOCKS.div_ceil(blocks.max(1)));
    let tasks: Vec<(usize, usize)> =
        (0..N).flat_map(|layer| (0..groups[layer] * blocks[layer]).map(move |task| (layer, task))).collect();
    let mut sums: [Vec<f32>; N] =
        std::array::from_fn(|layer| vec![0.0; groups[layer] * sums_of(layers[layer])]);
    let places = sums.each_mut().map(|sums| Shared::new(sums));
    let mut packed: Vec<[PackedRows; N]> = Vec::new();
    for start in (0..chunks.count()).step_by(span) {
        let count = span.min(chunks.count() - start);
        packed.resize_with(count, || std::array::from_fn(|_| PackedRows::default()));
        packed.par_iter_mut().enumerate().for_each_init(S::default, |scratch, (index, packed)| {
            work(chunks.rows(start + index), scratch, packed);
        });
        tasks.par_iter().for_each(|&(index, task)| {
            let (layer, groups) = (layers[index], groups[index]);
            let (group, block) = (task % groups, task / groups);
            for packed in &packed[group * count / groups..(group + 1) * count / groups] {
                // SAFETY: no other task has this block of this group.
                unsafe { add_block(&packed[index], block, layer, places[index].at(group * sums_of(layer))) };
            }
        });
    }
    for (sums, layer) in sums.iter_mut().zip(layers) {
        let (total, others) = sums.split_at_mut(sums_of(layer));
        others.chunks_exact(total.len().max(1)).for_each(|others| add(total, others));
        sums.truncate(sums_of(layer));
    }
    sums
}

impl PackedRows {
    /// Packs a number of rows of a layer's inputs and of its output's gradient.
    pub(crate) fn pack(&mut self, set: InstructionSet, [x, gradient]: [&[f32]; 2], sizes: Sizes) {
        let Sizes { rows, inputs, outputs } = sizes;
        assert!(x.len() >= rows * inputs && gradient.len() >= rows * outputs);
        let (input_blocks, output_blocks) = blocks_of(sizes);
        self.left.resize_with(input_blocks, || Turned::new(set));
        self.right.resize_with(output_blocks, || Panels::new(set));
        let (x, gradient) = (Matrix::new(x, inputs), Matrix::new(gradient, outputs));
        for (block, left) in self.left.iter_mut().enumerate() {
            let input = block * INPUTS;
            // SAFETY: the block of columns lies in the rows.
            unsafe { left.pack(x.at(0, input), (rows, INPUTS.min(inputs - input))) };
        }
        for (block, right) in self.right.iter_mut().enumerate() {
            let output = block * OUTPUTS;
            let columns = OUTPUTS.min(outputs - output);
            // SAFETY: the block of columns lies in the rows.
            unsafe { right.pack(gradient.at(0, output), (rows, columns), &[]) };
        }
    }
}

/// Adds the contribution of some rows to a block and, for the first block of inputs, to the bias.
///
/// # Safety
/// `sums` are those of the layer, and no other task writes the block.
unsafe fn add_block(rows: &PackedRows, block: usize, sizes: Sizes, sums: *mut f32) {
    let Sizes { inputs, outputs, .. } = sizes;
    let (_, output_blocks) = blocks_of(sizes);
    let (input, output) = (block / output_blocks, block % output_blocks);
    let column = output * OUTPUTS;
    let (left, right) = (&rows.left[input], &rows.right[output]);
    // SAFETY: the block's rows and columns lie in the sums, which are this task's.
    unsafe {
        let output = sums.add(input * INPUTS * outputs + column);
        let (left, rows, output_stride) = (left.lanes(), left.rows(), outputs);
        multiply_lanes(
            right.set(),
            &Product { left, rows, right, output, output_stride, onto: Some(output) },
        );
        if input == 0 {
            add_column_sums(right, sums.add(inputs * outputs + column));
        }
    }
}
