//! Random draws that are the same on every machine.
//!
//! Everything is made from ChaCha8 words by exact integer and IEEE operations, so no distribution code of a
//! library, and no transcendental function of a platform, can change a phantom.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::shape::Point;

/// The purpose of a stream of random numbers: every purpose of every case has its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The protocol of a site (the index is the site's, not a case's).
    Site,
    /// The site, the disease, and the available modalities.
    Cohort,
    /// Pose and deformation.
    Pose,
    /// Folds, ventricles, nuclei.
    Anatomy,
    /// Arteries and veins.
    Vessels,
    /// Place, size and outline of lesions.
    Lesion,
    /// Thermal noise of the series with this index.
    Noise(usize),
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `purpose` for case (or site) `index` under `seed`.
    pub(super) fn new(seed: u64, index: usize, purpose: Purpose) -> Self {
        let code = match purpose {
            Purpose::Site => 0,
            Purpose::Cohort => 1,
            Purpose::Pose => 2,
            Purpose::Anatomy => 3,
            Purpose::Vessels => 4,
            Purpose::Lesion => 5,
            Purpose::Noise(series) => 16 + series as u64,
        };
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(((index as u64) << 8) | code);
        Self(generator)
    }

    /// A number in [0, 1), of 24 random bits.
    pub(super) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number in [`low`, `high`).
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A number in [-`limit`, `limit`).
    pub(super) fn around_zero(&mut self, limit: f32) -> f32 {
        self.between(-limit, limit)
    }

    /// Whether an event of this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.unit()) < probability
    }

    /// A whole number below `count` (which must not be 0).
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u64::from(self.0.next_u32()) * count as u64) >> 32) as usize
    }

    /// The index of a weight, drawn in proportion to the weights; 0 if all weights are 0.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = f64::from(self.unit()) * weights.iter().sum::<f64>();
        for (place, weight) in weights.iter().enumerate() {
            if rest < *weight {
                return place;
            }
            rest -= weight;
        }
        0
    }

    /// A direction, uniform on the sphere.
    pub(super) fn direction(&mut self) -> Point {
        loop {
            let v: Point = [self.around_zero(1.0), self.around_zero(1.0), self.around_zero(1.0)];
            let square = v[0] * v[0] + v[1] * v[1] + v[2] * v[2];
            if square > 0.01 && square <= 1.0 {
                let scale = 1.0 / square.sqrt();
                return [v[0] * scale, v[1] * scale, v[2] * scale];
            }
        }
    }

    /// Nearly Gaussian, mean 0 and deviation 1: four 16-bit numbers summed (bounded at 3.46).
    pub(super) fn gaussian(&mut self) -> f32 {
        let word = self.0.next_u64();
        let sum = (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        (sum as f32 - 131_070.0) * (1.0 / 37_837.23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussian_has_unit_deviation() {
        let mut random = Random::new(7, 0, Purpose::Cohort);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(random.gaussian())).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean) * (d - mean)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |index, purpose| Random::new(7, index, purpose).unit();
        assert_eq!(draw(1, Purpose::Pose), draw(1, Purpose::Pose));
        assert_ne!(draw(1, Purpose::Pose), draw(2, Purpose::Pose));
        assert_ne!(draw(1, Purpose::Pose), draw(1, Purpose::Lesion));
    }
}
