//! The tiles of an activation, transformed to Winograd's positions and back.

use std::ops::Range;

use super::points::square;
use super::{PLANE, PLANES, SIDE};
use crate::cpu::buffer::{Aligned, Shared};
use crate::cpu::conv::Sizes;
use crate::cpu::panels::{Panels, Rows};
use crate::cpu::product::Matrix;
use crate::cpu::simd::{InstructionSet, Lanes, WIDEST_LANES, dispatch, load_some, store_some};

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

    /// Some tiles as rows of neighbours along W, none longer than [`ROW`]: where each begins, its first tile and its length.
    fn rows(self, tiles: Range<usize>) -> impl Iterator<Item = (Corner, usize, usize)> {
        let mut next = tiles.start;
        std::iter::from_fn(move || {
            let first = next;
            let along_w = self.counts[2] - first % self.counts[2];
            next = tiles.end.min(first + along_w.min(ROW));
            (first < tiles.end).then(|| (self.corner(first), first, next - first))
        })
    }

    /// The first voxel of a tile.
    fn corner(self, tile: usize) -> Corner {
        let (rest, w) = (tile / self.counts[2], tile % self.counts[2]);
        let (rest, h) = (rest / self.counts[1], rest % self.counts[1]);
        let (batch, d) = (rest / self.counts[0], rest % self.counts[0]);
        Corner { batch, at: [d * VOXELS[0], h * VOXELS[1], w * VOXELS[2]] }
    }

    /// The place of a voxel in the batch, if it is one: `d` and `h` are relative to the voxel before the corner.
    fn row_seen(self, corner: Corner, d: usize, h: usize) -> Option<usize> {
        let d = (corner.at[0] + d).checked_sub(1).filter(|d| *d < self.size[0])?;
        let h = (corner.at[1] + h).checked_sub(1).filter(|h| *h < self.size[1])?;
        Some(((corner.batch * self.size[0] + d) * self.size[1] + h) * self.size[2])
    }
}

/// The tiles of a row that are transformed together: what they see, along W, is in the first-level cache meanwhile.
const ROW: usize = 8;
/// Voxels that such a row depends on, along W.
const SEEN: usize = ROW * VOXELS[2] + 2;

/// The first voxel of a tile: its volume, and D, H, W in it.
#[derive(Clone, Copy)]
struct Corner {
    batch: usize,
    at: [usize; 3],
}

/// What a row of tiles sees, transformed along D and H: some channels of each voxel along W, for each position along H.
struct Halfway(Aligned);

impl Halfway {
    fn new() -> Self {
        Self(Aligned::new(SIDE * SEEN * WIDEST_LANES))
    }
}

/// A matrix `[tiles, channels]` for each position of a plane.
pub(crate) struct Positions {
    values: Aligned,
    channels: usize,
    /// Floats from one matrix to the next.
    stride: usize,
    halfway: Halfway,
}

impl Positions {
    pub(crate) fn new(tiles: usize, channels: usize) -> Self {
        let stride = (tiles * channels).next_multiple_of(GAP) + GAP;
        Self { values: Aligned::new(PLANE * stride), channels, stride, halfway: Halfway::new() }
    }

    pub(crate) fn matrix(&self, position: usize) -> Matrix {
        Matrix::new(&self.values.floats()[position * self.stride..], self.channels)
    }

    pub(crate) fn at(&mut self, position: usize) -> *mut f32 {
        self.values.floats_mut()[position * self.stride..].as_mut_ptr()
    }
}

/// The same matrices as the right-hand side of products reads them.
pub(crate) struct PackedPositions {
    panels: Vec<Panels>,
    halfway: Halfway,
}

impl PackedPositions {
    pub(crate) fn new(set: InstructionSet) -> Self {
        Self { panels: (0..PLANE).map(|_| Panels::new(set)).collect(), halfway: Halfway::new() }
    }

    pub(crate) fn panels(&self, position: usize) -> &Panels {
        &self.panels[position]
    }
}

/// The memory that transformed tiles go to.
trait Target {
    /// Whether there is room for whole registers beyond the last channel.
    const WHOLE: bool;
    /// The memory of a position.
    fn matrix(&self, position: usize) -> *mut f32;
    /// Where in it the channels of a tile are, from one on, and the floats from there to those of the next tile.
    fn place(&self, tile: usize, channel: usize) -> (usize, usize);
}

/// Matrices one behind the other.
struct Plain {
    first: *mut f32,
    stride: usize,
    channels: usize,
}

impl Target for Plain {
    const WHOLE: bool = false;

