//! Compares the default methods, which GPU backends use, with the kernels: forward and gradients on the same numbers.

use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;
use proptest::prelude::*;

use crate::VolumeOps;
use crate::ops::{
    Activation, AdamWStep, CropOptions, GroupNormOptions, WindowOptions, adamw, attention, conv, crop,
    depthwise, expand, group_norm, linear, mlp, norm, overlap, patch, residual, window,
};

type Primitive = FloatTensor<Flex>;

const EPSILON: f32 = 1e-3;

/// Numbers in [-1, 1) that depend only on shape and salt.
fn tensor<const D: usize>(shape: [usize; D], salt: u32) -> Primitive {
    let count = shape.iter().product::<usize>() as u32;
    let value = |i: u32| ((i + salt * 7919).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    Primitive::from_data(TensorData::new((0..count).map(value).collect::<Vec<_>>(), shape))
}

fn assert_same<const N: usize>(what: &str, defaults: [Primitive; N], kernels: [Primitive; N]) {
    for (place, (default, kernel)) in defaults.into_iter().zip(kernels).enumerate() {
        assert_eq!(default.shape(), kernel.shape(), "{what}, {place}");
        let [default, kernel] =
            [default, kernel].map(|t| t.to_contiguous().into_data().try_into_vec::<f32>().unwrap());
        let largest = default.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
        for (default, kernel) in default.iter().zip(&kernel) {
            assert!((default - kernel).abs() <= 1e-4 * largest, "{what}, {place}: {default}, not {kernel}");
        }
    }
}

fn products(rows: usize, inputs: usize, outputs: usize) {
    let (x, onto) = (tensor([2, rows, inputs], 1), tensor([2, rows, outputs], 2));
    let (weight, bias) = (tensor([inputs, outputs], 3), tensor([outputs], 4));
    assert_same(
        "linear",
        [
            linear::reference::<Flex>(x.clone(), weight.clone(), bias.clone()),
            linear::reference_onto::<Flex>(onto.clone(), x.clone(), weight.clone(), bias.clone()),
        ],
        [
            Flex::voxel_linear(x.clone(), weight.clone(), bias.clone()),
            Flex::voxel_linear_onto(onto.clone(), x.clone(), weight.clone(), bias.clone()),
        ],
    );
    assert_same(
        "linear's gradients",
        linear::reference_backward::<Flex>(x.clone(), weight.clone(), onto.clone()).into(),
        Flex::voxel_linear_backward(x.clone(), weight.clone(), onto).into(),
    );
    let (gradient, weight2) = (tensor([2, rows, inputs], 5), tensor([outputs, inputs], 6));
    let weights = mlp::Weights { weight1: weight.clone(), bias1: bias.clone(), weight2: weight2.clone() };
    assert_same(
        "perceptron's gradients",
        mlp::reference_backward::<Flex>(x.clone(), weights, gradient.clone()),
        Flex::voxel_mlp_backward(x, weight, bias, weight2, gradient).into(),
    );
}

fn elementwise(count: usize) {
    let [value, gradient, first] = [1, 2, 3].map(|salt| tensor([count], salt));
    let second = Flex::float_abs(tensor([count], 4));
    let step = AdamWStep {
        rate: 0.1,
        weight_decay: 0.2,
        beta1: 0.8,
        beta2: 0.95,
        epsilon: 1e-3,
        gradient_scale: 0.5,
        number: 3,
    };
    let copies = || (value.clone(), gradient.clone(), first.clone(), second.clone());
    let (v, g, m, s) = copies();
    assert_same(
        "update",
        adamw::reference::<Flex>(value.clone(), gradient.clone(), first.clone(), second.clone(), step).into(),
        Flex::adamw(v, g, m, s, step).into(),
    );
    let (v, g) = (value.clone(), gradient.clone());
    let sum = Flex::leaky_sum(v.clone(), g.clone(), 0.1);
    assert_same("leaky sum", [residual::reference::<Flex>(v, g.clone(), 0.1)], [sum.clone()]);
    assert_same(
        "leaky sum's gradient",
        [residual::reference_backward::<Flex>(sum.clone(), g.clone(), 0.1)],
        [Flex::leaky_sum_backward(sum, g, 0.1)],
    );
    let (x, members) = (tensor([count / 3, 3], 5), tensor([count / 3, 3], 6));
    let sums = Flex::overlap_sums(x.clone(), members.clone());
    assert_same("overlap", [overlap::reference::<Flex>(x.clone(), members.clone())], [sums.clone()]);
    assert_same(
        "overlap's gradient",
        [overlap::reference_backward::<Flex>(x.clone(), members.clone(), sums.clone())],
        [Flex::overlap_sums_backward(x, members, sums)],
    );
    assert_same("squares", [adamw::sum_of_squares::<Flex>(value.clone())], [Flex::sum_of_squares(value)]);
}

fn norms(rows: usize, groups: usize, width: usize) {
    let channels = groups * width;
    let (x, gradient) = (tensor([2, rows, channels], 1), tensor([2, rows, channels], 2));
    let (scale, shift) = (tensor([channels], 3), tensor([channels], 4));
    assert_same(
        "layer norm's gradients",
        norm::layer_norm_backward_reference::<Flex>(x.clone(), scale.clone(), gradient.clone(), EPSILON)
            .into(),
        Flex::channel_layer_norm_backward(x.clone(), scale.clone(), gradient.clone(), EPSILON).into(),
    );
    let (_, mean, variance) = Flex::channel_batch_norm(x.clone(), scale.clone(), shift.clone(), EPSILON);
    let moments = [mean.clone(), variance.clone()];
    let (value, upstream) = (x.clone(), gradient.clone());
    assert_same(
        "batch norm's gradients",
        norm::batch_norm_backward_reference::<Flex>(value, scale.clone(), moments, upstream, EPSILON).into(),
        Flex::channel_batch_norm_backward(
            x.clone(),
            scale.clone(),
            mean,
            variance,
            gradient.clone(),
            EPSILON,
        )
        .into(),
    );
    let options = GroupNormOptions { groups, epsilon: EPSILON, activation: Activation::LeakyRelu(0.1) };
    let (default, default_moments) =
        group_norm::reference::<Flex>(x.clone(), scale.clone(), shift.clone(), options);
    let (kernel, moments) = Flex::channel_group_norm(x.clone(), scale.clone(), shift.clone(), options);
    assert_same("group norm", [default, default_moments], [kernel, moments.clone()]);
    assert_same(
        "group norm's gradients",
        group_norm::reference_backward::<Flex>(
            x.clone(),
            [scale.clone(), shift.clone()],
            moments.clone(),
            gradient.clone(),
            options,
        )
        .into(),
        Flex::channel_group_norm_backward(x, scale, shift, moments, gradient, options).into(),
    );
}

fn attentions(tokens: usize, heads: usize, width: usize) {
    let channels = heads * width;
    let (qkv, gradient) = (tensor([2, tokens, 3 * channels], 1), tensor([2, tokens, channels], 2));
    let (output, log_sums) = attention::reference::<Flex>(qkv.clone(), heads);
    let ours = Flex::token_attention(qkv.clone(), heads);
    assert_same("attention", [output.clone(), log_sums.clone()], [ours.0.clone(), ours.1.clone()]);
    assert_same(
        "gradient of attention",
        [attention::reference_backward::<Flex>(qkv.clone(), [output, log_sums], gradient.clone(), heads)],
        [Flex::token_attention_backward(qkv, ours.0, ours.1, gradient, heads)],
    );
}

fn attentions_in_windows([d, h, w]: [usize; 3], heads: usize, width: usize) {
    let options = WindowOptions { window: [2, 2, 3], shift: [0, 1, 1] };
    let (channels, tokens) = (heads * width, options.tokens());
    let (qkv, outside) = (tensor([2, d, h, w, 3 * channels], 1), tensor([3 * channels], 2));
    let (bias, gradient) = (tensor([heads, tokens, tokens], 3), tensor([2, d, h, w, channels], 4));
    let inputs = || (qkv.clone(), outside.clone(), bias.clone());
    let (q, o, b) = inputs();
    let (output, log_sums) = window::reference::<Flex>(q, o, b, options);
    let (q, o, b) = inputs();
    let ours = Flex::window_attention(q, o, b, options);
    assert_same("window attention", [output.clone(), log_sums.clone()], [ours.0.clone(), ours.1.clone()]);
    let (q, o, b) = inputs();
    let kernels = Flex::window_attention_backward(q, o, b, ours.0, ours.1, gradient.clone(), options);
    let (q, o, b) = inputs();
    assert_same(
        "gradients of window attention",
        window::reference_backward::<Flex>([q, o, b], [output, log_sums], gradient, options),
        kernels.into(),
    );
}

fn crops(size: [usize; 3], part: [usize; 3], range_floor: f32) {
    let options = CropOptions {
        start: std::array::from_fn(|axis| part[axis] % size[axis]),
        size: std::array::from_fn(|axis| size[axis] - part[axis] % size[axis]),
        range_floor,
    };
    let (x, gradient) = (tensor(size, 1), tensor(options.size, 2));
    assert_same(
        "crop",
        [
            crop::reference::<Flex>(x.clone(), options),
            crop::reference_backward::<Flex>(x.clone(), gradient.clone(), options),
        ],
        [Flex::normalized_crop(x.clone(), options), Flex::normalized_crop_backward(x, gradient, options)],
    );
}

fn expansions(size: [usize; 3]) {
    let (fine, coarse) = (tensor(size, 1), tensor(size.map(expand::coarser), 2));
    assert_same(
        "expansion",
        [
            expand::reference::<Flex>(fine.clone(), coarse.clone()),
            expand::reference_backward::<Flex>(fine.clone()),
        ],
        [Flex::expand_onto(fine.clone(), coarse), Flex::expand_onto_backward(fine)],
    );
}

fn neighbourhoods([d, h, w]: [usize; 3], inputs: usize, outputs: usize) {
    let (x, bias) = (tensor([2, d, h, w, inputs], 1), tensor([inputs], 2));
    let weight = tensor([3, 3, 3, inputs], 3);
    assert_same(
        "depthwise convolution",
        [depthwise::reference::<Flex>(x.clone(), weight.clone(), bias.clone())],
        [Flex::depthwise_conv3d(x.clone(), weight.clone(), bias)],
    );
    let gradient = tensor([2, d, h, w, inputs], 4);
    assert_same(
        "depthwise convolution's gradients",
        depthwise::reference_backward::<Flex>(x.clone(), weight.clone(), gradient.clone()).into(),
        Flex::depthwise_conv3d_backward(x, weight, gradient).into(),
    );
    let (large, small) = (tensor([1, 2 * d, 2 * h, 2 * w, inputs], 5), tensor([1, d, h, w, outputs], 6));
    let (down, up) = (tensor([2, 2, 2, inputs, outputs], 7), tensor([outputs, 2, 2, 2, inputs], 8));
    assert_same(
        "downsampling's gradients",
        patch::downsample_backward_reference::<Flex>(large.clone(), down.clone(), small.clone()).into(),
        Flex::patch_downsample_backward(large.clone(), down, small.clone()).into(),
    );
    assert_same(
        "upsampling's gradients",
        patch::upsample_backward_reference::<Flex>(small.clone(), up.clone(), large.clone()).into(),
        Flex::patch_upsample_backward(small, up, large).into(),
    );
}

fn dense([d, h, w]: [usize; 3], inputs: usize, outputs: usize, stride: usize) {
    let (x, weight) = (tensor([1, d, h, w, inputs], 1), tensor([3, 3, 3, inputs, outputs], 2));
    let [od, oh, ow] = [d, h, w].map(|size| size.div_ceil(stride));
    let gradient = tensor([1, od, oh, ow, outputs], 3);
    assert_same(
        "dense convolution's gradients",
        [
            conv::reference_backward_input::<Flex>(x.clone(), weight.clone(), gradient.clone(), stride),
            conv::reference_backward_weight::<Flex>(x.clone(), weight.clone(), gradient.clone(), stride),
        ],
        [
            Flex::dense_conv3d_backward_input(x.clone(), weight.clone(), gradient.clone(), stride),
            Flex::dense_conv3d_backward_weight(x, weight, gradient, stride),
        ],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn defaults_agree_with_kernels(
        size in (1usize..5, 1usize..5, 1usize..6),
        (rows, inputs, outputs) in (1usize..30, 1usize..12, 1usize..20),
        (groups, stride, range_floor) in (1usize..4, 1usize..3, 0.1f32..4.0),
    ) {
        crops([rows, inputs, outputs], [size.0, size.1, size.2], range_floor);
        expansions([rows, inputs, outputs]);
        products(rows, inputs, outputs);
        elementwise(rows * inputs);
        norms(rows + 1, groups, inputs);
        attentions(rows, groups, inputs);
        attentions_in_windows(size.into(), groups, inputs);
        neighbourhoods(size.into(), inputs, outputs);
        dense(size.into(), inputs, outputs, stride);
    }
}
