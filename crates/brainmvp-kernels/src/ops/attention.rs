//! Softmax attention in Burn's own operations, and its gradient.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Slice;

use super::{dims, reshape, scalar};

/// The output, and the logarithms of the sums of the softmaxes, `[B, heads, N]`.
pub(crate) fn reference<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> (FloatTensor<B>, FloatTensor<B>) {
    with_bias::<B>(qkv, heads, None)
}

/// The same with something added to the scores, `[1 or B, heads, N, N]`.
pub(crate) fn with_bias<B: Backend>(
    qkv: FloatTensor<B>,
    heads: usize,
    bias: Option<FloatTensor<B>>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let [query, key, value] = split::<B>(qkv, heads);
    let scores = scores::<B>(query, key, bias);
    let largest = B::float_detach(B::float_max_dim(B::float_detach(scores.clone()), 3));
    let exponentials = B::float_exp(B::float_sub(scores, largest.clone()));
    let sum = B::float_sum_dim(exponentials.clone(), 3);
    let log_sums = B::float_add(B::float_log(sum.clone()), largest);
    let mixed = B::float_matmul(B::float_div(exponentials, sum), value);
    let shape = dims::<B>(&mixed);
    let (batch, tokens, channels) = (shape[0], shape[2], heads * shape[3]);
    let output = reshape::<B>(B::float_swap_dims(mixed, 1, 2), [batch, tokens, channels]);
    (output, reshape::<B>(log_sums, [batch, heads, tokens]))
}

pub(crate) fn reference_backward<B: Backend>(
    qkv: FloatTensor<B>,
    results: [FloatTensor<B>; 2],
    gradient: FloatTensor<B>,
    heads: usize,
) -> FloatTensor<B> {
    with_bias_backward::<B>((qkv, None), results, gradient, heads).0
}

/// The gradients for queries, keys and values, and for the scores, `[B, heads, N, N]`.
pub(crate) fn with_bias_backward<B: Backend>(
    (qkv, bias): (FloatTensor<B>, Option<FloatTensor<B>>),
    [output, log_sums]: [FloatTensor<B>; 2],
    gradient: FloatTensor<B>,
    heads: usize,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&qkv);
    let (batch, tokens, width) = (shape[0], shape[1], shape[2] / (3 * heads));
    let [query, key, value] = split::<B>(qkv, heads);
    let [output, gradient] = [output, gradient]
        .map(|tensor| B::float_swap_dims(reshape::<B>(tensor, [batch, tokens, heads, width]), 1, 2));
    let turned = |tensor: &FloatTensor<B>| B::float_swap_dims(tensor.clone(), 2, 3);
    let log_sums = reshape::<B>(log_sums, [batch, heads, tokens, 1]);
    let weights = B::float_exp(B::float_sub(scores::<B>(query.clone(), key.clone(), bias), log_sums));
    let value_gradient = B::float_matmul(turned(&weights), gradient.clone());
    // Through the softmax: each row minus its mean under the probabilities, which is the product of output and gradient.
    let mean = B::float_sum_dim(B::float_mul(output, gradient.clone()), 3);
    let weights_gradient = B::float_matmul(gradient, turned(&value));
    let of_scores = B::float_mul(weights, B::float_sub(weights_gradient, mean));
    let scores = B::float_mul_scalar(of_scores.clone(), scalar((width as f32).powf(-0.5)));
    let key_gradient = B::float_matmul(turned(&scores), query);
    let query_gradient = B::float_matmul(scores, key);
    let parts = [query_gradient, key_gradient, value_gradient]
        .map(|part| reshape::<B>(part, [1, batch, heads, tokens, width]));
    // [3, B, heads, N, width] -> [B, N, 3, heads, width]
    let joined = B::float_permute(B::float_cat(parts.to_vec(), 0), &[1, 3, 0, 2, 4]);
    (reshape::<B>(joined, shape), of_scores)
}

/// Queries, keys and values, each `[B, heads, N, width]`.
fn split<B: Backend>(qkv: FloatTensor<B>, heads: usize) -> [FloatTensor<B>; 3] {
    let shape = dims::<B>(&qkv);
    let (batch, tokens, width) = (shape[0], shape[1], shape[2] / (3 * heads));
    // [B, N, 3, heads, width] -> [3, B, heads, N, width]
    let split = B::float_permute(reshape::<B>(qkv, [batch, tokens, 3, heads, width]), &[2, 0, 3, 1, 4]);
    [0, 1, 2].map(|index: usize| {
        let slices = [Slice::from(index..index + 1), full(batch), full(heads), full(tokens), full(width)];
        reshape::<B>(B::float_slice(split.clone(), &slices), [batch, heads, tokens, width])
    })
}

fn full(size: usize) -> Slice {
    Slice::from(0..size)
}

/// The scaled products of queries and keys, `[B, heads, N, N]`, and the bias.
fn scores<B: Backend>(
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let width = dims::<B>(&query)[3];
    let query = B::float_mul_scalar(query, scalar((width as f32).powf(-0.5)));
    let scores = B::float_matmul(query, B::float_swap_dims(key, 2, 3));
    match bias {
        Some(bias) => B::float_add(scores, bias),
        None => scores,
    }
}
