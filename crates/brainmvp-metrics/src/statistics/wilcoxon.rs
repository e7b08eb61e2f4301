//! The paired signed-rank test (Wilcoxon 1945), two-sided.

use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Score};

/// Up to this many differences the exact distribution is used.
const EXACT_UP_TO: usize = 50;

/// The treatment of pairs without a difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroRule {
    /// They are left out before ranking (Wilcoxon).
    #[default]
    Wilcoxon,
    /// They are ranked with the others and then their ranks are dropped (Pratt 1959).
    Pratt,
}

/// How the p-value was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WilcoxonMethod {
    /// From the exact distribution: for up to 50 differences of distinct sizes, without zeros to be ranked.
    Exact,
    /// From the normal distribution, with the variance corrected for ties, without continuity correction.
    Normal,
}

/// The result of the test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wilcoxon {
    /// The number of pairs with a difference.
    pub differences: usize,
    /// The number of pairs without.
    pub zeros: usize,
    /// The smaller of the sums of positive and negative ranks.
    pub statistic: Score,
    /// The probability of a statistic this small or smaller if differences of either sign were equally likely. 1 if
    /// there are no differences at all.
    pub p_value: Score,
    /// How it was computed.
    pub method: WilcoxonMethod,
}

/// Tests whether paired values, `a[i]` with `b[i]`, differ.
///
/// # Errors
/// [`Error::Samples`] if the lengths differ or a difference is NaN or infinite.
pub fn wilcoxon(a: &[f64], b: &[f64], zeros: ZeroRule) -> Result<Wilcoxon> {
    if a.len() != b.len() {
        return Err(Error::Samples(format!("{} and {} values cannot be paired", a.len(), b.len())));
    }
    let mut differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    if let Some(i) = differences.iter().position(|difference| !difference.is_finite()) {
        return Err(Error::Samples(format!("pair {i} ({} and {}) has no finite difference", a[i], b[i])));
    }
    let all = differences.len();
    if zeros == ZeroRule::Wilcoxon {
        differences.retain(|difference| *difference != 0.0);
    }
    differences.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let ranked = Ranked::new(&differences);
    let statistic = ranked.positive.min(ranked.negative);
    let exact = ranked.zeros == 0 && ranked.ties == 0.0 && differences.len() <= EXACT_UP_TO;
    let counted = differences.len() - ranked.zeros;
    let (method, p_value) = match counted {
        0 => (WilcoxonMethod::Exact, 1.0),
        _ if exact => (WilcoxonMethod::Exact, exact_p_value(counted, statistic)),
        _ => (WilcoxonMethod::Normal, ranked.normal_p_value(statistic)),
    };
    let (statistic, p_value) = (Score::new(statistic), Score::new(p_value));
    Ok(Wilcoxon { differences: counted, zeros: all - counted, statistic, p_value, method })
}

/// The sums of ranks.
struct Ranked {
    positive: f64,
    negative: f64,
    /// The number of differences ranked, zeros included.
    all: usize,
    zeros: usize,
    /// The sum of t^3 - t over groups of t equal sizes above 0.
    ties: f64,
}

impl Ranked {
    /// Ranks differences sorted by size; equal ones share their mean rank.
    fn new(ascending: &[f64]) -> Self {
        let mut ranked = Self { positive: 0.0, negative: 0.0, all: ascending.len(), zeros: 0, ties: 0.0 };
        let mut before = 0;
        for equal in ascending.chunk_by(|a, b| a.abs() == b.abs()) {
            let count = equal.len() as f64;
            let rank = before as f64 + f64::midpoint(count, 1.0);
            before += equal.len();
            if equal[0] == 0.0 {
                ranked.zeros = equal.len();
                continue;
            }
            let positive = equal.iter().filter(|difference| **difference > 0.0).count() as f64;
            ranked.positive += rank * positive;
            ranked.negative += rank * (count - positive);
            ranked.ties += count.powi(3) - count;
        }
        ranked
    }

    /// The two-sided p-value of the normal approximation. The ranks of zeros do not contribute to the sum's distribution.
    fn normal_p_value(&self, statistic: f64) -> f64 {
        let (n, zeros) = (self.all as f64, self.zeros as f64);
        let mean = (n * (n + 1.0) - zeros * (zeros + 1.0)) / 4.0;
        let squares = |n: f64| n * (n + 1.0) * (2.0 * n + 1.0);
        let variance = (squares(n) - squares(zeros) - self.ties / 2.0) / 24.0;
        libm::erfc((statistic - mean).abs() / variance.sqrt() / SQRT_2)
    }
}

