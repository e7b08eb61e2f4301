//! Descriptive statistics.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{BootstrapConfig, Interval, bootstrap};
use crate::metrics::percentile;
use crate::{Result, Score};

/// Mean, standard deviation and median of some values. A value that is NaN or infinite shows in the result: it is never
/// skipped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The number of values.
    pub n: usize,
    /// Their mean; NaN if there are none.
    pub mean: Score,
    /// Their standard deviation, as for a sample (n - 1); NaN if there are fewer than two.
    pub std: Score,
    /// The median; NaN if there are none.
    pub median: Score,
    /// The bootstrap interval of the mean; NaN if the mean is not finite.
    pub interval: Interval,
}

impl Description {
    /// Describes `values`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the settings of the bootstrap allow no interval.
    pub fn of(values: &[f64], config: &BootstrapConfig, rng: &mut impl Rng) -> Result<Self> {
        let (mean, std) = (mean(values), standard_deviation(values));
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let median =
            if values.iter().any(|value| value.is_nan()) { f64::NAN } else { percentile(&sorted, 50.0) };
        let of_drawn = |drawn: &[usize]| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64;
        let interval = if mean.is_finite() {
            bootstrap(values.len(), config, rng, of_drawn)?
        } else {
            config.validate()?;
            Interval { low: Score::new(f64::NAN), high: Score::new(f64::NAN) }
        };
        let [mean, std, median] = [mean, std, median].map(Score::new);
        Ok(Self { n: values.len(), mean, std, median, interval })
    }
}

/// That of a sample (n - 1); NaN for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (squares / (values.len() as f64 - 1.0).max(0.0)).sqrt()
}

/// NaN for no values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn of(values: &[f64]) -> Description {
        Description::of(values, &BootstrapConfig::default(), &mut ChaCha8Rng::seed_from_u64(0)).unwrap()
    }

    #[test]
    fn mean_spread_and_middle() {
        let found = of(&[4.0, 1.0, 2.0, 9.0]);
        assert_eq!((found.n, found.mean, found.median), (4, Score::new(4.0), Score::new(3.0)));
        // numpy.std([4, 1, 2, 9], ddof=1)
        assert!((found.std.value().unwrap() - 3.559026084010437).abs() < 1e-12);
        assert!(found.interval.low.value().unwrap() < 4.0);
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let found = of(&[1.0, f64::INFINITY]);
        assert_eq!(found.mean, Score::new(f64::INFINITY));
        assert!(found.interval.low.value().unwrap().is_nan());
        assert!(of(&[f64::NAN, 1.0]).median.value().unwrap().is_nan());
        assert!(of(&[]).mean.value().unwrap().is_nan());
        assert!(of(&[1.0]).std.value().unwrap().is_nan());
    }
}
