//! Depthwise 3-D convolution on `[B, D, H, W, C]`, and its gradients.
//!
//! The work is divided into bricks: a few rows of voxels along D and H, the full width along W, and one vector of
//! channels. The part of the input that a brick sees is first packed, one vector after the other with zeros around,
//! since vectors that are a whole voxel apart use the caches badly. Register tiles are then `TILE` voxels along W of
//! one or two rows.
//!
//! A task consists of the bricks of some depths and one vector of channels. The division does not depend on the number
//! of threads, so results are the same for every number of threads.

use rayon::prelude::*;

use super::buffer::{Shared, build_scattered};
use super::simd::{InstructionSet, Lanes, dispatch, load_some, store_some};

/// Sizes of a depthwise convolution's activations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) depth: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Sizes {
    /// The number of floats.
    pub(crate) fn len(self) -> usize {
        self.batch * self.depth * self.height * self.width * self.channels
    }

    /// The float of a voxel's first channel.
    fn voxel(self, batch: usize, d: usize, h: usize, w: usize) -> usize {
        (((batch * self.depth + d) * self.height + h) * self.width + w) * self.channels
    }

    /// The vectors of a packed row: whole tiles, and the margin that the kernel sees around them.
    fn packed_row<const K: usize>(self) -> usize {
        self.width.next_multiple_of(TILE) + K - 1
    }

    fn tasks(self, lanes: usize) -> usize {
        self.batch * self.depth.div_ceil(BRICK) * self.channels.div_ceil(lanes)
    }

    /// The work of a task: neighbouring tasks have the same voxels, which are then in a cache that threads share.
    fn task(self, index: usize, lanes: usize) -> Task {
        let groups = self.channels.div_ceil(lanes);
        let (slab, group) = (index / groups, index % groups);
        let blocks = self.depth.div_ceil(BRICK);
        Task { batch: slab / blocks, depth: slab % blocks * BRICK, group, channel: group * lanes }
    }
}

/// Bricks of some depths and one vector of channels.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    batch: usize,
    /// First depth.
    depth: usize,
    /// The index of the vector of channels.
    group: usize,
    /// Its first channel.
    channel: usize,
}

/// Rows of a brick along D and H: even.
const BRICK: usize = 6;
/// Output voxels of a register tile.
const TILE: usize = 6;
/// The widest kernel.
const WIDEST: usize = 5;

/// The convolution with kernel size `K`: `weight` is `[K, K, K, C]`, `bias` is `[C]` or empty.
pub(crate) fn forward<const K: usize>(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    const { assert!(K % 2 == 1 && K <= WIDEST) };
    assert_eq!(x.len(), sizes.len());
    assert_eq!(weight.len(), K * K * K * sizes.channels);
    assert!(bias.is_empty() || bias.len() == sizes.channels);
    let set = InstructionSet::detect();
    let lanes = set.lanes();
    let taps = grouped(bias, weight, sizes.channels, lanes);
    // SAFETY: the bricks are the whole output, and each is one task's.
    unsafe {
        build_scattered(sizes.len(), |output| {
            (0..sizes.tasks(lanes)).into_par_iter().for_each(|task| {
                forward_task_on::<K>(set, x, &taps, output, sizes.task(task, lanes), sizes);
            });
        })
    }
}

/// The gradient for the input: the same convolution with the kernel reversed.
pub(crate) fn backward_input<const K: usize>(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let turned: Vec<f32> = weight.chunks_exact(sizes.channels.max(1)).rev().flatten().copied().collect();
    forward::<K>(gradient, &turned, &[], sizes)
}

