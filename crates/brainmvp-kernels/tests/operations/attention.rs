use brainmvp_kernels::ops;
use burn::tensor::{Tensor, activation};
use proptest::prelude::*;

use crate::assert_agree;

fn plain(qkv: Tensor<3>, heads: usize) -> Tensor<3> {
    let [batch, tokens, channels] = qkv.dims();
    let (channels, width) = (channels / 3, channels / 3 / heads);
    let part = |index: usize| {
        qkv.clone()
            .narrow(2, index * channels, channels)
            .reshape([batch, tokens, heads, width])
            .swap_dims(1, 2)
    };
    let scores = part(0).matmul(part(1).swap_dims(2, 3)) / (width as f32).sqrt();
    activation::softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([batch, tokens, channels])
}

fn check(batch: usize, tokens: usize, heads: usize, width: usize) {
    let run = |attention: fn(Tensor<3>, usize) -> Tensor<3>| {
        move |leaves: &[Tensor<1>]| {
            // Scores of a spread that makes the softmax matter.
            let qkv = leaves[0].clone().reshape([batch, tokens, 3 * heads * width]) * 2.0;
            attention(qkv, heads).flatten(0, 2)
        }
    };
    assert_agree(&[batch * tokens * 3 * heads * width], run(ops::attention), run(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn matches_burn(batch in 1usize..3, tokens in 1usize..150, heads in 1usize..4, width in 1usize..40) {
        check(batch, tokens, heads, width);
    }
}

#[test]
fn matches_burn_at_the_width_of_networks() {
    check(1, 301, 2, 64);
    check(2, 216, 1, 64);
}
