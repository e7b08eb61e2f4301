//! The matrices of a product, packed as the register kernel reads them.

use rayon::prelude::*;

use super::buffer::{Shared, build_scattered_into};
use super::product::Matrix;
use super::simd::{InstructionSet, Lanes, Portable};

/// The right-hand matrix of a product as the register kernel reads it: panel by panel, in each the row that the sums
/// start from (the bias, or zero), then the matrix's rows, padded with zeros to whole registers.
pub(crate) struct Panels {
    pub(super) set: InstructionSet,
    pub(super) values: Vec<f32>,
    /// Rows of the matrix.
    rows: usize,
    /// Rows of lanes that they make.
    pub(super) depth: usize,
    columns: usize,
    lanes: usize,
    panel: usize,
}

/// The position of a panel.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// Its first float.
    pub(super) start: usize,
    /// Its first column.
    pub(super) column: usize,
    /// The number of columns of the matrix in it.
    pub(super) columns: usize,
    /// Its width in floats.
    pub(super) width: usize,
}

/// The widest panel.
const WIDEST_PANEL: usize = 64;
/// Rows of a transposed matrix that are reordered at a time.
const TURNED_ROWS: usize = 16;

impl Panels {
    pub(crate) fn new(set: InstructionSet) -> Self {
        let (lanes, panel) = match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx512Bf16 => (16, WIDEST_PANEL),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => (8, 16),
            InstructionSet::Portable => (Portable::N, Portable::N * Portable::PANEL),
        };
        Self { set, values: Vec::new(), rows: 0, depth: 0, columns: 0, lanes, panel }
    }

    /// `[depth, columns]` and a bias of `columns` floats (or none), packed.
    ///
    /// # Safety
    /// The matrix has as many rows and columns.
    pub(crate) unsafe fn packed(
        set: InstructionSet,
        matrix: Matrix,
        (depth, columns): (usize, usize),
        bias: &[f32],
    ) -> Self {
        let mut panels = Self::new(set);
        // SAFETY: the caller's promise.
        unsafe { panels.pack(matrix, (depth, columns), bias) };
        panels
    }

    /// Packs another matrix into the same memory.
    ///
    /// # Safety
    /// The matrix has as many rows and columns.
    pub(crate) unsafe fn pack(&mut self, matrix: Matrix, (depth, columns): (usize, usize), bias: &[f32]) {
        /// A matrix with this many floats is worth using several threads.
        const MANY: usize = 1 << 16;
        assert!(bias.is_empty() || bias.len() == columns);
        let len = self.take_size((depth, columns));
        let count = self.count();
        let mut values = std::mem::take(&mut self.values);
        // SAFETY: the panels follow one another up to `len`, and each is written as a whole.
        unsafe {
            build_scattered_into(&mut values, len, |to| {
                let write = |index| {
                    let panel = self.at(index);
                    let bias = bias.get(panel.column..panel.column + panel.columns).unwrap_or_default();
                    // The panel is this call's alone.
                    self.write_panel(matrix, depth, bias, (panel, to.at(panel.start)));
                };
                if depth * columns < MANY {
                    (0..count).for_each(write);
                } else {
                    (0..count).into_par_iter().for_each(write);
                }
            });
        }
        self.values = values;
    }

    /// So many matrices of one size and without a bias, each of whose rows `write` puts into its panels.
    ///
    /// # Safety
    /// `write` writes whole registers at the [`place`](Rows::place) of each row and of each column that is a multiple of a
    /// register's floats, in every matrix; no two threads write the same one.
    pub(crate) unsafe fn written(
        set: InstructionSet,
        count: usize,
        size: (usize, usize),
        write: impl FnOnce(&Rows),
    ) -> Vec<Self> {
        let mut layout = Self::new(set);
        let len = layout.take_size(size);
        let mut matrices: Vec<Vec<f32>> = (0..count).map(|_| Vec::with_capacity(len)).collect();
        let rows = Rows::begun(layout, matrices.iter_mut().map(Shared::spare).collect());
        write(&rows);
        let packed = |mut values: Vec<f32>| {
            // SAFETY: the first row of each panel is there, and the others by the caller's promise.
            unsafe { values.set_len(len) };
            Self { values, ..rows.layout }
        };
        matrices.into_iter().map(packed).collect()
    }

    /// Room for a matrix of this size and without a bias in each of some panels, which have numbers in every row meanwhile.
    pub(crate) fn rows_of(panels: &mut [Self], size: (usize, usize)) -> Rows {
        let mut layout = Self::new(panels.first().map_or(InstructionSet::Portable, |panels| panels.set));
        layout.take_size(size);
        let room = |panels: &mut Self| {
            let len = panels.take_size(size);
            panels.values.resize(len, 0.0);
            Shared::new(&mut panels.values)
        };
        Rows::begun(layout, panels.iter_mut().map(room).collect())
    }

    /// Takes the size of a matrix, and says how many floats it is when it is packed.
    fn take_size(&mut self, (depth, columns): (usize, usize)) -> usize {
        (self.rows, self.columns) = (depth, columns);
        self.depth = depth.div_ceil(self.set.depth_of_lane());
        self.count().checked_sub(1).map_or(0, |last| {
            let Panel { start, width, .. } = self.at(last);
            start + width * (self.depth + 1)
        })
    }

    /// # Safety
    /// The matrix has the panel's columns and `depth` rows, and `to` has room for the panel.
    unsafe fn write_panel(&self, matrix: Matrix, depth: usize, bias: &[f32], (panel, to): (Panel, *mut f32)) {
        let Panel { columns, width, .. } = panel;
        // SAFETY: rows and columns lie in the matrix; each row of the panel is `width` floats, of which the matrix
        // has `columns`.
        unsafe {
            to.write_bytes(0, width);
            to.copy_from_nonoverlapping(bias.as_ptr(), bias.len());
            let mut turned = [0.0; TURNED_ROWS * WIDEST_PANEL];
            for first in (0..depth).step_by(TURNED_ROWS) {
                let rows = TURNED_ROWS.min(depth - first);
                let part = matrix.at(first, panel.column);
                let (from, stride) = if part.column_stride == 1 {
                    (part.values, part.row_stride)
                } else {
                    turn(part, (rows, columns), &mut turned);
                    (turned.as_ptr(), WIDEST_PANEL)
                };
                let to = to.add((1 + first / self.set.depth_of_lane()) * width);
                write_rows(self.set, (from, stride), (rows, columns), (to, width));
            }
        }
    }

    /// The instruction set that they are packed for.
    pub(crate) fn set(&self) -> InstructionSet {
        self.set
    }

    /// Rows of the matrix.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of panels.
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    pub(super) fn at(&self, index: usize) -> Panel {
        let column = index * self.panel;
        let columns = self.panel.min(self.columns - column);
        let width = columns.next_multiple_of(self.lanes);
        Panel { start: index * self.panel * (self.depth + 1), column, columns, width }
    }
}

