//! Stochastic depth.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use super::Pass;

/// Drops the residual branch of a whole sample with probability `rate`, and scales up the rest (Huang et al. 2016).
/// With `rate` 0, and in a pass where nothing is random, it does nothing.
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

    /// `x` plus a branch. `join` returns its argument plus the branch, so that the sum is part of the branch's last
    /// operation if nothing is dropped.
    ///
    /// # Shapes
    /// `[B, ..]` to the same.
    pub fn add<const D: usize>(
        &self,
        x: Tensor<D>,
        pass: &mut Pass<'_>,
        join: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Tensor<D> {
        if self.rate == 0.0 {
            return join(x);
        }
        let keep = 1.0 - self.rate;
        let mut shape = [1; D];
        shape[0] = x.dims()[0];
        let factor = |rng: &mut dyn Rng| if rng.random_bool(keep) { (1.0 / keep) as f32 } else { 0.0 };
        let Some(factors) = pass.draw(shape[0], factor) else {
            return join(x);
        };
        let factors = Tensor::<D>::from_data(TensorData::new(factors, shape), &x.device());
        let branch = join(x.zeros_like());
        x + branch * factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn drops_whole_samples_and_keeps_the_mean() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let x = Tensor::<2>::ones([400, 3], &Device::flex());
        let path = DropPath::new(0.25);
        let dropped = path.add(x.clone(), &mut Pass::training(&mut rng), |onto| onto + 1.0) - 1.0;
        let mean: f32 = dropped.clone().mean().into_scalar();
        assert!((mean - 1.0).abs() < 0.1, "{mean}");
        let values: Vec<f32> = dropped.into_data().try_to_vec().unwrap();
        assert!(values.chunks(3).all(|row| row[0] == row[1] && row[1] == row[2]));
        assert!(values.contains(&0.0));
        let kept: Vec<f32> =
            path.add(x, &mut Pass::evaluation(), |onto| onto + 1.0).into_data().try_to_vec().unwrap();
        assert!(kept.iter().all(|&v| v == 2.0));
    }
}
