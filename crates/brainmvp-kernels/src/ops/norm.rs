//! Norms over the channels in Burn's own terms.

use burn::backend::tensor::FloatTensor;
use burn::backend::Backend;

use super::{dims, flat, reshape, row, scalar};

pub(crate) fn layer_norm_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let x = flat::<B>(x);
    let centred = B::float_sub(x.clone(), B::float_mean_dim(x, 1));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 1);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, scalar(epsilon)));
    let normalised = B::float_div(centred, deviation);
    let output = B::float_add(B::float_mul(normalised, row::<B>(scale)), row::<B>(shift));
    reshape::<B>(output, shape)
}

pub(crate) fn batch_norm_reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&x);
    let channels = shape[shape.len() - 1];
    let x = flat::<B>(x);
    let mean = B::float_mean_dim(x.clone(), 0);
    let centred = B::float_sub(x, mean.clone());
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 0);
    let deviation = B::float_sqrt(B::float_add_scalar(variance.clone(), scalar(epsilon)));
    let normalised = B::float_div(centred, deviation);
    let output = B::float_add(B::float_mul(normalised, row::<B>(scale)), row::<B>(shift));
    (reshape::<B>(output, shape), reshape::<B>(mean, [channels]), reshape::<B>(variance, [channels]))
}
