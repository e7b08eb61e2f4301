//! Matrix products: one register kernel, from which the linear layers, attention and convolutions are built.
//!
//! The right-hand matrix is packed into [`Panels`] of a few registers' width; the left-hand one is read where it
//! lies, by any strides, so that a product with a transposed matrix needs no transposed copy.

use super::simd::{InstructionSet, Lanes, Portable, dispatch, load_some, store_some};

/// A matrix of any strides, in floats.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) values: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl Matrix {
    pub(crate) fn new(values: &[f32], row_stride: usize) -> Self {
        Self { values: values.as_ptr(), row_stride, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// The part that begins at a row and a column.
    ///
    /// # Safety
    /// The place lies in the matrix.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller's promise.
        let values = unsafe { self.values.add(row * self.row_stride + column * self.column_stride) };
        Self { values, ..self }
    }
}

/// The right-hand matrix of a product as the register kernel reads it: panel by panel, in each the row that the sums
/// start from (the bias, or zero), then the matrix's rows, padded with zeros to whole registers.
pub(crate) struct Panels {
    values: Vec<f32>,
    depth: usize,
    columns: usize,
    lanes: usize,
    panel: usize,
}

/// Where a panel lies.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// Its first float.
    start: usize,
    /// Its first column.
    column: usize,
    /// How many columns of the matrix it holds.
    columns: usize,
    /// How many floats wide it is.
    width: usize,
}

impl Panels {
    pub(crate) fn new(set: InstructionSet) -> Self {
        let (lanes, panel) = match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => (16, 64),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => (8, 16),
            InstructionSet::Portable => (Portable::N, Portable::N * Portable::PANEL),
        };
        Self { values: Vec::new(), depth: 0, columns: 0, lanes, panel }
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
        debug_assert!(bias.is_empty() || bias.len() == columns);
        (self.depth, self.columns) = (depth, columns);
        self.values.clear();
        self.values.reserve(self.count() * self.panel * (depth + 1));
        for index in 0..self.count() {
            let Panel { column, columns, width, .. } = self.at(index);
            let start = self.values.len();
            self.values.extend_from_slice(bias.get(column..column + columns).unwrap_or_default());
            self.values.resize(start + width, 0.0);
            for row in 0..depth {
                // SAFETY: row and columns lie in the matrix.
                unsafe { self.push_row(matrix.at(row, column), columns) };
                self.values.resize(start + (row + 2) * width, 0.0);
            }
        }
    }

    /// # Safety
    /// The matrix's first row has `columns` floats.
    unsafe fn push_row(&mut self, matrix: Matrix, columns: usize) {
        if matrix.column_stride == 1 {
            // SAFETY: the row is one slice of memory.
            self.values.extend_from_slice(unsafe { std::slice::from_raw_parts(matrix.values, columns) });
        } else {
            // SAFETY: the caller's promise.
            self.values.extend((0..columns).map(|i| unsafe { *matrix.at(0, i).values }));
        }
    }

    /// How many panels.
    fn count(&self) -> usize {
        self.columns.div_ceil(self.panel)
    }

    fn at(&self, index: usize) -> Panel {
        let column = index * self.panel;
        let columns = self.panel.min(self.columns - column);
        let width = columns.next_multiple_of(self.lanes);
        Panel { start: index * self.panel * (self.depth + 1), column, columns, width }
    }
}

/// `output = start + left right`, where the start is the panels' bias or what the output holds.
pub(crate) struct Product<'a> {
    /// `[rows, depth]`
    pub(crate) left: Matrix,
    pub(crate) rows: usize,
    pub(crate) right: &'a Panels,
    /// `[rows, columns]`, rows this many floats apart.
    pub(crate) output: *mut f32,
    pub(crate) output_stride: usize,
    /// Add to what the output holds.
    pub(crate) accumulate: bool,
}

