//! Compares the kernels with the same operations written with Burn's own, for odd sizes.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};

mod attention;
mod conv;
mod crop;
mod depthwise;
mod expand;
mod group_norm;
mod linear;
mod mlp;
mod norm;
mod patch;
mod ranks;
mod slopes;
mod window;

/// Values in [-1, 1) that depend only on the index.
fn values(count: usize, salt: usize) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            let hashed = (i + salt as u32 * 7919).wrapping_mul(2_654_435_761) >> 8;
            hashed as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that two ways to compute something from some leaves (given flat, by their number of elements) agree in the
/// output and in the gradients for all leaves.
fn assert_agree(
    leaves: &[usize],
    ours: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    theirs: impl Fn(&[Tensor<1>]) -> Tensor<1>,
) {
    let (our_output, our_gradients) = run(leaves, ours);
    let (their_output, their_gradients) = run(leaves, theirs);
    assert_close(&our_output, &their_output, "output");
    for (leaf, (ours, theirs)) in our_gradients.iter().zip(&their_gradients).enumerate() {
        assert_close(ours, theirs, &format!("gradient of input {leaf}"));
    }
}

/// The output, and the gradients of the leaves for an upstream gradient of random values.
fn run(leaves: &[usize], operation: impl Fn(&[Tensor<1>]) -> Tensor<1>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let device = Device::flex().autodiff();
    let tensor =
        |count: usize, salt| Tensor::<1>::from_data(TensorData::new(values(count, salt), [count]), &device);
    let leaves: Vec<_> =
        leaves.iter().enumerate().map(|(i, &count)| tensor(count, i + 1).require_grad()).collect();
    let output = operation(&leaves);
    let upstream = tensor(output.dims()[0], 99);
    let gradients = (output.clone() * upstream).sum().backward();
    let gradients = leaves.iter().map(|leaf| floats(leaf.grad(&gradients).unwrap())).collect();
    (floats(output), gradients)
}

fn floats(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "length of {what}");
    let largest = expected.iter().fold(1e-6f32, |largest, x| largest.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let difference = (got - expected).abs();
        assert!(difference <= 3e-5 * largest, "{what} at {i}: {got}, not {expected} (largest {largest})");
    }
}
