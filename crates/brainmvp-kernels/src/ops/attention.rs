//! Softmax attention in Burn's own terms.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Slice;

use super::{dims, reshape, scalar};

pub(crate) fn reference<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> FloatTensor<B> {
    let shape = dims::<B>(&qkv);
    let (batch, tokens, channels) = (shape[0], shape[1], shape[2] / 3);
    let width = channels / heads;
    // [B, N, 3, heads, width] -> [3, B, heads, N, width]
    let split = B::float_permute(reshape::<B>(qkv, [batch, tokens, 3, heads, width]), &[2, 0, 3, 1, 4]);
    let part = |index: usize| {
        let slices = [Slice::from(index..index + 1), full(batch), full(heads), full(tokens), full(width)];
        reshape::<B>(B::float_slice(split.clone(), &slices), [batch, heads, tokens, width])
    };
    let query = B::float_mul_scalar(part(0), scalar((width as f32).powf(-0.5)));
    let scores = B::float_matmul(query, B::float_swap_dims(part(1), 2, 3));
    let mixed = B::float_matmul(softmax::<B>(scores), part(2));
    reshape::<B>(B::float_swap_dims(mixed, 1, 2), [batch, tokens, channels])
}

fn full(size: usize) -> Slice {
    Slice::from(0..size)
}

/// Softmax over the last of four axes, shifted by the row's maximum.
fn softmax<B: Backend>(scores: FloatTensor<B>) -> FloatTensor<B> {
    let largest = B::float_detach(B::float_max_dim(B::float_detach(scores.clone()), 3));
    let exponentials = B::float_exp(B::float_sub(scores, largest));
    let sum = B::float_sum_dim(exponentials.clone(), 3);
    B::float_div(exponentials, sum)
}
