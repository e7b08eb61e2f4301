//! Measures the speed of every operation, forward and backward, at the sizes of UniFormer-S.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use burn::backend::Dispatch;
use burn::tensor::{Device, Distribution, Tensor};

use brainmvp_kernels::VolumeOps;
use brainmvp_kernels::ops::WindowOptions;

const EPSILON: f32 = 1e-5;
/// The channels of the stages; each stage has half as many voxels along an axis as the previous one.
const WIDTHS: [usize; 4] = [64, 128, 320, 512];

/// The sizes to measure.
#[derive(Debug, Clone, Copy)]
pub struct BenchConfig {
    /// Voxels along an axis of the network's input, a multiple of 16.
    pub size: usize,
    /// Volumes per batch.
    pub batch: usize,
    /// Runs of each operation, at least one. The fastest counts: anything else that the machine does only adds time.
    pub repetitions: usize,
}

/// The speed of an operation.
#[derive(Debug, Clone)]
pub struct Timing {
    /// The operation and its sizes.
    pub name: String,
    /// The forward pass.
    pub forward: Speed,
    /// The backward pass.
    pub backward: Speed,
}

/// The fastest of several runs.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Floating-point operations of a run.
    pub flop: usize,
    /// The time it took.
    pub time: Duration,
}

impl Speed {
    /// Floating-point operations per second.
    pub fn flops(&self) -> f64 {
        self.flop as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Measures one operation after the other on the CPU until all are measured or `told` returns false.
pub fn bench(config: &BenchConfig, told: &mut dyn FnMut(Timing) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut bench = Bench { config: *config, device: Device::flex(), told };
    bench.depthwise()?;
    bench.linear()?;
    bench.norms()?;
    bench.attention()?;
    bench.windows()?;
    bench.patches()?;
    bench.dense()
}

/// A tensor below the dispatch.
type Value = <Dispatch as burn::backend::BackendTypes>::FloatTensorPrimitive;

struct Bench<'a> {
    config: BenchConfig,
    device: Device,
    told: &'a mut dyn FnMut(Timing) -> ControlFlow<()>,
}

/// An operation to measure.
struct Case<F, G> {
    name: String,
    /// Floating-point operations of the forward pass; the backward pass has twice as many.
    flop: usize,
    forward: F,
    backward: G,
}

impl Bench<'_> {
    fn depthwise(&mut self) -> ControlFlow<()> {
        for (kernel, stage) in [(5, 0), (3, 0), (5, 1), (3, 1), (3, 2), (3, 3)] {
            let shape @ [_, size, _, _, channels] = self.stage(stage);
            let (x, gradient) = (self.random(shape), self.random(shape));
            let (weight, bias) = (self.random([kernel, kernel, kernel, channels]), self.random([channels]));
            self.measure(&Case {
                name: format!("depthwise {kernel}^3 at {size}^3 x {channels}"),
                flop: 2 * kernel.pow(3) * elements(shape),
                forward: || Dispatch::depthwise_conv3d(x.clone(), weight.clone(), bias.clone()),
                backward: || Dispatch::depthwise_conv3d_backward(x.clone(), weight.clone(), gradient.clone()),
            })?;
        }
        ControlFlow::Continue(())
    }

