//! Tests every kernel with every instruction set and several numbers of threads. The results of the portable lanes are
//! compared with Burn in tests/.

use proptest::prelude::*;
use rayon::ThreadPoolBuilder;

use super::attention::window;
use super::simd::InstructionSet;
use super::{
    activation, adamw, attention, batch_norm, conv, depthwise, few_channels, group_norm, layer_norm, linear,
    mlp, overlap, patch, winograd,
};
use crate::ops::{Activation, AdamWStep, GroupNormOptions, WindowOptions};

fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + salt * 17) % 101) as f32 / 50.0 - 1.0).collect()
}

/// Asserts that all instruction sets of the machine that compute in fp32 agree closely, and that results do not depend
/// on the number of threads at all, in bfloat16 too.
fn assert_agree(kernel: impl Fn() -> Vec<Vec<f32>> + Sync) {
    let run = |set: InstructionSet, threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| set.run(&kernel))
    };
    let expected = run(InstructionSet::Portable, 1);
    for set in InstructionSet::available_for_products() {
        let got = run(set, 1);
        for threads in [2, 3] {
            assert_eq!(got, run(set, threads), "{set:?} with {threads} threads");
        }
        if set.in_fp32() != set {
            continue;
        }
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.len(), expected.len());
            let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() <= 1e-4 * largest, "{set:?}: {got}, not {expected}");
            }
        }
    }
}

fn linear(rows: usize, inputs: usize, outputs: usize) -> Vec<Vec<f32>> {
    let sizes = linear::Sizes { rows, inputs, outputs };
    let (x, weight, bias) = (values(rows * inputs, 1), values(inputs * outputs, 2), values(outputs, 3));
    let gradient = values(rows * outputs, 4);
    let gradients = linear::backward(&x, &weight, &gradient, sizes);
    vec![
        linear::forward(&x, &weight, &bias, None, sizes),
        linear::forward(&x, &weight, &bias, Some(&gradient), sizes),
        gradients.input,
        gradients.weight,
        gradients.bias,
    ]
}

fn perceptron(rows: usize, inputs: usize, hidden: usize) -> Vec<Vec<f32>> {
    let sizes = mlp::Sizes { rows, inputs, hidden, outputs: inputs };
    let (x, gradient) = (values(rows * inputs, 1), values(rows * inputs, 2));
    let (weight1, bias1) = (values(inputs * hidden, 3), values(hidden, 4));
    let (weight2, bias2) = (values(inputs * hidden, 5), values(inputs, 6));
    let weights = mlp::Weights { weight1: &weight1, bias1: &bias1, weight2: &weight2, bias2: &bias2 };
    let gradients = mlp::backward(&x, weights, &gradient, sizes);
    vec![
        mlp::forward(&x, weights, &gradient, sizes),
        gradients.input,
        gradients.weight1,
        gradients.bias1,
        gradients.weight2,
        gradients.bias2,
    ]
}

fn elementwise(count: usize) -> Vec<Vec<f32>> {
    let [value, gradient, first] = [1, 2, 3].map(|salt| values(count, salt));
    let second: Vec<f32> = values(count, 4).into_iter().map(f32::abs).collect();
    let step = AdamWStep {
        rate: 0.1,
        weight_decay: 0.2,
        beta1: 0.8,
        beta2: 0.95,
        epsilon: 1e-3,
        gradient_scale: 0.5,
        number: 3,
    };
    let updated = adamw::update([&value, &gradient, &first, &second], step);
    let sum = activation::leaky_sum(&value, &first, 0.1);
    let sum_gradient = activation::leaky_sum_backward(&sum, &gradient, 0.1);
    let squares = vec![adamw::sum_of_squares(&value)];
    updated.into_iter().chain([squares, sum, sum_gradient]).collect()
}

fn overlap(voxels: usize, classes: usize) -> Vec<Vec<f32>> {
    let (logits, members) = (values(voxels * classes, 1), values(voxels * classes, 2));
    let gradient = overlap::backward(&logits, &members, &values(4 * classes, 3), classes);
    vec![overlap::forward(&logits, &members, classes), gradient]
}

