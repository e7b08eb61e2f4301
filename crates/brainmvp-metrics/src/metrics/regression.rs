//! Metrics of regressions, from the predicted and the true numbers.
//!
//! A metric without a value (a correlation where all numbers are equal) is NaN as a [`Score`], never a number that looks
//! like a result.

use serde::{Deserialize, Serialize};

use crate::statistics::ranks;
use crate::{Error, Result, Score};

/// The scores of a regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegressionScores {
    /// Number of cases.
    pub cases: usize,
    /// The mean absolute error, in the unit of the numbers.
    pub mae: Score,
    /// The root of the mean squared error, in the unit of the numbers.
    pub rmse: Score,
    /// The coefficient of determination: 1 less the share of the true numbers' variance that the errors have. 0 for the
    /// mean of the true numbers as the prediction, negative for worse ones; NaN if the true numbers are all equal.
    pub r2: Score,
    /// Pearson's correlation; NaN if the predictions or the true numbers are all equal.
    pub pearson: Score,
    /// Spearman's correlation: Pearson's of the ranks, equal numbers having their mean rank.
    pub spearman: Score,
}

impl RegressionScores {
    /// The scores with their names in files and their headings.
    pub fn named(&self) -> [(&'static str, &'static str, Score); 5] {
        [
            ("mae", "Mean absolute error", self.mae),
            ("rmse", "Root mean squared error", self.rmse),
            ("r2", "R2", self.r2),
            ("pearson", "Pearson's r", self.pearson),
            ("spearman", "Spearman's rho", self.spearman),
        ]
    }
}

/// Scores predicted numbers against the true ones, case by case.
///
/// # Errors
/// [`Error::Samples`] if there are no cases, lengths differ, or a number is not finite.
pub fn regression(predicted: &[f64], truth: &[f64]) -> Result<RegressionScores> {
    let refuse = |reason: String| Err(Error::Samples(reason));
    if truth.is_empty() {
        return refuse("no cases to score".to_owned());
    }
    if predicted.len() != truth.len() {
        return refuse(format!("{} predicted numbers for {} cases", predicted.len(), truth.len()));
    }
    if let Some(case) = predicted.iter().zip(truth).position(|(p, t)| !(p.is_finite() && t.is_finite())) {
        return refuse(format!("case {case} has a number that is not finite"));
    }
    let count = truth.len() as f64;
    let errors = || predicted.iter().zip(truth).map(|(p, t)| p - t);
    let squares: f64 = errors().map(|error| error * error).sum();
    let mean = truth.iter().sum::<f64>() / count;
    let variation: f64 = truth.iter().map(|t| (t - mean).powi(2)).sum();
    let r2 = if variation > 0.0 { 1.0 - squares / variation } else { f64::NAN };
    Ok(RegressionScores {
        cases: truth.len(),
        mae: Score::new(errors().map(f64::abs).sum::<f64>() / count),
        rmse: Score::new((squares / count).sqrt()),
        r2: Score::new(r2),
        pearson: Score::new(pearson(predicted, truth)),
        spearman: Score::new(pearson(&ranks(predicted), &ranks(truth))),
    })
}

fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let centred = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect::<Vec<_>>()
    };
    let (a, b) = (centred(a), centred(b));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let spread = product(&a, &a).sqrt() * product(&b, &b).sqrt();
    if spread > 0.0 { (product(&a, &b) / spread).clamp(-1.0, 1.0) } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(scores: &RegressionScores) -> [f64; 5] {
        scores.named().map(|(.., score)| score.value().unwrap())
    }

    #[test]
    fn by_hand() {
        // Errors 1, -1, 0, 4; the truth has the mean 4 and the squares 9, 1, 1, 9.
        let found = values(&regression(&[2.0, 2.0, 5.0, 11.0], &[1.0, 3.0, 5.0, 7.0]).unwrap());
        // Centred: (-3, -3, 0, 6) and (-3, -1, 1, 3); ranks (0.5, 0.5, 2, 3) and (0, 1, 2, 3).
        let pearson = 30.0 / (54.0_f64 * 20.0).sqrt();
        let spearman = 4.5 / (4.5_f64 * 5.0).sqrt();
        let expected = [1.5, 4.5_f64.sqrt(), 1.0 - 18.0 / 20.0, pearson, spearman];
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
        }
    }

    #[test]
    fn what_has_no_value_is_nan() {
        let [mae, rmse, r2, pearson, spearman] = values(&regression(&[1.0, 2.0], &[3.0, 3.0]).unwrap());
        assert_eq!((mae, rmse), (1.5, 2.5_f64.sqrt()));
        assert!(r2.is_nan() && pearson.is_nan() && spearman.is_nan());
        for (predicted, truth) in [(&[][..], &[][..]), (&[1.0], &[1.0, 2.0]), (&[f64::NAN], &[1.0])] {
            assert!(regression(predicted, truth).is_err());
        }
    }

    proptest! {
        #[test]
        fn correlations_do_not_see_units(
            cases in prop::collection::vec((-9_i8..9, -9_i8..9), 3..30), factor in 0.1..9.0, shift in -9.0..9.0,
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = cases.iter().map(|(a, b)| (f64::from(*a), f64::from(*b))).unzip();
            let moved: Vec<f64> = a.iter().map(|a| factor * a + shift).collect();
            let [_, _, _, pearson, spearman] = values(&regression(&a, &b).unwrap());
            let [_, _, _, pearson_moved, spearman_moved] = values(&regression(&moved, &b).unwrap());
            prop_assert!((pearson - pearson_moved).abs() < 1e-9 || pearson.is_nan());
            prop_assert!((spearman - spearman_moved).abs() < 1e-9 || spearman.is_nan());
            let [mae, rmse, r2, ..] = values(&regression(&b, &b).unwrap());
            prop_assert!((mae, rmse) == (0.0, 0.0) && (r2 == 1.0 || r2.is_nan()));
        }
    }
}