/// The gradients for the weight, `[K, K, K, C]`, and the bias, `[C]`.
pub(crate) fn backward_weight<const K: usize>(
    x: &[f32],
    gradient: &[f32],
    sizes: Sizes,
) -> (Vec<f32>, Vec<f32>) {
    assert!(x.len() == sizes.len() && gradient.len() == sizes.len());
    let set = InstructionSet::detect();
    let (lanes, taps) = (set.lanes(), K * K * K);
    let sums: Vec<Vec<f32>> = (0..sizes.tasks(lanes))
        .into_par_iter()
        .map(|task| {
            let mut sums = vec![0.0; (1 + taps) * lanes];
            weight_task_on::<K>(set, x, gradient, &mut sums, sizes.task(task, lanes), sizes);
            sums
        })
        .collect();
    let (mut weight, mut bias) = (vec![0.0; taps * sizes.channels], vec![0.0; sizes.channels]);
    for (index, sums) in sums.iter().enumerate() {
        let channel = sizes.task(index, lanes).channel;
        let channels = lanes.min(sizes.channels - channel);
        for (row, sums) in sums.chunks_exact(lanes).enumerate() {
            let total = match row {
                0 => &mut bias[channel..channel + channels],
                tap => &mut weight[(tap - 1) * sizes.channels + channel..][..channels],
            };
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
    }
    (weight, bias)
}

/// Bias and weight of each vector of channels one after the other, `[groups, 1 + taps, lanes]`, zero where there is none.
fn grouped(bias: &[f32], weight: &[f32], channels: usize, lanes: usize) -> Vec<f32> {
    let zeros = vec![0.0; channels];
    let bias = if bias.is_empty() { &zeros } else { bias };
    let mut grouped = Vec::with_capacity((bias.len() + weight.len()).next_multiple_of(lanes));
    for channel in (0..channels).step_by(lanes) {
        for row in std::iter::once(bias).chain(weight.chunks_exact(channels)) {
            let row = &row[channel..channels.min(channel + lanes)];
            grouped.extend_from_slice(row);
            grouped.extend(std::iter::repeat_n(0.0, lanes - row.len()));
        }
    }
    grouped
}

dispatch! {
    /// Writes the output of a task. Slices have the lengths that `sizes` gives, `taps` is grouped for `set`.
    fn forward_task_on<const K: usize>(x: &[f32], taps: &[f32], output: Shared, task: Task, sizes: Sizes) = forward_task
}

dispatch! {
    /// Adds a task's share of the gradients of bias and weight, `[1 + taps, lanes]`, to `sums`.
    fn weight_task_on<const K: usize>(
        x: &[f32], gradient: &[f32], sums: &mut [f32], task: Task, sizes: Sizes,
    ) = weight_task
}

/// The part of an activation that bricks see: packed rows, and which of them exist.
struct Brick {
    values: Vec<f32>,
    /// Rows along H that are packed for each depth.
    rows: usize,
    /// Floats of a packed row.
    row: usize,
    /// Depths and rows of the brick that lie in the activation, from the brick's first.
    depths: (usize, usize),
    heights: (usize, usize),
}

impl Brick {
    /// Room for bricks with `margin` voxels around.
    fn new<L: Lanes>(margin: usize, row: usize) -> Self {
        let rows = BRICK + 2 * margin;
        let values = vec![0.0; rows * rows * row * L::N];
        Self { values, rows, row: row * L::N, depths: (0, 0), heights: (0, 0) }
    }

    /// Packs what the brick at a depth and a row sees, with `margin` voxels around.
    #[inline(always)]
    unsafe fn pack<L: Lanes>(&mut self, x: &[f32], task: Task, h: usize, margin: usize, sizes: Sizes) {
        let inside = |start: usize, size: usize| {
            (margin.saturating_sub(start), (size + margin - start).min(self.rows))
        };
        (self.depths, self.heights) = (inside(task.depth, sizes.depth), inside(h, sizes.height));
        let count = (sizes.channels - task.channel) as isize;
        for d in self.depths.0..self.depths.1 {
            for row in self.heights.0..self.heights.1 {
                let from =
                    sizes.voxel(task.batch, task.depth + d - margin, h + row - margin, 0) + task.channel;
                // SAFETY: the row lies in the activation, `count` or more floats lie behind each of its voxels, and
                // the packed row has room for them after the margin.
                unsafe {
                    let from = x.as_ptr().add(from);
                    let to = self.values.as_mut_ptr().add((d * self.rows + row) * self.row + margin * L::N);
                    for w in 0..sizes.width {
                        load_some::<L>(from.add(w * sizes.channels), count).store(to.add(w * L::N));
                    }
                }
            }
        }
    }

    /// A packed row.
    #[inline(always)]
    fn row(&self, d: usize, h: usize) -> *const f32 {
        self.values[(d * self.rows + h) * self.row..].as_ptr()
    }

    #[inline(always)]
    fn has_depth(&self, d: usize) -> bool {
        self.depths.0 <= d && d < self.depths.1
    }

    #[inline(always)]
    fn has_height(&self, h: usize) -> bool {
        self.heights.0 <= h && h < self.heights.1
    }
}

#[inline(always)]
unsafe fn forward_task<L: Lanes, const K: usize>(
    x: &[f32],
    taps: &[f32],
    output: Shared,
    task: Task,
    sizes: Sizes,
) {
    // SAFETY: the caller has the instruction set of `L`; the tiles are what the registers hold.
    unsafe {
        if L::PANEL == 4 {
            forward_bricks::<L, K, 2>(x, taps, output, task, sizes);
        } else {
            forward_bricks::<L, K, 1>(x, taps, output, task, sizes);
        }
    }
}

/// All bricks of a task, in tiles of `R` rows.
#[inline(always)]
unsafe fn forward_bricks<L: Lanes, const K: usize, const R: usize>(
    x: &[f32],
    taps: &[f32],
    output: Shared,
    task: Task,
    sizes: Sizes,
) {
    let taps = &taps[task.group * (1 + K * K * K) * L::N..];
    let mut brick = Brick::new::<L>(K / 2, sizes.packed_row::<K>());
    for first in (0..sizes.height).step_by(BRICK) {
        // SAFETY: the brick begins in the activation.
        unsafe { brick.pack::<L>(x, task, first, K / 2, sizes) };
        for d in 0..BRICK.min(sizes.depth - task.depth) {
            for h in (0..BRICK.min(sizes.height - first)).step_by(R) {
                for w in (0..sizes.width).step_by(TILE) {
                    // SAFETY: the tile begins in the brick; stores are tested to lie in the activation, and the
                    // task's voxels and channels are its own.
                    unsafe {
                        let sums = forward_tile::<L, K, R>(&brick, taps.as_ptr(), (d, h, w));
                        let count = (sizes.channels - task.channel) as isize;
                        for r in 0..R {
                            for i in 0..TILE {
                                if first + h + r < sizes.height && w + i < sizes.width {
                                    let voxel = sizes.voxel(task.batch, task.depth + d, first + h + r, w + i);
                                    store_some(sums[r][i], output.at(voxel + task.channel), count);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The output of `R` rows of `TILE` voxels of a brick.
#[inline(always)]
unsafe fn forward_tile<L: Lanes, const K: usize, const R: usize>(
    brick: &Brick,
    taps: *const f32,
    (d, h, w): (usize, usize, usize),
) -> [[L; TILE]; R] {
    // SAFETY: the brick is packed with a margin of `K / 2` and has whole tiles; there are `1 + K K K` vectors of taps.
    unsafe {
        let mut sums = [[L::load(taps); TILE]; R];
        for kd in 0..K {
            if !brick.has_depth(d + kd) {
                continue;
            }
            for row in 0..K + R - 1 {
                if !brick.has_height(h + row) {
                    continue;
                }
                let inputs = load_inputs::<L, K>(brick.row(d + kd, h + row).add(w * L::N));
                for r in 0..R {
                    let kh = row.wrapping_sub(r);
                    if kh < K {
                        for kw in 0..K {
                            let tap = L::load(taps.add((1 + (kd * K + kh) * K + kw) * L::N));
                            for i in 0..TILE {
                                sums[r][i] = sums[r][i].mul_add(inputs[i + kw], tap);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

/// What a tile sees of a packed row: `TILE + K - 1` vectors.
#[inline(always)]
unsafe fn load_inputs<L: Lanes, const K: usize>(from: *const f32) -> [L; TILE + WIDEST - 1] {
    // SAFETY: the caller promises as many vectors.
    unsafe {
        let mut inputs = [L::zero(); TILE + WIDEST - 1];
        for i in 0..TILE + K - 1 {
            inputs[i] = L::load(from.add(i * L::N));
        }
        inputs
    }
}

#[inline(always)]
unsafe fn weight_task<L: Lanes, const K: usize>(
    x: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    task: Task,
    sizes: Sizes,
) {
    let mut input = Brick::new::<L>(K / 2, sizes.packed_row::<K>());
    let mut output = Brick::new::<L>(0, sizes.packed_row::<1>());
    let sums = sums.as_mut_ptr();
    for first in (0..sizes.height).step_by(BRICK) {
        // SAFETY: the bricks begin in the activation; `sums` has a vector for the bias and one for each tap.
        unsafe {
            input.pack::<L>(x, task, first, K / 2, sizes);
            output.pack::<L>(gradient, task, first, 0, sizes);
            add_bias::<L>(&output, sums);
            for kd in 0..K {
                if L::PANEL == 4 {
                    for kh in (0..K).step_by(3) {
                        add_taps::<L, K, 3>(&input, &output, sums, (kd, kh));
                    }
                } else {
                    for kh in 0..K {
                        add_taps::<L, K, 1>(&input, &output, sums, (kd, kh));
                    }
                }
            }
        }
    }
}

/// Adds the sum of a brick of the output's gradient.
#[inline(always)]
unsafe fn add_bias<L: Lanes>(output: &Brick, sums: *mut f32) {
    // SAFETY: a packed row is whole tiles.
    unsafe {
        let mut parts = [L::zero(); TILE];
        for d in 0..output.depths.1 {
            for h in 0..output.heights.1 {
                let row = output.row(d, h);
                for at in (0..output.row).step_by(TILE * L::N) {
                    for i in 0..TILE {
                        parts[i] = parts[i].add(L::load(row.add(at + i * L::N)));
                    }
                }
            }
        }
        for part in parts {
            L::load(sums).add(part).store(sums);
        }
    }
}

/// Adds the contribution of a brick to the gradients of `T` rows of taps, starting at (kd, kh).
#[inline(always)]
unsafe fn add_taps<L: Lanes, const K: usize, const T: usize>(
    input: &Brick,
    output: &Brick,
    sums: *mut f32,
    (kd, kh): (usize, usize),
) {
    // SAFETY: the bricks are packed with margins of `K / 2` and none and have whole tiles; taps are tested.
    unsafe {
        let mut parts = [[L::zero(); K]; T];
        for d in 0..output.depths.1 {
            if !input.has_depth(d + kd) {
                continue;
            }
            for row in 0..BRICK + T - 1 {
                if !input.has_height(row + kh) {
                    continue;
                }
                for at in (0..output.row).step_by(TILE * L::N) {
                    let inputs = load_inputs::<L, K>(input.row(d + kd, row + kh).add(at));
                    for t in 0..T {
                        let h = row.wrapping_sub(t);
                        if output.has_height(h) && kh + t < K {
                            let gradient = output.row(d, h).add(at);
                            for i in 0..TILE {
                                let value = L::load(gradient.add(i * L::N));
                                for kw in 0..K {
                                    parts[t][kw] = parts[t][kw].mul_add(value, inputs[i + kw]);
                                }
                            }
                        }
                    }
                }
            }
        }
        for t in 0..T {
            for kw in 0..K {
                if kh + t < K {
                    let to = sums.add((1 + (kd * K + kh + t) * K + kw) * L::N);
                    L::load(to).add(parts[t][kw]).store(to);
                }
            }
        }
    }
}
