//! Norms over the channels in Burn's own operations, and their gradients.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

use super::{dims, flat, reshape, row, scalar};

/// The axis of `[voxels, channels]` over which a norm computes its statistics.
#[derive(Clone, Copy)]
enum Over {
    Voxels = 0,
    Channels = 1,
}

pub(crate) fn layer_norm_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
) -> FloatTensor<B> {
    normalise::<B>(x, scale, shift, epsilon, Over::Channels).0
}

pub(crate) fn layer_norm_backward_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    gradient: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&x);
    let [centred, _, variance] = statistics::<B>(flat::<B>(x), Over::Channels);
    let deviation = deviation::<B>(variance, epsilon);
    let (input, scale, shift) = backward::<B>(centred, deviation, scale, gradient, Over::Channels);
    (reshape::<B>(input, shape), scale, shift)
}

pub(crate) fn batch_norm_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let channels = scale_len::<B>(&scale);
    let (output, mean, variance) = normalise::<B>(x, scale, shift, epsilon, Over::Voxels);
    (output, reshape::<B>(mean, [channels]), reshape::<B>(variance, [channels]))
}

pub(crate) fn batch_norm_backward_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    [mean, variance]: [FloatTensor<B>; 2],
    gradient: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&x);
    let centred = B::float_sub(flat::<B>(x), row::<B>(mean));
    let deviation = deviation::<B>(row::<B>(variance), epsilon);
    let (input, scale, shift) = backward::<B>(centred, deviation, scale, gradient, Over::Voxels);
    (reshape::<B>(input, shape), scale, shift)
}

pub(crate) fn affine_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let scaled = B::float_mul(flat::<B>(x), row::<B>(scale));
    reshape::<B>(B::float_add(scaled, row::<B>(shift)), shape)
}

pub(crate) fn affine_backward_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    gradient: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, channels) = (dims::<B>(&x), scale_len::<B>(&scale));
    let gradient = flat::<B>(gradient);
    let input = B::float_mul(gradient.clone(), row::<B>(scale));
    let scale = B::float_sum_dim(B::float_mul(gradient.clone(), flat::<B>(x)), 0);
    let shift = B::float_sum_dim(gradient, 0);
    (reshape::<B>(input, shape), reshape::<B>(scale, [channels]), reshape::<B>(shift, [channels]))
}

fn scale_len<B: Backend>(scale: &FloatTensor<B>) -> usize {
    dims::<B>(scale)[0]
}

/// `x` minus its mean, the mean and the biased variance.
fn statistics<B: Backend>(x: FloatTensor<B>, over: Over) -> [FloatTensor<B>; 3] {
    let mean = B::float_mean_dim(x.clone(), over as usize);
    let centred = B::float_sub(x, mean.clone());
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), over as usize);
    [centred, mean, variance]
}

fn deviation<B: Backend>(variance: FloatTensor<B>, epsilon: f32) -> FloatTensor<B> {
    B::float_sqrt(B::float_add_scalar(variance, scalar(epsilon)))
}

/// The output, shaped as `x`, with the mean and the variance.
fn normalise<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
    over: Over,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&x);
    let [centred, mean, variance] = statistics::<B>(flat::<B>(x), over);
    let normalised = B::float_div(centred, deviation::<B>(variance.clone(), epsilon));
    let output = B::float_add(B::float_mul(normalised, row::<B>(scale)), row::<B>(shift));
    (reshape::<B>(output, shape), mean, variance)
}

/// Gradients for input (flat), scale and shift. With `n` the normalised input and `g` the gradient times the scale,
/// the input's is `(g - mean(g) - n mean(g n)) / deviation`.
fn backward<B: Backend>(
    centred: FloatTensor<B>,
    deviation: FloatTensor<B>,
    scale: FloatTensor<B>,
    gradient: FloatTensor<B>,
    over: Over,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let channels = scale_len::<B>(&scale);
    let gradient = flat::<B>(gradient);
    let normalised = B::float_div(centred, deviation.clone());
    let scale_gradient = B::float_sum_dim(B::float_mul(gradient.clone(), normalised.clone()), 0);
    let shift_gradient = B::float_sum_dim(gradient.clone(), 0);
    let scaled = B::float_mul(gradient, row::<B>(scale));
    let along = B::float_mean_dim(B::float_mul(scaled.clone(), normalised.clone()), over as usize);
    let mean = B::float_mean_dim(scaled.clone(), over as usize);
    let input = B::float_sub(B::float_sub(scaled, mean), B::float_mul(normalised, along));
    (
        B::float_div(input, deviation),
        reshape::<B>(scale_gradient, [channels]),
        reshape::<B>(shift_gradient, [channels]),
    )
}
