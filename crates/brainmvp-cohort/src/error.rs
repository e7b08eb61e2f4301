//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong with a cohort as a whole. A fault of a single case is a [`crate::check::Problem`] or a
/// [`crate::layouts::Rejected`] instead, and stops nothing else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A file that is not what it should be: not JSON, an unknown field, a wrong version, a wrong table.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// Nothing of a folder or list can be used. What was found is kept, so that it can be explained.
    #[error("{path}: {reason}", path = .path.display())]
    NoCase {
        /// The folder or list.
        path: PathBuf,
        /// Why.
        reason: String,
        /// The account of every file, with a cohort without cases.
        found: Box<crate::layouts::Indexed>,
    },
    /// A case id that cannot name a file.
    #[error("case id {id:?}: {reason}")]
    CaseId {
        /// The id as given.
        id: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// A user's option that cannot be followed.
    #[error("{0}")]
    Option(String),
    /// What is to be erased of the images of a case cannot be told.
    #[error("{0}")]
    Erase(String),
    /// A volume's file could not be written or read.
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

    /// A file whose content is refused.
    pub fn malformed(path: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), reason: reason.into() }
    }
}
