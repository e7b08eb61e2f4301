//! What several processes that train together compute of the samples of all of them.
//!
//! The ranks move the network by the mean of their gradients. Where the loss is a mean over samples, nothing else is needed. Where
//! it is not, every rank computes the same loss of the samples of all ranks, and has the gradient of its own part alone: it is
//! multiplied by the number of ranks, so that the mean is the gradient of that loss. No exchange is needed in the backward pass.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use brainmvp_ranks::Ranks;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Device, Tensor, TensorData, try_read_sync};

use super::scalar;
use crate::VolumeOps;

/// The values of a tensor with a gradient that is `factor` times as large.
pub fn with_gradient_times<const D: usize>(x: Tensor<D>, factor: f64) -> Tensor<D> {
    let value = x.clone().detach();
    // What is added is 0 to the bit.
    value.clone() + (x - value) * factor
}

/// The sum of a tensor over all ranks. See [the module](self) on its gradient.
///
/// # Shapes
/// The same on each rank, and of the result.
pub fn sum<const D: usize>(x: Tensor<D>, ranks: &Ranks) -> Tensor<D> {
    if ranks.is_alone() {
        return x;
    }
    let own = x.clone().detach();
    let mut values = values(&own);
    ranks.sum(&mut values);
    let all = Tensor::from_data(TensorData::new(values, own.shape()), &x.device());
    all + (x - own) * ranks.count() as f64
}

/// The mean of a tensor over all ranks; like [`sum`].
pub fn mean<const D: usize>(x: Tensor<D>, ranks: &Ranks) -> Tensor<D> {
    if ranks.is_alone() { x } else { sum(x, ranks) / ranks.count() as f64 }
}

/// The rows of all ranks, those of the first one first. See [the module](self) on their gradient.
///
/// # Shapes
/// `[N, F]` on each rank to `[ranks N, F]`.
pub fn gather_rows(rows: Tensor<2>, ranks: &Ranks) -> Tensor<2> {
    if ranks.is_alone() {
        return rows;
    }
    let (shape, device) = (rows.dims(), rows.device());
    let bytes: Vec<u8> =
        values(&rows.clone().detach()).iter().flat_map(|value| value.to_le_bytes()).collect();
    let of_each = ranks.gather(&bytes).into_iter().enumerate().map(|(rank, bytes)| {
        if rank == ranks.rank() {
            return with_gradient_times(rows.clone(), ranks.count() as f64);
        }
        let (numbers, _) = bytes.as_chunks::<4>();
        let values: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        Tensor::from_data(TensorData::new(values, shape), &device)
    });
    Tensor::cat(of_each.collect(), 0)
}

/// The values of a tensor without gradient.
fn values<const D: usize>(x: &Tensor<D>) -> Vec<f32> {
    numbers(x.clone().into_data())
}

fn numbers(data: TensorData) -> Vec<f32> {
    #[expect(clippy::expect_used, reason = "all that is trained is fp32")]
    data.try_into_vec().expect("a tensor is not fp32")
}

/// The values of a primitive.
fn values_of<B: Backend>(x: FloatTensor<B>) -> Vec<f32> {
    #[expect(clippy::expect_used, reason = "a device that cannot be read from has failed before")]
    let data = try_read_sync(B::float_into_data(x)).and_then(Result::ok).expect("a tensor cannot be read");
    numbers(data)
}

/// What is called with a gradient, once, when all that contributes to it has been added up.
#[derive(Clone)]
pub struct GradientHook(Arc<dyn Fn(Vec<f32>) + Send + Sync>);

impl GradientHook {
    /// A hook. The values are in row-major order.
    pub fn new(call: impl Fn(Vec<f32>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// Calls it with a gradient.
    pub(crate) fn call<B: Backend>(&self, gradient: FloatTensor<B>) {
        (self.0)(values_of::<B>(gradient));
    }
}

impl Debug for GradientHook {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("GradientHook")
    }
}

/// Decides when the hooks of [`when_gradient`] are called.
///
/// A backward pass goes through the operations from the deepest to the first, by the longest way from a leaf. A parameter is a
/// leaf, so that a hook on it alone would be called after all else. Each hook is therefore put as deep as the operations that
/// follow it: behind a row of operations that do nothing, longer for each hook than for the one before.
#[derive(Clone)]
pub struct Depth(Tensor<1>);

impl Depth {
    /// How many operations there are between the first uses of two parameters. If there are more, hooks are called later.
    const BETWEEN: usize = 3;

