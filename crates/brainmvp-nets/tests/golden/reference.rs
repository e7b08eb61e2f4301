//! Inputs of the reference networks, and the comparison with their outputs.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// An input stored `[B, C, X, Y, Z]` as `[B, Z, Y, X, C]`.
pub(crate) fn input(name: &str, shape: [usize; 5], device: &Device) -> Tensor<5> {
    let values = brainmvp_golden::input(name, shape.iter().product());
    Tensor::<5>::from_data(TensorData::new(values, shape), device).permute([0, 4, 3, 2, 1])
}

/// The difference is at most `tolerance` times the largest reference value.
pub(crate) fn assert_close(ours: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let difference = ours.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
    assert!(difference <= tolerance * largest, "{what}: {difference:e} of {largest:e}");
}

/// Every `step`-th voxel along each axis.
pub(crate) fn strided(x: Tensor<5>, step: usize) -> Tensor<5> {
    let [_, d, h, w, _] = x.dims();
    let device = x.device().without_autodiff();
    let every = |size: usize| Tensor::<1, Int>::arange_step(0..size as i64, step, &device);
    x.select(1, every(d)).select(2, every(h)).select(3, every(w))
}
