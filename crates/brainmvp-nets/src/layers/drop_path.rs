//! Stochastic depth.

use burn::module::Module;
use burn::tensor::{Distribution, Tensor};

/// Drops a residual branch of a whole sample with probability `rate` while training, and scales the rest up
/// (Huang et al. 2016). With `rate` 0, and wherever autodiff is off, it does nothing.
#[derive(Module, Debug)]
pub struct DropPath {
    #[module(skip)]
    rate: f64,
}

impl DropPath {
    /// Drops with probability `rate` in `[0, 1)`.
    pub fn new(rate: f64) -> Self {
        Self { rate }
    }

    /// # Shapes
    /// `[B, ..]` to the same.
    pub fn forward<const D: usize>(&self, branch: Tensor<D>) -> Tensor<D> {
        if self.rate == 0.0 || !branch.device().is_autodiff() {
            return branch;
        }
        let mut shape = [1; D];
        shape[0] = branch.dims()[0];
        let keep = 1.0 - self.rate;
        let kept = Tensor::<D>::random(shape, Distribution::Bernoulli(keep), &branch.device());
        branch * (kept / keep)
    }
}
