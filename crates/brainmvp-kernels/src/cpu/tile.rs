//! Stores the sums of a matrix product's register kernel.

use super::simd::Lanes;

/// The destination of a tile's sums.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) output: *mut f32,
    pub(crate) stride: usize,
    /// Rows to write; the tile's other rows are repeats.
    pub(crate) rows: usize,
    /// Columns to write; the tile's other columns are padding.
    pub(crate) columns: usize,
}

impl Tile {
    /// Whether the whole tile is written, as is nearly always the case: then the stores need no tests between them.
    #[inline(always)]
    fn is_whole<L: Lanes, const R: usize, const V: usize>(self) -> bool {
        self.rows == R && self.columns >= V * L::N
    }

    /// # Safety
    /// The output has the rows and columns.
    #[inline(always)]
    pub(crate) unsafe fn store<L: Lanes, const R: usize, const V: usize>(self, sums: [[L; V]; R]) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.is_whole::<L, R, V>() {
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v].store(self.output.add(r * self.stride + v * L::N));
                    }
                }
            } else {
                self.store_part(&spilled(sums), V * L::N, None);
            }
        }
    }

    /// Stores the sums of these and of `onto`, if there is one.
    ///
    /// # Safety
    /// The output has the rows and columns, and so has `onto`, which may be the output.
    #[inline(always)]
    pub(crate) unsafe fn store_sum<L: Lanes, const R: usize, const V: usize>(
        self,
        sums: [[L; V]; R],
        onto: *const f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.is_whole::<L, R, V>() {
                for r in 0..R {
                    for v in 0..V {
                        let place = r * self.stride + v * L::N;
                        sums[r][v].add(L::load(onto.add(place))).store(self.output.add(place));
                    }
                }
            } else {
                self.store_part(&spilled(sums), V * L::N, Some(onto));
            }
        }
    }

    /// Stores the existing rows and columns of a tile that is `width` floats wide.
    ///
    /// # Safety
    /// As of [`Self::store_sum`].
    #[cold]
    unsafe fn store_part(self, sums: &[f32; TILE], width: usize, onto: Option<*const f32>) {
        for (row, sums) in sums.chunks_exact(width).take(self.rows).enumerate() {
            for (column, sum) in sums.iter().take(self.columns).enumerate() {
                // SAFETY: rows and columns are those that there are.
                unsafe {
                    let place = row * self.stride + column;
                    let onto = onto.map_or(0.0, |onto| *onto.add(place));
                    *self.output.add(place) = onto + sum;
                }
            }
        }
    }
}

/// Floats of the largest tile.
const TILE: usize = 384;

/// The sums of a tile, row after row.
#[inline(always)]
unsafe fn spilled<L: Lanes, const R: usize, const V: usize>(sums: [[L; V]; R]) -> [f32; TILE] {
    const { assert!(R * V * L::N <= TILE) };
    let mut floats = [0.0; TILE];
    for r in 0..R {
        for v in 0..V {
            // SAFETY: the tile fits, as asserted; the caller has the instruction set.
            unsafe { sums[r][v].store(floats.as_mut_ptr().add((r * V + v) * L::N)) };
        }
    }
    floats
}
