//! What the features of a network say of cases without any training of it: a linear model and nearest neighbours, with one
//! number each that is chosen on cases that the model was not fitted to.
//!
//! ```
//! use brainmvp_probe::{Features, Linear, Neighbours, Sample, Truth, Tuning, probe};
//!
//! # fn main() -> brainmvp_probe::Result<()> {
//! // Two features of one modality; the class is the sign of the first.
//! let cases: Vec<Features> = (0..12)
//!     .map(|i| [("t1".to_owned(), vec![if i % 2 == 0 { 1.0 } else { -1.0 } + 0.1 * (i % 3) as f32, (i % 5) as f32])].into())
//!     .collect();
//! let truth = Truth::Classes { of: (0..12).map(|i| i % 2).collect(), count: 2 };
//! let persons: Vec<usize> = (0..12).collect();
//! let training = Sample { features: cases.iter().collect(), truth };
//! let linear = probe::<Linear>(&training, &Tuning::Folds(&persons))?;
//! let neighbours = probe::<Neighbours>(&training, &Tuning::Folds(&persons))?;
//! let unknown: Features = [("t1".to_owned(), vec![0.9, 2.0])].into();
//! assert!(linear.predict(&[&unknown])?[(0, 0)] > 0.9);
//! assert!(neighbours.predict(&[&unknown])?[(0, 0)] > 0.5);
//! # Ok(())
//! # }
//! ```
//!
//! - A case has a vector for each block of features: for each of its modalities, or one for all ([`Features`]). Blocks are
//!   standardised on the training cases ([`Standardiser`]) and put side by side; a block that a case lacks is the mean of
//!   the training cases.
//! - [`Linear`]: ridge regression of numbers, multinomial logistic regression of classes, both with an L2 penalty.
//!   [`Neighbours`]: the mean over the nearest training cases by cosine.
//! - Predictions are a matrix of cases and classes (probabilities), or of cases and one number.
//!
//! Nothing is random.

mod choice;
mod error;
mod features;
mod linear;
mod minimise;
mod neighbours;
mod truth;

pub use choice::{FOLDS, Fitted, Model, Sample, Tuning, probe};
pub use error::{Error, Result};
pub use features::{Features, Standardiser};
pub use linear::Linear;
pub use neighbours::Neighbours;
pub use truth::{Truth, squared_errors};

/// Rows are cases.
pub type Matrix = nalgebra::DMatrix<f64>;
