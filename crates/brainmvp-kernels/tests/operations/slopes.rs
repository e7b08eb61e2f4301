//! Facts of mathematics, whichever way an operation is computed: a gradient is the slope of what it is the gradient of, and
//! that of a linear map is its adjoint.

use brainmvp_kernels::ops::{self, Activation, CropOptions, GroupNormOptions, WindowOptions, coarser};
use brainmvp_ranks::Ranks;
use burn::tensor::{Device, Tensor, TensorData};

use crate::{floats, run, values};

const EPSILON: f32 = 1e-3;
/// The step of the differences: the error of the second order and that of rounding are both about 1e-4.
const STEP: f32 = 1e-2;

type Run = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1>>;

/// An operation, the sizes of its inputs, and those of them in which it is linear while the others are fixed.
struct Operation {
    name: &'static str,
    sizes: Vec<usize>,
    linear_in: &'static [usize],
    run: Run,
}

fn operation<const N: usize>(
    name: &'static str,
    sizes: [usize; N],
    linear_in: &'static [usize],
    run: impl Fn([Tensor<1>; N]) -> Tensor<1> + 'static,
) -> Operation {
    let run = move |leaves: &[Tensor<1>]| run(std::array::from_fn(|i| leaves[i].clone()));
    Operation { name, sizes: sizes.to_vec(), linear_in, run: Box::new(run) }
}

const SHAPE: [usize; 5] = [2, 4, 6, 4, 6];
const VOXELS: usize = 2 * 4 * 6 * 4;

fn group(activation: Activation) -> GroupNormOptions {
    GroupNormOptions { groups: 3, epsilon: EPSILON, activation }
}

fn convolutions() -> Vec<Operation> {
    let conv = |stride: usize| {
        move |[x, w]: [Tensor<1>; 2]| {
            ops::conv3d(x.reshape(SHAPE), w.reshape([3, 3, 3, 6, 5]), stride).flatten(0, 4)
        }
    };
    vec![
        operation("conv3d", [VOXELS * 6, 27 * 30], &[0, 1], conv(1)),
        operation("conv3d with stride", [VOXELS * 6, 27 * 30], &[0, 1], conv(2)),
        operation("depthwise_conv3d", [VOXELS * 6, 27 * 6, 6], &[0, 1], |[x, w, b]| {
            ops::depthwise_conv3d(x.reshape(SHAPE), w.reshape([3, 3, 3, 6]), b).flatten(0, 4)
        }),
        operation("downsample", [VOXELS * 6, 48 * 5, 5], &[0, 1], |[x, w, b]| {
            ops::downsample(x.reshape(SHAPE), w.reshape([2, 2, 2, 6, 5]), b).flatten(0, 4)
        }),
        operation("upsample", [VOXELS * 6, 48 * 5], &[0, 1], |[x, w]| {
            ops::upsample(x.reshape(SHAPE), w.reshape([6, 2, 2, 2, 5])).flatten(0, 4)
        }),
        operation("group_norm_conv3d", [VOXELS * 6, 6, 6, 27 * 30], &[3], |[x, scale, shift, w]| {
            let norm = group(Activation::None);
            ops::group_norm_conv3d(x.reshape(SHAPE), [scale, shift], w.reshape([3, 3, 3, 6, 5]), norm, 1)
                .flatten(0, 4)
        }),
        operation("conv3d_group_norm", [VOXELS * 6, 27 * 36, 6, 6], &[2], |[x, w, scale, shift]| {
            let norm = group(Activation::None);
            ops::conv3d_group_norm(x.reshape(SHAPE), w.reshape([3, 3, 3, 6, 6]), [scale, shift], norm)
                .flatten(0, 4)
        }),
    ]
}