dispatch! {
    /// Runs a product whose panels were packed for `set`. The matrices hold what the product says.
    unsafe fn multiply(product: &Product<'_>) = multiply_panels
}

#[inline(always)]
unsafe fn multiply_panels<L: Lanes>(product: &Product<'_>) {
    for index in 0..product.right.count() {
        let panel = product.right.at(index);
        // SAFETY: the caller's promise; rows times registers of a tile are what the register file holds.
        unsafe {
            match panel.width / L::N {
                4 if L::PANEL == 4 => multiply_rows::<L, 6, 4>(product, panel),
                3 if L::PANEL == 4 => multiply_rows::<L, 8, 3>(product, panel),
                2 if L::PANEL == 4 => multiply_rows::<L, 12, 2>(product, panel),
                2 => multiply_rows::<L, 6, 2>(product, panel),
                _ => multiply_rows::<L, 12, 1>(product, panel),
            }
        }
    }
}

/// All rows times one panel, in tiles of `R` rows. The last tile repeats a row where there are too few.
#[inline(always)]
unsafe fn multiply_rows<L: Lanes, const R: usize, const V: usize>(product: &Product<'_>, panel: Panel) {
    // SAFETY: rows, depth and columns lie in the matrices by the caller's promise.
    unsafe {
        let right = product.right.values.as_ptr().add(panel.start);
        for first in (0..product.rows).step_by(R) {
            let count = R.min(product.rows - first);
            let output = product.output.add(first * product.output_stride + panel.column);
            let mut rows = [product.left.values; R];
            for r in 0..R {
                rows[r] = product.left.at(first + r.min(count - 1), 0).values;
            }
            let mut sums = load_row::<L, R, V>(right);
            multiply_tile(
                &mut sums,
                rows,
                product.left.column_stride,
                right.add(V * L::N),
                product.right.depth,
            );
            let tile = Tile { output, stride: product.output_stride, rows: count, columns: panel.columns };
            if product.accumulate {
                tile.accumulate(sums);
            } else {
                tile.store(sums);
            }
        }
    }
}

/// The sums of a tile, all rows starting from the same vectors.
///
/// # Safety
/// `from` holds `V` vectors.
#[inline(always)]
pub(crate) unsafe fn load_row<L: Lanes, const R: usize, const V: usize>(from: *const f32) -> [[L; V]; R] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut row = [L::zero(); V];
        for v in 0..V {
            row[v] = L::load(from.add(v * L::N));
        }
        [row; R]
    }
}

/// The register kernel: adds `depth` outer products of `R` floats (one from each row, `step` floats on each time)
/// and `V` vectors (the next of the panel each time).
///
/// # Safety
/// Each row holds `(depth - 1) * step + 1` floats, the panel `depth * V` vectors.
#[inline(always)]
pub(crate) unsafe fn multiply_tile<L: Lanes, const R: usize, const V: usize>(
    sums: &mut [[L; V]; R],
    rows: [*const f32; R],
    step: usize,
    panel: *const f32,
    depth: usize,
) {
    for k in 0..depth {
        // SAFETY: the caller's promise.
        unsafe {
            let mut right = [L::zero(); V];
            for v in 0..V {
                right[v] = L::load(panel.add((k * V + v) * L::N));
            }
            for r in 0..R {
                let left = L::splat(*rows[r].add(k * step));
                for v in 0..V {
                    sums[r][v] = sums[r][v].mul_add(left, right[v]);
                }
            }
        }
    }
}