fn norms(rows: usize, channels: usize) -> Vec<Vec<f32>> {
    let (x, gradient) = (values(rows * channels, 1), values(rows * channels, 2));
    let (scale, shift) = (values(channels, 3), values(channels, 4));
    let layer = layer_norm::backward(&x, &scale, &gradient, 1e-2);
    let (output, moments) = batch_norm::forward(&x, &scale, &shift, 1e-2);
    let batch = batch_norm::backward(&x, &scale, &moments, &gradient, 1e-2);
    vec![
        layer_norm::forward(&x, &scale, &shift, 1e-2),
        layer.input,
        layer.scale,
        layer.shift,
        output,
        batch.input,
        batch.scale,
        batch.shift,
        moments.mean,
        moments.variance,
    ]
}

fn group_norms(batch: usize, voxels: usize, groups: usize, width: usize) -> Vec<Vec<f32>> {
    let channels = groups * width;
    let count = batch * voxels * channels;
    let (x, gradient) = (values(count, 1), values(count, 2));
    let (scale, shift) = (values(channels, 3), values(channels, 4));
    let options = GroupNormOptions { groups, epsilon: 1e-2, activation: Activation::LeakyRelu(0.1) };
    let norm = group_norm::Norm { batch, options };
    let (output, moments) = norm.forward(&x, &scale, &shift);
    let gradients = norm.backward(&x, [&scale, &shift], &moments, &gradient);
    vec![output, moments, gradients.input, gradients.scale, gradients.shift]
}

fn depthwise_5(sizes: depthwise::Sizes) -> Vec<Vec<f32>> {
    let (x, gradient) = (values(sizes.len(), 1), values(sizes.len(), 2));
    let (weight, bias) = (values(125 * sizes.channels, 3), values(sizes.channels, 4));
    let (weight_gradient, bias_gradient) = depthwise::backward_weight::<5>(&x, &gradient, sizes);
    vec![
        depthwise::forward::<5>(&x, &weight, &bias, sizes),
        depthwise::backward_input::<5>(&gradient, &weight, sizes),
        weight_gradient,
        bias_gradient,
    ]
}

fn conv(sizes: conv::Sizes) -> Vec<Vec<f32>> {
    let x = values(sizes.batch * sizes.size.iter().product::<usize>() * sizes.inputs, 1);
    let weight = values(sizes.kernel.pow(3) * sizes.inputs * sizes.outputs, 2);
    let output = conv::forward(&x, &weight, sizes);
    let gradient = values(output.len(), 3);
    let weight_gradient = conv::backward_weight(&x, &gradient, sizes);
    vec![output, conv::backward_input(&gradient, &weight, sizes), weight_gradient]
}

fn conv_by_winograd(sizes: conv::Sizes) -> Vec<Vec<f32>> {
    let voxels = sizes.batch * sizes.size.iter().product::<usize>();
    let (x, gradient) = (values(voxels * sizes.inputs, 1), values(voxels * sizes.outputs, 2));
    let weight = values(27 * sizes.inputs * sizes.outputs, 3);
    vec![
        winograd::forward(&x, &weight, sizes),
        winograd::backward_input(&gradient, &weight, sizes),
        winograd::backward_weight(&x, &gradient, sizes),
    ]
}

fn conv_of_few_channels(sizes: conv::Sizes) -> Vec<Vec<f32>> {
    let voxels = sizes.batch * sizes.size.iter().product::<usize>();
    let (x, gradient) = (values(voxels * sizes.inputs, 1), values(voxels * sizes.outputs, 2));
    let weight = values(sizes.kernel.pow(3) * sizes.inputs * sizes.outputs, 3);
    vec![
        few_channels::forward(&x, &weight, sizes),
        few_channels::backward_input(&gradient, &weight, sizes),
        few_channels::backward_weight(&x, &gradient, sizes),
    ]
}

