//! Matrix products: one register kernel, from which the linear layers, attention and convolutions are built.
//!
//! The right-hand matrix is packed into [`Panels`] of a few registers' width; the left-hand one is read in place, with
//! any strides, so that a product with a transposed matrix needs no transposed copy.

use super::panels::{Panel, Panels};
use super::simd::{InstructionSet, Lanes, dispatch};
use super::tile::Tile;

/// A matrix of any strides, in floats.
#[derive(Clone, Copy)]
pub(crate) struct Matrix {
    pub(crate) values: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

// SAFETY: a matrix is only read; whoever reads it promises that it lives.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

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

/// The contents of the lanes of a product's operands, and how they are multiplied.
pub(crate) trait Operand<L: Lanes> {
    /// The bits of a lane.
    const ONE: f32;
    /// `sum + left right`.
    ///
    /// # Safety
    /// The machine has the instruction set.
    unsafe fn add_product(sum: L, left: L, right: L) -> L;
}

/// Operands whose lanes are floats.
pub(crate) struct Floats;

impl<L: Lanes> Operand<L> for Floats {
    const ONE: f32 = 1.0;

    #[inline(always)]
    unsafe fn add_product(sum: L, left: L, right: L) -> L {
        // SAFETY: the caller's promise.
        unsafe { sum.mul_add(left, right) }
    }
}

/// `output = onto + bias + left right`, where the panels have the bias.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// `[rows, depth]`
    pub(crate) left: Matrix,
    pub(crate) rows: usize,
    pub(crate) right: &'a Panels,
    /// `[rows, columns]`, rows this many floats apart.
    pub(crate) output: *mut f32,
    pub(crate) output_stride: usize,
    /// `[rows, columns]`, rows as far apart as the output's, if there is something to add to: it may be the output.
    pub(crate) onto: Option<*const f32>,
}

/// Runs a product whose panels were packed for `set`.
///
/// # Safety
/// The matrices hold what the product says.
pub(crate) unsafe fn multiply(set: InstructionSet, product: &Product<'_>) {
    let mut memory = Vec::new();
    // SAFETY: the caller's promise.
    unsafe {
        let left = lanes(set, product.left, (product.rows, product.right.rows()), &mut memory);
        multiply_lanes(set, &Product { left, ..*product });
    }
}

/// A left-hand matrix as [`multiply_lanes`] takes it: where it lies if its floats are what lanes hold, else in `memory`.
///
/// # Safety
/// The matrix has as many rows and columns.
pub(crate) unsafe fn lanes(
    set: InstructionSet,
    left: Matrix,
    (rows, depth): (usize, usize),
    memory: &mut Vec<f32>,
) -> Matrix {
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; the set was detected.
        InstructionSet::Avx512Bf16 => unsafe { super::bf16::round_left(left, (rows, depth), memory) },
        _ => left,
    }
}

/// Runs a product whose left-hand matrix, too, holds what the lanes of `set` do: its columns are as many as lanes that
/// the depth makes.
///
/// # Safety
/// The matrices hold what the product says.
pub(crate) unsafe fn multiply_lanes(set: InstructionSet, product: &Product<'_>) {
    debug_assert_eq!(set, product.right.set);
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; the set was detected.
        InstructionSet::Avx512Bf16 => unsafe { multiply_pairs(product) },
        // SAFETY: the caller's promise.
        _ => unsafe { multiply_floats(set, product) },
    }
}

dispatch! {
    /// Runs a product of floats.
    unsafe fn multiply_floats(product: &Product<'_>) = multiply_panels_of_floats
}

#[inline(always)]
unsafe fn multiply_panels_of_floats<L: Lanes>(product: &Product<'_>) {
    // SAFETY: the caller's promise.
    unsafe { multiply_panels::<L, Floats>(product) }
}

/// Runs a product whose left-hand matrix is of pairs too.
///
/// # Safety
/// The processor has AVX-512 BF16, and the matrices hold what the product says.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn multiply_pairs(product: &Product<'_>) {
    // SAFETY: the caller's promise.
    unsafe { multiply_panels::<std::arch::x86_64::__m512, super::bf16::Pairs>(product) }
}

#[inline(always)]
unsafe fn multiply_panels<L: Lanes, O: Operand<L>>(product: &Product<'_>) {
    for index in 0..product.right.count() {
        let panel = product.right.at(index);
        // SAFETY: the caller's promise; rows times registers of a tile are what the register file holds.
        unsafe {
            match panel.width / L::N {
                4 if L::PANEL == 4 => multiply_rows::<L, O, 6, 4>(product, panel),
                3 if L::PANEL == 4 => multiply_rows::<L, O, 8, 3>(product, panel),
                2 if L::PANEL == 4 => multiply_rows::<L, O, 12, 2>(product, panel),
                2 => multiply_rows::<L, O, 6, 2>(product, panel),
                _ => multiply_rows::<L, O, 12, 1>(product, panel),
            }
        }
    }
}