    /// The depth of the first hook of a pass.
    pub fn new(device: &Device) -> Self {
        Self(Tensor::zeros([1], device))
    }

    /// The depth of the next hook.
    fn next(&mut self) -> Tensor<1> {
        for _ in 0..Self::BETWEEN {
            self.0 = self.0.clone() + 0.0;
        }
        self.0.clone()
    }
}

/// `x`; its gradient is given to a hook as soon as it is known. Without autodiff, the hook is never called.
pub fn when_gradient<const D: usize>(x: Tensor<D>, depth: &mut Depth, hook: GradientHook) -> Tensor<D> {
    let depth = depth.next();
    Tensor::from_dispatch(burn::backend::Dispatch::when_gradient(
        x.into_dispatch(),
        depth.into_dispatch(),
        hook,
    ))
}

/// Output, mean and biased variance of a batch norm over the samples of all ranks, which have as many voxels each.
pub(crate) fn batch_norm<B: VolumeOps>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    shift: FloatTensor<B>,
    epsilon: f32,
    ranks: &Ranks,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, device) = (scale.shape(), x.device());
    let (_, mean, variance) = B::channel_batch_norm(x.clone(), scale.clone(), shift.clone(), epsilon);
    let own = [values_of::<B>(mean), values_of::<B>(variance)].concat();
    let (mean, variance) = pooled(&own, ranks);
    let tensor = |values| B::float_from_data(TensorData::new(values, shape.clone()), &device);
    let (mean, variance) = (tensor(mean), tensor(variance));
    let deviation = B::float_sqrt(B::float_add_scalar(variance.clone(), scalar(epsilon)));
    let factor = B::float_div(scale, deviation);
    let shift = B::float_sub(shift, B::float_mul(mean.clone(), factor.clone()));
    (B::channel_affine(x, factor, shift), mean, variance)
}

/// Mean and variance of each channel over all ranks, of those of one rank after the other (Chan, Golub and LeVeque 1983).
fn pooled(own: &[f32], ranks: &Ranks) -> (Vec<f32>, Vec<f32>) {
    let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
    let of_each: Vec<Vec<f64>> = ranks
        .gather(&bytes)
        .into_iter()
        .map(|bytes| bytes.as_chunks::<4>().0.iter().map(|n| f64::from(f32::from_le_bytes(*n))).collect())
        .collect();
    let (channels, count) = (own.len() / 2, of_each.len() as f64);
    let average = |of: &dyn Fn(&[f64]) -> f64| of_each.iter().map(|one| of(one)).sum::<f64>() / count;
    (0..channels)
        .map(|channel| {
            let mean = average(&|one| one[channel]);
            let within = average(&|one| one[channels + channel]);
            let between = average(&|one| (one[channel] - mean).powi(2));
            (mean as f32, (within + between) as f32)
        })
        .unzip()
}

/// Gradients of [`batch_norm`] for input, scale and shift: those of the latter of the own samples alone.
///
/// The gradient of the input has the means of two products over all samples. Those over the own ones are taken first, and
/// what is missing, which is linear in the input, is added.
pub(crate) fn batch_norm_backward<B: VolumeOps>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    [mean, variance]: [FloatTensor<B>; 2],
    gradient: FloatTensor<B>,
    epsilon: f32,
    ranks: &Ranks,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (shape, device) = (x.shape(), x.device());
    let channels = scale.shape().num_elements();
    let voxels = (shape.num_elements() / channels) as f32;
    let (input, of_scale, of_shift) = B::channel_batch_norm_backward(
        x.clone(),
        scale.clone(),
        mean.clone(),
        variance.clone(),
        gradient,
        epsilon,
    );
    let own = [values_of::<B>(of_scale.clone()), values_of::<B>(of_shift.clone())].concat();
    let mut all = own.clone();
    ranks.sum(&mut all);
    let count = ranks.count() as f32;
    // How much the own sums exceed the mean of all ranks, for each voxel.
    let excess = own.iter().zip(all).map(|(own, all)| (own - all / count) / voxels).collect::<Vec<f32>>();
    let tensor = |values: &[f32]| B::float_from_data(TensorData::new(values.to_vec(), [channels]), &device);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, scalar(epsilon)));
    let factor = B::float_div(scale, deviation.clone());
    let slope = B::float_div(B::float_mul(factor.clone(), tensor(&excess[..channels])), deviation);
    let level = B::float_mul(factor, tensor(&excess[channels..]));
    let level = B::float_sub(level, B::float_mul(slope.clone(), mean));
    (B::float_add(input, B::channel_affine(x, slope, level)), of_scale, of_shift)
}
