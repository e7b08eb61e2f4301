//! Depthwise convolution, forward and backward, at the sizes of UniFormer-S.

use std::hint::black_box;
use std::time::Instant;

use brainmvp_kernels::ops;
use burn::tensor::{Device, Distribution, Tensor};

fn main() {
    let device = Device::flex().autodiff();
    for (size, channels, kernel) in [(48, 64, 5), (48, 64, 3), (24, 128, 5), (24, 128, 3), (12, 320, 3)] {
        let flop = 2.0 * (size * size * size * channels * kernel * kernel * kernel) as f64;
        let x = Tensor::<5>::random([1, size, size, size, channels], Distribution::Default, &device);
        let weight = Tensor::<4>::random([kernel, kernel, kernel, channels], Distribution::Default, &device);
        let bias = Tensor::<1>::zeros([channels], &device);
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        for _ in 0..9 {
            let (x, weight, bias) =
                (x.clone().require_grad(), weight.clone().require_grad(), bias.clone().require_grad());
            let start = Instant::now();
            let y = ops::depthwise_conv3d(x, weight, bias);
            forward.push(start.elapsed().as_secs_f64());
            let loss = y.sum();
            let start = Instant::now();
            black_box(loss.backward());
            backward.push(start.elapsed().as_secs_f64());
        }
        forward.sort_by(f64::total_cmp);
        backward.sort_by(f64::total_cmp);
        let (f, b) = (forward[4], backward[4]);
        println!(
            "depthwise {kernel}^3 at {size}^3 x {channels}: forward {:.1} ms ({:.0} GFLOP/s), backward {:.1} ms ({:.0} GFLOP/s)",
            f * 1e3, flop / f / 1e9, b * 1e3, 2.0 * flop / b / 1e9
        );
    }
}
