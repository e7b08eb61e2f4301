use brainmvp_kernels::ops;
use burn::tensor::Tensor;
use proptest::prelude::*;

use crate::assert_agree;

/// GELU from `erf`, so that its gradient is the exact one too.
fn gelu(z: Tensor<3>) -> Tensor<3> {
    z.clone() * ((z * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5
}

fn plain(onto: Tensor<3>, x: Tensor<3>, weights: [Tensor<2>; 2], biases: [Tensor<1>; 2]) -> Tensor<3> {
    let [weight1, weight2] = weights.map(|weight| weight.unsqueeze::<3>());
    let [bias1, bias2] = biases.map(|bias| bias.unsqueeze::<3>());
    onto + gelu(x.matmul(weight1) + bias1).matmul(weight2) + bias2
}

type Layer = fn(Tensor<3>, Tensor<3>, [Tensor<2>; 2], [Tensor<1>; 2]) -> Tensor<3>;

fn check([batch, rows, inputs, hidden, outputs]: [usize; 5]) {
    let run = |layer: Layer| {
        move |leaves: &[Tensor<1>]| {
            let leaf = |i: usize| leaves[i].clone();
            let (onto, x) = (leaf(0).reshape([batch, rows, outputs]), leaf(1).reshape([batch, rows, inputs]));
            let weights = [leaf(2).reshape([inputs, hidden]), leaf(3).reshape([hidden, outputs])];
            layer(onto, x, weights, [leaf(4), leaf(5)]).flatten(0, 2)
        }
    };
    let voxels = batch * rows;
    let leaves = [voxels * outputs, voxels * inputs, inputs * hidden, hidden * outputs, hidden, outputs];
    assert_agree(&leaves, run(ops::mlp_onto), run(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn matches_burn(
        (batch, rows) in (1usize..3, 1usize..60),
        (inputs, hidden, outputs) in (1usize..50, 1usize..140, 1usize..70),
    ) {
        check([batch, rows, inputs, hidden, outputs]);
    }
}

/// Several chunks, spans and blocks.
#[test]
fn matches_burn_where_work_is_split() {
    check([1, 9001, 13, 131, 9]);
    check([2, 50, 103, 301, 77]);
}
