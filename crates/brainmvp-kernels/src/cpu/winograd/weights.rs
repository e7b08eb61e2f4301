//! A weight transformed to Winograd's positions, as products read it; and its gradient back from there.
//!
//! A register has some columns of a row of the matrix that a tap or position has. It is loaded and written once.

use std::ops::Range;

use rayon::prelude::*;

use super::points::{flat, square};
use super::{PLANE, PLANES, POSITIONS, SIDE, TAPS};
use crate::cpu::buffer::{Shared, build_scattered};
use crate::cpu::conv::Sizes;
use crate::cpu::panels::{Panels, Rows};
use crate::cpu::simd::{InstructionSet, Lanes, WIDEST_LANES, dispatch, load_some, store_some};

/// Rows of a matrix that are a task.
const ROWS: usize = 16;
/// Taps along an axis.
const SIDE_TAPS: usize = 3;

/// A convolution's weight: for each of its taps, a matrix of rows and columns.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    /// `[27, inputs, outputs]`
    values: &'a [f32],
    inputs: usize,
    outputs: usize,
    /// Whether rows are outputs, columns inputs, and the taps in reverse; otherwise rows are inputs.
    is_turned: bool,
}

impl<'a> Weight<'a> {
    pub(super) fn new(values: &'a [f32], sizes: Sizes) -> Self {
        let Sizes { inputs, outputs, .. } = sizes;
        assert_eq!(values.len(), TAPS * inputs * outputs);
        Self { values, inputs, outputs, is_turned: false }
    }

    /// That of the convolution which gives the gradient for the input.
    pub(super) fn turned(self) -> Self {
        Self { is_turned: true, ..self }
    }

    /// Rows and columns.
    fn size(self) -> (usize, usize) {
        if self.is_turned { (self.outputs, self.inputs) } else { (self.inputs, self.outputs) }
    }

    /// Some columns of a tap's row, then zeros, if rows are inputs.
    ///
    /// # Safety
    /// There are these columns, and the machine has the instruction set.
    #[inline(always)]
    unsafe fn straight<L: Lanes>(self, tap: usize, row: usize, columns: &Range<usize>) -> L {
        let place = (tap * self.inputs + row) * self.outputs + columns.start;
        // SAFETY: the caller's promise.
        unsafe { load_some(self.values.as_ptr().add(place), columns.len() as isize) }
    }

    /// Some columns of some rows of each tap, then zeros, if rows are outputs: `[27, ROWS, WIDEST_LANES]`.
    fn turn(self, rows: &Range<usize>, columns: &Range<usize>, to: &mut [f32]) {
        let tap_len = self.inputs * self.outputs;
        for (to, from) in
            to.chunks_exact_mut(ROWS * WIDEST_LANES).zip(self.values.chunks_exact(tap_len).rev())
        {
            for lane in 0..WIDEST_LANES {
                if lane < columns.len() {
                    let from = &from[(columns.start + lane) * self.outputs..][rows.clone()];
                    for (row, value) in from.iter().enumerate() {
                        to[row * WIDEST_LANES + lane] = *value;
                    }
                } else {
                    (0..rows.len()).for_each(|row| to[row * WIDEST_LANES + lane] = 0.0);
                }
            }
        }
    }
}

/// A weight at each position, packed.
pub(super) fn pack(set: InstructionSet, weight: Weight<'_>) -> Vec<Panels> {
    let (rows, columns) = weight.size();
    let write = |to: &Rows| {
        (0..rows.div_ceil(ROWS)).into_par_iter().for_each(|task| {
            let rows = task * ROWS..rows.min((task + 1) * ROWS);
            // SAFETY: these rows are this task's.
            unsafe { carry_rows(set, weight, rows, to) };
        });
    };
    // SAFETY: the tasks write all rows, and every register of each.
    unsafe { Panels::written(set, POSITIONS, (rows, columns), write) }
}

