use brainmvp_kernels::ops::{self, Activation, GroupNormOptions};
use burn::tensor::activation::{leaky_relu, relu};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::{assert_agree, assert_close, floats, values};

const EPSILON: f32 = 1e-5;

fn plain(x: Tensor<5>, scale: Tensor<1>, shift: Tensor<1>, options: GroupNormOptions) -> Tensor<5> {
    let shape @ [batch, d, h, w, channels] = x.dims();
    let x = x.reshape([batch, d * h * w, options.groups, channels / options.groups]);
    let mean = |x: Tensor<4>| x.mean_dim(1).mean_dim(3);
    let centred = x.clone() - mean(x);
    let variance = mean(centred.clone() * centred.clone());
    let normalised = (centred / (variance + options.epsilon).sqrt()).reshape(shape);
    let before = normalised * scale.unsqueeze() + shift.unsqueeze();
    match options.activation {
        Activation::None => before,
        Activation::Relu => relu(before),
        Activation::LeakyRelu(slope) => leaky_relu(before, f64::from(slope)),
    }
}

type Norm = fn(Tensor<5>, Tensor<1>, Tensor<1>, GroupNormOptions) -> Tensor<5>;

fn check(shape: [usize; 5], groups: usize, activation: Activation) {
    let options = GroupNormOptions { groups, epsilon: EPSILON, activation };
    let run = |norm: Norm| {
        move |leaves: &[Tensor<1>]| {
            let [x, scale, shift] = [0, 1, 2].map(|i| leaves[i].clone());
            norm(x.reshape(shape), scale, shift, options).flatten(0, 4)
        }
    };
    assert_agree(&[shape.iter().product(), shape[4], shape[4]], run(ops::group_norm), run(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn matches_burn(
        // With two voxels only rounding is left in the gradient.
        (batch, d, h, w) in (1usize..4, 1usize..6, 1usize..6, 4usize..9),
        (groups, width) in (1usize..9, 1usize..20),
        activation in prop_oneof![
            Just(Activation::None), Just(Activation::Relu), Just(Activation::LeakyRelu(0.01))
        ],
    ) {
        check([batch, d, h, w, groups * width], groups, activation);
        check([batch, d, h, w, groups], groups, activation);
    }
}

/// Several chunks of rows in each case.
#[test]
fn matches_burn_where_work_is_split() {
    check([2, 13, 17, 11, 37], 37, Activation::LeakyRelu(0.2));
    check([2, 11, 13, 7, 72], 8, Activation::Relu);
}

/// Statistics that a sum of squares in single precision would lose.
#[test]
fn moments_far_from_zero() {
    let (voxels, channels) = (5000, 6);
    let small = values(voxels * channels, 1);
    let run = |values: Vec<f32>| {
        let x = Tensor::<3>::from_data(TensorData::new(values, [1, voxels, channels]), &Device::flex());
        let parameter = |value| Tensor::<1>::full([channels], value, &Device::flex());
        let options = GroupNormOptions { groups: 2, epsilon: 1e-12, activation: Activation::None };
        floats(ops::group_norm(x, parameter(1.0), parameter(0.0), options).flatten(0, 2))
    };
    let far: Vec<f32> = small.iter().map(|x| x + 100.0).collect();
    let exact: Vec<f32> = far.iter().map(|x| x - 100.0).collect();
    let (far, exact) = (run(far), run(exact));
    assert_close(&far, &exact, "normalised values far from zero");
}

/// With a convolution before or after, where the values between the two are not stored.
#[test]
fn norms_and_convolutions_are_those_one_after_the_other() {
    let (shape, outputs) = ([2, 3, 5, 4, 6], 7);
    let volume = move |x: &Tensor<1>| x.clone().reshape(shape);
    for (kernel, stride) in [(3, 1), (3, 2), (1, 1)] {
        let taps: usize = kernel * kernel * kernel;
        let weight = move |w: &Tensor<1>| w.clone().reshape([kernel, kernel, kernel, 6, outputs]);
        let norm = GroupNormOptions { groups: 3, epsilon: 1e-5, activation: Activation::LeakyRelu(0.1) };
        assert_agree(
            &[shape.iter().product(), 6, 6, taps * 6 * outputs],
            |l| {
                let affine = [l[1].clone(), l[2].clone()];
                ops::group_norm_conv3d(volume(&l[0]), affine, weight(&l[3]), norm, stride).flatten(0, 4)
            },
            |l| {
                let normed = ops::group_norm(volume(&l[0]), l[1].clone(), l[2].clone(), norm);
                ops::conv3d(normed, weight(&l[3]), stride).flatten(0, 4)
            },
        );
        let norm = GroupNormOptions { groups: outputs, ..norm };
        assert_agree(
            &[shape.iter().product(), taps * 6 * outputs, outputs, outputs],
            |l| {
                let affine = [l[2].clone(), l[3].clone()];
                ops::conv3d_group_norm(volume(&l[0]), weight(&l[1]), affine, norm).flatten(0, 4)
            },
            |l| {
                let convolved = ops::conv3d(volume(&l[0]), weight(&l[1]), 1);
                ops::group_norm(convolved, l[2].clone(), l[3].clone(), norm).flatten(0, 4)
            },
        );
    }
}
