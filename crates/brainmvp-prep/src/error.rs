//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// What can go wrong between a cohort and its cache.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A volume could not be read, resampled or written.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A case that cannot be used as it is, by the rules that it shares with `check`.
    #[error("{reason}")]
    Unfit {
        /// Every problem, with its file.
        reason: String,
    },
    /// A configuration that cannot be carried out.
    #[error("preprocessing configuration: {reason}")]
    Config {
        /// Which value, and what it should be.
        reason: String,
    },
    /// A cache file or manifest that is damaged, or was written by another version.
    #[error("{path}: {reason}; run `preprocess` again", path = .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A request that the prepared case cannot answer: a patch beyond its border, a modality that it lacks.
    #[error("{path}: {reason}", path = .path.display())]
    Request {
        /// The file of the case.
        path: PathBuf,
        /// What was asked, and what there is.
        reason: String,
    },
    /// A file that a preparation needs is missing.
    #[error("the atlas '{name}' (BLAKE3 {hash}) is needed to prepare cases, and is not there")]
    FileNeeded {
        /// What it was called.
        name: String,
        /// BLAKE3 of its content, hex.
        hash: String,
    },
    /// A file that a preparation needs was replaced by another one.
    #[error("{path}: is not the atlas '{name}' that cases were prepared with: BLAKE3 {found}, not {expected}", path = .path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
        /// What the right one was called.
        name: String,
        /// BLAKE3 of the right one, hex.
        expected: String,
        /// BLAKE3 of this one, hex.
        found: String,
    },
    /// A step of the pipeline cannot treat this case.
    #[error("step '{step}': {reason}")]
    Step {
        /// The name of the step.
        step: &'static str,
        /// What is wrong with the case.
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
            Self::Volume(error) => error.is_of_input(),
            _ => true,
        }
    }

    pub(crate) fn config(reason: impl Into<String>) -> Self {
        Self::Config { reason: reason.into() }
    }

    pub(crate) fn cache(path: &Path, reason: impl Into<String>) -> Self {
        Self::Cache { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn request(path: &Path, reason: impl Into<String>) -> Self {
        Self::Request { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn step(step: &'static str, reason: impl Into<String>) -> Self {
        Self::Step { step, reason: reason.into() }
    }
}
