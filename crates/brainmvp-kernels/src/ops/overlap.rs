//! The sums of a segmentation's losses in Burn's own operations, and their gradient.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Slice;

use super::{dims, flat, reshape, scalar};

/// The number of sums of each class.
pub(crate) const SUMS: usize = 4;

pub(crate) fn reference<B: Backend>(logits: FloatTensor<B>, members: FloatTensor<B>) -> FloatTensor<B> {
    let (logits, members) = (flat::<B>(logits), flat::<B>(members));
    let known = known::<B>(members.clone());
    let probability = B::float_mul(B::sigmoid(logits.clone()), known.clone());
    let truth = B::float_mul(members, known.clone());
    let below = B::float_neg(B::float_abs(logits.clone()));
    let above = B::float_clamp_min(logits.clone(), scalar(0.0));
    let softplus = B::float_add(above, B::float_log1p(B::float_exp(below)));
    let entropy = B::float_sub(B::float_mul(softplus, known), B::float_mul(logits, truth.clone()));
    let product = |a: &FloatTensor<B>, b: &FloatTensor<B>| B::float_mul(a.clone(), b.clone());
    let overlap = product(&probability, &truth);
    let squares = [product(&probability, &probability), product(&truth, &truth)];
    let [predicted, labelled] = squares;
    let sums = [overlap, predicted, labelled, entropy].map(|values| B::float_sum_dim(values, 0));
    B::float_cat(sums.to_vec(), 0)
}

pub(crate) fn reference_backward<B: Backend>(
    logits: FloatTensor<B>,
    members: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = dims::<B>(&logits);
    let (logits, members) = (flat::<B>(logits), flat::<B>(members));
    let of = |sum: usize| {
        let row = Slice::new(sum as isize, Some(sum as isize + 1), 1);
        B::float_slice(gradient.clone(), &[row, Slice::full()])
    };
    let known = known::<B>(members.clone());
    let probability = B::sigmoid(logits);
    let rest = B::float_sub(probability.clone(), B::float_mul(probability.clone(), probability.clone()));
    let of_squares = B::float_mul(B::float_mul_scalar(probability.clone(), scalar(2.0)), of(1));
    let of_probability = B::float_add(B::float_mul(members.clone(), of(0)), of_squares);
    let of_entropy = B::float_mul(B::float_sub(probability, members), of(3));
    let gradient = B::float_add(B::float_mul(rest, of_probability), of_entropy);
    reshape::<B>(B::float_mul(gradient, known), shape)
}

/// 0 where members are below zero, else 1.
fn known<B: Backend>(members: FloatTensor<B>) -> FloatTensor<B> {
    B::float_clamp_max(B::float_add_scalar(B::float_sign(members), scalar(1.0)), scalar(1.0))
}
