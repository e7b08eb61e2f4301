use brainmvp_kernels::ops::{self, WindowOptions};
use burn::tensor::{Tensor, TensorData, activation};
use proptest::prelude::*;

use crate::assert_agree;

/// Pads, rolls, divides, attends and puts back, each by itself.
fn plain(qkv: Tensor<5>, outside: Tensor<1>, bias: Tensor<3>, options: WindowOptions) -> Tensor<5> {
    let [batch, d, h, w, channels] = qkv.dims();
    let (window, shift) = (options.window, options.shift);
    let padded = [d, h, w].into_iter().zip(window).map(|(size, of)| size.next_multiple_of(of));
    let padded: Vec<usize> = padded.collect();
    let x = (0..3).fold(qkv, |x, axis| pad(x, axis + 1, padded[axis], &outside));
    let x = (0..3).fold(x, |x, axis| roll(x, axis + 1, shift[axis]));
    let counts: [usize; 3] = std::array::from_fn(|axis| padded[axis] / window[axis]);
    let ([nd, nh, nw], [wd, wh, ww]) = (counts, window);
    let split: Tensor<8> = x.reshape([batch, nd, wd, nh, wh, nw, ww, channels]);
    let (count, tokens) = (nd * nh * nw, wd * wh * ww);
    let windows = split.permute([0, 1, 3, 5, 2, 4, 6, 7]).reshape([batch * count, tokens, channels]);
    let mixed = attend(windows, bias, mask(&padded, options), batch);
    let split: Tensor<8> = mixed.reshape([batch, nd, nh, nw, wd, wh, ww, channels / 3]);
    let joined = split.permute([0, 1, 4, 2, 5, 3, 6, 7]);
    let joined: Tensor<5> = joined.reshape([batch, padded[0], padded[1], padded[2], channels / 3]);
    let back = (0..3).fold(joined, |x, axis| roll(x, axis + 1, (padded[axis] - shift[axis]) % padded[axis]));
    back.slice([0..batch, 0..d, 0..h, 0..w, 0..channels / 3])
}

fn attend(qkv: Tensor<3>, bias: Tensor<3>, mask: Tensor<3>, batch: usize) -> Tensor<3> {
    let ([windows, tokens, channels], heads) = (qkv.dims(), bias.dims()[0]);
    let (channels, width) = (channels / 3, channels / 3 / heads);
    let part = |index: usize| {
        let part = qkv.clone().narrow(2, index * channels, channels);
        part.reshape([windows, tokens, heads, width]).swap_dims(1, 2)
    };
    let mask: Tensor<4> = mask.unsqueeze_dim(1);
    let added = Tensor::cat(vec![mask; batch], 0) + bias.unsqueeze();
    let scores = part(0).matmul(part(1).swap_dims(2, 3)) / (width as f32).sqrt() + added;
    activation::softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([windows, tokens, channels])
}

/// -100 for tokens whose voxels come from different ends of the volume, `[windows, tokens, tokens]`.
fn mask(padded: &[usize], options: WindowOptions) -> Tensor<3> {
    let device = burn::tensor::Device::flex().autodiff();
    let (window, shift) = (options.window, options.shift);
    let label = |at: [usize; 3]| [0, 1, 2].map(|axis| at[axis] + shift[axis] >= padded[axis]);
    let places = |[d, h, w]: [usize; 3]| (0..d * h * w).map(move |i| [i / (h * w), i / w % h, i % w]);
    let mut values = Vec::new();
    for of in places([0, 1, 2].map(|axis| padded[axis] / window[axis])) {
        let at = |step: [usize; 3]| label([0, 1, 2].map(|axis| of[axis] * window[axis] + step[axis]));
        for from in places(window) {
            values.extend(places(window).map(|to| if at(from) == at(to) { 0.0f32 } else { -100.0 }));
        }
    }
    let tokens = options.tokens();
    let shape = [values.len() / tokens.pow(2), tokens, tokens];
    Tensor::from_data(TensorData::new(values, shape), &device)
}

fn pad(x: Tensor<5>, axis: usize, size: usize, outside: &Tensor<1>) -> Tensor<5> {
    let mut shape = x.dims();
    shape[axis] = size - shape[axis];
    if shape[axis] == 0 {
        return x;
    }
    let more = outside.clone().unsqueeze::<5>().expand(shape);
    Tensor::cat(vec![x, more], axis)
}

fn roll(x: Tensor<5>, axis: usize, steps: usize) -> Tensor<5> {
    let size = x.dims()[axis];
    if steps == 0 {
        return x;
    }
    Tensor::cat(vec![x.clone().narrow(axis, steps, size - steps), x.narrow(axis, 0, steps)], axis)
}

type WindowAttention = fn(Tensor<5>, Tensor<1>, Tensor<3>, WindowOptions) -> Tensor<5>;

fn check(batch: usize, [d, h, w]: [usize; 3], [heads, width]: [usize; 2], options: WindowOptions) {
    let (channels, tokens) = (3 * heads * width, options.tokens());
    let leaves = [batch * d * h * w * channels, channels, heads * tokens * tokens];
    let run = |attention: WindowAttention| {
        move |leaves: &[Tensor<1>]| {
            // Scores of a spread that makes the softmax matter.
            let qkv = leaves[0].clone().reshape([batch, d, h, w, channels]) * 2.0;
            let (outside, bias) = (leaves[1].clone(), leaves[2].clone());
            // Gradients that are zero but for rounding are not compared with themselves: one output more has the sum of the inputs.
            let beside = outside.clone().sum() + bias.clone().sum();
            let bias = bias.reshape([heads, tokens, tokens]);
            Tensor::cat(vec![attention(qkv, outside, bias, options).flatten(0, 4), beside], 0)
        }
    };
    assert_agree(&leaves, run(ops::window_attention), run(plain));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn matches_burn(
        batch in 1usize..3,
        size in (1usize..7, 1usize..7, 1usize..9),
        window in (1usize..4, 1usize..4, 1usize..5),
        shift in (0usize..4, 0usize..4, 0usize..5),
        heads in 1usize..4,
        width in 1usize..20,
    ) {
        let window = [window.0, window.1, window.2];
        let shift = [shift.0 % window[0], shift.1 % window[1], shift.2 % window[2]];
        check(batch, [size.0, size.1, size.2], [heads, width], WindowOptions { window, shift });
    }
}

#[test]
fn matches_burn_at_the_windows_of_networks() {
    check(1, [6, 14, 12], [2, 16], WindowOptions { window: [6, 7, 7], shift: [0, 3, 3] });
}
