//! Matrix products of bfloat16 numbers, summed in fp32.
//!
//! The instruction multiplies two pairs of numbers and adds both products to a sum, so a register holds a pair of
//! neighbours along the product's depth in each lane. Pairs travel as the bits of a float.

use std::arch::x86_64::*;

use super::product::{Matrix, Operand, Product};

/// Operands whose lanes are pairs of bfloat16 numbers.
pub(crate) struct Pairs;

impl Operand<__m512> for Pairs {
    const ONE: f32 = f32::from_bits(0x3F80_3F80);

    #[inline(always)]
    unsafe fn add_product(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: the caller has the instruction set; the registers are of one size, and all bits are pairs.
        unsafe {
            let [left, right] = [left, right].map(|lanes| std::mem::transmute::<__m512, __m512bh>(lanes));
            _mm512_dpbf16_ps(sum, left, right)
        }
    }
}

/// Pairs of the numbers of two rows, rounded to nearest, one below the other: `count` pairs. Without a second row the
/// pairs' second numbers are zero.
///
/// # Safety
/// The processor has AVX-512 BF16, the rows have `count` floats, `to` as many.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) unsafe fn interleave(first: *const f32, second: Option<*const f32>, count: usize, to: *mut f32) {
    for at in (0..count).step_by(16) {
        let mask = mask(count - at);
        // SAFETY: what the mask leaves lies in the rows.
        unsafe {
            let low = rounded(first.add(at), mask);
            let high = second.map_or(_mm512_setzero_si512(), |second| rounded(second.add(at), mask));
            let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            _mm512_mask_storeu_ps(to.add(at), mask, _mm512_castsi512_ps(pairs));
        }
    }
}

/// The first lanes, at most 16.
#[inline(always)]
fn mask(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// Sixteen numbers rounded, each in the low half of a lane.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn rounded(from: *const f32, mask: u16) -> __m512i {
    // SAFETY: the caller promises the floats that the mask leaves.
    unsafe { _mm512_cvtepu16_epi32(halves(from, mask)) }
}

/// Sixteen numbers rounded, side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn halves(from: *const f32, mask: u16) -> __m256i {
    // SAFETY: the caller promises the floats that the mask leaves; the registers are of one size.
    unsafe {
        let rounded = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, from));
        std::mem::transmute::<__m256bh, __m256i>(rounded)
    }
}

/// The numbers of a row rounded, neighbours being pairs; a last one alone is paired with zero.
///
/// # Safety
/// The processor has AVX-512 BF16, the row has `count` floats, `to` has one for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round(from: *const f32, count: usize, to: *mut f32) {
    for at in (0..count).step_by(16) {
        let mask = mask(count - at);
        let pairs = mask_of_pairs(count - at);
        // SAFETY: what the masks leave lies in the row and in `to`.
        unsafe {
            let numbers = _mm512_castps256_ps512(_mm256_castsi256_ps(halves(from.add(at), mask)));
            _mm512_mask_storeu_ps(to.add(at / 2), pairs, numbers);
        }
    }
}

/// The lanes of at most 16 numbers' pairs.
#[inline(always)]
fn mask_of_pairs(count: usize) -> u16 {
    mask(count.min(16).div_ceil(2))
}

/// The left-hand matrix of a product, rounded, as a matrix of pairs in the memory of `to`.
///
/// # Safety
/// The processor has AVX-512 BF16, and the product's matrix holds what the product says.
pub(crate) unsafe fn round_left(product: &Product<'_>, to: &mut Vec<f32>) -> Matrix {
    let Product { left, rows, .. } = *product;
    let depth = product.right.rows();
    let pairs = depth.div_ceil(2);
    to.clear();
    to.reserve(rows * pairs);
    let values = to.as_mut_ptr();
    if left.column_stride == 1 {
        for row in 0..rows {
            // SAFETY: the row lies in the matrix, its pairs in the reserved memory.
            unsafe { round(left.at(row, 0).values, depth, values.add(row * pairs)) };
        }
        return Matrix { values, row_stride: pairs, column_stride: 1 };
    }
    let mut gathered = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        // SAFETY: the columns lie in the matrix, their pairs in the reserved memory.
        unsafe {
            let [first, second] = &mut gathered;
            let first = column(left.at(0, 2 * pair), rows, first);
            let second = (2 * pair + 1 < depth).then(|| column(left.at(0, 2 * pair + 1), rows, second));
            interleave(first, second, rows, values.add(pair * rows));
        }
    }
    Matrix { values, row_stride: 1, column_stride: rows }
}

/// A column's numbers side by side: where they lie, or gathered.
///
/// # Safety
/// The matrix has as many rows.
unsafe fn column(matrix: Matrix, rows: usize, gathered: &mut Vec<f32>) -> *const f32 {
    if matrix.row_stride == 1 {
        return matrix.values;
    }
    gathered.clear();
    // SAFETY: the caller's promise.
    gathered.extend((0..rows).map(|row| unsafe { *matrix.at(row, 0).values }));
    gathered.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Precision;

    #[test]
    fn numbers_are_rounded_to_nearest_even() {
        if !Precision::Bf16.is_available() {
            eprintln!("skipped: this processor has no bfloat16 products");
            return;
        }
        let from: Vec<f32> = (0..37).map(|i| 1.0 + i as f32 / 512.0).collect();
        let mut to = vec![f32::NAN; 19];
        // SAFETY: the processor was asked; 37 numbers are 19 pairs.
        unsafe { round(from.as_ptr(), from.len(), to.as_mut_ptr()) };
        for (pair, got) in to.iter().enumerate() {
            for half in 0..2 {
                let expected = from.get(2 * pair + half).map_or(0.0, |x| {
                    // Seven bits behind the point, ties to even.
                    (x * 128.0).round_ties_even() / 128.0
                });
                let got = f32::from_bits(got.to_bits() >> (16 * half) << 16);
                assert_eq!(got, expected);
            }
        }
    }
}
