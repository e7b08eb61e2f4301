//! Linear models with an L2 penalty: ridge regression, and multinomial logistic regression.

use nalgebra::{Cholesky, RowDVector};

use crate::minimise::minimise;
use crate::{Error, Matrix, Model, Result, Truth};

/// Scores of cases that are linear in their features: numbers, or what the probabilities of classes are made of.
///
/// The mean loss of the training cases plus half the penalty times the squared length of the weights is smallest: half of the
/// squared error of numbers, the cross-entropy of classes. The intercepts are free.
#[derive(Debug, Clone)]
pub struct Linear {
    /// A column for each class, or one.
    weights: Matrix,
    intercepts: RowDVector<f64>,
    is_of_classes: bool,
}

/// The largest slope that is left in the logistic regression.
const TOLERANCE: f64 = 1e-8;

impl Model for Linear {
    /// The penalty.
    type Setting = f64;

    /// From 10 to 10^-5, two for each power of 10. The rows have a mean squared length of 1.
    fn settings(_cases: usize) -> Vec<f64> {
        (0..=12).map(|half| 10.0_f64.powf(1.0 - 0.5 * f64::from(half))).collect()
    }

    fn fit(rows: &Matrix, truth: &Truth, penalty: f64) -> Result<Self> {
        match truth {
            Truth::Numbers(_) => ridge(rows, &truth.values(), penalty),
            Truth::Classes { of, count } => Ok(logistic(rows, of, *count, penalty)),
        }
    }

    fn predict(&self, rows: &Matrix) -> Matrix {
        let mut scores = self.scores(rows);
        if self.is_of_classes {
            scores = log_softmax(scores).map(f64::exp);
        }
        scores
    }
}

impl Linear {
    fn scores(&self, rows: &Matrix) -> Matrix {
        let mut scores = rows * &self.weights;
        scores.row_iter_mut().for_each(|mut row| row += &self.intercepts);
        scores
    }
}

/// Ridge regression by its normal equations.
fn ridge(rows: &Matrix, values: &Matrix, penalty: f64) -> Result<Linear> {
    let count = rows.nrows() as f64;
    let (middle, mean) = (rows.row_mean(), values.row_mean());
    let centred = |matrix: &Matrix, middle: &RowDVector<f64>| {
        let mut centred = matrix.clone();
        centred.row_iter_mut().for_each(|mut row| row -= middle);
        centred
    };
    let (rows, values) = (centred(rows, &middle), centred(values, &mean));
    // Of the transpose itself: `tr_mul` is many times slower.
    let across = rows.transpose();
    let mut normal = &across * &rows / count;
    (0..normal.nrows()).for_each(|i| normal[(i, i)] += penalty);
    let solver =
        Cholesky::new(normal).ok_or_else(|| Error::NotFinite("the product of the features".to_owned()))?;
    let weights = solver.solve(&(across * values / count));
    let intercepts = mean - &middle * &weights;
    Ok(Linear { weights, intercepts, is_of_classes: false })
}

/// Multinomial logistic regression. A class that no case has gets the probability 0.
fn logistic(rows: &Matrix, of: &[usize], classes: usize, penalty: f64) -> Linear {
    let present: Vec<usize> = (0..classes).filter(|class| of.contains(class)).collect();
    let found = minimise(
        // The last row holds the intercepts.
        Matrix::zeros(rows.ncols() + 1, present.len()),
        &steps(rows, present.len(), penalty),
        TOLERANCE,
        |parameters| loss(rows, of, &present, penalty, parameters),
    );
    let mut weights = Matrix::zeros(rows.ncols(), classes);
    let mut intercepts = RowDVector::repeat(classes, f64::NEG_INFINITY);
    for (place, class) in present.into_iter().enumerate() {
        weights.column_mut(class).copy_from(&found.column(place).rows(0, rows.ncols()));
        intercepts[class] = found[(rows.ncols(), place)];
    }
    Linear { weights, intercepts, is_of_classes: true }
}

/// Inverse bounds of the curvature (Boehning 1992): of the cross-entropy it is at most half of the mean square of a feature.
fn steps(rows: &Matrix, classes: usize, penalty: f64) -> Matrix {
    let count = rows.nrows() as f64;
    Matrix::from_fn(rows.ncols() + 1, classes, |feature, _| {
        if feature == rows.ncols() {
            2.0
        } else {
            1.0 / (0.5 * rows.column(feature).norm_squared() / count + penalty)
        }
    })
}

/// The penalised loss, and its slopes. `present`: the classes of the columns of the parameters.
fn loss(rows: &Matrix, of: &[usize], present: &[usize], penalty: f64, parameters: &Matrix) -> (f64, Matrix) {
    let (count, features) = (rows.nrows() as f64, rows.ncols());
    let weights = parameters.rows(0, features);
    let mut scores = rows * weights;
    scores.row_iter_mut().for_each(|mut row| row += parameters.row(features));
    let logarithms = log_softmax(scores);
    let (mut sum, mut excess) = (0.0, logarithms.map(f64::exp));
    for (case, class) in of.iter().enumerate() {
        if let Some(place) = present.iter().position(|known| known == class) {
            sum -= logarithms[(case, place)];
            excess[(case, place)] -= 1.0;
        }
    }
    excess /= count;
    let mut slopes = Matrix::zeros(features + 1, present.len());
    slopes.rows_mut(0, features).copy_from(&(rows.tr_mul(&excess) + weights * penalty));
    slopes.row_mut(features).copy_from(&excess.row_sum());
    (sum / count + 0.5 * penalty * weights.norm_squared(), slopes)
}

