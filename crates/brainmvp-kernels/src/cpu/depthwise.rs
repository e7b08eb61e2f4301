//! Depthwise 3-D convolution on `[B, D, H, W, C]`, and its gradients.
//!
//! A register tile is `TILE` voxels along W times one vector of channels. For each (kd, kh) the tile's `TILE + K - 1`
//! inputs are loaded once and used K times. The work is spread over (batch, depth) slabs; what one slab computes does
//! not depend on how many threads there are, so results are the same for every thread count.

use rayon::prelude::*;

use super::simd::{InstructionSet, Lanes, dispatch};

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
    fn row(self) -> usize {
        self.width * self.channels
    }

    fn slab(self) -> usize {
        self.height * self.row()
    }

    /// Number of floats.
    pub(crate) fn len(self) -> usize {
        self.batch * self.depth * self.slab()
    }
}

/// Output voxels of a register tile.
const TILE: usize = 6;
/// The widest kernel that has a register kernel.
pub(crate) const WIDEST: usize = 5;
/// Slabs whose weight gradients are summed into one buffer: fixed, so that sums do not depend on the threads.
const SLABS_PER_SUM: usize = 4;

/// The convolution with kernel size `K`: `weight` is `[K, K, K, C]`, `bias` is `[C]` or empty.
pub(crate) fn forward<const K: usize>(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    check::<K>(x, weight, sizes);
    assert!(bias.is_empty() || bias.len() == sizes.channels);
    let set = InstructionSet::detect();
    let mut output = vec![0.0; sizes.len()];
    if output.is_empty() {
        return output;
    }
    output.par_chunks_mut(sizes.slab()).enumerate().for_each(|(slab, output)| {
        forward_slab_on::<K>(set, x, weight, bias, output, slab, sizes);
    });
    output
}

/// The gradient for the input: the same convolution with the kernel turned round.
pub(crate) fn backward_input<const K: usize>(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let turned: Vec<f32> = weight.chunks_exact(sizes.channels).rev().flatten().copied().collect();
    forward::<K>(gradient, &turned, &[], sizes)
}

/// The gradients for the weight, `[K, K, K, C]`, and the bias, `[C]`.
pub(crate) fn backward_weight<const K: usize>(
    x: &[f32],
    gradient: &[f32],
    sizes: Sizes,
) -> (Vec<f32>, Vec<f32>) {
    let taps = K * K * K * sizes.channels;
    assert!(x.len() == sizes.len() && gradient.len() == sizes.len());
    let set = InstructionSet::detect();
    let slabs = sizes.batch * sizes.depth;
    let partial: Vec<Vec<f32>> = (0..slabs.div_ceil(SLABS_PER_SUM))
        .into_par_iter()
        .map(|group| {
            // Weight gradient, then bias gradient.
            let mut sums = vec![0.0; taps + sizes.channels];
            for slab in group * SLABS_PER_SUM..((group + 1) * SLABS_PER_SUM).min(slabs) {
                weight_slab_on::<K>(set, x, gradient, &mut sums, slab, sizes);
            }
            sums
        })
        .collect();
    let mut total = vec![0.0; taps + sizes.channels];
    for sums in &partial {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    let bias = total.split_off(taps);
    (total, bias)
}

fn check<const K: usize>(x: &[f32], weight: &[f32], sizes: Sizes) {
    assert!(K % 2 == 1 && K <= WIDEST);
    assert_eq!(x.len(), sizes.len());
    assert_eq!(weight.len(), K * K * K * sizes.channels);
}

dispatch! {
    fn forward_slab_on<const K: usize>(
        x: &[f32], weight: &[f32], bias: &[f32], output: &mut [f32], slab: usize, sizes: Sizes,
    ) = forward_slab
}

dispatch! {
    fn weight_slab_on<const K: usize>(
        x: &[f32], gradient: &[f32], sums: &mut [f32], slab: usize, sizes: Sizes,
    ) = weight_slab
}

/// One (batch, depth) slab of the output: vectors of channels, then the channels left over one by one.
#[inline(always)]
unsafe fn forward_slab<L: Lanes, const K: usize>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    slab: usize,
    sizes: Sizes,
) {
    let whole = sizes.channels - sizes.channels % L::N;
    for channel in (0..whole).step_by(L::N) {
        // SAFETY: `channel + L::N` does not pass the channels; the caller has the instruction set of `L`.
        unsafe { forward_channels::<L, K>(x, weight, bias, output, (slab, channel), sizes) };
    }
    for channel in whole..sizes.channels {
        // SAFETY: one channel, one lane.
        unsafe { forward_channels::<f32, K>(x, weight, bias, output, (slab, channel), sizes) };
    }
}

#[inline(always)]
unsafe fn forward_channels<L: Lanes, const K: usize>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    output: &mut [f32],
    (slab, channel): (usize, usize),
    sizes: Sizes,
) {
    let start = if bias.is_empty() {
        // SAFETY: the caller has the instruction set of `L`.
        unsafe { L::zero() }
    } else {
        // SAFETY: `channel + L::N <= channels`, the length of `bias`.
        unsafe { L::load(bias.as_ptr().add(channel)) }
    };
    for h in 0..sizes.height {
        for w in (0..sizes.width).step_by(TILE) {
            let count = TILE.min(sizes.width - w);
            let mut sums = [start; TILE];
            for (row, tap) in rows::<K>(slab, h, sizes) {
                // SAFETY: `rows` yields rows inside `x` and taps inside `weight`; `channel + L::N <= channels`.
                unsafe {
                    let inputs = load_tile::<L, K>(x.as_ptr().add(row + channel), w, sizes);
                    for kw in 0..K {
                        let tap = L::load(weight.as_ptr().add((tap + kw) * sizes.channels + channel));
                        for i in 0..TILE {
                            sums[i] = sums[i].mul_add(inputs[i + kw], tap);
                        }
                    }
                }
            }
            for (i, sum) in sums.into_iter().enumerate().take(count) {
                // SAFETY: voxel `w + i` of row `h` lies in this slab.
                unsafe { sum.store(output.as_mut_ptr().add((h * sizes.width + w + i) * sizes.channels + channel)) };
            }
        }
    }
}

