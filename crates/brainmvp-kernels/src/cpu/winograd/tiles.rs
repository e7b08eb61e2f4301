//! The tiles of an activation, transformed to Winograd's positions and back.

use std::ops::Range;

use super::points::square;
use super::{PLANE, PLANES, SIDE};
use crate::cpu::buffer::Shared;
use crate::cpu::conv::Sizes;
use crate::cpu::product::Matrix;
use crate::cpu::simd::{Lanes, dispatch, load_some, store_some};

/// Floats between the matrices of two positions, so that they do not share lines of the first-level cache.
const GAP: usize = 16;

/// Voxels of a tile along D, H and W: two less than it sees.
const VOXELS: [usize; 3] = [PLANES - 2, SIDE - 2, SIDE - 2];

/// The tiles of an activation.
#[derive(Clone, Copy)]
pub(crate) struct Tiles {
    batch: usize,
    /// D, H, W in voxels.
    size: [usize; 3],
    /// D, H, W in tiles; the last along an axis may extend beyond the activation.
    counts: [usize; 3],
}

impl Tiles {
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self {
            batch: sizes.batch,
            size: sizes.size,
            counts: std::array::from_fn(|axis| sizes.size[axis].div_ceil(VOXELS[axis])),
        }
    }

    pub(crate) fn voxels(self) -> usize {
        self.batch * self.size.iter().product::<usize>()
    }

    pub(crate) fn count(self) -> usize {
        self.batch * self.counts.iter().product::<usize>()
    }

    /// How many are processed at a time, for channels of input and output together.
    pub(crate) fn block(self, channels: usize) -> usize {
        /// The size of a plane of positions, in floats, that leaves room in the second-level cache.
        const FLOATS: usize = 3 << 15;
        /// The number of blocks that keep all threads busy.
        const BLOCKS: usize = 32;
        /// A multiple of the rows of all register tiles of a product.
        const ROWS: usize = 24;
        (FLOATS / (PLANE * channels.max(1))).min(self.count() / BLOCKS).max(1).next_multiple_of(ROWS)
    }

    #[inline(always)]
    fn seen(self, tile: usize) -> Seen {
        let (rest, w) = (tile / self.counts[2], tile % self.counts[2]);
        let (rest, h) = (rest / self.counts[1], rest % self.counts[1]);
        let (batch, d) = (rest / self.counts[0], rest % self.counts[0]);
        let [depth, height, width] = self.size;
        let along = |axis: usize, place: usize, i: usize| {
            let at = (VOXELS[axis] * place + i).checked_sub(1)?;
            (at < self.size[axis]).then_some(at)
        };
        Seen {
            d: std::array::from_fn(|i| Some((batch * depth + along(0, d, i)?) * height * width)),
            h: std::array::from_fn(|i| Some(along(1, h, i)? * width)),
            w: std::array::from_fn(|i| along(2, w, i)),
        }
    }
}

/// What a tile depends on along each axis, in voxels of the batch; its own voxels are all but the first and the last.
struct Seen {
    d: [Option<usize>; PLANES],
    h: [Option<usize>; SIDE],
    w: [Option<usize>; SIDE],
}

/// A matrix `[tiles, channels]` for each position of a plane.
pub(crate) struct Positions {
    values: Vec<f32>,
    channels: usize,
    /// Floats from one matrix to the next.
    stride: usize,
}

impl Positions {
    pub(crate) fn new(tiles: usize, channels: usize) -> Self {
        let stride = tiles * channels + GAP;
        Self { values: vec![0.0; PLANE * stride], channels, stride }
    }

    pub(crate) fn matrix(&self, position: usize) -> Matrix {
        Matrix::new(&self.values[position * self.stride..], self.channels)
    }

    pub(crate) fn at(&mut self, position: usize) -> *mut f32 {
        self.values[position * self.stride..].as_mut_ptr()
    }
}

/// An activation whose tiles are transformed to the positions.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    values: &'a [f32],
    channels: usize,
    tiles: Tiles,
}

impl<'a> Source<'a> {
    pub(crate) fn new(values: &'a [f32], channels: usize, tiles: Tiles) -> Self {
        assert_eq!(values.len(), tiles.voxels() * channels);
        Self { values, channels, tiles }
    }

