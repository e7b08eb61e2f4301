//! Percentile bootstrap intervals (Efron 1979).

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::metrics::percentile;
use crate::{Error, Result, Score};

/// The settings of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootstrapConfig {
    /// How often the cases are resampled.
    pub resamples: usize,
    /// The share of resamples within the interval: 0.95 for a 95 % interval.
    pub confidence: f64,
}

/// The interval that contains the statistic of most resamples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The lower end.
    pub low: Score,
    /// The upper end.
    pub high: Score,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { resamples: 10_000, confidence: 0.95 }
    }
}

impl BootstrapConfig {
    /// Refuses settings that allow no interval.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: String, expected: &str| {
            Err(Error::Config { field, value, expected: expected.to_owned() })
        };
        if self.resamples == 0 {
            return refuse("resamples", self.resamples.to_string(), "1 or more");
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return refuse("confidence", self.confidence.to_string(), "a share between 0 and 1");
        }
        Ok(())
    }
}

/// The interval of a statistic over `cases` cases. `statistic` gets the indices of the cases drawn, with repetition.
/// Resamples for which it is not finite (an AUC of one class) are ignored. Without cases, or without a finite resample,
/// both ends are NaN.
///
/// # Errors
/// [`Error::Config`] if the settings allow no interval.
pub fn bootstrap(
    cases: usize,
    config: &BootstrapConfig,
    rng: &mut impl Rng,
    statistic: impl Fn(&[usize]) -> f64,
) -> Result<Interval> {
    bootstrap_runs(1, cases, config, rng, |_, drawn| statistic(drawn))
}

/// The interval of a statistic over `runs` trainings and `cases` cases, both of which might have been others: each resample
/// draws trainings and cases, with repetition, and `statistic` gets the indices of both. The cases are the same for all
/// trainings of a resample, as the test set is. Otherwise as [`bootstrap`].
///
/// # Errors
/// [`Error::Config`] if the settings allow no interval.
pub fn bootstrap_runs(
    runs: usize,
    cases: usize,
    config: &BootstrapConfig,
    rng: &mut impl Rng,
    statistic: impl Fn(&[usize], &[usize]) -> f64,
) -> Result<Interval> {
    config.validate()?;
    let (mut of_runs, mut of_cases) = (vec![0; runs], vec![0; cases]);
    let mut found = Vec::with_capacity(config.resamples);
    for _ in 0..if cases == 0 || runs == 0 { 0 } else { config.resamples } {
        // A single training is always drawn, and takes no random number.
        if runs > 1 {
            of_runs.fill_with(|| rng.random_range(0..runs));
        }
        of_cases.fill_with(|| rng.random_range(0..cases));
        found.push(statistic(&of_runs, &of_cases));
    }
    found.retain(|value| value.is_finite());
    found.sort_unstable_by(f64::total_cmp);
    let tail = 50.0 * (1.0 - config.confidence);
    let [low, high] = [tail, 100.0 - tail].map(|percent| Score::new(percentile(&found, percent)));
    Ok(Interval { low, high })
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn of_mean(values: &[f64], seed: u64) -> (f64, f64) {
        let mean = |drawn: &[usize]| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let found = bootstrap(values.len(), &BootstrapConfig::default(), &mut rng, mean).unwrap();
        (found.low.value().unwrap(), found.high.value().unwrap())
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        // The standard error of the mean, from the population's standard deviation: sqrt((100^2 - 1) / 12 / 100).
        let error = (9999.0_f64 / 1200.0).sqrt();
        let (low, high) = of_mean(&values, 1);
        assert!((low - (49.5 - 1.96 * error)).abs() < 0.15, "{low}");
        assert!((high - (49.5 + 1.96 * error)).abs() < 0.15, "{high}");
        assert_eq!(of_mean(&values, 1), (low, high));
        assert_ne!(of_mean(&values, 2), (low, high));
    }

    #[test]
    fn trainings_that_differ_widen_the_interval() {
        let values = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]];
        let of = |runs: usize| {
            let statistic = |runs: &[usize], cases: &[usize]| {
                let sum: f64 = runs.iter().flat_map(|run| cases.iter().map(|case| values[*run][*case])).sum();
                sum / (runs.len() * cases.len()) as f64
            };
            let mut rng = ChaCha8Rng::seed_from_u64(5);
            let found = bootstrap_runs(runs, 4, &BootstrapConfig::default(), &mut rng, statistic).unwrap();
            found.high.value().unwrap() - found.low.value().unwrap()
        };
        assert!(of(2) > 1.5 * of(1), "{} {}", of(2), of(1));
        assert!(of(0).is_nan());
    }

    #[test]
    fn equal_cases_leave_no_doubt_and_no_cases_say_nothing() {
        assert_eq!(of_mean(&[0.5; 4], 3), (0.5, 0.5));
        assert!(of_mean(&[], 3).0.is_nan());
        let nothing = BootstrapConfig { resamples: 0, ..BootstrapConfig::default() };
        assert!(bootstrap(3, &nothing, &mut ChaCha8Rng::seed_from_u64(0), |_| 0.0).is_err());
    }
}
