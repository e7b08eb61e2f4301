//! What is true of cases.

use crate::{Error, Matrix, Result};

/// What is to be predicted, case by case.
#[derive(Debug, Clone, PartialEq)]
pub enum Truth {
    /// Classes, from 0 to less than `count`.
    Classes {
        /// That of each case.
        of: Vec<usize>,
        /// How many there are.
        count: usize,
    },
    /// Numbers.
    Numbers(Vec<f64>),
}

impl Truth {
    /// The number of cases.
    pub fn cases(&self) -> usize {
        match self {
            Self::Classes { of, .. } => of.len(),
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// As a perfect prediction: 1 for the class of a case and 0 for the others, or the number.
    pub fn values(&self) -> Matrix {
        match self {
            Self::Classes { of, count } => {
                Matrix::from_fn(of.len(), *count, |case, class| f64::from(u8::from(of[case] == class)))
            }
            Self::Numbers(numbers) => Matrix::from_column_slice(numbers.len(), 1, numbers),
        }
    }

    /// The best prediction without features: the share of each class, or the mean number. Zeros without cases.
    pub fn mean(&self) -> Vec<f64> {
        let values = self.values();
        let count = values.nrows().max(1) as f64;
        values.column_iter().map(|column| column.sum() / count).collect()
    }

    /// The truth of some of the cases.
    pub(crate) fn select(&self, cases: &[usize]) -> Self {
        match self {
            Self::Classes { of, count } => {
                Self::Classes { of: cases.iter().map(|case| of[*case]).collect(), count: *count }
            }
            Self::Numbers(numbers) => Self::Numbers(cases.iter().map(|case| numbers[*case]).collect()),
        }
    }

    /// Refuses truths of another number of cases, classes that there are not, and numbers that are none.
    pub(crate) fn check(&self, cases: usize) -> Result<()> {
        if self.cases() != cases {
            return Err(Error::Counts { cases, what: "truths", others: self.cases() });
        }
        match self {
            Self::Classes { of, count } => match of.iter().find(|class| **class >= *count) {
                Some(&class) => Err(Error::Class { class, count: *count }),
                None => Ok(()),
            },
            Self::Numbers(numbers) => {
                let odd = numbers.iter().position(|number| !number.is_finite());
                odd.map_or(Ok(()), |case| Err(Error::NotFinite(format!("the number of case {case}"))))
            }
        }
    }
}

/// The squared error of each case, summed over the classes (Brier's score).
///
/// # Panics
/// If the prediction has not as many cases and classes as the truth.
pub fn squared_errors(predicted: &Matrix, truth: &Truth) -> Vec<f64> {
    (predicted - truth.values()).row_iter().map(|row| row.norm_squared()).collect()
}