/// Where the rows of several matrices of one size are, when they are packed.
pub(crate) struct Rows {
    layout: Panels,
    matrices: Vec<Shared>,
}

impl Rows {
    /// Matrices whose sums start from zero, and whose rows are still to be written.
    fn begun(layout: Panels, matrices: Vec<Shared>) -> Self {
        assert_eq!(layout.set.depth_of_lane(), 1, "rows of pairs are not written one by one");
        for panel in (0..layout.count()).map(|index| layout.at(index)) {
            for matrix in &matrices {
                // SAFETY: the memory has all panels, and each begins with a row of its width.
                unsafe { matrix.at(panel.start).write_bytes(0, panel.width) };
            }
        }
        Self { layout, matrices }
    }

    /// The panel of a column.
    fn panel(&self, column: usize) -> Panel {
        self.layout.at(column / self.layout.panel)
    }

    /// Where in a packed matrix the register of a row is that begins with a column.
    pub(crate) fn place(&self, row: usize, column: usize) -> usize {
        let Panel { start, column: first, width, .. } = self.panel(column);
        start + (1 + row) * width + column - first
    }

    /// Floats from there to the same column of the next row.
    pub(crate) fn width(&self, column: usize) -> usize {
        self.panel(column).width
    }

    /// The first float of a packed matrix.
    pub(crate) fn start(&self, index: usize) -> *mut f32 {
        // SAFETY: nothing is written through the pointer yet.
        unsafe { self.matrices[index].at(0) }
    }
}

/// Writes rows `stride` floats apart as lanes hold them, padded to a width.
///
/// # Safety
/// The rows have `columns` floats, and `to` the lanes that they make.
unsafe fn write_rows(
    set: InstructionSet,
    (from, stride): (*const f32, usize),
    (rows, columns): (usize, usize),
    (to, width): (*mut f32, usize),
) {
    for (place, row) in (0..rows).step_by(set.depth_of_lane()).enumerate() {
        // SAFETY: the caller's promise; the rest of a row is padding.
        unsafe {
            let (from, to) = (from.add(row * stride), to.add(place * width));
            match set {
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512Bf16 => {
                    let second = (row + 1 < rows).then(|| from.add(stride));
                    super::bf16::interleave(from, second, columns, to);
                }
                _ => to.copy_from_nonoverlapping(from, columns),
            }
            if columns < width {
                to.add(columns).write_bytes(0, width - columns);
            }
        }
    }
}

/// The left-hand matrix of a product that is the transpose of some rows, as the register kernel reads it: once packed,
/// it is multiplied with any number of panels.
pub(crate) struct Turned {
    set: InstructionSet,
    values: Vec<f32>,
    /// Rows of the left-hand matrix: columns of what was packed.
    rows: usize,
}

impl Turned {
    pub(crate) fn new(set: InstructionSet) -> Self {
        Self { set, values: Vec::new(), rows: 0 }
    }

    /// Packs the transpose of `[depth, rows]`, whose rows lie in memory one after the other, into the same memory.
    ///
    /// # Safety
    /// The matrix has as many rows and columns.
    pub(crate) unsafe fn pack(&mut self, matrix: Matrix, (depth, rows): (usize, usize)) {
        assert_eq!(matrix.column_stride, 1);
        self.rows = rows;
        let len = depth.div_ceil(self.set.depth_of_lane()) * rows;
        // SAFETY: the caller's promise; the lanes of all rows are the whole length.
        unsafe {
            build_scattered_into(&mut self.values, len, |to| {
                write_rows(self.set, (matrix.values, matrix.row_stride), (depth, rows), (to.at(0), rows));
            });
        }
    }

    /// As [`super::product::multiply_lanes`] takes it.
    pub(crate) fn lanes(&self) -> Matrix {
        Matrix { values: self.values.as_ptr(), row_stride: 1, column_stride: self.rows }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }
}

/// Some rows of a matrix side by side, `WIDEST_PANEL` floats apart. The matrix's columns are read in place.
///
/// # Safety
/// The matrix has the rows and columns, no more than `turned` has.
unsafe fn turn(
    matrix: Matrix,
    (rows, columns): (usize, usize),
    turned: &mut [f32; TURNED_ROWS * WIDEST_PANEL],
) {
    for column in 0..columns {
        for row in 0..rows {
            // SAFETY: the caller's promise.
            turned[row * WIDEST_PANEL + column] = unsafe { *matrix.at(row, column).values };
        }
    }
}
