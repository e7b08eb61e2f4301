//! The kernels as methods of the Flex backend. An operation without a kernel for its size or element type uses the
//! default.

use std::borrow::Cow;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, TensorData};

use super::attention::window;
use super::{
    activation, adamw, attention, batch_norm, conv, crop, depthwise, expand, few_channels, group_norm,
    layer_norm, linear, mlp, overlap, patch, winograd,
};
use crate::VolumeOps;
use crate::ops::{self, AdamWStep, CropOptions, GroupNormOptions, WindowOptions};

type Primitive = FloatTensor<Flex>;

impl VolumeOps for Flex {
    fn depthwise_conv3d(x: Primitive, weight: Primitive, bias: Primitive) -> Primitive {
        let (kernel, sizes) = depthwise_sizes(&x, &weight);
        if let (Some(v), Some(w), Some(b)) = (floats(&x), floats(&weight), floats(&bias)) {
            match kernel {
                3 => return primitive(depthwise::forward::<3>(&v, &w, &b, sizes), x.shape()),
                5 => return primitive(depthwise::forward::<5>(&v, &w, &b, sizes), x.shape()),
                _ => {}
            }
        }
        ops::depthwise::reference::<Flex>(x, weight, bias)
    }

    fn depthwise_conv3d_backward(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive, Primitive) {
        let (kernel, sizes) = depthwise_sizes(&x, &weight);
        if let (Some(x), Some(w), Some(g)) = (floats(&x), floats(&weight), floats(&gradient)) {
            match kernel {
                3 => return depthwise_backward::<3>(&x, &w, &g, sizes),
                5 => return depthwise_backward::<5>(&x, &w, &g, sizes),
                _ => {}
            }
        }
        ops::depthwise::reference_backward::<Flex>(x, weight, gradient)
    }

    fn dense_conv3d(x: Primitive, weight: Primitive, stride: usize) -> Primitive {
        let sizes = conv_sizes(&x, &weight, stride);
        if let (Some(x), Some(w)) = (floats(&x), floats(&weight)) {
            let [d, h, w_out] = sizes.output();
            let forward = way(sizes, [conv::forward, few_channels::forward, winograd::forward]);
            return primitive(forward(&x, &w, sizes), [sizes.batch, d, h, w_out, sizes.outputs]);
        }
        ops::conv::reference::<Flex>(x, weight, stride)
    }

    fn dense_conv3d_backward_input(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
        stride: usize,
    ) -> Primitive {
        let sizes = conv_sizes(&x, &weight, stride);
        if let (Some(w), Some(g)) = (floats(&weight), floats(&gradient)) {
            let ways = [conv::backward_input, few_channels::backward_input, winograd::backward_input];
            let backward = way(sizes, ways);
            return primitive(backward(&g, &w, sizes), x.shape());
        }
        ops::conv::reference_backward_input::<Flex>(x, weight, gradient, stride)
    }

    fn dense_conv3d_backward_weight(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
        stride: usize,
    ) -> Primitive {
        let sizes = conv_sizes(&x, &weight, stride);
        if let (Some(x), Some(g)) = (floats(&x), floats(&gradient)) {
            let ways = [conv::backward_weight, few_channels::backward_weight, winograd::backward_weight];
            let backward = way(sizes, ways);
            return primitive(backward(&x, &g, sizes), weight.shape());
        }
        ops::conv::reference_backward_weight::<Flex>(x, weight, gradient, stride)
    }

    fn voxel_linear(x: Primitive, weight: Primitive, bias: Primitive) -> Primitive {
        let (sizes, shape) = linear_sizes(&x, &weight);
        if let (Some(x), Some(w), Some(b)) = (floats(&x), floats(&weight), floats(&bias)) {
            return primitive(linear::forward(&x, &w, &b, None, sizes), shape);
        }
        ops::linear::reference::<Flex>(x, weight, bias)
    }

