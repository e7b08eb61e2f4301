use brainmvp_kernels::ops;
use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose3d, conv3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use proptest::prelude::*;

use crate::assert_agree;

fn plain_down(x: Tensor<5>, weight: Tensor<5>, bias: Tensor<1>) -> Tensor<5> {
    let options = ConvOptions::new([2; 3], [0; 3], [1; 3], 1);
    conv3d(x.permute([0, 4, 1, 2, 3]), weight.permute([4, 3, 0, 1, 2]), Some(bias), options)
        .permute([0, 2, 3, 4, 1])
}

fn plain_up(x: Tensor<5>, weight: Tensor<5>) -> Tensor<5> {
    let options = ConvTransposeOptions::new([2; 3], [0; 3], [0; 3], [1; 3], 1);
    conv_transpose3d(x.permute([0, 4, 1, 2, 3]), weight.permute([0, 4, 1, 2, 3]), None, options)
        .permute([0, 2, 3, 4, 1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn downsampling_matches_burn(
        batch in 1usize..3, d in 1usize..4, h in 1usize..4, w in 1usize..6, inputs in 1usize..12, outputs in 1usize..40,
    ) {
        let shape = [batch, 2 * d, 2 * h, 2 * w, inputs];
        let run = |down: fn(Tensor<5>, Tensor<5>, Tensor<1>) -> Tensor<5>| move |leaves: &[Tensor<1>]| {
            let [x, weight, bias] = [0, 1, 2].map(|i| leaves[i].clone());
            down(x.reshape(shape), weight.reshape([2, 2, 2, inputs, outputs]), bias).flatten(0, 4)
        };
        assert_agree(&[shape.iter().product(), 8 * inputs * outputs, outputs], run(ops::downsample), run(plain_down));
    }

    #[test]
    fn upsampling_matches_burn(
        batch in 1usize..3, d in 1usize..4, h in 1usize..4, w in 1usize..6, inputs in 1usize..12, outputs in 1usize..40,
    ) {
        let shape = [batch, d, h, w, inputs];
        let run = |up: fn(Tensor<5>, Tensor<5>) -> Tensor<5>| move |leaves: &[Tensor<1>]| {
            let [x, weight] = [0, 1].map(|i| leaves[i].clone());
            up(x.reshape(shape), weight.reshape([inputs, 2, 2, 2, outputs])).flatten(0, 4)
        };
        assert_agree(&[shape.iter().product(), 8 * inputs * outputs], run(ops::upsample), run(plain_up));
    }
}