    fn linear(&mut self) -> ControlFlow<()> {
        for stage in 0..WIDTHS.len() {
            let shape @ [_, _, _, _, channels] = self.stage(stage);
            let rows = elements(shape) / channels;
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
                })?;
            }
            self.mlp(rows, channels, 4 * channels)?;
        }
        ControlFlow::Continue(())
    }

    fn mlp(&mut self, rows: usize, channels: usize, hidden: usize) -> ControlFlow<()> {
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
        })
    }

    fn norms(&mut self) -> ControlFlow<()> {
        for stage in 0..WIDTHS.len() {
            let shape @ [_, size, _, _, channels] = self.stage(stage);
            let (x, gradient) = (self.random(shape), self.random(shape));
            let (scale, shift) = (self.random([channels]), self.random([channels]));
            self.measure(&Case {
                name: format!("layer norm at {size}^3 x {channels}"),
                flop: 8 * elements(shape),
                forward: || Dispatch::channel_layer_norm(x.clone(), scale.clone(), shift.clone(), EPSILON),
                backward: || {
                    Dispatch::channel_layer_norm_backward(x.clone(), scale.clone(), gradient.clone(), EPSILON)
                },
            })?;
            self.measure(&Case {
                name: format!("batch norm at {size}^3 x {channels}"),
                flop: 8 * elements(shape),
                forward: || Dispatch::channel_batch_norm(x.clone(), scale.clone(), shift.clone(), EPSILON),
                backward: || {
                    let (x, scale, mean, variance) = (x.clone(), scale.clone(), shift.clone(), shift.clone());
                    Dispatch::channel_batch_norm_backward(x, scale, mean, variance, gradient.clone(), EPSILON)
                },
            })?;
        }
        ControlFlow::Continue(())
    }

    fn attention(&mut self) -> ControlFlow<()> {
        for stage in [2, 3] {
            let [batch, size, _, _, channels] = self.stage(stage);
            let (tokens, heads) = (size.pow(3), channels / 64);
            let qkv = self.random([batch, tokens, 3 * channels]);
            let gradient = self.random([batch, tokens, channels]);
            let (output, log_sums) = Dispatch::token_attention(qkv.clone(), heads);
            self.measure(&Case {
                name: format!("attention {tokens} tokens, {heads} heads"),
                flop: 4 * batch * tokens * tokens * channels,
                forward: || Dispatch::token_attention(qkv.clone(), heads),
                backward: || {
                    let (output, log_sums) = (output.clone(), log_sums.clone());
                    Dispatch::token_attention_backward(qkv.clone(), output, log_sums, gradient.clone(), heads)
                },
            })?;
        }
        ControlFlow::Continue(())
    }

    /// The first two stages of Swin-UNETR.
    fn windows(&mut self) -> ControlFlow<()> {
        let options = WindowOptions { window: [7; 3], shift: [3; 3] };
        for stage in [0, 1] {
            let (batch, size, heads) = (self.config.batch, self.config.size >> (stage + 1), 3 << stage);
            let (channels, tokens) = (16 * heads, options.tokens());
            let qkv = self.random([batch, size, size, size, 3 * channels]);
            let gradient = self.random([batch, size, size, size, channels]);
            let (outside, bias) = (self.random([3 * channels]), self.random([heads, tokens, tokens]));
            let inputs = || (qkv.clone(), outside.clone(), bias.clone());
            let attend = || {
                let (qkv, outside, bias) = inputs();
                Dispatch::window_attention(qkv, outside, bias, options)
            };
            let (output, log_sums) = attend();
            let windows = size.div_ceil(7).pow(3);
            self.measure(&Case {
                name: format!("attention in {windows} windows of {tokens} tokens, {heads} heads"),
                flop: 4 * batch * windows * tokens * tokens * channels,
                forward: attend,
                backward: || {
                    let ((qkv, outside, bias), gradient) = (inputs(), gradient.clone());
                    let (output, log_sums) = (output.clone(), log_sums.clone());
                    let of = (output, log_sums, gradient);
                    Dispatch::window_attention_backward(qkv, outside, bias, of.0, of.1, of.2, options)
                },
            })?;
        }
        ControlFlow::Continue(())
    }

    fn patches(&mut self) -> ControlFlow<()> {
        for stage in 0..WIDTHS.len() {
            let small @ [batch, size, _, _, outputs] = self.stage(stage);
            let inputs = if stage == 0 { 1 } else { WIDTHS[stage - 1] };
            let large = [batch, 2 * size, 2 * size, 2 * size, inputs];
            let (x, y) = (self.random(large), self.random(small));
            let (down, up, bias) = (
                self.random([2, 2, 2, inputs, outputs]),
                self.random([outputs, 2, 2, 2, inputs]),
                self.random([outputs]),
            );
            let flop = 16 * elements(small) * inputs;
            self.measure(&Case {
                name: format!("downsample {}^3 x {inputs} to {outputs}", 2 * size),
                flop,
                forward: || Dispatch::patch_downsample(x.clone(), down.clone(), bias.clone()),
                backward: || Dispatch::patch_downsample_backward(x.clone(), down.clone(), y.clone()),
            })?;
            self.measure(&Case {
                name: format!("upsample {size}^3 x {outputs} to {inputs}"),
                flop,
                forward: || Dispatch::patch_upsample(y.clone(), up.clone()),
                backward: || Dispatch::patch_upsample_backward(y.clone(), up.clone(), x.clone()),
            })?;
        }
        ControlFlow::Continue(())
    }

    /// The dense convolutions of segmentation, on one volume.
    fn dense(&mut self) -> ControlFlow<()> {
        let whole = self.config.size;
        for (size, stride, inputs, outputs) in [
            (whole / 2, 1, 64, 64),
            (whole / 2, 1, 128, 64),
            (whole, 1, 64, 64),
            (whole, 1, 1, 32),
            (whole, 1, 4, 64),
            (whole, 1, 16, 16),
            (whole / 8, 1, 256, 256),
            (whole, 1, 32, 32),
            (whole / 2, 2, 64, 128),
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
            })?;
        }
        ControlFlow::Continue(())
    }

    /// `[B, D, H, W, C]` of a stage, counted from 0.
    fn stage(&self, stage: usize) -> [usize; 5] {
        let size = self.config.size >> (stage + 1);
        [self.config.batch, size, size, size, WIDTHS[stage]]
    }

    fn random<const D: usize>(&self, shape: [usize; D]) -> Value {
        Tensor::<D>::random(shape, Distribution::Uniform(-1.0, 1.0), &self.device).into_dispatch()
    }

    fn measure<Y, Z>(&mut self, case: &Case<impl Fn() -> Y, impl Fn() -> Z>) -> ControlFlow<()> {
        let repetitions = self.config.repetitions;
        (self.told)(Timing {
            name: case.name.clone(),
            forward: Speed { flop: case.flop, time: fastest(&case.forward, repetitions) },
            backward: Speed { flop: 2 * case.flop, time: fastest(&case.backward, repetitions) },
        })
    }
}

#[expect(clippy::expect_used, reason = "repetitions are at least 1, as documented")]
fn fastest<T>(run: impl Fn() -> T, repetitions: usize) -> Duration {
    let time = |_| {
        let start = Instant::now();
        black_box(run());
        start.elapsed()
    };
    (0..repetitions).map(time).min().expect("an operation runs at least once")
}

fn elements<const D: usize>(shape: [usize; D]) -> usize {
    shape.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_measured_once_until_enough_is_heard() {
        let config = BenchConfig { size: 16, batch: 1, repetitions: 1 };
        let mut names = Vec::new();
        let ended = bench(&config, &mut |timing| {
            assert!(timing.forward.flops() > 0.0 && timing.backward.flop == 2 * timing.forward.flop);
            names.push(timing.name);
            ControlFlow::Continue(())
        });
        assert_eq!(ended, ControlFlow::Continue(()));
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!((unique.len(), names.len()), (51, 51), "{names:?}");

        let mut heard = 0;
        let ended = bench(&config, &mut |_| {
            heard += 1;
            if heard == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((ended, heard), (ControlFlow::Break(()), 3));
    }
}