    fn voxel_linear_backward(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(w), Some(g)) = (floats(&x), floats(&weight), floats(&gradient)) {
            let gradients = linear::backward(&v, &w, &g, linear_sizes(&x, &weight).0);
            return linear_gradients(gradients, &x, &weight);
        }
        ops::linear::reference_backward::<Flex>(x, weight, gradient)
    }

    fn voxel_linear_onto(onto: Primitive, x: Primitive, weight: Primitive, bias: Primitive) -> Primitive {
        let (sizes, shape) = linear_sizes(&x, &weight);
        if let (Some(o), Some(x), Some(w), Some(b)) =
            (floats(&onto), floats(&x), floats(&weight), floats(&bias))
        {
            return primitive(linear::forward(&x, &w, &b, Some(&o), sizes), shape);
        }
        ops::linear::reference_onto::<Flex>(onto, x, weight, bias)
    }

    fn voxel_mlp_onto(
        onto: Primitive,
        x: Primitive,
        weight1: Primitive,
        bias1: Primitive,
        weight2: Primitive,
        bias2: Primitive,
    ) -> Primitive {
        let tensors = [&onto, &x, &weight1, &bias1, &weight2, &bias2].map(floats);
        if let [Some(o), Some(v), Some(weight1), Some(bias1), Some(weight2), Some(bias2)] = &tensors {
            let sizes = mlp_sizes(&x, bias1, bias2);
            return primitive(
                mlp::forward(v, mlp::Weights { weight1, bias1, weight2, bias2 }, o, sizes),
                onto.shape(),
            );
        }
        drop(tensors);
        ops::mlp::reference::<Flex>(onto, x, ops::mlp::Weights { weight1, bias1, weight2 }, bias2)
    }

    fn voxel_mlp_backward(
        x: Primitive,
        weight1: Primitive,
        bias1: Primitive,
        weight2: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive, Primitive, Primitive, Primitive) {
        let tensors = [&x, &weight1, &bias1, &weight2, &gradient].map(floats);
        if let [Some(v), Some(first), Some(bias), Some(second), Some(g)] = &tensors {
            let outputs = weight2.shape()[1];
            let sizes = mlp::Sizes { outputs, ..mlp_sizes(&x, bias, &[]) };
            let weights = mlp::Weights { weight1: first, bias1: bias, weight2: second, bias2: &[] };
            let gradients = mlp::backward(v, weights, g, sizes);
            return (
                primitive(gradients.input, x.shape()),
                primitive(gradients.weight1, weight1.shape()),
                primitive(gradients.bias1, bias1.shape()),
                primitive(gradients.weight2, weight2.shape()),
                primitive(gradients.bias2, [outputs]),
            );
        }
        drop(tensors);
        ops::mlp::reference_backward::<Flex>(x, ops::mlp::Weights { weight1, bias1, weight2 }, gradient)
            .into()
    }

    fn channel_layer_norm(x: Primitive, scale: Primitive, shift: Primitive, epsilon: f32) -> Primitive {
        if let (Some(v), Some(a), Some(b)) = (floats(&x), floats(&scale), floats(&shift)) {
            return primitive(layer_norm::forward(&v, &a, &b, epsilon), x.shape());
        }
        ops::norm::layer_norm_reference::<Flex>(x, scale, shift, epsilon)
    }

    fn channel_layer_norm_backward(
        x: Primitive,
        scale: Primitive,
        gradient: Primitive,
        epsilon: f32,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(a), Some(g)) = (floats(&x), floats(&scale), floats(&gradient)) {
            return norm_gradients(layer_norm::backward(&v, &a, &g, epsilon), x.shape());
        }
        ops::norm::layer_norm_backward_reference::<Flex>(x, scale, gradient, epsilon)
    }

    fn channel_batch_norm(
        x: Primitive,
        scale: Primitive,
        shift: Primitive,
        epsilon: f32,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(a), Some(b)) = (floats(&x), floats(&scale), floats(&shift)) {
            let (output, moments) = batch_norm::forward(&v, &a, &b, epsilon);
            let [mean, variance] = [moments.mean, moments.variance].map(|v| primitive(v, scale.shape()));
            return (primitive(output, x.shape()), mean, variance);
        }
        ops::norm::batch_norm_reference::<Flex>(x, scale, shift, epsilon)
    }

    fn channel_batch_norm_backward(
        x: Primitive,
        scale: Primitive,
        mean: Primitive,
        variance: Primitive,
        gradient: Primitive,
        epsilon: f32,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(a), Some(m), Some(s), Some(g)) =
            (floats(&x), floats(&scale), floats(&mean), floats(&variance), floats(&gradient))
        {
            let moments = batch_norm::Moments { mean: m.into_owned(), variance: s.into_owned() };
            return norm_gradients(batch_norm::backward(&v, &a, &moments, &g, epsilon), x.shape());
        }
        ops::norm::batch_norm_backward_reference::<Flex>(x, scale, [mean, variance], gradient, epsilon)
    }

    fn channel_group_norm(
        x: Primitive,
        scale: Primitive,
        shift: Primitive,
        options: GroupNormOptions,
    ) -> (Primitive, Primitive) {
        if let (Some(v), Some(a), Some(b)) = (floats(&x), floats(&scale), floats(&shift)) {
            let batch = x.shape()[0];
            let (output, moments) = group_norm::Norm { batch, options }.forward(&v, &a, &b);
            return (primitive(output, x.shape()), primitive(moments, [batch, 2, options.groups]));
        }
        ops::group_norm::reference::<Flex>(x, scale, shift, options)
    }

    fn channel_group_norm_backward(
        x: Primitive,
        scale: Primitive,
        shift: Primitive,
        moments: Primitive,
        gradient: Primitive,
        options: GroupNormOptions,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(a), Some(b), Some(m), Some(g)) =
            (floats(&x), floats(&scale), floats(&shift), floats(&moments), floats(&gradient))
        {
            let norm = group_norm::Norm { batch: x.shape()[0], options };
            return norm_gradients(norm.backward(&v, [&a, &b], &m, &g), x.shape());
        }
        ops::group_norm::reference_backward::<Flex>(x, [scale, shift], moments, gradient, options)
    }

    fn overlap_sums(logits: Primitive, members: Primitive) -> Primitive {
        if let (Some(x), Some(t)) = (floats(&logits), floats(&members)) {
            let classes = last(&logits);
            return primitive(overlap::forward(&x, &t, classes), [ops::overlap::SUMS, classes]);
        }
        ops::overlap::reference::<Flex>(logits, members)
    }

    fn overlap_sums_backward(logits: Primitive, members: Primitive, gradient: Primitive) -> Primitive {
        if let (Some(x), Some(t), Some(g)) = (floats(&logits), floats(&members), floats(&gradient)) {
            return primitive(overlap::backward(&x, &t, &g, last(&logits)), logits.shape());
        }
        ops::overlap::reference_backward::<Flex>(logits, members, gradient)
    }

    fn leaky_sum(x: Primitive, y: Primitive, slope: f32) -> Primitive {
        if let (Some(v), Some(w)) = (floats(&x), floats(&y)) {
            return primitive(activation::leaky_sum(&v, &w, slope), x.shape());
        }
        ops::residual::reference::<Flex>(x, y, slope)
    }

    fn leaky_sum_backward(output: Primitive, gradient: Primitive, slope: f32) -> Primitive {
        if let (Some(o), Some(g)) = (floats(&output), floats(&gradient)) {
            return primitive(activation::leaky_sum_backward(&o, &g, slope), output.shape());
        }
        ops::residual::reference_backward::<Flex>(output, gradient, slope)
    }

    fn channel_affine(x: Primitive, scale: Primitive, shift: Primitive) -> Primitive {
        if let (Some(v), Some(a), Some(b)) = (floats(&x), floats(&scale), floats(&shift)) {
            return primitive(batch_norm::affine(&v, &a, &b), x.shape());
        }
        ops::norm::affine_reference::<Flex>(x, scale, shift)
    }

    fn token_attention(qkv: Primitive, heads: usize) -> (Primitive, Primitive) {
        let sizes = attention_sizes(&qkv, heads);
        if let Some(values) = floats(&qkv) {
            let (output, log_sums) = attention::forward(&values, sizes);
            let attention::Sizes { batch, tokens, heads, width } = sizes;
            return (
                primitive(output, [batch, tokens, heads * width]),
                primitive(log_sums, [batch, heads, tokens]),
            );
        }
        ops::attention::reference::<Flex>(qkv, heads)
    }

    fn token_attention_backward(
        qkv: Primitive,
        output: Primitive,
        log_sums: Primitive,
        gradient: Primitive,
        heads: usize,
    ) -> Primitive {
        if let (Some(v), Some(o), Some(l), Some(g)) =
            (floats(&qkv), floats(&output), floats(&log_sums), floats(&gradient))
        {
            let sizes = attention_sizes(&qkv, heads);
            return primitive(attention::backward(&v, [&o, &l], &g, sizes), qkv.shape());
        }
        ops::attention::reference_backward::<Flex>(qkv, [output, log_sums], gradient, heads)
    }

    fn window_attention(
        qkv: Primitive,
        outside: Primitive,
        bias: Primitive,
        options: WindowOptions,
    ) -> (Primitive, Primitive) {
        if let (Some(v), Some(o), Some(b)) = (floats(&qkv), floats(&outside), floats(&bias)) {
            let sizes = window_sizes(&qkv, &bias, options);
            let window::WindowSizes { batch, size: [depth, height, width], .. } = sizes;
            let (output, log_sums) = window::forward(&v, &o, &b, sizes);
            let shape = [batch, depth, height, width, sizes.heads * sizes.width];
            return (primitive(output, shape), primitive(log_sums, sizes.log_sums()));
        }
        ops::window::reference::<Flex>(qkv, outside, bias, options)
    }

    fn window_attention_backward(
        qkv: Primitive,
        outside: Primitive,
        bias: Primitive,
        output: Primitive,
        log_sums: Primitive,
        gradient: Primitive,
        options: WindowOptions,
    ) -> (Primitive, Primitive, Primitive) {
        let tensors = [&qkv, &outside, &bias, &output, &log_sums, &gradient].map(floats);
        if let [Some(v), Some(o), Some(b), Some(out), Some(log_sums), Some(g)] = &tensors {
            let of = window::WindowAttended { qkv: v, outside: o, bias: b, output: out, log_sums };
            let gradients = window::backward(of, g, window_sizes(&qkv, &bias, options));
            return (
                primitive(gradients.qkv, qkv.shape()),
                primitive(gradients.outside, outside.shape()),
                primitive(gradients.bias, bias.shape()),
            );
        }
        drop(tensors);
        let inputs = [qkv, outside, bias];
        ops::window::reference_backward::<Flex>(inputs, [output, log_sums], gradient, options).into()
    }

    fn normalized_crop(x: Primitive, options: CropOptions) -> Primitive {
        match floats(&x) {
            Some(values) => primitive(crop::forward(&values, volume(&x), options), options.size),
            None => ops::crop::reference::<Flex>(x, options),
        }
    }

    fn normalized_crop_backward(x: Primitive, gradient: Primitive, options: CropOptions) -> Primitive {
        if let (Some(v), Some(g)) = (floats(&x), floats(&gradient)) {
            return primitive(crop::backward(&v, &g, volume(&x), options), x.shape());
        }
        ops::crop::reference_backward::<Flex>(x, gradient, options)
    }

    fn expand_onto(fine: Primitive, coarse: Primitive) -> Primitive {
        if let (Some(f), Some(c)) = (floats(&fine), floats(&coarse)) {
            return primitive(expand::forward(&f, &c, volume(&fine)), fine.shape());
        }
        ops::expand::reference::<Flex>(fine, coarse)
    }

    fn expand_onto_backward(gradient: Primitive) -> Primitive {
        match floats(&gradient) {
            Some(g) => {
                let size = volume(&gradient);
                primitive(expand::backward(&g, size), size.map(ops::coarser))
            }
            None => ops::expand::reference_backward::<Flex>(gradient),
        }
    }

    fn patch_downsample(x: Primitive, weight: Primitive, bias: Primitive) -> Primitive {
        if let (Some(v), Some(w), Some(b)) = (floats(&x), floats(&weight), floats(&bias)) {
            let sizes = patch_sizes(&x);
            let shape = [sizes.batch, sizes.depth, sizes.height, sizes.width, b.len()];
            return primitive(patch::downsample(&v, &w, &b, sizes), shape);
        }
        ops::patch::downsample_reference::<Flex>(x, weight, bias)
    }

    fn patch_downsample_backward(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(w), Some(g)) = (floats(&x), floats(&weight), floats(&gradient)) {
            let outputs = weight.shape()[4];
            let gradients = patch::downsample_backward(&v, &w, &g, (patch_sizes(&x), outputs));
            return (
                primitive(gradients.input, x.shape()),
                primitive(gradients.weight, weight.shape()),
                primitive(gradients.bias, [outputs]),
            );
        }
        ops::patch::downsample_backward_reference::<Flex>(x, weight, gradient)
    }

    fn patch_upsample(x: Primitive, weight: Primitive) -> Primitive {
        if let (Some(v), Some(w)) = (floats(&x), floats(&weight)) {
            let (inputs, sizes) = upsample_sizes(&x, &weight);
            let patch::Sizes { batch, depth, height, width, channels } = sizes;
            let shape = [batch, 2 * depth, 2 * height, 2 * width, channels];
            return primitive(patch::upsample(&v, &w, (inputs, sizes)), shape);
        }
        ops::patch::upsample_reference::<Flex>(x, weight)
    }

    fn patch_upsample_backward(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive) {
        if let (Some(v), Some(w), Some(g)) = (floats(&x), floats(&weight), floats(&gradient)) {
            let gradients = patch::upsample_backward(&v, &w, &g, upsample_sizes(&x, &weight));
            return (primitive(gradients.input, x.shape()), primitive(gradients.weight, weight.shape()));
        }
        ops::patch::upsample_backward_reference::<Flex>(x, weight, gradient)
    }

    fn adamw(
        value: Primitive,
        gradient: Primitive,
        first: Primitive,
        second: Primitive,
        step: AdamWStep,
    ) -> (Primitive, Primitive, Primitive) {
        if let (Some(v), Some(g), Some(m), Some(s)) =
            (floats(&value), floats(&gradient), floats(&first), floats(&second))
        {
            return adamw::update([&v, &g, &m, &s], step)
                .map(|values| primitive(values, value.shape()))
                .into();
        }
        ops::adamw::reference::<Flex>(value, gradient, first, second, step)
    }

    fn sum_of_squares(x: Primitive) -> Primitive {
        match floats(&x) {
            Some(x) => primitive(vec![adamw::sum_of_squares(&x)], [1]),
            None => ops::adamw::sum_of_squares::<Flex>(x),
        }
    }
}

