//! The depthwise kernels against the operation in Burn's own terms, over sizes that are multiples of nothing.

use brainmvp_kernels::ops;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

/// Values in [-1, 1) that depend on the place only.
fn values<const D: usize>(shape: [usize; D], salt: u32) -> TensorData {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u32)
        .map(|i| {
            let hashed = (i + salt * 7919).wrapping_mul(2654435761) >> 8;
            hashed as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    TensorData::new(values, shape)
}

/// The same convolution through Burn's grouped `conv3d`.
fn plain(x: Tensor<5>, weight: Tensor<4>, bias: Tensor<1>) -> Tensor<5> {
    let [k, _, _, c] = weight.dims();
    let options = burn::tensor::ops::ConvOptions::new([1; 3], [k / 2; 3], [1; 3], c);
    let weight = weight.permute([3, 0, 1, 2]).reshape([c, 1, k, k, k]);
    burn::tensor::module::conv3d(x.permute([0, 4, 1, 2, 3]), weight, Some(bias), options)
        .permute([0, 2, 3, 4, 1])
}

fn assert_close<const D: usize>(got: Tensor<D>, expected: Tensor<D>, what: &str) {
    let scale = expected.clone().abs().max().into_scalar::<f32>().max(1e-6);
    let difference = (got - expected).abs().max().into_scalar::<f32>();
    assert!(difference <= 2e-5 * scale, "{what}: {difference} of {scale}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn matches_burn(batch in 1usize..3, d in 1usize..6, h in 1usize..8, w in 1usize..15, c in 1usize..36, wide: bool) {
        let k = if wide { 5 } else { 3 };
        let device = Device::flex().autodiff();
        let leaf = || (
            Tensor::<5>::from_data(values([batch, d, h, w, c], 1), &device).require_grad(),
            Tensor::<4>::from_data(values([k, k, k, c], 2), &device).require_grad(),
            Tensor::<1>::from_data(values([c], 3), &device).require_grad(),
        );
        let upstream = Tensor::<5>::from_data(values([batch, d, h, w, c], 4), &device);
        let (x, weight, bias) = leaf();
        let ours = ops::depthwise_conv3d(x.clone(), weight.clone(), bias.clone());
        let our_gradients = (ours.clone() * upstream.clone()).sum().backward();
        let (x2, weight2, bias2) = leaf();
        let theirs = plain(x2.clone(), weight2.clone(), bias2.clone());
        let their_gradients = (theirs.clone() * upstream).sum().backward();
        assert_close(ours, theirs, "output");
        assert_close(x.grad(&our_gradients).unwrap(), x2.grad(&their_gradients).unwrap(), "input gradient");
        assert_close(weight.grad(&our_gradients).unwrap(), weight2.grad(&their_gradients).unwrap(), "weight gradient");
        assert_close(bias.grad(&our_gradients).unwrap(), bias2.grad(&their_gradients).unwrap(), "bias gradient");
    }
}
