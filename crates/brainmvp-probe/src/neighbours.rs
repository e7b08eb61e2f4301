//! Nearest neighbours by cosine.

use crate::{Matrix, Model, Result, Truth};

/// Predicts the mean of the nearest training cases, those with the highest cosines of their standardised features. Of equally
/// near ones the earlier ones count.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// Rows of length 1.
    rows: Matrix,
    values: Matrix,
    count: usize,
}

impl Model for Neighbours {
    /// The number of neighbours.
    type Setting = usize;

    fn settings(cases: usize) -> Vec<usize> {
        let all = [50, 30, 20, 15, 10, 7, 5, 3, 2, 1];
        all.into_iter().filter(|count| *count <= cases.max(1)).collect()
    }

    fn fit(rows: &Matrix, truth: &Truth, count: usize) -> Result<Self> {
        Ok(Self { rows: unit(rows), values: truth.values(), count })
    }

    fn predict(&self, rows: &Matrix) -> Matrix {
        let cosines = unit(rows) * self.rows.transpose();
        let mut predicted = Matrix::zeros(rows.nrows(), self.values.ncols());
        let count = self.count.clamp(1, self.rows.nrows().max(1));
        for (case, cosines) in cosines.row_iter().enumerate() {
            let mut order: Vec<usize> = (0..cosines.len()).collect();
            order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
            for near in order.into_iter().take(count) {
                let share = self.values.row(near) / count as f64;
                let mut row = predicted.row_mut(case);
                row += share;
            }
        }
        predicted
    }
}

/// Rows of length 1; those of length 0 stay.
fn unit(rows: &Matrix) -> Matrix {
    let mut rows = rows.clone();
    for mut row in rows.row_iter_mut() {
        let length = row.norm();
        if length > 0.0 {
            row /= length;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each training case is compared with each case, and the best are looked for one by one.
        #[test]
        fn as_by_brute_force(
            train in prop::collection::vec(prop::array::uniform3(-4i8..5), 1..12),
            cases in prop::collection::vec(prop::array::uniform3(-4i8..5), 1..5),
            count in 1usize..6,
        ) {
            let matrix = |rows: &[[i8; 3]]| Matrix::from_fn(rows.len(), 3, |i, j| f64::from(rows[i][j]));
            let numbers: Vec<f64> = (0..train.len()).map(|i| (i * i) as f64).collect();
            let fitted = Neighbours::fit(&matrix(&train), &Truth::Numbers(numbers.clone()), count).unwrap();
            let found = fitted.predict(&matrix(&cases));
            for (case, row) in cases.iter().enumerate() {
                let dot = |a: &[i8; 3], b: &[i8; 3]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
                let cosine = |other: &[i8; 3]| {
                    let lengths = dot(row, row).sqrt() * dot(other, other).sqrt();
                    if lengths > 0.0 { dot(row, other) / lengths } else { 0.0 }
                };
                let mut left: Vec<usize> = (0..train.len()).collect();
                let mut sum = 0.0;
                let taken = count.min(train.len());
                for _ in 0..taken {
                    // Rounding must not decide between equally near ones.
                    let best = left.iter().map(|i| cosine(&train[*i])).fold(f64::MIN, f64::max);
                    let near = left.iter().filter(|i| cosine(&train[**i]) > best - 1e-9).copied().collect::<Vec<_>>();
                    prop_assume!(near.len() == 1);
                    sum += numbers[near[0]];
                    left.retain(|i| *i != near[0]);
                }
                prop_assert!((found[(case, 0)] - sum / taken as f64).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn classes_get_the_shares_of_the_neighbours() {
        let rows = Matrix::from_row_slice(4, 2, &[1.0, 0.0, 1.0, 0.1, 1.0, -0.2, -1.0, 0.0]);
        let truth = Truth::Classes { of: vec![0, 0, 1, 1], count: 2 };
        let fitted = Neighbours::fit(&rows, &truth, 3).unwrap();
        let found = fitted.predict(&Matrix::from_row_slice(1, 2, &[2.0, 0.0]));
        assert!((found[(0, 0)] - 2.0 / 3.0).abs() < 1e-12 && (found[(0, 1)] - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(Neighbours::settings(4), [3, 2, 1]);
    }
}