/// The number of channels: the size of the last axis.
fn last(x: &Primitive) -> usize {
    let shape = x.shape();
    shape[shape.num_dims() - 1]
}

/// The sizes of a volume without channels.
fn volume(x: &Primitive) -> [usize; 3] {
    [0, 1, 2].map(|axis| x.shape()[axis])
}

fn depthwise_sizes(x: &Primitive, weight: &Primitive) -> (usize, depthwise::Sizes) {
    let (shape, kernel) = (x.shape(), weight.shape()[0]);
    let [batch, depth, height, width, channels] = [shape[0], shape[1], shape[2], shape[3], shape[4]];
    (kernel, depthwise::Sizes { batch, depth, height, width, channels })
}

fn depthwise_backward<const K: usize>(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    sizes: depthwise::Sizes,
) -> (Primitive, Primitive, Primitive) {
    let input = depthwise::backward_input::<K>(gradient, weight, sizes);
    let (weight, bias) = depthwise::backward_weight::<K>(x, gradient, sizes);
    let depthwise::Sizes { batch, depth, height, width, channels } = sizes;
    (
        primitive(input, [batch, depth, height, width, channels]),
        primitive(weight, [K, K, K, channels]),
        primitive(bias, [channels]),
    )
}

/// The way to compute a convolution.
type Convolve = fn(&[f32], &[f32], conv::Sizes) -> Vec<f32>;