/// Where the sums of a tile go.
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
    /// # Safety
    /// The output has the rows and columns.
    #[inline(always)]
    pub(crate) unsafe fn store<L: Lanes, const R: usize, const V: usize>(self, sums: [[L; V]; R]) {
        // SAFETY: rows and columns are tested.
        unsafe {
            for r in 0..R {
                for v in 0..V {
                    let to = self.output.add(r.min(self.rows - 1) * self.stride + v * L::N);
                    if r < self.rows {
                        store_some(sums[r][v], to, self.columns as isize - (v * L::N) as isize);
                    }
                }
            }
        }
    }

    /// Adds to what the output holds.
    ///
    /// # Safety
    /// The output has the rows and columns.
    #[inline(always)]
    pub(crate) unsafe fn accumulate<L: Lanes, const R: usize, const V: usize>(self, sums: [[L; V]; R]) {
        // SAFETY: rows and columns are tested.
        unsafe {
            for r in 0..R {
                for v in 0..V {
                    let to = self.output.add(r.min(self.rows - 1) * self.stride + v * L::N);
                    if r < self.rows {
                        let count = self.columns as isize - (v * L::N) as isize;
                        store_some(sums[r][v].add(load_some(to, count)), to, count);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// Adds the sums of the matrix's columns to `into`, which has one float for each.
    unsafe fn add_column_sums(panels: &Panels, into: *mut f32) = add_panel_sums
}

#[inline(always)]
unsafe fn add_panel_sums<L: Lanes>(panels: &Panels, into: *mut f32) {
    for index in 0..panels.count() {
        let panel = panels.at(index);
        for at in (0..panel.width).step_by(L::N) {
            // SAFETY: the panel holds `depth + 1` rows of its width; the caller promises the columns of `into`.
            unsafe {
                let first = panels.values.as_ptr().add(panel.start + at);
                let mut sum = L::zero();
                for row in 1..=panels.depth {
                    sum = sum.add(L::load(first.add(row * panel.width)));
                }
                let tile = Tile {
                    output: into.add(panel.column + at),
                    stride: 0,
                    rows: 1,
                    columns: panel.columns - at,
                };
                tile.accumulate([[sum]]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 31 + salt * 17) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn plain(
        left: &[f32],
        right: &[f32],
        bias: &[f32],
        (rows, depth, columns): (usize, usize, usize),
    ) -> Vec<f32> {
        let mut output = vec![0.0; rows * columns];
        for row in 0..rows {
            for column in 0..columns {
                let products = (0..depth).map(|k| left[row * depth + k] * right[k * columns + column]);
                output[row * columns + column] = bias[column] + products.sum::<f32>();
            }
        }
        output
    }

    proptest! {
        #[test]
        fn every_instruction_set_multiplies(rows in 0usize..30, depth in 0usize..40, columns in 0usize..150, turned: bool) {
            let (left, right, bias) = (values(rows * depth, 1), values(depth * columns, 2), values(columns, 3));
            let expected = plain(&left, &right, &bias, (rows, depth, columns));
            for set in InstructionSet::available() {
                let (mut left, mut right) = (Matrix::new(&left, depth), Matrix::new(&right, columns));
                // The same matrices with their columns in memory one after the other.
                let (left_columns, right_columns) = (by_columns(left, rows, depth), by_columns(right, depth, columns));
                if turned {
                    left = Matrix::new(&left_columns, rows).transposed();
                    right = Matrix::new(&right_columns, depth).transposed();
                }
                let mut output = vec![1.0; rows * columns];
                // SAFETY: the sizes are those of the slices.
                unsafe {
                    let panels = Panels::packed(set, right, (depth, columns), &bias);
                    let mut product = Product {
                        left, rows, right: &panels, output: output.as_mut_ptr(), output_stride: columns, accumulate: false,
                    };
                    multiply(set, &product);
                    let panels = Panels::packed(set, right, (depth, columns), &[]);
                    (product.right, product.accumulate) = (&panels, true);
                    multiply(set, &product);
                    let mut sums = vec![1.0; columns];
                    add_column_sums(set, &panels, sums.as_mut_ptr());
                    for (column, sum) in sums.iter().enumerate() {
                        let expected: f32 = (0..depth).map(|k| *right.at(k, column).values).sum();
                        prop_assert!((sum - 1.0 - expected).abs() < 1e-4);
                    }
                }
                for (i, (got, expected)) in output.iter().zip(&expected).enumerate() {
                    let expected = 2.0 * expected - bias[i % columns];
                    prop_assert!((got - expected).abs() < 1e-4, "{:?} at {}: {} not {}", set, i, got, expected);
                }
            }
        }
    }

    fn by_columns(matrix: Matrix, rows: usize, columns: usize) -> Vec<f32> {
        // SAFETY: the matrix has the rows and columns.
        (0..columns).flat_map(|c| (0..rows).map(move |r| unsafe { *matrix.at(r, c).values })).collect()
    }
}
