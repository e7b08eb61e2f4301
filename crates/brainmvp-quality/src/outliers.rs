//! Finds unusual values among comparable ones.

use std::fmt;

/// Fewer values than this are not compared.
pub const FEWEST_TO_COMPARE: usize = 8;

/// A value is an outlier if its modified z-score is beyond this (Iglewicz and Hoaglin, How to detect and handle
/// outliers, 1993).
const LARGEST_SCORE: f64 = 3.5;

/// The median absolute deviation of a normal distribution of deviation 1, inverted.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// How the values of a measure are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// By difference. One of no more than `floor` is never an outlier.
    Difference {
        /// In the unit of the measure.
        floor: f64,
    },
    /// By ratio, for values above 0. One of no more than `floor` is never an outlier.
    Ratio {
        /// Above 1.
        floor: f64,
    },
}

/// The usual range of a measure: median and limits, by the median absolute deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The number of values.
    pub count: usize,
    /// The median.
    pub median: f64,
    /// Values below this are unusually low.
    pub low: f64,
    /// Values above this are unusually high.
    pub high: f64,
}

/// The side of the usual range on which a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Low,
    High,
}

impl Spread {
    /// The spread of values; `None` if there are fewer than [`FEWEST_TO_COMPARE`].
    ///
    /// The limits are 3.5 times 1.4826 median absolute deviations from the median, but no closer than the scale's
    /// floor: where most values are equal, the deviation is 0, and even rounding errors would be outliers.
    pub fn of(values: &[f64], scale: Scale) -> Option<Self> {
        let usable =
            |value: f64| value.is_finite() && (value > 0.0 || matches!(scale, Scale::Difference { .. }));
        let mut scaled: Vec<f64> = values.iter().filter(|v| usable(**v)).map(|v| scale.to(*v)).collect();
        if scaled.len() < FEWEST_TO_COMPARE {
            return None;
        }
        let middle = median(&mut scaled);
        let mut deviations: Vec<f64> = scaled.iter().map(|value| (value - middle).abs()).collect();
        let reach = (LARGEST_SCORE * MAD_TO_DEVIATION * median(&mut deviations)).max(scale.floor());
        Some(Self {
            count: scaled.len(),
            median: scale.back(middle),
            low: scale.back(middle - reach),
            high: scale.back(middle + reach),
        })
    }

    pub(crate) fn side(&self, value: f64) -> Option<Side> {
        // The limits went through a logarithm and back.
        let slack = 1e-9 * self.median.abs();
        if value < self.low - slack {
            Some(Side::Low)
        } else if value > self.high + slack {
            Some(Side::High)
        } else {
            None
        }
    }
}

impl Scale {
    fn to(self, value: f64) -> f64 {
        if matches!(self, Self::Ratio { .. }) { value.ln() } else { value }
    }

    fn back(self, value: f64) -> f64 {
        if matches!(self, Self::Ratio { .. }) { value.exp() } else { value }
    }

    fn floor(self) -> f64 {
        match self {
            Self::Difference { floor } => floor,
            Self::Ratio { floor } => floor.ln(),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Low { "low" } else { "high" })
    }
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATIO: Scale = Scale::Ratio { floor: 1.1 };

    #[test]
    fn the_rule_by_hand() {
        // Median 10, deviations 4 3 2 1 0 1 2 3 4 with median 2.
        let values: Vec<f64> = (6..=14).map(f64::from).collect();
        let spread = Spread::of(&values, Scale::Difference { floor: 0.1 }).unwrap();
        let reach = 3.5 * 1.4826 * 2.0;
        assert_eq!((spread.count, spread.median), (9, 10.0));
        assert!((spread.low - (10.0 - reach)).abs() < 1e-12 && (spread.high - (10.0 + reach)).abs() < 1e-12);
        assert_eq!(spread.side(20.3), None);
        assert_eq!(spread.side(20.5), Some(Side::High));
        assert_eq!(spread.side(-0.5), Some(Side::Low));
    }

    #[test]
    fn equal_values_leave_room_for_rounding_alone() {
        let mut spacings = vec![1.0; 20];
        spacings[3] = 1.0001;
        let spread = Spread::of(&spacings, RATIO).unwrap();
        assert_eq!((spread.side(1.0001), spread.side(1.1), spread.side(0.95)), (None, None, None));
        assert_eq!((spread.side(5.5), spread.side(0.5)), (Some(Side::High), Some(Side::Low)));
    }

    #[test]
    fn few_values_are_not_compared() {
        assert_eq!(Spread::of(&[1.0; 7], RATIO), None);
        let odd = [1.0, 1.0, 1.0, 1.0, f64::NAN, f64::INFINITY, 0.0, -1.0];
        assert_eq!(Spread::of(&odd, RATIO), None, "what has no ratio does not count");
        assert!(median(&mut []).is_nan());
    }

    proptest! {
        #[test]
        fn up_to_a_third_of_gross_errors_hides_none(
            good in prop::collection::vec(90.0_f64..110.0, 20..60),
            factor in 5.0_f64..100.0,
        ) {
            let bad = good.len() / 3;
            let mut values = good.clone();
            values.extend((0..bad).map(|_| 100.0 * factor));
            for scale in [RATIO, Scale::Difference { floor: 1.0 }] {
                let spread = Spread::of(&values, scale).unwrap();
                prop_assert!(spread.low < spread.median && spread.median < spread.high);
                prop_assert_eq!(spread.side(100.0 * factor), Some(Side::High));
            }
        }

        #[test]
        fn the_unit_does_not_matter(values in prop::collection::vec(1.0_f64..1e3, 8..40), unit in 1e-3_f64..1e3) {
            let sides = |values: &[f64]| {
                let spread = Spread::of(values, RATIO).unwrap();
                values.iter().map(|v| spread.side(*v)).collect::<Vec<_>>()
            };
            let scaled: Vec<f64> = values.iter().map(|v| v * unit).collect();
            prop_assert_eq!(sides(&values), sides(&scaled));
        }
    }
}