    /// The voxels of a slab of a tile's input; `zeros` beyond the activation.
    #[inline(always)]
    fn slab(&self, seen: &Seen, d: Option<usize>, zeros: *const f32) -> [[*const f32; SIDE]; SIDE] {
        let d = d.and_then(|d| seen.d[d]);
        seen.h.map(|h| {
            let row = d.zip(h).map(|(d, h)| d + h);
            seen.w.map(|w| match row.zip(w) {
                Some((row, w)) => self.values[(row + w) * self.channels..].as_ptr(),
                None => zeros,
            })
        })
    }
}

/// The transform of a tile's input to the positions.
trait Carry {
    /// For each position along D: the sum of the voxels at one place and those at another times a sign.
    const SLABS: [(Option<usize>, Option<usize>, f32); PLANES];
    /// The positions along an axis of the voxels seen.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn along<L: Lanes>(seen: [L; SIDE]) -> [L; SIDE];
}

/// The convolution's input.
struct Input;

impl Carry for Input {
    const SLABS: [(Option<usize>, Option<usize>, f32); PLANES] = [
        (Some(0), Some(2), -1.0),
        (Some(1), Some(2), 1.0),
        (Some(2), Some(1), -1.0),
        (Some(1), Some(3), -1.0),
    ];

    #[inline(always)]
    unsafe fn along<L: Lanes>(seen: [L; SIDE]) -> [L; SIDE] {
        // SAFETY: the caller's promise.
        unsafe { square::carry_input(seen) }
    }
}

/// The gradient for the convolution's output, of a tile's own voxels: the transpose of what [`collect`] does.
struct Gradient;

impl Carry for Gradient {
    const SLABS: [(Option<usize>, Option<usize>, f32); PLANES] =
        [(Some(1), None, 1.0), (Some(1), Some(2), 1.0), (Some(1), Some(2), -1.0), (None, Some(2), -1.0)];

    #[inline(always)]
    unsafe fn along<L: Lanes>([_, a, b, c, d, _]: [L; SIDE]) -> [L; SIDE] {
        // SAFETY: the caller's promise.
        unsafe { square::carry_gradient([a, b, c, d]) }
    }
}

