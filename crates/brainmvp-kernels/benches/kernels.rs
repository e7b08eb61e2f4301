//! Every operation, forward and backward, at the sizes of UniFormer-S on 96^3, batch 2, as a share of the machine's
//! measured peak.
//!
//! `cargo bench -p brainmvp-kernels --bench kernels [-- NAME]` runs those whose name contains NAME.

// A benchmark tells what it measured.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use brainmvp_kernels::{VolumeOps, peak_flops};
use burn::backend::Dispatch;
use burn::tensor::{Device, Distribution, Tensor};

/// The fastest of so many counts: whatever else the machine does only adds time.
const REPETITIONS: usize = 7;
/// Cases of a batch.
const BATCH: usize = 2;
const EPSILON: f32 = 1e-5;
/// Voxels along an axis, and channels, of each stage.
const STAGES: [(usize, usize); 4] = [(48, 64), (24, 128), (12, 320), (6, 512)];

/// A tensor below the dispatch.
type Value = <Dispatch as burn::backend::BackendTypes>::FloatTensorPrimitive;

fn main() {
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let bench = Bench { name, peak: peak_flops(), device: Device::flex() };
    println!("peak of all threads: {:.0} GFLOP/s (fp32 multiply-add)", bench.peak / 1e9);
    println!("{:36}{:>33}{:>33}", "", "forward", "backward");
    println!("{:36}{:>33}{:>33}", "", "ms  GFLOP/s  % of peak", "ms  GFLOP/s  % of peak");
    bench.depthwise();
    bench.linear();
    bench.norms();
    bench.attention();
    bench.patches();
    bench.dense();
}

struct Bench {
    name: String,
    peak: f64,
    device: Device,
}

/// A thing to measure.
struct Case<F, G> {
    name: String,
    /// Floating-point operations of the forward pass; the backward pass has twice as many.
    flop: usize,
    forward: F,
    backward: G,
}

impl Bench {
    fn depthwise(&self) {
        for (kernel, (size, channels)) in
            [(5, STAGES[0]), (3, STAGES[0]), (5, STAGES[1]), (3, STAGES[1]), (3, STAGES[2]), (3, STAGES[3])]
        {
            let shape = [BATCH, size, size, size, channels];
            let (x, gradient) = (self.random(shape), self.random(shape));
            let (weight, bias) = (self.random([kernel, kernel, kernel, channels]), self.random([channels]));
            self.measure(&Case {
                name: format!("depthwise {kernel}^3 at {size}^3 x {channels}"),
                flop: 2 * kernel.pow(3) * elements(shape),
                forward: || Dispatch::depthwise_conv3d(x.clone(), weight.clone(), bias.clone()),
                backward: || Dispatch::depthwise_conv3d_backward(x.clone(), weight.clone(), gradient.clone()),
            });
        }
    }

    fn linear(&self) {
        for (size, channels) in STAGES {
            let rows = BATCH * size * size * size;
            for (inputs, outputs) in
                [(channels, channels), (channels, 3 * channels), (4 * channels, channels)]
            {
                let (x, gradient) = (self.random([rows, inputs]), self.random([rows, outputs]));
                let (weight, bias) = (self.random([inputs, outputs]), self.random([outputs]));
                self.measure(&Case {
                    name: format!("linear {rows} x {inputs} x {outputs}"),
                    flop: 2 * rows * inputs * outputs,
                    forward: || Dispatch::voxel_linear(x.clone(), weight.clone(), bias.clone()),
                    backward: || Dispatch::voxel_linear_backward(x.clone(), weight.clone(), gradient.clone()),
                });
            }
            self.mlp(rows, channels, 4 * channels);
        }
    }

    fn mlp(&self, rows: usize, channels: usize, hidden: usize) {
        let (x, gradient) = (self.random([rows, channels]), self.random([rows, channels]));
        let (weight1, bias1) = (self.random([channels, hidden]), self.random([hidden]));
        let (weight2, bias2) = (self.random([hidden, channels]), self.random([channels]));
        self.measure(&Case {
            name: format!("perceptron {rows} x {channels} x {hidden}"),
            flop: 4 * rows * channels * hidden,
            forward: || {
                let (weight2, bias2) = (weight2.clone(), bias2.clone());
                Dispatch::voxel_mlp_onto(
                    gradient.clone(),
                    x.clone(),
                    weight1.clone(),
                    bias1.clone(),
                    weight2,
                    bias2,
                )
            },
            backward: || {
                let (weight2, gradient) = (weight2.clone(), gradient.clone());
                Dispatch::voxel_mlp_backward(x.clone(), weight1.clone(), bias1.clone(), weight2, gradient)
            },
        });
    }