fn layers() -> Vec<Operation> {
    vec![
        operation("linear", [VOXELS * 6, 30, 5], &[0, 1], |[x, w, b]| {
            ops::linear(x.reshape([VOXELS, 6]), w.reshape([6, 5]), b).flatten(0, 1)
        }),
        operation("linear_onto", [VOXELS * 5, VOXELS * 6, 30, 5], &[0, 1, 2, 3], |[onto, x, w, b]| {
            ops::linear_onto(onto.reshape([VOXELS, 5]), x.reshape([VOXELS, 6]), w.reshape([6, 5]), b)
                .flatten(0, 1)
        }),
        operation("mlp_onto", [VOXELS * 5, VOXELS * 6, 42, 35, 7, 5], &[0, 3, 5], |[onto, x, w, v, b, c]| {
            let weights = [w.reshape([6, 7]), v.reshape([7, 5])];
            ops::mlp_onto(onto.reshape([VOXELS, 5]), x.reshape([VOXELS, 6]), weights, [b, c]).flatten(0, 1)
        }),
        operation("layer_norm", [VOXELS * 6, 6, 6], &[1, 2], |[x, scale, shift]| {
            ops::layer_norm(x.reshape([VOXELS, 6]), scale, shift, EPSILON).flatten(0, 1)
        }),
        operation("batch_norm_train", [VOXELS * 6, 6, 6], &[1, 2], |[x, scale, shift]| {
            let x = x.reshape([VOXELS, 6]);
            ops::batch_norm_train(x, scale, shift, EPSILON, &Ranks::alone()).output.flatten(0, 1)
        }),
        operation("group_norm", [VOXELS * 6, 6, 6], &[1, 2], |[x, scale, shift]| {
            ops::group_norm(x.reshape(SHAPE), scale, shift, group(Activation::None)).flatten(0, 4)
        }),
        operation("channel_affine", [VOXELS * 6, 6, 6], &[0, 1, 2], |[x, scale, shift]| {
            ops::channel_affine(x.reshape([VOXELS, 6]), scale, shift).flatten(0, 1)
        }),
        operation("attention", [2 * 11 * 24], &[], |[qkv]| {
            ops::attention(qkv.reshape([2, 11, 24]), 2).flatten(0, 2)
        }),
        operation("window_attention", [VOXELS * 12, 12, 2 * 144], &[], |[qkv, outside, bias]| {
            let options = WindowOptions { window: [2, 3, 2], shift: [1, 1, 0] };
            let qkv = qkv.reshape([2, 4, 6, 4, 12]);
            ops::window_attention(qkv, outside, bias.reshape([2, 12, 12]), options).flatten(0, 4)
        }),
        operation("sum_of_squares", [60], &[], |[x]| ops::sum_of_squares(x)),
        operation("overlap_sums", [60], &[], |[x]| {
            let members = (0..60).map(|i| [1.0, 0.0, -1.0, 0.5][i % 4]).collect::<Vec<f32>>();
            let members = Tensor::from_data(TensorData::new(members, [20, 3]), &x.device());
            ops::overlap_sums(x.reshape([20, 3]), members).flatten(0, 1)
        }),
    ]
}

/// Operations with a kink are tried where the inputs are far from it.
fn with_kinks() -> Vec<Operation> {
    let away = |x: Tensor<1>| x.clone() + x.sign() * 0.1;
    vec![
        operation("leaky_sum", [60], &[], move |[x]| ops::leaky_sum(away(x.clone()), away(x), 0.1)),
        operation("expand_onto", [5 * 6 * 7, 3 * 3 * 4], &[0, 1], |[fine, coarse]| {
            let (fine, size) = (fine.reshape([5, 6, 7]), [5, 6, 7].map(coarser));
            ops::expand_onto(fine, coarse.reshape(size)).flatten(0, 2)
        }),
        operation("normalized_crop", [5 * 6 * 7], &[], |[x]| {
            let options = CropOptions { start: [1, 0, 2], size: [3, 4, 5], range_floor: 1e-3 };
            ops::normalized_crop(x.reshape([5, 6, 7]), options).flatten(0, 2)
        }),
    ]
}

fn all() -> impl Iterator<Item = Operation> {
    convolutions().into_iter().chain(layers()).chain(with_kinks())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The output for some inputs.
fn output(operation: &Operation, inputs: &[Vec<f32>]) -> Vec<f32> {
    let device = Device::flex();
    let tensor =
        |values: &Vec<f32>| Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), &device);
    floats((operation.run)(&inputs.iter().map(tensor).collect::<Vec<_>>()))
}

fn inputs(operation: &Operation) -> Vec<Vec<f32>> {
    operation.sizes.iter().enumerate().map(|(i, size)| values(*size, i + 1)).collect()
}

/// <A x, y> = <x, A* y>, where the gradient says what A* is.
#[test]
fn gradients_of_linear_maps_are_their_adjoints() {
    for operation in all() {
        let (_, gradients) = run(&operation.sizes, &operation.run);
        let inputs = inputs(&operation);
        for &at in operation.linear_in {
            // A map that is affine in this input is linear but for its value at 0.
            let mut at_zero = inputs.clone();
            at_zero[at].fill(0.0);
            let (whole, rest) = (output(&operation, &inputs), output(&operation, &at_zero));
            let upstream = values(whole.len(), 99);
            let (one, other) =
                (dot(&whole, &upstream) - dot(&rest, &upstream), dot(&inputs[at], &gradients[at]));
            let scale = dot(&whole, &whole).sqrt() * dot(&upstream, &upstream).sqrt();
            assert!((one - other).abs() < 1e-5 * scale, "{}, input {at}: {one} and {other}", operation.name);
        }
    }
}

/// The gradient along some directions is the difference of the output there.
#[test]
fn gradients_are_slopes() {
    for operation in all() {
        let (output_here, gradients) = run(&operation.sizes, &operation.run);
        let upstream = values(output_here.len(), 99);
        let inputs = inputs(&operation);
        for at in 0..inputs.len() {
            for salt in 0..3 {
                let direction = values(inputs[at].len(), 1000 + salt);
                let value = |step: f32| {
                    let mut moved = inputs.clone();
                    moved[at].iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
                    dot(&output(&operation, &moved), &upstream)
                };
                let slope = (value(STEP) - value(-STEP)) / f64::from(2.0 * STEP);
                let expected = dot(&gradients[at], &direction);
                let scale = dot(&gradients[at], &gradients[at]).sqrt() * dot(&direction, &direction).sqrt();
                let off = (slope - expected).abs();
                assert!(
                    off < 5e-3 * scale + 1e-4,
                    "{}, input {at}: {slope}, gradient {expected}",
                    operation.name
                );
            }
        }
    }
}
