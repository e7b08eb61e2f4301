//! Several arms at once: tests corrected for their number, and ranks.

/// P-values corrected for the number of tests by Holm's method (1979), in the order given. NaN, for a test that could not be
/// made, stays and is not counted.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).filter(|i| !p_values[*i].is_nan()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = p_values.to_vec();
    let mut largest = 0.0_f64;
    for (done, &test) in order.iter().enumerate() {
        largest = largest.max(p_values[test] * (order.len() - done) as f64).min(1.0);
        corrected[test] = largest;
    }
    corrected
}

/// The rank of each value from 1, the lowest first; equal ones have their mean rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let (mut ranks, mut before) = (vec![0.0; values.len()], 0);
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = before as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for place in equal {
            ranks[*place] = rank;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holm_by_hand() {
        // 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.04 * 1, none below the one before.
        let corrected = holm(&[0.03, 0.01, f64::NAN, 0.04, 0.02]);
        let expected = [0.06, 0.04, f64::NAN, 0.06, 0.06];
        for (found, expected) in corrected.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12 || (found.is_nan() && expected.is_nan()), "{found}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
    }

    #[test]
    fn ranks_by_hand() {
        assert_eq!(ranks(&[0.2, 0.9, 0.2, 0.1]), [2.5, 4.0, 2.5, 1.0]);
        assert_eq!(ranks(&[]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn ranks_add_up_and_corrections_never_help(values in prop::collection::vec(0.0..1.0_f64, 1..9)) {
            let n = values.len() as f64;
            let sum: f64 = ranks(&values).iter().sum();
            prop_assert!((sum - n * (n + 1.0) / 2.0).abs() < 1e-9);
            for (corrected, plain) in holm(&values).iter().zip(&values) {
                prop_assert!(*corrected >= *plain - 1e-12 && *corrected <= 1.0);
            }
        }
    }
}