/// One slab's share of the weight and bias gradients, added to `sums`.
#[inline(always)]
unsafe fn weight_slab<L: Lanes, const K: usize>(
    x: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    slab: usize,
    sizes: Sizes,
) {
    let whole = sizes.channels - sizes.channels % L::N;
    for channel in (0..whole).step_by(L::N) {
        // SAFETY: `channel + L::N` does not pass the channels; the caller has the instruction set of `L`.
        unsafe { weight_channels::<L, K>(x, gradient, sums, (slab, channel), sizes) };
    }
    for channel in whole..sizes.channels {
        // SAFETY: one channel, one lane.
        unsafe { weight_channels::<f32, K>(x, gradient, sums, (slab, channel), sizes) };
    }
}

#[inline(always)]
unsafe fn weight_channels<L: Lanes, const K: usize>(
    x: &[f32],
    gradient: &[f32],
    sums: &mut [f32],
    (slab, channel): (usize, usize),
    sizes: Sizes,
) {
    let bias_at = K * K * K * sizes.channels + channel;
    for h in 0..sizes.height {
        let gradient_row = slab * sizes.slab() + h * sizes.row() + channel;
        for (row, tap) in rows::<K>(slab, h, sizes) {
            // Two sets of sums, for even and odd voxels, keep enough independent additions in flight.
            // SAFETY: `rows` yields rows inside `x` and taps inside `sums`; `channel + L::N <= channels`.
            unsafe {
                let mut even = [L::zero(); K];
                let mut odd = [L::zero(); K];
                for w in (0..sizes.width).step_by(TILE) {
                    let inputs = load_tile::<L, K>(x.as_ptr().add(row + channel), w, sizes);
                    let count = TILE.min(sizes.width - w);
                    for i in 0..TILE {
                        let at = gradient_row + (w + i) * sizes.channels;
                        let value = if i < count { L::load(gradient.as_ptr().add(at)) } else { L::zero() };
                        let sums = if i % 2 == 0 { &mut even } else { &mut odd };
                        for kw in 0..K {
                            sums[kw] = sums[kw].mul_add(value, inputs[i + kw]);
                        }
                    }
                }
                for kw in 0..K {
                    let to = sums.as_mut_ptr().add((tap + kw) * sizes.channels + channel);
                    add::<L>(to, even[kw]);
                    add::<L>(to, odd[kw]);
                }
            }
        }
        // SAFETY: the gradient's row and the bias slot lie inside their slices.
        unsafe {
            let mut sum = L::zero();
            for w in 0..sizes.width {
                sum = plus(sum, L::load(gradient.as_ptr().add(gradient_row + w * sizes.channels)));
            }
            add::<L>(sums.as_mut_ptr().add(bias_at), sum);
        }
    }
}

/// `a + b`.
#[inline(always)]
unsafe fn plus<L: Lanes>(a: L, b: L) -> L {
    let ones = [1.0f32; 16];
    // SAFETY: no lane type is wider than sixteen floats.
    unsafe { a.mul_add(b, L::load(ones.as_ptr())) }
}

/// Adds a vector to memory.
#[inline(always)]
unsafe fn add<L: Lanes>(to: *mut f32, value: L) {
    // SAFETY: the caller promises `L::N` valid floats.
    unsafe { plus(L::load(to), value).store(to) }
}

/// The input rows that output row `h` of a slab sees: start of the row in the input, and index of its first tap.
#[inline(always)]
fn rows<const K: usize>(slab: usize, h: usize, sizes: Sizes) -> impl Iterator<Item = (usize, usize)> {
    let (batch, d) = (slab / sizes.depth, slab % sizes.depth);
    (0..K * K).filter_map(move |tap| {
        let (kd, kh) = (tap / K, tap % K);
        let (d, h) = ((d + kd).wrapping_sub(K / 2), (h + kh).wrapping_sub(K / 2));
        (d < sizes.depth && h < sizes.height)
            .then(|| ((batch * sizes.depth + d) * sizes.slab() + h * sizes.row(), tap * K))
    })
}

/// The inputs of the tile at `w`: voxels `w - K/2 .. w + TILE + K/2` of a row, zero outside.
///
/// # Safety
/// `row` points to a whole row at the wanted channel.
#[inline(always)]
unsafe fn load_tile<L: Lanes, const K: usize>(row: *const f32, w: usize, sizes: Sizes) -> [L; TILE + WIDEST - 1] {
    // SAFETY: each voxel is tested to lie in the row before it is loaded.
    unsafe {
        let mut inputs = [L::zero(); TILE + WIDEST - 1];
        for i in 0..TILE + K - 1 {
            let voxel = (w + i).wrapping_sub(K / 2);
            if voxel < sizes.width {
                inputs[i] = L::load(row.add(voxel * sizes.channels));
            }
        }
        inputs
    }
}