/// The fastest way for a convolution: Winograd's, for few channels, or direct.
fn way(sizes: conv::Sizes, [direct, few_channels, winograd]: [Convolve; 3]) -> Convolve {
    if winograd::suits(sizes) {
        winograd
    } else if few_channels::suits(sizes) {
        few_channels
    } else {
        direct
    }
}

fn conv_sizes(x: &Primitive, weight: &Primitive, stride: usize) -> conv::Sizes {
    let (shape, weight) = (x.shape(), weight.shape());
    let size = [shape[1], shape[2], shape[3]];
    conv::Sizes { batch: shape[0], size, inputs: shape[4], outputs: weight[4], kernel: weight[0], stride }
}

/// Sizes of a linear layer, and its output's shape.
fn linear_sizes(x: &Primitive, weight: &Primitive) -> (linear::Sizes, Shape) {
    let [inputs, outputs] = [weight.shape()[0], weight.shape()[1]];
    let mut shape = x.shape().to_vec();
    shape.pop();
    let rows = shape.iter().product();
    shape.push(outputs);
    (linear::Sizes { rows, inputs, outputs }, Shape::from(shape))
}

/// Sizes of two layers, given their biases.
fn mlp_sizes(x: &Primitive, bias1: &[f32], bias2: &[f32]) -> mlp::Sizes {
    let inputs = last(x);
    let rows = x.shape().num_elements() / inputs.max(1);
    mlp::Sizes { rows, inputs, hidden: bias1.len(), outputs: bias2.len() }
}

