//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong between DICOM files and a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// The file violates the format: it is truncated, a length points past its end, or a value is invalid.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file or series is valid, but cannot be turned into a volume exactly.
    #[error("{path}: {reason}", path = .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The reason, and what to do.
        reason: String,
    },
    /// The file is not a DICOM file, or one without an image (a report, contours, a directory).
    #[error("{path}: {reason}", path = .path.display())]
    NoImage {
        /// The file.
        path: PathBuf,
        /// What the file is instead.
        reason: &'static str,
    },
    /// The converted data could not be written.
    #[error(transparent)]
    Cohort(#[from] brainmvp_cohort::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Cohort(error) => error.is_of_input(),
            _ => true,
        }
    }

    /// The input file or folder that the error is about, if any.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(error) => Some(&error.path),
            Self::Malformed { path, .. } | Self::Unsupported { path, .. } | Self::NoImage { path, .. } => {
                Some(path)
            }
            Self::Cohort(_) => None,
        }
    }

    pub(crate) fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), reason: reason.into() }
    }
}
