//! Group norm with its activation in Burn's own operations, and its gradient.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Slice;

use super::{dims, reshape, scalar};

/// The options of a group norm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// Groups of neighbouring channels that share their statistics; divides the channels. With one group per channel it
    /// is an instance norm.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// The activation that follows in the same pass over memory.
    pub activation: Activation,
}

/// The treatment of values below zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// They stay as they are.
    None,
    /// They become zero.
    Relu,
    /// They are multiplied by this.
    LeakyRelu(f32),
}

impl Activation {
    /// The factor of values below zero.
    pub fn negative_slope(self) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu(slope) => slope,
        }
    }
}

/// Output, and moments `[B, 2, groups]`: mean, then biased variance.
pub(crate) fn reference<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    options: GroupNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let shape = dims::<B>(&x);
    let x = grouped::<B>(x, options.groups);
    let mean = mean_of_groups::<B>(x.clone());
    let centred = B::float_sub(x, mean.clone());
    let variance = mean_of_groups::<B>(B::float_mul(centred.clone(), centred.clone()));
    let moments = [mean, variance].map(|moment| reshape::<B>(moment, [shape[0], 1, options.groups]));
    let moments = B::float_cat(moments.into(), 1);
    let (normalised, _) = normalise::<B>(centred, moments.clone(), options.epsilon);
    let before = affine::<B>(normalised, scale, shift, options.groups);
    let output = B::float_mul(slopes::<B>(before.clone(), options.activation), before);
    (reshape::<B>(output, shape), moments)
}

/// Gradients for input, scale and shift. With `n` the normalised input and `g` the gradient before the activation
/// times the scale, the input's is `(g - mean(g) - n mean(g n)) / deviation`.
pub(crate) fn reference_backward<B: Backend>(
    x: FloatTensor<B>,
    [scale, shift]: [FloatTensor<B>; 2],
    moments: FloatTensor<B>,
    gradient: FloatTensor<B>,
    options: GroupNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, groups) = (dims::<B>(&x), options.groups);
    let channels = dims::<B>(&scale)[0];
    let centred = B::float_sub(grouped::<B>(x, groups), moment::<B>(moments.clone(), 0));
    let (normalised, deviation) = normalise::<B>(centred, moments, options.epsilon);
    let before = affine::<B>(normalised.clone(), scale.clone(), shift, groups);
    let gradient = B::float_mul(grouped::<B>(gradient, groups), slopes::<B>(before, options.activation));
    let per_channel = |values| reshape::<B>(B::float_sum_dim(B::float_sum_dim(values, 0), 1), [channels]);
    let scale_gradient = per_channel(B::float_mul(gradient.clone(), normalised.clone()));
    let shift_gradient = per_channel(gradient.clone());
    let scaled = B::float_mul(gradient, by_group::<B>(scale, groups));
    let along = mean_of_groups::<B>(B::float_mul(scaled.clone(), normalised.clone()));
    let mean = mean_of_groups::<B>(scaled.clone());
    let input = B::float_sub(B::float_sub(scaled, mean), B::float_mul(normalised, along));
    (reshape::<B>(B::float_div(input, deviation), shape), scale_gradient, shift_gradient)
}

/// `[B, .., C]` seen as `[B, voxels, groups, C / groups]`.
fn grouped<B: Backend>(x: FloatTensor<B>, groups: usize) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let (batch, channels) = (shape[0], shape[shape.len() - 1]);
    let voxels: usize = shape[1..shape.len() - 1].iter().product();
    reshape::<B>(x, [batch, voxels, groups, channels / groups])
}

/// A per-channel vector seen as `[1, 1, groups, C / groups]`.
fn by_group<B: Backend>(values: FloatTensor<B>, groups: usize) -> FloatTensor<B> {
    let channels = dims::<B>(&values)[0];
    reshape::<B>(values, [1, 1, groups, channels / groups])
}

/// Mean over voxels and channels of a group, `[B, 1, groups, 1]`.
fn mean_of_groups<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mean_dim(B::float_mean_dim(x, 1), 3)
}

/// The mean (0) or the variance (1), `[B, 1, groups, 1]`.
fn moment<B: Backend>(moments: FloatTensor<B>, index: isize) -> FloatTensor<B> {
    let shape = dims::<B>(&moments);
    let slices = [Slice::full(), Slice::new(index, Some(index + 1), 1)];
    reshape::<B>(B::float_slice(moments, &slices), [shape[0], 1, shape[2], 1])
}

/// `centred` divided by its deviation, and the deviation, `[B, 1, groups, 1]`.
fn normalise<B: Backend>(
    centred: FloatTensor<B>,
    moments: FloatTensor<B>,
    epsilon: f32,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let variance = moment::<B>(moments, 1);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, scalar(epsilon)));
    (B::float_div(centred, deviation.clone()), deviation)
}

fn affine<B: Backend>(
    normalised: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    groups: usize,
) -> FloatTensor<B> {
    let scaled = B::float_mul(normalised, by_group::<B>(scale, groups));
    B::float_add(scaled, by_group::<B>(shift, groups))
}

/// The derivative of the activation at each value: 1 above zero, the negative slope elsewhere.
pub(super) fn slopes<B: Backend>(before: FloatTensor<B>, activation: Activation) -> FloatTensor<B> {
    let negative = activation.negative_slope();
    let above_zero = B::float_clamp_min(B::float_sign(before), scalar(0.0));
    B::float_add_scalar(B::float_mul_scalar(above_zero, scalar(1.0 - negative)), scalar(negative))
}
