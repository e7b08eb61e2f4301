//! Every operation, forward and backward, at the sizes of UniFormer-S, as a share of the machine's measured peak.
//!
//! `cargo bench -p brainmvp-kernels --bench kernels [-- NAME]` runs those whose name contains NAME.

use std::hint::black_box;
use std::time::{Duration, Instant};

use brainmvp_kernels::{ops, peak_flops};
use burn::tensor::{Device, Distribution, Tensor};

/// The fastest of so many counts: whatever else the machine does only adds time.
const REPETITIONS: usize = 7;

fn main() {
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let bench = Bench { name, peak: peak_flops(), device: Device::flex().autodiff() };
    println!("peak of all threads: {:.0} GFLOP/s (fp32 multiply-add)", bench.peak / 1e9);
    bench.depthwise();
    bench.linear();
}

struct Bench {
    name: String,
    peak: f64,
    device: Device,
}

/// A thing to measure, and the floating-point operations of its forward pass.
struct Case {
    name: String,
    flop: f64,
}

impl Bench {
    fn depthwise(&self) {
        for (size, channels, kernel) in [(48, 64, 5), (48, 64, 3), (24, 128, 5), (24, 128, 3), (12, 320, 3)] {
            let flop = 2.0 * (size * size * size * channels * kernel * kernel * kernel) as f64;
            let name = format!("depthwise {kernel}^3 at {size}^3 x {channels}");
            let leaves = [vec![1, size, size, size, channels], vec![kernel, kernel, kernel, channels], vec![channels]];
            self.measure(&Case { name, flop }, &leaves, |leaves| {
                let (x, weight) = (leaves[0].clone(), leaves[1].clone());
                let x = x.reshape([1, size, size, size, channels]);
                ops::depthwise_conv3d(x, weight.reshape([kernel, kernel, kernel, channels]), leaves[2].clone())
                    .flatten(0, 4)
            });
        }
    }

    fn linear(&self) {
        let stages = [(110_592, 64), (13_824, 128), (1_728, 320), (216, 512)];
        for (voxels, channels) in stages {
            let rows = 2 * voxels;
            for (inputs, outputs) in [(channels, channels), (channels, 4 * channels), (4 * channels, channels)] {
                let flop = 2.0 * (rows * inputs * outputs) as f64;
                let leaves = [vec![rows, inputs], vec![inputs, outputs], vec![outputs]];
                for gelu in [false, true] {
                    if gelu && outputs <= inputs {
                        continue;
                    }
                    let suffix = if gelu { " and GELU" } else { "" };
                    let name = format!("linear{suffix} {rows} x {inputs} x {outputs}");
                    self.measure(&Case { name, flop }, &leaves, |leaves| {
                        let x = leaves[0].clone().reshape([rows, inputs]);
                        let weight = leaves[1].clone().reshape([inputs, outputs]);
                        let layer = if gelu { ops::linear_gelu } else { ops::linear };
                        layer(x, weight, leaves[2].clone()).flatten(0, 1)
                    });
                }
            }
        }
    }

    /// Times an operation on leaves of random values, and its backward pass, which has twice the operations.
    fn measure(&self, case: &Case, leaves: &[Vec<usize>], operation: impl Fn(&[Tensor<1>]) -> Tensor<1>) {
        if !case.name.contains(&self.name) {
            return;
        }
        let leaves: Vec<Tensor<1>> = leaves
            .iter()
            .map(|shape| {
                let count = shape.iter().product::<usize>();
                Tensor::random([count], Distribution::Uniform(-1.0, 1.0), &self.device)
            })
            .collect();
        let (mut forward, mut backward) = (Duration::MAX, Duration::MAX);
        for _ in 0..REPETITIONS {
            let leaves: Vec<_> = leaves.iter().map(|leaf| leaf.clone().require_grad()).collect();
            let start = Instant::now();
            let output = operation(&leaves);
            forward = forward.min(start.elapsed());
            // The gradient for the sum is a broadcast view that costs nothing to make.
            let loss = output.sum();
            let start = Instant::now();
            black_box(loss.backward());
            backward = backward.min(start.elapsed());
        }
        let told = |time: Duration, flop: f64| {
            let speed = flop / time.as_secs_f64();
            format!(
                "{:8.2} ms {:5.0} GFLOP/s {:3.0} %",
                time.as_secs_f64() * 1e3,
                speed / 1e9,
                100.0 * speed / self.peak
            )
        };
        println!("{:45} forward {}  backward {}", case.name, told(forward, case.flop), told(backward, 2.0 * case.flop));
    }
}
