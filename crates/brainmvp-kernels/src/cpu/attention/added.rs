//! What is added to the scores of a window, and its gradient.

use super::{KEYS, blocks};
use crate::cpu::simd::{InstructionSet, Lanes, dispatch, load_some, store_some};
use crate::ops::window::APART;

/// What is added to the scores of all pairs of tokens.
#[derive(Clone, Copy)]
pub(super) struct Added<'a> {
    /// `[tokens, tokens]`
    pub(super) bias: &'a [f32],
    pub(super) tokens: usize,
    /// For each token a number; those with different ones are kept apart.
    pub(super) parts: Option<&'a [f32]>,
}

/// Some queries and keys: the first of each, and how many.
#[derive(Clone, Copy)]
pub(super) struct Pairs {
    pub(super) queries: (usize, usize),
    pub(super) keys: (usize, usize),
}

impl Pairs {
    /// Some queries with all keys.
    pub(super) fn of_all_keys(queries: (usize, usize), tokens: usize) -> Self {
        Self { queries, keys: (0, tokens) }
    }

    /// Some queries with a block of keys.
    pub(super) fn of_block(queries: (usize, usize), block: usize, tokens: usize) -> Self {
        let keys = blocks(tokens, KEYS).nth(block).unwrap_or_default();
        Self { queries, keys }
    }
}

impl Added<'_> {
    /// Adds to products of queries and keys, rows `stride` floats apart, that will be multiplied by `scale`.
    ///
    /// # Safety
    /// There is a row for each query, of whole vectors.
    pub(super) unsafe fn add_to(
        &self,
        set: InstructionSet,
        scores: (*mut f32, usize),
        pairs: Pairs,
        scale: f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe { add_to_scores_on(set, scores, self, pairs, scale.recip()) };
    }
}

/// Adds gradients for the products of queries and keys, rows `KEYS` floats apart, to the gradient for the bias,
/// `[tokens, tokens]`.
///
/// # Safety
/// There is a row for each query, and the sums have all pairs.
pub(super) unsafe fn add_gradient(
    set: InstructionSet,
    sums: (&mut [f32], usize),
    gradient: &[f32],
    pairs: Pairs,
    scale: f32,
) {
    // SAFETY: the caller's promise.
    unsafe { add_to_sums_on(set, sums, gradient, pairs, scale.recip()) };
}

dispatch! {
    /// See [`Added::add_to`].
    unsafe fn add_to_scores_on(scores: (*mut f32, usize), added: &Added<'_>, pairs: Pairs, factor: f32) = add_to_scores
}

dispatch! {
    /// See [`add_gradient`].
    unsafe fn add_to_sums_on(sums: (&mut [f32], usize), gradient: &[f32], pairs: Pairs, factor: f32) = add_to_sums
}

#[inline(always)]
unsafe fn add_to_scores<L: Lanes>(
    (scores, stride): (*mut f32, usize),
    added: &Added<'_>,
    Pairs { queries: (first, rows), keys: (first_key, count) }: Pairs,
    factor: f32,
) {
    for row in 0..rows {
        let bias = &added.bias[(first + row) * added.tokens + first_key..][..count];
        let parts = added.parts.map(|parts| (&parts[first_key..][..count], parts[first + row]));
        for at in (0..count).step_by(L::N) {
            // SAFETY: both slices have `count` floats; the caller promises a row of whole vectors.
            unsafe {
                let (place, left) = (scores.add(row * stride + at), (count - at) as isize);
                let mut value = load_some::<L>(bias.as_ptr().add(at), left);
                if let Some((parts, own)) = parts {
                    let difference = load_some::<L>(parts.as_ptr().add(at), left).sub(L::splat(own));
                    let differs = L::zero().sub(difference.mul(difference));
                    value = value.add(L::splat(APART).where_negative(differs, L::zero()));
                }
                L::load(place).mul_add(value, L::splat(factor)).store(place);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_to_sums<L: Lanes>(
    (sums, tokens): (&mut [f32], usize),
    gradient: &[f32],
    Pairs { queries: (first, rows), keys: (first_key, count) }: Pairs,
    factor: f32,
) {
    for row in 0..rows {
        let sums = &mut sums[(first + row) * tokens + first_key..][..count];
        let gradient = &gradient[row * KEYS..][..count];
        for at in (0..count).step_by(L::N) {
            // SAFETY: both slices have `count` floats.
            unsafe {
                let (place, left) = (sums.as_mut_ptr().add(at), (count - at) as isize);
                let more = load_some::<L>(gradient.as_ptr().add(at), left);
                store_some(load_some::<L>(place, left).mul_add(more, L::splat(factor)), place, left);
            }
        }
    }
}