/// Twice the probability that the ranks 1 to `n`, each with a random sign, have a positive sum of at most
/// `statistic`.
fn exact_p_value(n: usize, statistic: f64) -> f64 {
    let largest = n * (n + 1) / 2;
    // The probability of every sum of the ranks so far.
    let mut chance = vec![0.0; largest + 1];
    chance[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..=largest).rev() {
            let with = if sum >= rank { chance[sum - rank] } else { 0.0 };
            chance[sum] = f64::midpoint(chance[sum], with);
        }
    }
    (2.0 * chance[..=statistic as usize].iter().sum::<f64>()).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(differences: &[f64], zeros: ZeroRule) -> Wilcoxon {
        wilcoxon(differences, &vec![0.0; differences.len()], zeros).unwrap()
    }

    fn expect(found: Wilcoxon, method: WilcoxonMethod, statistic: f64, p_value: f64) {
        assert_eq!((found.method, found.statistic), (method, Score::new(statistic)));
        assert!((found.p_value.value().unwrap() - p_value).abs() < 1e-12, "{found:?} {p_value}");
    }

    /// 0.01, 0.02, ... n of them, every third negative.
    fn every_third_negative(n: i32) -> Vec<f64> {
        (1..=n).map(|i| f64::from(if i % 3 == 0 { -i } else { i }) * 0.01).collect()
    }

    // The numbers: scipy 1.17.1, `scipy.stats.wilcoxon(d, method="exact")` and, with ties or zeros or above 50,
    // `wilcoxon(d, zero_method="wilcox" or "pratt", method="approx")`.
    #[test]
    fn p_values_are_those_of_scipy() {
        use WilcoxonMethod::{Exact, Normal};
        use ZeroRule::{Pratt, Wilcoxon};
        let distinct = [0.12, -0.05, 0.31, 0.44, -0.02, 0.27, 0.08, -0.19, 0.36, 0.51];
        expect(of(&distinct, Wilcoxon), Exact, 8.0, 0.048828125);
        expect(of(&[1.0, 2.0, 3.0, 4.0, 5.0], Wilcoxon), Exact, 0.0, 0.0625);
        expect(of(&every_third_negative(40), Wilcoxon), Exact, 273.0, 0.06616061626664305);
        expect(of(&every_third_negative(60), Wilcoxon), Normal, 630.0, 0.03590012321587811);
        let ties = [1, 2, 2, -3, 4, -1, 2, 5, -2, 3, 3, 6].map(f64::from);
        expect(of(&ties, Wilcoxon), Normal, 14.0, 0.04854404834166107);
        let zeros = [0, 0, 1, 2, 2, -3, 4, -1, 0, 2, 5, -2, 3, 3, 6].map(f64::from);
        expect(of(&zeros, Wilcoxon), Normal, 14.0, 0.04854404834166107);
        expect(of(&zeros, Pratt), Normal, 23.0, 0.051411102509542714);
        assert_eq!((of(&zeros, Pratt).differences, of(&zeros, Pratt).zeros), (12, 3));
    }

    #[test]
    fn no_difference_is_no_evidence() {
        for rule in [ZeroRule::Wilcoxon, ZeroRule::Pratt] {
            assert_eq!(of(&[0.0; 5], rule).p_value, Score::new(1.0));
            assert_eq!(of(&[], rule).p_value, Score::new(1.0));
        }
        assert!(wilcoxon(&[1.0], &[], ZeroRule::Pratt).is_err());
        assert!(wilcoxon(&[f64::INFINITY], &[f64::INFINITY], ZeroRule::Pratt).is_err());
    }

    proptest! {
        #[test]
        fn the_order_of_the_sets_does_not_matter(
            pairs in prop::collection::vec((0_i8..6, 0_i8..6), 0..60), pratt in any::<bool>(),
        ) {
            let rule = if pratt { ZeroRule::Pratt } else { ZeroRule::Wilcoxon };
            let (a, b): (Vec<f64>, Vec<f64>) =
                pairs.into_iter().map(|(a, b)| (f64::from(a), f64::from(b))).unzip();
            let found = wilcoxon(&a, &b, rule).unwrap();
            prop_assert_eq!(found, wilcoxon(&b, &a, rule).unwrap());
            prop_assert!((0.0..=1.0).contains(&found.p_value.value().unwrap()));
        }
    }
}
