use brainmvp_kernels::ops;
use burn::tensor::Tensor;
use proptest::prelude::*;

use crate::assert_agree;

fn plain(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    x.matmul(weight.unsqueeze()) + bias.unsqueeze()
}

type Layer = fn(Tensor<3>, Tensor<2>, Tensor<1>) -> Tensor<3>;

fn check([batch, rows, inputs, outputs]: [usize; 4], pairs: &[(Layer, Layer)]) {
    let run = |layer: Layer| {
        move |leaves: &[Tensor<1>]| {
            let [x, weight, bias] = [0, 1, 2].map(|i| leaves[i].clone());
            layer(x.reshape([batch, rows, inputs]), weight.reshape([inputs, outputs]), bias).flatten(0, 2)
        }
    };
    for &(ours, theirs) in pairs {
        assert_agree(&[batch * rows * inputs, inputs * outputs, outputs], run(ours), run(theirs));
    }
}

const PAIRS: [(Layer, Layer); 2] = [(ops::linear, plain), (linear_onto_itself, plain_onto_itself)];

/// Added to a tensor that the layer's own gradient reaches as well.
fn linear_onto_itself(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    ops::linear_onto(onto(&x, &weight), x, weight, bias)
}

fn plain_onto_itself(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<3> {
    onto(&x, &weight) + plain(x, weight, bias)
}

fn onto(x: &Tensor<3>, weight: &Tensor<2>) -> Tensor<3> {
    x.clone().sum_dim(2).repeat_dim(2, weight.dims()[1])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn matches_burn(batch in 1usize..3, rows in 1usize..60, inputs in 1usize..70, outputs in 1usize..140) {
        check([batch, rows, inputs, outputs], &PAIRS);
    }
}

/// Several chunks, spans and blocks.
#[test]
fn matches_burn_where_work_is_split() {
    check([1, 9001, 13, 131], &PAIRS);
    check([2, 50, 203, 301], &PAIRS);
}