dispatch! {
    /// Transforms some tiles of the input to a plane of positions.
    unsafe fn carry_input(source: Source<'_>, part: (Range<usize>, usize), to: &mut Positions) = carry_input_on
}

dispatch! {
    /// Transforms some tiles of the output's gradient to a plane of positions.
    unsafe fn carry_gradient(source: Source<'_>, part: (Range<usize>, usize), to: &mut Positions) = carry_gradient_on
}

#[inline(always)]
unsafe fn carry_input_on<L: Lanes>(source: Source<'_>, part: (Range<usize>, usize), to: &mut Positions) {
    // SAFETY: the caller's promise.
    unsafe { carry::<L, Input>(source, part, to) }
}

#[inline(always)]
unsafe fn carry_gradient_on<L: Lanes>(source: Source<'_>, part: (Range<usize>, usize), to: &mut Positions) {
    // SAFETY: the caller's promise.
    unsafe { carry::<L, Gradient>(source, part, to) }
}

#[inline(always)]
unsafe fn carry<L: Lanes, C: Carry>(
    source: Source<'_>,
    (tiles, plane): (Range<usize>, usize),
    to: &mut Positions,
) {
    let zeros = vec![0.0; source.channels];
    let (first, second, sign) = C::SLABS[plane];
    let whole = source.channels - source.channels % L::N;
    for (row, tile) in tiles.enumerate() {
        let seen = source.tiles.seen(tile);
        let slabs = [first, second].map(|d| source.slab(&seen, d, zeros.as_ptr()));
        // SAFETY: the voxels and the row have `channels` floats.
        unsafe {
            let to = (to.at(0).add(row * source.channels), to.stride);
            for at in (0..whole).step_by(L::N) {
                carry_channels::<L, C>(&slabs, sign, to, (at, L::N));
            }
            if whole < source.channels {
                carry_channels::<L, C>(&slabs, sign, to, (whole, source.channels - whole));
            }
        }
    }
}

/// Transforms `count` channels from `at` on.
///
/// # Safety
/// The voxels, and each position of the tile at `to`, have these channels.
#[inline(always)]
unsafe fn carry_channels<L: Lanes, C: Carry>(
    slabs: &[[[*const f32; SIDE]; SIDE]; 2],
    sign: f32,
    (to, stride): (*mut f32, usize),
    (at, count): (usize, usize),
) {
    let count = count as isize;
    // SAFETY: the caller's promise.
    unsafe {
        let sign = L::splat(sign);
        let mut values = [[L::zero(); SIDE]; SIDE];
        for w in 0..SIDE {
            let mut column = [L::zero(); SIDE];
            for h in 0..SIDE {
                let second = load_some::<L>(slabs[1][h][w].add(at), count);
                column[h] = load_some::<L>(slabs[0][h][w].add(at), count).mul_add(sign, second);
            }
            let column = C::along(column);
            for h in 0..SIDE {
                values[h][w] = column[h];
            }
        }
        for h in 0..SIDE {
            let row = C::along(values[h]);
            for w in 0..SIDE {
                store_some(row[w], to.add((h * SIDE + w) * stride + at), count);
            }
        }
    }
}

dispatch! {
    /// Adds the contribution of the products of a plane of positions to some tiles of the output.
    unsafe fn collect(from: &Positions, part: (Range<usize>, usize), to: (Shared, Tiles)) = collect_on
}

/// The weight of each position along D in a tile's two slabs of voxels.
const SHARES: [[f32; 2]; PLANES] = [[1.0, 0.0], [1.0, 1.0], [1.0, -1.0], [0.0, -1.0]];

/// The voxels of a tile at one place along D, as far as they lie in the output, and what they get.
struct Slab {
    share: f32,
    /// Whether an earlier plane already contributed.
    accumulate: bool,
    voxels: [[Option<*mut f32>; VOXELS[2]]; VOXELS[1]],
}

#[inline(always)]
unsafe fn collect_on<L: Lanes>(
    from: &Positions,
    (range, plane): (Range<usize>, usize),
    (to, tiles): (Shared, Tiles),
) {
    let channels = from.channels;
    let whole = channels - channels % L::N;
    for (row, tile) in range.enumerate() {
        let seen = tiles.seen(tile);
        let slabs = [0, 1].map(|slab| {
            let share = SHARES[plane][slab];
            let d = seen.d[1 + slab].filter(|_| share != 0.0);
            let voxel = |h: usize, w: usize| {
                let at = d? + seen.h[1 + h]? + seen.w[1 + w]?;
                // SAFETY: the voxel lies in the output, and is this tile's.
                Some(unsafe { to.at(at * channels) })
            };
            let voxels = std::array::from_fn(|h| std::array::from_fn(|w| voxel(h, w)));
            Slab { share, accumulate: plane != slab, voxels }
        });
        // SAFETY: the voxels and the row have `channels` floats.
        unsafe {
            let from = (from.values.as_ptr().add(row * channels), from.stride);
            for at in (0..whole).step_by(L::N) {
                collect_channels::<L>(from, &slabs, (at, L::N));
            }
            if whole < channels {
                collect_channels::<L>(from, &slabs, (whole, channels - whole));
            }
        }
    }
}

/// Adds `count` channels from `at` on.
///
/// # Safety
/// Each position of the tile at `from`, and the voxels, have these channels.
#[inline(always)]
unsafe fn collect_channels<L: Lanes>(
    (from, stride): (*const f32, usize),
    slabs: &[Slab; 2],
    (at, count): (usize, usize),
) {
    let count = count as isize;
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [[L::zero(); VOXELS[2]]; SIDE];
        for h in 0..SIDE {
            let mut row = [L::zero(); SIDE];
            for w in 0..SIDE {
                row[w] = load_some(from.add((h * SIDE + w) * stride + at), count);
            }
            rows[h] = square::collect_output(row);
        }
        let mut columns = [[L::zero(); VOXELS[1]]; VOXELS[2]];
        for w in 0..VOXELS[2] {
            columns[w] = square::collect_output(rows.map(|row| row[w]));
        }
        for slab in slabs {
            let share = L::splat(slab.share);
            for h in 0..VOXELS[1] {
                for w in 0..VOXELS[2] {
                    let Some(voxel) = slab.voxels[h][w] else { continue };
                    let to = voxel.add(at);
                    let start = if slab.accumulate { load_some(to, count) } else { L::zero() };
                    store_some(start.mul_add(share, columns[w][h]), to, count);
                }
            }
        }
    }
}
