//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Why a prediction could not be scored, or scores could not be written, read or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Prediction and truth are not on the same grid.
    #[error(
        "prediction and truth are on different grids ({prediction} and {truth}): resample the prediction first"
    )]
    Grids {
        /// Shape and spacing of the prediction.
        prediction: String,
        /// Shape and spacing of the truth.
        truth: String,
    },
    /// A voxel size that is not a positive number, or axes in one plane.
    #[error(
        "voxel size {0:?} mm: distances need positive, finite sizes, and three axes that are not in one plane"
    )]
    Spacing([f64; 3]),
    /// A region that cannot be scored.
    #[error("region '{name}': {reason}")]
    Region {
        /// The region.
        name: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A configuration that cannot be followed.
    #[error("{field} = {value}: {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// The value as given.
        value: String,
        /// The possible values.
        expected: String,
    },
    /// Probabilities, labels or samples that do not match or are not numbers.
    #[error("{0}")]
    Samples(String),
    /// A case and region that was scored twice.
    #[error("case '{case}', region '{region}' is scored twice: case names must differ")]
    Duplicate {
        /// The case.
        case: String,
        /// The region.
        region: String,
    },
    /// Two sets of scores that were not made by the same rules.
    #[error("scores cannot be compared: {0}")]
    Incomparable(String),
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A file that does not contain scores of this version.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            _ => true,
        }
    }

    pub(crate) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.to_string() }
    }
}