fn patches(sizes: patch::Sizes, others: usize) -> Vec<Vec<f32>> {
    let blocks = sizes.batch * sizes.depth * sizes.height * sizes.width;
    let (large, small) = (values(8 * blocks * sizes.channels, 1), values(blocks * others, 2));
    let (weight, bias) = (values(8 * sizes.channels * others, 3), values(others, 4));
    let down = patch::downsample_backward(&large, &weight, &small, (sizes, others));
    let up = patch::upsample_backward(&small, &weight, &large, (others, sizes));
    vec![
        patch::downsample(&large, &weight, &bias, sizes),
        patch::upsample(&small, &weight, (others, sizes)),
        down.input,
        down.weight,
        down.bias,
        up.input,
        up.weight,
    ]
}

fn windows(sizes: window::WindowSizes) -> Vec<Vec<f32>> {
    let channels = sizes.heads * sizes.width;
    let (qkv, outside) = (values(3 * sizes.len(), 1), values(3 * channels, 2));
    let bias = values(sizes.heads * sizes.options.tokens().pow(2), 3);
    let (output, log_sums) = window::forward(&qkv, &outside, &bias, sizes);
    let (qkv, outside, bias) = (&qkv, &outside, &bias);
    let of = window::WindowAttended { qkv, outside, bias, output: &output, log_sums: &log_sums };
    let gradients = window::backward(of, &values(sizes.len(), 4), sizes);
    vec![output, log_sums, gradients.qkv, gradients.outside, gradients.bias]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn matrices((rows, inputs, outputs) in (0usize..700, 0usize..50, 0usize..150)) {
        assert_agree(|| linear(rows, inputs, outputs));
        assert_agree(|| perceptron(rows, inputs, outputs));
        assert_agree(|| norms(rows, inputs));
    }

    #[test]
    fn elements(count in 0usize..100_000) {
        assert_agree(|| elementwise(count));
    }

    #[test]
    fn overlaps(voxels in 0usize..30_000, classes in 1usize..6) {
        assert_agree(|| overlap(voxels, classes));
    }

    #[test]
    fn groups((batch, voxels, groups, width) in (0usize..3, 0usize..700, 1usize..9, 1usize..20)) {
        assert_agree(|| group_norms(batch, voxels, groups, width));
    }

    #[test]
    fn attentions((batch, tokens, heads, width) in (0usize..3, 0usize..420, 1usize..4, 1usize..30)) {
        let sizes = attention::Sizes { batch, tokens, heads, width };
        assert_agree(|| {
            let qkv = values(3 * sizes.len(), 1);
            let (output, log_sums) = attention::forward(&qkv, sizes);
            let gradient = attention::backward(&qkv, [&output, &log_sums], &values(sizes.len(), 2), sizes);
            vec![output, log_sums, gradient]
        });
    }

    #[test]
    fn attentions_in_windows(
        (batch, depth, height, width) in (0usize..3, 1usize..8, 1usize..8, 1usize..12),
        (extent, shift, heads, head_width) in (1usize..6, 0usize..5, 1usize..4, 1usize..20),
    ) {
        let options = WindowOptions { window: [extent; 3], shift: [0, shift % extent, shift % extent] };
        let size = [depth, height, width];
        assert_agree(|| windows(window::WindowSizes { batch, size, heads, width: head_width, options }));
    }

    #[test]
    fn volumes(
        (batch, depth, height, width) in (0usize..3, 0usize..7, 0usize..7, 0usize..15),
        (channels, outputs, stride) in (0usize..40, 0usize..40, 1usize..4),
    ) {
        assert_agree(|| depthwise_5(depthwise::Sizes { batch, depth, height, width, channels }));
        assert_agree(|| patches(patch::Sizes { batch, depth, height, width, channels }, outputs));
        let size = [depth, height, width];
        for kernel in [1, 3] {
            assert_agree(|| conv(conv::Sizes { batch, size, inputs: channels, outputs, kernel, stride }));
        }
        let sizes = conv::Sizes { batch, size, inputs: channels, outputs, kernel: 3, stride: 1 };
        assert_agree(|| conv_by_winograd(sizes));
        let sizes = conv::Sizes { inputs: channels.max(1), ..sizes };
        assert_agree(|| conv_of_few_channels(sizes));
    }
}