    fn matrix(&self, position: usize) -> *mut f32 {
        self.first.wrapping_add(position * self.stride)
    }

    fn place(&self, tile: usize, channel: usize) -> (usize, usize) {
        (tile * self.channels + channel, self.channels)
    }
}

impl Target for Rows {
    const WHOLE: bool = true;

    fn matrix(&self, position: usize) -> *mut f32 {
        self.start(position)
    }

    fn place(&self, tile: usize, channel: usize) -> (usize, usize) {
        (Rows::place(self, tile, channel), self.width(channel))
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
    unsafe fn carry_gradient(source: Source<'_>, part: (Range<usize>, usize), to: &mut PackedPositions) = carry_gradient_on
}

#[inline(always)]
unsafe fn carry_input_on<L: Lanes>(source: Source<'_>, part: (Range<usize>, usize), to: &mut Positions) {
    let plain = Plain { first: to.at(0), stride: to.stride, channels: to.channels };
    // SAFETY: the caller's promise.
    unsafe { carry::<L, Input, _>(source, part, &plain, to.halfway.0.floats_mut()) }
}

#[inline(always)]
unsafe fn carry_gradient_on<L: Lanes>(
    source: Source<'_>,
    part: (Range<usize>, usize),
    to: &mut PackedPositions,
) {
    let rows = Panels::rows_of(&mut to.panels, (part.0.len(), source.channels));
    // SAFETY: the caller's promise.
    unsafe { carry::<L, Gradient, _>(source, part, &rows, to.halfway.0.floats_mut()) }
}

#[inline(always)]
unsafe fn carry<L: Lanes, C: Carry, T: Target>(
    source: Source<'_>,
    (range, plane): (Range<usize>, usize),
    to: &T,
    halfway: &mut [f32],
) {
    let zeros = vec![0.0; source.channels];
    let (first, second, sign) = C::SLABS[plane];
    let start = range.start;
    let mut matrices = [std::ptr::null_mut(); PLANE];
    for (position, matrix) in matrices.iter_mut().enumerate() {
        *matrix = to.matrix(position);
    }
    for (corner, tile, count) in source.tiles.rows(range) {
        // Beyond the activation, all voxels of a row are the same zeros.
        let row = |d: Option<usize>, h: usize| match d.and_then(|d| source.tiles.row_seen(corner, d, h)) {
            Some(voxel) => (source.values[voxel * source.channels..].as_ptr(), source.channels),
            None => (zeros.as_ptr(), 0),
        };
        let rows = [first, second].map(|d| std::array::from_fn(|h| row(d, h)));
        let seen = Seen { rows, sign, first: corner.at[2], width: source.tiles.size[2], tiles: count };
        for at in (0..source.channels).step_by(L::N) {
            let channels = (source.channels - at).min(L::N) as isize;
            let written = if T::WHOLE { L::N as isize } else { channels };
            // SAFETY: the voxels and the row have these channels.
            unsafe {
                carry_halfway::<L, C>(&seen, (at, channels), halfway);
                carry_rest::<L, C>(halfway, (&matrices, to.place(tile - start, at)), (count, written));
            }
        }
    }
}

/// What a row of tiles sees: the first voxels of two times [`SIDE`] rows along W with the floats from one voxel to the next, which
/// are added, those of the second slab times a sign.
struct Seen {
    rows: [[(*const f32, usize); SIDE]; 2],
    sign: f32,
    /// The first voxel of the tiles along W,
    first: usize,
    /// the voxels that there are,
    width: usize,
    /// and the tiles.
    tiles: usize,
}

/// Transforms what a row of tiles sees along D and H.
///
/// # Safety
/// All voxels have the channels from `at` on.
#[inline(always)]
unsafe fn carry_halfway<L: Lanes, C: Carry>(seen: &Seen, (at, channels): (usize, isize), to: &mut [f32]) {
    let count = seen.tiles * VOXELS[2] + 2;
    assert!(count <= SEEN && to.len() >= SIDE * SEEN * L::N);
    // SAFETY: the caller's promise; the places were tested.
    unsafe {
        let sign = L::splat(seen.sign);
        for place in 0..count {
            let to = to.as_mut_ptr().add(place * L::N);
            let mut column = [L::zero(); SIDE];
            if let Some(w) = (seen.first + place).checked_sub(1).filter(|w| *w < seen.width) {
                for h in 0..SIDE {
                    let [first, second] =
                        [0, 1].map(|slab| seen.rows[slab][h]).map(|(row, step)| row.add(w * step + at));
                    let second = load_some::<L>(second, channels);
                    column[h] = load_some::<L>(first, channels).mul_add(sign, second);
                }
                column = C::along(column);
            }
            for h in 0..SIDE {
                column[h].store(to.add(h * SEEN * L::N));
            }
        }
    }
}

/// Transforms it along W, to the positions of each tile: the first of them at a place of each matrix, the others so many
/// floats apart.
///
/// # Safety
/// There each matrix has room for the channels of the tiles.
#[inline(always)]
unsafe fn carry_rest<L: Lanes, C: Carry>(
    from: &[f32],
    (to, (place, step)): (&[*mut f32; PLANE], (usize, usize)),
    (tiles, channels): (usize, isize),
) {
    assert!(tiles <= ROW && from.len() >= SIDE * SEEN * L::N);
    // SAFETY: the caller's promise; the places were tested.
    unsafe {
        for tile in 0..tiles {
            for h in 0..SIDE {
                let from = from.as_ptr().add((h * SEEN + tile * VOXELS[2]) * L::N);
                let mut seen = [L::zero(); SIDE];
                for w in 0..SIDE {
                    seen[w] = L::load(from.add(w * L::N));
                }
                let row = C::along(seen);
                for w in 0..SIDE {
                    store_some(row[w], to[h * SIDE + w].add(place + tile * step), channels);
                }
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
    /// The first, and the floats from one row along W to the next.
    voxels: (*mut f32, usize),
    /// Voxels along H and W.
    size: [usize; 2],
}

#[inline(always)]
unsafe fn collect_on<L: Lanes>(
    from: &Positions,
    (range, plane): (Range<usize>, usize),
    (to, tiles): (Shared, Tiles),
) {
    let channels = from.channels;
    let [depth, height, width] = tiles.size;
    for (row, tile) in range.enumerate() {
        let Corner { batch, at: [d, h, w] } = tiles.corner(tile);
        let slab = |slab: usize| {
            let d = Some(d + slab).filter(|d| *d < depth && SHARES[plane][slab] != 0.0)?;
            let first = ((batch * depth + d) * height + h) * width + w;
            Some(Slab {
                share: SHARES[plane][slab],
                accumulate: plane != slab,
                // SAFETY: the voxel lies in the output, and is this tile's.
                voxels: (unsafe { to.at(first * channels) }, width * channels),
                size: [(height - h).min(VOXELS[1]), (width - w).min(VOXELS[2])],
            })
        };
        let slabs = [slab(0), slab(1)];
        for at in (0..channels).step_by(L::N) {
            let count = (channels - at).min(L::N) as isize;
            // SAFETY: the voxels and the row have `channels` floats.
            unsafe {
                let values = from.values.floats().as_ptr().add(row * channels + at);
                let columns = collect_tile::<L>((values, from.stride), count);
                for slab in slabs.iter().flatten() {
                    collect_slab(&columns, slab, (at, count, channels));
                }
            }
        }
    }
}

/// The voxels of a plane of positions, `[W][H]`.
///
/// # Safety
/// Each position of the tile at `from` has `count` channels.
#[inline(always)]
unsafe fn collect_tile<L: Lanes>(
    (from, stride): (*const f32, usize),
    count: isize,
) -> [[L; VOXELS[1]]; VOXELS[2]] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [[L::zero(); VOXELS[2]]; SIDE];
        for h in 0..SIDE {
            let mut row = [L::zero(); SIDE];
            for w in 0..SIDE {
                row[w] = load_some(from.add((h * SIDE + w) * stride), count);
            }
            rows[h] = square::collect_output(row);
        }
        let mut columns = [[L::zero(); VOXELS[1]]; VOXELS[2]];
        for w in 0..VOXELS[2] {
            columns[w] = square::collect_output(rows.map(|row| row[w]));
        }
        columns
    }
}

/// Adds `count` channels from `at` on to the voxels of a slab.
///
/// # Safety
/// The voxels are this task's, and have these channels.
#[inline(always)]
unsafe fn collect_slab<L: Lanes>(
    columns: &[[L; VOXELS[1]]; VOXELS[2]],
    slab: &Slab,
    (at, count, channels): (usize, isize, usize),
) {
    // SAFETY: the caller's promise.
    unsafe {
        let share = L::splat(slab.share);
        for h in 0..VOXELS[1] {
            for w in 0..VOXELS[2] {
                if h < slab.size[0] && w < slab.size[1] {
                    let to = slab.voxels.0.add(h * slab.voxels.1 + w * channels + at);
                    let start = if slab.accumulate { load_some(to, count) } else { L::zero() };
                    store_some(start.mul_add(share, columns[w][h]), to, count);
                }
            }
        }
    }
}
