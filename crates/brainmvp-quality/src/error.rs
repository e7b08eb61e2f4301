//! The one error type of this crate.

use std::path::PathBuf;

/// What can go wrong with a whole report; a case that cannot be read has the reason in its record instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of the report could not be written.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// The table could not be written as CSV.
    #[error("{path}: {source}", path = .path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: csv::Error,
    },
}

/// A result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            Self::Csv { .. } => false,
        }
    }
}
