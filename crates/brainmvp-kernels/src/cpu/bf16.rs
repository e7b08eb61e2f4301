//! Matrix products of bfloat16 numbers, summed in fp32.
//!
//! The instruction multiplies two pairs of numbers and adds both products to a sum, so a register holds a pair of
//! neighbours along the product's depth in each lane. Pairs travel as the bits of a float.

use std::arch::x86_64::*;

use super::product::{Matrix, Operand};

/// Operands whose lanes are pairs of bfloat16 numbers.
pub(crate) struct Pairs;

impl Operand<__m512> for Pairs {
    const ONE: f32 = f32::from_bits(0x3F80_3F80);

    #[inline(always)]
    unsafe fn add_product(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: the caller has the instruction set; the registers are of one size, and all bits are pairs.
        unsafe {
            _mm512_dpbf16_ps(
                sum,
                std::mem::transmute::<__m512, __m512bh>(left),
                std::mem::transmute::<__m512, __m512bh>(right),
            )
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
    let whole = count - count % 16;
    // Without a second row nothing of it is loaded: no mask has a bit, and the address is only carried along.
    let (second, kept) = second.map_or((first, 0), |second| (second, u16::MAX));
    // SAFETY: what is read and written lies before `count`, by the step or by the mask.
    unsafe {
        for at in (0..whole).step_by(16) {
            let high = _mm512_maskz_loadu_ps(kept, second.add(at));
            _mm512_storeu_ps(to.add(at), pairs_of(_mm512_loadu_ps(first.add(at)), high));
        }
        if whole < count {
            let mask = mask(count - whole);
            let low = _mm512_maskz_loadu_ps(mask, first.add(whole));
            let high = _mm512_maskz_loadu_ps(mask & kept, second.add(whole));
            _mm512_mask_storeu_ps(to.add(whole), mask, pairs_of(low, high));
        }
    }
}

/// Pairs of the lanes of two registers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn pairs_of(low: __m512, high: __m512) -> __m512 {
    /// Where the words of a register come from that has those of its halves in turn.
    const IN_TURN: [u16; 32] = {
        let mut words = [0; 32];
        let mut at = 0;
        while at < 32 {
            words[at] = (at / 2 + at % 2 * 16) as u16;
            at += 1;
        }
        words
    };
    // SAFETY: the table has the size of a register; bits are bits.
    let in_turn = unsafe { _mm512_loadu_si512(IN_TURN.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(in_turn, rounded(low, high)))
}

/// The numbers of two registers rounded, side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) fn rounded(first: __m512, second: __m512) -> __m512i {
    let rounded = _mm512_cvtne2ps_pbh(second, first);
    // SAFETY: the registers are of one size, and all bits are integers.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(rounded) }
}

/// The first lanes, at most 16.
#[inline(always)]
fn mask(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// The numbers of a row rounded, neighbours being pairs; a last one alone is paired with zero.
///
/// # Safety
/// The processor has AVX-512 BF16, the row has `count` floats, `to` has one for each pair.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn round(from: *const f32, count: usize, to: *mut f32) {
    let whole = count - count % 32;
    // SAFETY: what is read and written lies before `count`, by the step or by the masks.
    unsafe {
        for at in (0..whole).step_by(32) {
            let pairs = rounded(_mm512_loadu_ps(from.add(at)), _mm512_loadu_ps(from.add(at + 16)));
            _mm512_storeu_ps(to.add(at / 2), _mm512_castsi512_ps(pairs));
        }
        if whole < count {
            let left = count - whole;
            let first = _mm512_maskz_loadu_ps(mask(left), from.add(whole));
            let second =
                _mm512_maskz_loadu_ps(mask(left.saturating_sub(16)), from.add(whole).wrapping_add(16));
            let pairs = _mm512_castsi512_ps(rounded(first, second));
            _mm512_mask_storeu_ps(to.add(whole / 2), mask(left.div_ceil(2)), pairs);
        }
    }
}

/// The left-hand matrix of a product, rounded, as a matrix of pairs in the memory of `to`.
///
/// # Safety
/// The processor has AVX-512 BF16, and the matrix as many rows and columns.
pub(crate) unsafe fn round_left(left: Matrix, (rows, depth): (usize, usize), to: &mut Vec<f32>) -> Matrix {
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
                    // Seven bits after the binary point, ties to even.
                    (x * 128.0).round_ties_even() / 128.0
                });
                let got = f32::from_bits(got.to_bits() >> (16 * half) << 16);
                assert_eq!(got, expected);
            }
        }
    }
}