fn linear_gradients(
    gradients: linear::Gradients,
    x: &Primitive,
    weight: &Primitive,
) -> (Primitive, Primitive, Primitive) {
    (
        primitive(gradients.input, x.shape()),
        primitive(gradients.weight, weight.shape()),
        primitive(gradients.bias, [weight.shape()[1]]),
    )
}

fn attention_sizes(qkv: &Primitive, heads: usize) -> attention::Sizes {
    let [batch, tokens, channels] = [qkv.shape()[0], qkv.shape()[1], qkv.shape()[2] / 3];
    attention::Sizes { batch, tokens, heads, width: channels / heads }
}

fn window_sizes(qkv: &Primitive, bias: &Primitive, options: WindowOptions) -> window::WindowSizes {
    let (shape, heads) = (qkv.shape(), bias.shape()[0]);
    let size = [shape[1], shape[2], shape[3]];
    window::WindowSizes { batch: shape[0], size, heads, width: shape[4] / (3 * heads), options }
}

/// Sizes of an activation of whole blocks.
fn patch_sizes(x: &Primitive) -> patch::Sizes {
    let shape = x.shape();
    let [batch, channels] = [shape[0], shape[4]];
    patch::Sizes { batch, depth: shape[1] / 2, height: shape[2] / 2, width: shape[3] / 2, channels }
}

/// Channels of the input, and the sizes of the output.
fn upsample_sizes(x: &Primitive, weight: &Primitive) -> (usize, patch::Sizes) {
    let (shape, channels) = (x.shape(), weight.shape()[4]);
    let [batch, depth, height, width] = [shape[0], shape[1], shape[2], shape[3]];
    (shape[4], patch::Sizes { batch, depth, height, width, channels })
}

fn norm_gradients(gradients: layer_norm::Gradients, shape: Shape) -> (Primitive, Primitive, Primitive) {
    let channels = gradients.scale.len();
    (
        primitive(gradients.input, shape),
        primitive(gradients.scale, [channels]),
        primitive(gradients.shift, [channels]),
    )
}

/// The elements of an fp32 tensor in row-major order, copied only if memory is in another order; `None` for other types.
fn floats(tensor: &Primitive) -> Option<Cow<'_, [f32]>> {
    if let Some(slice) = tensor.as_slice::<f32>() {
        return Some(Cow::Borrowed(slice));
    }
    tensor.to_contiguous().into_data().try_into_vec::<f32>().ok().map(Cow::Owned)
}

fn primitive(values: Vec<f32>, shape: impl Into<Shape>) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape.into()))
}
