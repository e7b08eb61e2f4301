//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong between a file and a volume. Every variant names the file it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] crate::FileError),
    /// The bytes are not what the format asks for: truncated, corrupt or contradictory.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A valid file of a kind that is not a single real-valued 3-D volume (RGB, complex, a time series...).
    #[error("{path}: {reason}", path = .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind found and what to do about it.
        reason: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Malformed { .. } | Self::Unsupported { .. } => true,
        }
    }

    /// A file whose content contradicts its format.
    pub fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    /// A well-formed file of a kind that is not supported.
    pub fn unsupported(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), reason: reason.into() }
    }
}
