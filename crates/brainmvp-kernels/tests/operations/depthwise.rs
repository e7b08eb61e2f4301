use brainmvp_kernels::ops;
use burn::tensor::Tensor;
use proptest::prelude::*;

use crate::assert_agree;

/// The same convolution through Burn's grouped `conv3d`.
fn plain(x: Tensor<5>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<5> {
    let [k, _, _, c] = weight.dims();
    let options = burn::tensor::ops::ConvOptions::new([1; 3], [k / 2; 3], [1; 3], c);
    let weight = weight.permute([3, 0, 1, 2]).reshape([c, 1, k, k, k]);
    burn::tensor::module::conv3d(x.permute([0, 4, 1, 2, 3]), weight, Some(bias), options)
        .permute([0, 2, 3, 4, 1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn matches_burn(
        batch in 1usize..3, d in 1usize..6, h in 1usize..8, w in 1usize..15, c in 1usize..36, wide: bool,
    ) {
        let k = if wide { 5 } else { 3 };
        let shape = [batch, d, h, w, c];
        let run = |operation: fn(Tensor<5>, Tensor<4>, Tensor<1>) -> Tensor<5>| move |leaves: &[Tensor<1>]| {
            let [x, weight, bias] = [0, 1, 2].map(|i| leaves[i].clone());
            operation(x.reshape(shape), weight.reshape([k, k, k, c]), bias).flatten(0, 4)
        };
        let counts = [shape.iter().product(), k * k * k * c, c];
        assert_agree(&counts, run(ops::depthwise_conv3d), run(plain));
    }
}
