//! The features of cases, as numbers that can be compared.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Error, Matrix, Result};

/// The features of a case: a vector for each block by name, such as a modality. A case may lack any block.
pub type Features = BTreeMap<String, Vec<f32>>;

/// Standardises features as those of the training cases are distributed.
///
/// Each feature gets mean 0 and deviation 1 over the training cases that have its block; one that does not vary becomes 0.
/// Blocks are put side by side. One that a case lacks is 0, the mean: models learn nothing of what is missing, which would
/// otherwise be held for merit of the features. All is divided by one number, so that the rows of the training cases have a mean
/// squared length of 1, whatever the number of features.
#[derive(Debug, Clone)]
pub struct Standardiser {
    blocks: Vec<Block>,
}

/// The mean of each feature of a block, and what its deviation is multiplied by.
#[derive(Debug, Clone)]
struct Block {
    name: String,
    mean: Vec<f64>,
    factor: Vec<f64>,
}

/// A deviation below this share of the largest value is rounding.
const ROUNDING: f64 = 1e-6;

impl Block {
    fn fit(name: &str, training: &[&Features]) -> Result<Self> {
        let vectors: Vec<&Vec<f32>> = training.iter().filter_map(|case| case.get(name)).collect();
        let (width, count) = (vectors.first().map_or(0, |vector| vector.len()), vectors.len() as f64);
        let mut block = Self { name: name.to_owned(), mean: vec![0.0; width], factor: vec![1.0; width] };
        vectors.iter().try_for_each(|vector| block.check(vector))?;
        let column = |feature: usize| vectors.iter().map(move |vector| f64::from(vector[feature]));
        for feature in 0..width {
            let mean = column(feature).sum::<f64>() / count;
            let deviation = (column(feature).map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
            let largest = column(feature).fold(0.0, |largest: f64, value| largest.max(value.abs()));
            block.mean[feature] = mean;
            block.factor[feature] = if deviation > ROUNDING * largest { 1.0 / deviation } else { 0.0 };
        }
        Ok(block)
    }

    /// Refuses a vector of another length, or with a feature that is no number.
    fn check(&self, vector: &[f32]) -> Result<()> {
        let (block, found, expected) = (&self.name, vector.len(), self.mean.len());
        if found != expected {
            return Err(Error::Width { block: block.clone(), found, expected });
        }
        match vector.iter().position(|value| !value.is_finite()) {
            Some(feature) => Err(Error::NotFinite(format!("feature {feature} of '{block}'"))),
            None => Ok(()),
        }
    }
}

impl Standardiser {
    /// That of these training cases.
    ///
    /// # Errors
    /// If there are none, vectors of a block differ in length, or a feature is not finite.
    pub fn fit(training: &[&Features]) -> Result<Self> {
        let names: BTreeSet<&String> = training.iter().flat_map(|case| case.keys()).collect();
        if names.is_empty() {
            return Err(Error::NoCases);
        }
        let blocks = names.into_iter().map(|name| Block::fit(name, training)).collect::<Result<_>>()?;
        let mut fitted = Self { blocks };
        let rows = fitted.rows(training)?;
        let length = (rows.norm_squared() / rows.nrows() as f64).sqrt();
        if length > 0.0 {
            fitted.blocks.iter_mut().flat_map(|block| &mut block.factor).for_each(|factor| *factor /= length);
        }
        Ok(fitted)
    }

    /// The blocks that the training cases have, by name.
    pub fn blocks(&self) -> impl Iterator<Item = &str> {
        self.blocks.iter().map(|block| block.name.as_str())
    }

    /// The number of features of all blocks.
    pub fn width(&self) -> usize {
        self.blocks.iter().map(|block| block.mean.len()).sum()
    }

    /// The features of some cases: a row for each, of [`Standardiser::width`].
    ///
    /// # Errors
    /// If a vector has another length than those of the training cases, or a feature is not finite.
    pub fn rows(&self, cases: &[&Features]) -> Result<Matrix> {
        let mut rows = Matrix::zeros(cases.len(), self.width());
        for (number, case) in cases.iter().enumerate() {
            let mut first = 0;
            for block in &self.blocks {
                if let Some(vector) = case.get(&block.name) {
                    block.check(vector)?;
                    for (feature, value) in vector.iter().enumerate() {
                        let centred = f64::from(*value) - block.mean[feature];
                        rows[(number, first + feature)] = centred * block.factor[feature];
                    }
                }
                first += block.mean.len();
            }
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(blocks: &[(&str, &[f32])]) -> Features {
        blocks.iter().map(|(name, vector)| ((*name).to_owned(), vector.to_vec())).collect()
    }

    #[test]
    fn what_is_missing_is_the_mean_and_what_never_varies_is_0() {
        let cases = [
            case(&[("t1", &[1.0, 7.0]), ("t2", &[5.0])]),
            case(&[("t1", &[3.0, 7.0])]),
            case(&[("t1", &[5.0, 7.0]), ("t2", &[9.0])]),
        ];
        let cases: Vec<&Features> = cases.iter().collect();
        let fitted = Standardiser::fit(&cases).unwrap();
        assert_eq!((fitted.blocks().collect::<Vec<_>>(), fitted.width()), (vec!["t1", "t2"], 3));
        let rows = fitted.rows(&cases).unwrap();
        // Deviations are sqrt(8 / 3) and 2: rows of (-1.22, 0, -1), (0, 0, 0), (1.22, 0, 1), and then of a mean square of 1.
        let root = 1.5_f64.sqrt();
        let length = ((2.0 * 1.5 + 2.0) / 3.0_f64).sqrt();
        let expected = [[-root, 0.0, -1.0], [0.0; 3], [root, 0.0, 1.0]];
        for (row, expected) in rows.row_iter().zip(expected) {
            for (value, expected) in row.iter().zip(expected) {
                assert!((value - expected / length).abs() < 1e-12, "{rows}");
            }
        }
        // A block that no training case has is passed over.
        let other = case(&[("flair", &[1.0])]);
        assert_eq!(fitted.rows(&[&other]).unwrap().norm(), 0.0);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (a, b) = (case(&[("t1", &[1.0, 2.0])]), case(&[("t1", &[1.0])]));
        assert_eq!(
            Standardiser::fit(&[&a, &b]).unwrap_err(),
            Error::Width { block: "t1".to_owned(), found: 1, expected: 2 }
        );
        let odd = case(&[("t1", &[1.0, f32::NAN])]);
        assert_eq!(
            Standardiser::fit(&[&a, &odd]).unwrap_err().to_string(),
            "feature 1 of 't1' is not finite"
        );
        assert!(Standardiser::fit(&[&a]).unwrap().rows(&[&odd]).is_err());
        assert_eq!(Standardiser::fit(&[]).unwrap_err(), Error::NoCases);
    }
}