    fn norms(&self) {
        for (size, channels) in STAGES {
            let shape = [BATCH, size, size, size, channels];
            let (x, gradient) = (self.random(shape), self.random(shape));
            let (scale, shift) = (self.random([channels]), self.random([channels]));
            self.measure(&Case {
                name: format!("layer norm at {size}^3 x {channels}"),
                flop: 8 * elements(shape),
                forward: || Dispatch::channel_layer_norm(x.clone(), scale.clone(), shift.clone(), EPSILON),
                backward: || {
                    Dispatch::channel_layer_norm_backward(x.clone(), scale.clone(), gradient.clone(), EPSILON)
                },
            });
            self.measure(&Case {
                name: format!("batch norm at {size}^3 x {channels}"),
                flop: 8 * elements(shape),
                forward: || Dispatch::channel_batch_norm(x.clone(), scale.clone(), shift.clone(), EPSILON),
                backward: || {
                    let (x, scale, mean, variance) = (x.clone(), scale.clone(), shift.clone(), shift.clone());
                    Dispatch::channel_batch_norm_backward(x, scale, mean, variance, gradient.clone(), EPSILON)
                },
            });
        }
    }

    fn attention(&self) {
        for (tokens, heads) in [(1728, 5), (216, 8)] {
            let channels = 64 * heads;
            let qkv = self.random([BATCH, tokens, 3 * channels]);
            let gradient = self.random([BATCH, tokens, channels]);
            self.measure(&Case {
                name: format!("attention {tokens} tokens, {heads} heads"),
                flop: 4 * BATCH * tokens * tokens * channels,
                forward: || Dispatch::token_attention(qkv.clone(), heads),
                backward: || Dispatch::token_attention_backward(qkv.clone(), gradient.clone(), heads),
            });
        }
    }

    fn patches(&self) {
        for (size, inputs, outputs) in [(96, 1, 64), (48, 64, 128), (24, 128, 320), (12, 320, 512)] {
            let (large, small) =
                ([BATCH, size, size, size, inputs], [BATCH, size / 2, size / 2, size / 2, outputs]);
            let (x, y) = (self.random(large), self.random(small));
            let (down, up, bias) = (
                self.random([2, 2, 2, inputs, outputs]),
                self.random([outputs, 2, 2, 2, inputs]),
                self.random([outputs]),
            );
            let flop = 16 * elements(small) * inputs;
            self.measure(&Case {
                name: format!("downsample {size}^3 x {inputs} to {outputs}"),
                flop,
                forward: || Dispatch::patch_downsample(x.clone(), down.clone(), bias.clone()),
                backward: || Dispatch::patch_downsample_backward(x.clone(), down.clone(), y.clone()),
            });
            self.measure(&Case {
                name: format!("upsample {}^3 x {outputs} to {inputs}", size / 2),
                flop,
                forward: || Dispatch::patch_upsample(y.clone(), up.clone()),
                backward: || Dispatch::patch_upsample_backward(y.clone(), up.clone(), x.clone()),
            });
        }
    }

    fn dense(&self) {
        for (size, stride, inputs, outputs) in [
            (48, 1, 64, 64),
            (48, 1, 128, 64),
            (96, 1, 64, 64),
            (96, 1, 1, 32),
            (96, 1, 4, 64),
            (48, 2, 64, 128),
        ] {
            let small = size / stride;
            let (x, gradient) =
                (self.random([1, size, size, size, inputs]), self.random([1, small, small, small, outputs]));
            let weight = self.random([3, 3, 3, inputs, outputs]);
            self.measure(&Case {
                name: format!("conv 3^3 at {size}^3, {inputs} to {outputs}, stride {stride}"),
                flop: 54 * small.pow(3) * inputs * outputs,
                forward: || Dispatch::dense_conv3d(x.clone(), weight.clone(), stride),
                backward: || {
                    let values = || (x.clone(), weight.clone(), gradient.clone());
                    let (x, weight, gradient) = values();
                    let input = Dispatch::dense_conv3d_backward_input(x, weight, gradient, stride);
                    let (x, weight, gradient) = values();
                    (input, Dispatch::dense_conv3d_backward_weight(x, weight, gradient, stride))
                },
            });
        }
    }

    fn random<const D: usize>(&self, shape: [usize; D]) -> Value {
        Tensor::<D>::random(shape, Distribution::Uniform(-1.0, 1.0), &self.device).into_dispatch()
    }

    fn measure<Y, Z>(&self, case: &Case<impl Fn() -> Y, impl Fn() -> Z>) {
        if !case.name.contains(&self.name) {
            return;
        }
        println!(
            "{:36}{}{}",
            case.name,
            self.speed(fastest(&case.forward), case.flop),
            self.speed(fastest(&case.backward), 2 * case.flop)
        );
    }

    fn speed(&self, time: Duration, flop: usize) -> String {
        let speed = flop as f64 / time.as_secs_f64();
        let (ms, share) = (time.as_secs_f64() * 1e3, 100.0 * speed / self.peak);
        format!("{ms:15.2} {:8.0} {share:8.0}", speed / 1e9)
    }
}

fn fastest<T>(run: impl Fn() -> T) -> Duration {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    (0..REPETITIONS).map(time).min().unwrap_or_default()
}

fn elements<const D: usize>(shape: [usize; D]) -> usize {
    shape.iter().product()
}
