use brainmvp_kernels::ops;
use burn::tensor::module::conv3d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::{assert_agree, assert_close, floats, values};

fn plain(x: Tensor<5>, weight: Tensor<5>, stride: usize) -> Tensor<5> {
    let options = ConvOptions::new([stride; 3], [weight.dims()[0] / 2; 3], [1; 3], 1);
    conv3d(x.permute([0, 4, 1, 2, 3]), weight.permute([4, 3, 0, 1, 2]), None, options)
        .permute([0, 2, 3, 4, 1])
}

fn check(shape: [usize; 5], outputs: usize, kernel: usize, stride: usize) {
    let run = |conv: fn(Tensor<5>, Tensor<5>, usize) -> Tensor<5>| {
        move |leaves: &[Tensor<1>]| {
            let weight = leaves[1].clone().reshape([kernel, kernel, kernel, shape[4], outputs]);
            conv(leaves[0].clone().reshape(shape), weight, stride).flatten(0, 4)
        }
    };
    let counts = [shape.iter().product(), kernel.pow(3) * shape[4] * outputs];
    assert_agree(&counts, run(ops::conv3d), run(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn matches_burn(
        (batch, d, h, w) in (1usize..3, 1usize..6, 1usize..6, 1usize..15),
        (inputs, outputs) in (1usize..24, 1usize..40),
        wide: bool,
        stride in 1usize..3,
    ) {
        check([batch, d, h, w, inputs], outputs, if wide { 3 } else { 1 }, stride);
    }
}

/// Several blocks of taps and spans of voxels.
#[test]
fn matches_burn_where_work_is_split() {
    check([1, 5, 4, 7, 130], 70, 3, 1);
    check([1, 5, 4, 7, 70], 130, 3, 2);
    check([1, 27, 29, 30, 3], 5, 3, 1);
}

/// Few channels, through kernels of several sizes.
#[test]
fn matches_burn_where_channels_are_few() {
    check([2, 7, 9, 18, 1], 32, 3, 1);
    check([1, 5, 6, 35, 4], 64, 3, 1);
    check([1, 6, 5, 7, 2], 3, 5, 1);
    check([1, 6, 5, 17, 16], 16, 3, 1);
    check([2, 5, 6, 13, 40], 16, 3, 1);
    check([1, 5, 4, 14, 9], 33, 5, 1);
}

/// Enough channels and tiles for the kernel by Winograd.
#[test]
fn matches_burn_where_channels_are_many() {
    check([2, 7, 9, 8, 33], 50, 3, 1);
    check([1, 11, 10, 13, 64], 32, 3, 1);
}

/// An image has no gradient, and neither has a frozen weight; the other's gradient is the same as if both had one.
#[test]
fn only_tracked_inputs_have_gradients() {
    let device = Device::flex().autodiff();
    let run = |tracked: [bool; 2]| {
        let leaf = |shape: [usize; 5], tracked: bool| {
            let data = TensorData::new(values(shape.iter().product(), 1), shape);
            let leaf = Tensor::<5>::from_data(data, &device);
            if tracked { leaf.require_grad() } else { leaf }
        };
        let (x, weight) = (leaf([1, 4, 5, 3, 2], tracked[0]), leaf([3, 3, 3, 2, 7], tracked[1]));
        let gradients = ops::conv3d(x.clone(), weight.clone(), 1).powi_scalar(2).sum().backward();
        [x, weight].map(|leaf| leaf.grad(&gradients).map(|gradient| floats(gradient.flatten(0, 4))))
    };
    let [Some(x), Some(weight)] = run([true, true]) else { panic!("both are tracked") };
    let [None, Some(weight_alone)] = run([false, true]) else { panic!("the weight is tracked") };
    let [Some(x_alone), None] = run([true, false]) else { panic!("the input is tracked") };
    assert_close(&x_alone, &x, "gradient of input");
    assert_close(&weight_alone, &weight, "gradient of weight");
}