/// All rows times one panel, in tiles of `R` rows. The last tile repeats a row where there are too few.
#[inline(always)]
unsafe fn multiply_rows<L: Lanes, O: Operand<L>, const R: usize, const V: usize>(
    product: &Product<'_>,
    panel: Panel,
) {
    // SAFETY: rows, depth and columns lie in the matrices by the caller's promise.
    unsafe {
        let right = product.right.values.as_ptr().add(panel.start);
        for first in (0..product.rows).step_by(R) {
            let count = R.min(product.rows - first);
            let place = first * product.output_stride + panel.column;
            let mut rows = [std::ptr::null(); R];
            for r in 0..R {
                rows[r] = product.left.values.add((first + r.min(count - 1)) * product.left.row_stride);
            }
            let mut sums = load_row::<L, R, V>(right);
            multiply_tile::<L, O, R, V>(
                &mut sums,
                (rows, product.left.column_stride),
                right.add(V * L::N),
                product.right.depth,
            );
            let tile = Tile {
                output: product.output.add(place),
                stride: product.output_stride,
                rows: count,
                columns: panel.columns,
            };
            match product.onto {
                Some(onto) => tile.store_sum(sums, onto.add(place)),
                None => tile.store(sums),
            }
        }
    }
}

/// The sums of a tile, all rows starting from the same vectors.
///
/// # Safety
/// `from` holds `V` vectors.
#[inline(always)]
unsafe fn load_row<L: Lanes, const R: usize, const V: usize>(from: *const f32) -> [[L; V]; R] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut row = [L::zero(); V];
        for v in 0..V {
            row[v] = L::load(from.add(v * L::N));
        }
        [row; R]
    }
}

/// The register kernel: adds `depth` outer products of `R` lanes (one from each row, in the next column each time) and
/// `V` vectors (the next of the panel each time).
///
/// # Safety
/// Each row has `depth` columns, the panel `depth * V` vectors.
#[inline(always)]
unsafe fn multiply_tile<L: Lanes, O: Operand<L>, const R: usize, const V: usize>(
    sums: &mut [[L; V]; R],
    (rows, column_stride): ([*const f32; R], usize),
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
            let column = k * column_stride;
            for r in 0..R {
                let left = L::splat(*rows[r].add(column));
                for v in 0..V {
                    sums[r][v] = O::add_product(sums[r][v], left, right[v]);
                }
            }
        }
    }
}

/// Adds the sums of the matrix's columns to `into`.
///
/// # Safety
/// `into` has one float for each column.
pub(crate) unsafe fn add_column_sums(panels: &Panels, into: *mut f32) {
    match panels.set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promise; the set was detected.
        InstructionSet::Avx512Bf16 => unsafe { add_pair_sums(panels, into) },
        // SAFETY: the caller's promise.
        set => unsafe { add_float_sums(set, panels, into) },
    }
}

dispatch! {
    /// Adds the sums of the floats of columns.
    unsafe fn add_float_sums(panels: &Panels, into: *mut f32) = add_panel_sums_of_floats
}

#[inline(always)]
unsafe fn add_panel_sums_of_floats<L: Lanes>(panels: &Panels, into: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { add_panel_sums::<L, Floats>(panels, into) }
}

/// Adds the sums of the pairs of columns.
///
/// # Safety
/// The processor has AVX-512 BF16, and `into` one float for each column.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn add_pair_sums(panels: &Panels, into: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { add_panel_sums::<std::arch::x86_64::__m512, super::bf16::Pairs>(panels, into) }
}

#[inline(always)]
unsafe fn add_panel_sums<L: Lanes, O: Operand<L>>(panels: &Panels, into: *mut f32) {
    for index in 0..panels.count() {
        let panel = panels.at(index);
        for at in (0..panel.width).step_by(L::N) {
            // SAFETY: the panel holds `depth + 1` rows of its width; the caller promises the columns of `into`.
            unsafe {
                let first = panels.values.as_ptr().add(panel.start + at);
                let mut sum = L::zero();
                for row in 1..=panels.depth {
                    sum = O::add_product(sum, L::splat(O::ONE), L::load(first.add(row * panel.width)));
                }
                let tile = Tile {
                    output: into.add(panel.column + at),
                    stride: 0,
                    rows: 1,
                    columns: panel.columns - at,
                };
                tile.store_sum([[sum]], tile.output);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that bfloat16 holds exactly, and whose products fp32 adds without rounding.
    fn values(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 31 + salt * 17) % 101) as f32 / 64.0 - 0.75).collect()
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
            for set in InstructionSet::available_for_products() {
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
                        left, rows, right: &panels, output: output.as_mut_ptr(), output_stride: columns, onto: None,
                    };
                    multiply(set, &product);
                    let panels = Panels::packed(set, right, (depth, columns), &[]);
                    (product.right, product.onto) = (&panels, Some(output.as_ptr()));
                    multiply(set, &product);
                    let mut sums = vec![1.0; columns];
                    add_column_sums(&panels, sums.as_mut_ptr());
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

    /// A large matrix is packed by several threads.
    #[test]
    fn large_matrices_multiply() {
        let (rows, depth, columns) = (7, 301, 333);
        let (left, right, bias) = (values(rows * depth, 1), values(depth * columns, 2), values(columns, 3));
        let expected = plain(&left, &right, &bias, (rows, depth, columns));
        for set in InstructionSet::available_for_products() {
            let mut output = vec![f32::NAN; rows * columns];
            // SAFETY: the sizes are those of the slices.
            unsafe {
                let right = Panels::packed(set, Matrix::new(&right, columns), (depth, columns), &bias);
                let (left, output) = (Matrix::new(&left, depth), output.as_mut_ptr());
                let product =
                    Product { left, rows, right: &right, output, output_stride: columns, onto: None };
                multiply(set, &product);
            }
            assert_eq!(output, expected, "{set:?}");
        }
    }

    fn by_columns(matrix: Matrix, rows: usize, columns: usize) -> Vec<f32> {
        // SAFETY: the matrix has the rows and columns.
        (0..columns).flat_map(|c| (0..rows).map(move |r| unsafe { *matrix.at(r, c).values })).collect()
    }
}