/// The logarithms of the probabilities.
fn log_softmax(mut scores: Matrix) -> Matrix {
    for mut row in scores.row_iter_mut() {
        let highest = row.max();
        let sum: f64 = row.iter().map(|score| (score - highest).exp()).sum();
        row.add_scalar_mut(-highest - sum.ln());
    }
    scores
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values that look random.
    fn noise(rows: usize, columns: usize, seed: u64) -> Matrix {
        let mut state = seed | 1;
        Matrix::from_fn(rows, columns, |_, _| {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            (state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        /// The normal equations with a column of ones, whose weight is free.
        #[test]
        fn ridge_solves_the_normal_equations(seed: u64, n in 2usize..30, p in 1usize..8, penalty in 1e-3..10.0) {
            let (x, y) = (noise(n, p, seed), noise(n, 1, !seed));
            let fitted = ridge(&x, &y, penalty).unwrap();
            let with_ones = x.clone().insert_column(p, 1.0);
            let mut normal = with_ones.tr_mul(&with_ones) / n as f64;
            (0..p).for_each(|i| normal[(i, i)] += penalty);
            let expected = normal.lu().solve(&(with_ones.tr_mul(&y) / n as f64)).unwrap();
            prop_assert!((fitted.weights - expected.rows(0, p)).amax() < 1e-8);
            prop_assert!((fitted.intercepts[0] - expected[p]).abs() < 1e-8);
        }

        #[test]
        fn logistic_regression_has_no_slope_where_it_ends(
            seed: u64, n in 4usize..30, p in 1usize..40, classes in 2usize..5, half in 0i32..13,
        ) {
            let penalty = 10.0_f64.powf(1.0 - 0.5 * f64::from(half));
            let x = noise(n, p, seed) / (p as f64).sqrt();
            let of: Vec<usize> = (0..n).map(|i| (i * i + i / 3) % classes).collect();
            let present: Vec<usize> = (0..classes).filter(|class| of.contains(class)).collect();
            let fitted = logistic(&x, &of, classes, penalty);
            let columns: Vec<_> = present.iter().map(|class| {
                let mut column = fitted.weights.column(*class).into_owned().insert_row(p, 0.0);
                column[p] = fitted.intercepts[*class];
                column
            }).collect();
            let (_, slopes) = loss(&x, &of, &present, penalty, &Matrix::from_columns(&columns));
            prop_assert!(slopes.amax() < 1e-6, "{}", slopes.amax());
            // The slope of the function itself, by differences.
            let at = noise(p + 1, present.len(), seed ^ 5);
            let (_, slopes) = loss(&x, &of, &present, penalty, &at);
            let value = |by: f64| loss(&x, &of, &present, penalty, &(&at + &slopes * by)).0;
            let by = 1e-5;
            let slope = (value(by) - value(-by)) / (2.0 * by);
            prop_assert!((slope - slopes.norm_squared()).abs() < 1e-6 * (1.0 + slope));
        }
    }

    #[test]
    fn classes_that_can_be_separated_have_finite_weights() {
        let x = Matrix::from_fn(20, 2, |case, feature| if feature == 0 { case as f64 - 9.5 } else { 1.0 });
        let of: Vec<usize> = (0..20).map(|case| usize::from(case > 9)).collect();
        let fitted = Linear::fit(&x, &Truth::Classes { of: of.clone(), count: 2 }, 1e-5).unwrap();
        assert!(fitted.weights.iter().chain(&fitted.intercepts).all(|value| value.is_finite()));
        let predicted = fitted.predict(&x);
        for (case, class) in of.into_iter().enumerate() {
            assert!(predicted[(case, class)] > 0.9, "{predicted}");
            assert!((predicted.row(case).sum() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_class_without_cases_has_no_probability() {
        let x = noise(6, 2, 1);
        let of = vec![0, 2, 0, 2, 0, 2];
        let fitted = Linear::fit(&x, &Truth::Classes { of, count: 3 }, 0.1).unwrap();
        let predicted = fitted.predict(&x);
        assert!(predicted.column(1).iter().all(|p| *p == 0.0));
        assert!(predicted.row_iter().all(|row| (row.sum() - 1.0).abs() < 1e-12));
        // Alone, a class is certain.
        let alone = Linear::fit(&x, &Truth::Classes { of: vec![1; 6], count: 2 }, 0.1).unwrap();
        assert!(alone.predict(&x).column(1).iter().all(|p| *p == 1.0));
    }

    #[test]
    fn without_information_the_shares_are_predicted() {
        let x = Matrix::zeros(8, 3);
        let of = vec![0, 0, 0, 1, 1, 1, 1, 1];
        let truth = Truth::Classes { of, count: 2 };
        let predicted = Linear::fit(&x, &truth, 1.0).unwrap().predict(&x);
        assert!(predicted.column(0).iter().all(|p| (p - 0.375).abs() < 1e-6));
        assert_eq!(truth.mean(), [0.375, 0.625]);
    }
}
