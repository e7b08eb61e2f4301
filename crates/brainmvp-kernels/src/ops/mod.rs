//! The operations: one file each, with the operation in Burn's own operations.
//!
//! The public functions take and return [`Tensor`]s, check shapes, and go through the backend extension.

use brainmvp_ranks::Ranks;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Scalar, TensorMetadata};
use burn::tensor::{Shape, Tensor};

use crate::VolumeOps;
pub use adamw::AdamWStep;
pub use crop::CropOptions;
pub use expand::coarser;
pub use group_norm::{Activation, GroupNormOptions};
pub use window::WindowOptions;

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod crop;
pub(crate) mod depthwise;
pub(crate) mod expand;
pub(crate) mod group_norm;
pub(crate) mod linear;
pub(crate) mod mlp;
pub(crate) mod norm;
pub(crate) mod overlap;
pub(crate) mod patch;
pub mod ranks;
pub(crate) mod residual;
pub(crate) mod window;

/// Depthwise convolution, stride 1, zero-padded so that the size stays.
///
/// # Shapes
/// - `x`: `[B, D, H, W, C]`
/// - `weight`: `[K, K, K, C]` with K odd, axes in the order of D, H, W
/// - `bias`: `[C]`
/// - output: `[B, D, H, W, C]`
pub fn depthwise_conv3d(x: Tensor<5>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<5> {
    let [_, _, _, _, channels] = x.dims();
    let [kd, kh, kw, weight_channels] = weight.dims();
    assert!(kd == kh && kh == kw && kd % 2 == 1, "depthwise kernels are odd cubes, got {kd}x{kh}x{kw}");
    assert_eq!(channels, weight_channels, "channels of input and weight");
    Tensor::from_dispatch(Dispatch::depthwise_conv3d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Dense convolution without bias, zero-padded by `K / 2`.
///
/// # Shapes
/// - `x`: `[B, D, H, W, Cin]`
/// - `weight`: `[K, K, K, Cin, Cout]` with K odd
/// - output: `[B, ceil(D / stride), ceil(H / stride), ceil(W / stride), Cout]`
pub fn conv3d(x: Tensor<5>, weight: Tensor<5>, stride: usize) -> Tensor<5> {
    let [kd, kh, kw, channels, _] = weight.dims();
    assert!(kd == kh && kh == kw && kd % 2 == 1, "dense kernels are odd cubes, got {kd}x{kh}x{kw}");
    assert_eq!(x.dims()[4], channels, "channels of input and weight");
    Tensor::from_dispatch(Dispatch::dense_conv3d(x.into_dispatch(), weight.into_dispatch(), stride))
}

/// `x W + b` over the last axis: a 1x1x1 convolution, a projection, a classifier.
///
/// # Shapes
/// - `x`: `[.., Cin]`
/// - `weight`: `[Cin, Cout]`
/// - `bias`: `[Cout]`
/// - output: `[.., Cout]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::voxel_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// `onto + x W + b`: [`linear`] and the sum with a residual path. Shapes as [`linear`], `onto` as the output.
pub fn linear_onto<const D: usize>(
    onto: Tensor<D>,
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<D> {
    assert_eq!(x.dims()[D - 1], weight.dims()[0], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::voxel_linear_onto(
        onto.into_dispatch(),
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// `onto + gelu(x W1 + b1) W2 + b2`: a perceptron of one hidden layer with the exact (erf) GELU, and the sum with a
/// residual path. Hidden activations are not kept for the gradient but computed again.
///
/// # Shapes
/// - `x`: `[.., Cin]`
/// - `weights`: `[Cin, Chidden]` and `[Chidden, Cout]`
/// - `biases`: `[Chidden]` and `[Cout]`
/// - `onto` and output: `[.., Cout]`
pub fn mlp_onto<const D: usize>(
    onto: Tensor<D>,
    x: Tensor<D>,
    weights: [Tensor<2>; 2],
    biases: [Tensor<1>; 2],
) -> Tensor<D> {
    let [weight1, weight2] = weights;
    let [bias1, bias2] = biases;
    assert_eq!(x.dims()[D - 1], weight1.dims()[0], "channels of input and weight");
    assert_eq!(weight1.dims()[1], weight2.dims()[0], "channels of the two weights");
    Tensor::from_dispatch(Dispatch::voxel_mlp_onto(
        onto.into_dispatch(),
        x.into_dispatch(),
        weight1.into_dispatch(),
        bias1.into_dispatch(),
        weight2.into_dispatch(),
        bias2.into_dispatch(),
    ))
}

/// Layer norm over the channels of each voxel.
///
/// # Shapes
/// - `x` and output: `[.., C]`
/// - `scale`, `shift`: `[C]`
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f32,
) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::channel_layer_norm(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        epsilon,
    ))
}

/// The results of a batch norm in training.
pub struct BatchNormed<const D: usize> {
    /// The normalised activations, shaped as the input.
    pub output: Tensor<D>,
    /// Mean of each channel over the batch (of all ranks) and all voxels, `[C]`.
    /// No gradient flows through it.
    pub mean: Tensor<1>,
    /// Biased variance of each channel, `[C]`. No gradient flows through it.
    pub variance: Tensor<1>,
}

/// Batch norm with the statistics of this batch: of the parts of it that all ranks have, which are equally large.
///
/// # Shapes
/// - `x`: `[.., C]`
/// - `scale`, `shift`: `[C]`
pub fn batch_norm_train<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    epsilon: f32,
    ranks: &Ranks,
) -> BatchNormed<D> {
    let (x, scale, shift) = (x.into_dispatch(), scale.into_dispatch(), shift.into_dispatch());
    let (output, mean, variance) = if ranks.is_alone() {
        Dispatch::channel_batch_norm(x, scale, shift, epsilon)
    } else {
        Dispatch::shared_batch_norm(x, scale, shift, epsilon, ranks.clone())
    };
    BatchNormed {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// Group norm: each case and group of channels is normalised by its own statistics over all voxels. Then an activation.
///
/// # Shapes
/// - `x` and output: `[B, .., C]`
/// - `scale`, `shift`: `[C]`
pub fn group_norm<const D: usize>(
    x: Tensor<D>,
    scale: Tensor<1>,
    shift: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<D> {
    let (channels, groups) = (x.dims()[D - 1], options.groups);
    assert!(groups > 0 && channels % groups == 0, "{channels} channels do not divide into {groups} groups");
    let (output, _) = Dispatch::channel_group_norm(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        options,
    );
    Tensor::from_dispatch(output)
}

/// What Dice and cross-entropy of a segmentation are made of: for each class, the sums over voxels of `p t`, `p p`, `t t` and the
/// binary cross-entropy `-t log p - (1 - t) log(1 - p)`, where `p` is the logistic function of the logit and `t` the
/// membership. Voxels whose membership is below zero have no part in it. Gradients flow to the logits only.
///
/// # Shapes
/// - `logits`, `members`: `[.., classes]`
/// - output: `[4, classes]`
pub fn overlap_sums<const D: usize>(logits: Tensor<D>, members: Tensor<D>) -> Tensor<2> {
    assert_eq!(logits.dims(), members.dims(), "logits and members");
    Tensor::from_dispatch(Dispatch::overlap_sums(logits.into_dispatch(), members.into_dispatch()))
}

/// The leaky ReLU of the sum of two paths, with a positive slope below zero.
///
/// # Shapes
/// Both inputs and the output have the same shape.
pub fn leaky_sum<const D: usize>(x: Tensor<D>, y: Tensor<D>, slope: f32) -> Tensor<D> {
    assert!(slope > 0.0, "the slope is positive, got {slope}");
    assert_eq!(x.dims(), y.dims(), "shapes of the two paths");
    Tensor::from_dispatch(Dispatch::leaky_sum(x.into_dispatch(), y.into_dispatch(), slope))
}

/// [`group_norm`], then [`conv3d`]. The values between them are not stored for the gradient but computed again, in a
/// pass over memory.
pub fn group_norm_conv3d(
    x: Tensor<5>,
    [scale, shift]: [Tensor<1>; 2],
    weight: Tensor<5>,
    norm: GroupNormOptions,
    stride: usize,
) -> Tensor<5> {
    assert_eq!(x.dims()[4], weight.dims()[3], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::group_norm_conv(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        weight.into_dispatch(),
        norm,
        stride,
    ))
}

/// [`conv3d`] of stride 1, then [`group_norm`]. The values between them are not stored for the gradient but computed
/// again: for cheap convolutions, such as those of one voxel or with few channels.
pub fn conv3d_group_norm(
    x: Tensor<5>,
    weight: Tensor<5>,
    [scale, shift]: [Tensor<1>; 2],
    norm: GroupNormOptions,
) -> Tensor<5> {
    assert_eq!(x.dims()[4], weight.dims()[3], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::conv_group_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        norm,
    ))
}

/// `x` times a factor of each channel, plus a shift of each channel: a batch norm with known statistics.
///
/// # Shapes
/// - `x` and output: `[.., C]`
/// - `scale`, `shift`: `[C]`
pub fn channel_affine<const D: usize>(x: Tensor<D>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::channel_affine(
        x.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
    ))
}

/// A part of a volume, `(x - min) / max(max - min, floor)` with the extremes of the whole volume, and with gradient
/// through them: a template as BrainMVP inserts it into an image.
///
/// # Shapes
/// - `x`: `[D, H, W]`, not empty
/// - output: `[D, H, W]` of [`CropOptions::size`]; the part lies inside the volume
pub fn normalized_crop(x: Tensor<3>, options: CropOptions) -> Tensor<3> {
    let whole = x.dims();
    let inside = (0..3).all(|axis| options.start[axis] + options.size[axis] <= whole[axis]);
    assert!(inside, "{options:?} lies inside of {whole:?}");
    Tensor::from_dispatch(Dispatch::normalized_crop(x.into_dispatch(), options))
}

/// `fine` and the next coarser level of a pyramid, interpolated to its grid: between the centres of coarse voxels trilinearly,
/// beyond the outermost as there (EXPAND of Burt and Adelson's pyramids, with the weights 1, 3, 3, 1).
///
/// # Shapes
/// - `fine` and output: `[D, H, W]`, not empty
/// - `coarse`: [`coarser`] of each
pub fn expand_onto(fine: Tensor<3>, coarse: Tensor<3>) -> Tensor<3> {
    assert_eq!(coarse.dims(), fine.dims().map(coarser), "sizes of the coarser level");
    Tensor::from_dispatch(Dispatch::expand_onto(fine.into_dispatch(), coarse.into_dispatch()))
}

/// Multi-head self-attention over all tokens, scaled by `head_width^-0.5`, without the projections around it.
///
/// # Shapes
/// - `qkv`: `[B, N, 3 C]`, the queries of all heads first, then keys, then values
/// - output: `[B, N, C]`
pub fn attention(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    assert_eq!(qkv.dims()[2] % (3 * heads), 0, "channels divide into three times the heads");
    Tensor::from_dispatch(Dispatch::token_attention(qkv.into_dispatch(), heads).0)
}

/// Multi-head self-attention within windows of a volume, scaled by `head_width^-0.5`, without the projections around it.
/// To the scores of a window a bias is added, and -100 to those of two tokens that are in one window only because voxels
/// before the shift went to the end (Liu et al. 2021, "Swin Transformer").
///
/// # Shapes
/// - `qkv`: `[B, D, H, W, 3 C]`, the queries of all heads first, then keys, then values
/// - `outside`: `[3 C]`, the same for voxels beyond the end
/// - `bias`: `[heads, N, N]`, from each of the N tokens of a window to each, x fastest
/// - output: `[B, D, H, W, C]`
pub fn window_attention(
    qkv: Tensor<5>,
    outside: Tensor<1>,
    bias: Tensor<3>,
    options: WindowOptions,
) -> Tensor<5> {
    let ([heads, from, to], channels) = (bias.dims(), qkv.dims()[4]);
    assert!(channels.is_multiple_of(3 * heads), "channels divide into three times the heads");
    assert_eq!(outside.dims(), [channels], "channels within and outside");
    assert_eq!([from, to], [options.tokens(); 2], "tokens of a window");
    assert!((0..3).all(|axis| options.shift[axis] < options.window[axis]), "{options:?}");
    let (qkv, outside, bias) = (qkv.into_dispatch(), outside.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::window_attention(qkv, outside, bias, options).0)
}

/// Convolution with kernel 2^3 and stride 2: each block of eight voxels becomes one.
///
/// # Shapes
/// - `x`: `[B, D, H, W, Cin]`, D, H, W even
/// - `weight`: `[2, 2, 2, Cin, Cout]`
/// - `bias`: `[Cout]`
/// - output: `[B, D/2, H/2, W/2, Cout]`
pub fn downsample(x: Tensor<5>, weight: Tensor<5>, bias: Tensor<1>) -> Tensor<5> {
    let [_, d, h, w, channels] = x.dims();
    assert!(d % 2 == 0 && h % 2 == 0 && w % 2 == 0, "downsampling needs even sizes, got {d}x{h}x{w}");
    assert_eq!(channels, weight.dims()[3], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::patch_downsample(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Transposed convolution with kernel 2^3 and stride 2, without bias: each voxel becomes a block of eight.
///
/// # Shapes
/// - `x`: `[B, D, H, W, Cin]`
/// - `weight`: `[Cin, 2, 2, 2, Cout]`
/// - output: `[B, 2D, 2H, 2W, Cout]`
pub fn upsample(x: Tensor<5>, weight: Tensor<5>) -> Tensor<5> {
    assert_eq!(x.dims()[4], weight.dims()[0], "channels of input and weight");
    Tensor::from_dispatch(Dispatch::patch_upsample(x.into_dispatch(), weight.into_dispatch()))
}

/// A value and its two moments after an update by AdamW. No gradient flows through it.
///
/// # Shapes
/// All inputs and outputs have the same shape.
pub fn adamw<const D: usize>(
    [value, gradient, first, second]: [Tensor<D>; 4],
    step: AdamWStep,
) -> [Tensor<D>; 3] {
    assert!([&gradient, &first, &second].iter().all(|tensor| tensor.dims() == value.dims()), "one shape");
    let (value, first, second) = Dispatch::adamw(
        value.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        step,
    );
    [value, first, second].map(Tensor::from_dispatch)
}

/// The sum of the squares of all elements, `[1]`. No gradient flows through it.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::sum_of_squares(x.into_dispatch()))
}

/// `tensor` with another shape of the same number of elements.
fn reshape<B: Backend>(tensor: FloatTensor<B>, shape: impl Into<Shape>) -> FloatTensor<B> {
    B::float_reshape(tensor, shape.into())
}

/// The sizes of a primitive.
fn dims<B: Backend>(tensor: &FloatTensor<B>) -> Vec<usize> {
    tensor.shape().to_vec()
}

/// `[.., C]` seen as `[voxels, C]`.
fn flat<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let shape = dims::<B>(&tensor);
    let channels = shape[shape.len() - 1];
    let voxels: usize = shape[..shape.len() - 1].iter().product();
    reshape::<B>(tensor, [voxels, channels])
}

/// A per-channel vector seen as `[1, C]`, to be broadcast over voxels.
fn row<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let channels = tensor.shape().num_elements();
    reshape::<B>(tensor, [1, channels])
}

fn scalar(value: f32) -> Scalar {
    Scalar::Float(f64::from(value))
}