dispatch! {
    /// Transforms some rows.
    unsafe fn carry_rows(weight: Weight<'_>, rows: Range<usize>, to: &Rows) = carry_rows_on
}

#[inline(always)]
unsafe fn carry_rows_on<L: Lanes>(weight: Weight<'_>, rows: Range<usize>, to: &Rows) {
    let mut turned = [0.0; TAPS * ROWS * WIDEST_LANES];
    let (_, count) = weight.size();
    for column in (0..count).step_by(L::N) {
        let columns = column..count.min(column + L::N);
        if weight.is_turned {
            weight.turn(&rows, &columns, &mut turned);
        }
        for row in rows.clone() {
            // SAFETY: rows and columns are the weight's, and the register at the place is the caller's.
            unsafe {
                let mut taps = [L::zero(); TAPS];
                for (tap, value) in taps.iter_mut().enumerate() {
                    *value = if weight.is_turned {
                        L::load(turned.as_ptr().add((tap * ROWS + row - rows.start) * WIDEST_LANES))
                    } else {
                        weight.straight(tap, row, &columns)
                    };
                }
                let place = to.place(row, column);
                carry(&taps, |position, value| value.store(to.start(position).add(place)));
            }
        }
    }
}

/// The positions of 27 taps.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn carry<L: Lanes>(taps: &[L; TAPS], mut put: impl FnMut(usize, L)) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut along_w = [[L::zero(); SIDE]; SIDE_TAPS * SIDE_TAPS];
        for (row, to) in along_w.iter_mut().enumerate() {
            *to = square::carry_weight([taps[3 * row], taps[3 * row + 1], taps[3 * row + 2]]);
        }
        let mut along_h = [[[L::zero(); SIDE]; SIDE]; SIDE_TAPS];
        for (d, to) in along_h.iter_mut().enumerate() {
            for w in 0..SIDE {
                let column = [along_w[3 * d][w], along_w[3 * d + 1][w], along_w[3 * d + 2][w]];
                for (h, value) in square::carry_weight(column).into_iter().enumerate() {
                    to[h][w] = value;
                }
            }
        }
        for place in 0..PLANE {
            let (h, w) = (place / SIDE, place % SIDE);
            let column = flat::carry_weight([along_h[0][h][w], along_h[1][h][w], along_h[2][h][w]]);
            for (plane, value) in column.into_iter().enumerate() {
                put(plane * PLANE + place, value);
            }
        }
    }
}

/// The gradient for a weight, `[27, inputs, outputs]`, given those for it at each position, in parts that are summed:
/// `[parts, 144, inputs, outputs]`.
pub(super) fn collect(set: InstructionSet, parts: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { inputs, outputs, .. } = sizes;
    let work = |to: Shared| {
        (0..inputs.div_ceil(ROWS)).into_par_iter().for_each(|task| {
            let rows = task * ROWS..inputs.min((task + 1) * ROWS);
            // SAFETY: these rows of each tap are this task's.
            unsafe { collect_rows(set, parts, (inputs, outputs), rows, to) };
        });
    };
    assert_eq!(parts.len() % (POSITIONS * inputs * outputs), 0);
    // SAFETY: the tasks write every row of each tap.
    unsafe { build_scattered(TAPS * inputs * outputs, work) }
}

dispatch! {
    /// Transforms some rows of a gradient back.
    unsafe fn collect_rows(parts: &[f32], size: (usize, usize), rows: Range<usize>, to: Shared) = collect_rows_on
}

#[inline(always)]
unsafe fn collect_rows_on<L: Lanes>(
    parts: &[f32],
    (inputs, outputs): (usize, usize),
    rows: Range<usize>,
    to: Shared,
) {
    let matrix = inputs * outputs;
    for row in rows {
        for column in (0..outputs).step_by(L::N) {
            let (place, count) = (row * outputs + column, (outputs - column) as isize);
            // SAFETY: each part has each position's matrix, and that these columns.
            unsafe {
                let mut positions = [L::zero(); POSITIONS];
                for part in parts.chunks_exact(POSITIONS * matrix) {
                    for (position, sum) in positions.iter_mut().enumerate() {
                        *sum = sum.add(load_some(part.as_ptr().add(position * matrix + place), count));
                    }
                }
                let put = |tap: usize, value: L| store_some(value, to.at(tap * matrix + place), count);
                collect_taps(&positions, put);
            }
        }
    }
}

/// The transpose of [`carry`].
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn collect_taps<L: Lanes>(positions: &[L; POSITIONS], put: impl Fn(usize, L)) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut along_d = [[L::zero(); PLANE]; SIDE_TAPS];
        for place in 0..PLANE {
            let mut column = [L::zero(); PLANES];
            for (plane, value) in column.iter_mut().enumerate() {
                *value = positions[plane * PLANE + place];
            }
            for (d, value) in flat::collect_weight(column).into_iter().enumerate() {
                along_d[d][place] = value;
            }
        }
        for (d, plane) in along_d.iter().enumerate() {
            let mut along_h = [[L::zero(); SIDE]; SIDE_TAPS];
            for w in 0..SIDE {
                let mut column = [L::zero(); SIDE];
                for (h, value) in column.iter_mut().enumerate() {
                    *value = plane[h * SIDE + w];
                }
                for (h, value) in square::collect_weight(column).into_iter().enumerate() {
                    along_h[h][w] = value;
                }
            }
            for (h, row) in along_h.into_iter().enumerate() {
                for (w, value) in square::collect_weight(row).into_iter().enumerate() {
                    put((3 * d + h) * SIDE_TAPS + w, value);
                }
            }
        }
    }
}
