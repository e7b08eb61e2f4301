//! What can go wrong before the viewer is there.

use std::path::{Path, PathBuf};

/// Why something cannot be shown. Every variant names the file it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A file or folder that is nothing which the viewer shows, or is damaged.
    #[error("{path}: {reason}", path = .path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A cohort cannot be read.
    #[error(transparent)]
    Cohort(#[from] brainmvp_cohort::Error),
    /// A cache or a case of it cannot be read.
    #[error(transparent)]
    Cache(#[from] brainmvp_prep::Error),
    /// A volume cannot be read.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// The port cannot be used.
    #[error("cannot listen on port {port} of 127.0.0.1: {source}")]
    Listen {
        /// The port asked for; 0 is any.
        port: u16,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The system gave no random numbers or threads.
    #[error("cannot start the viewer: {0}")]
    System(String),
}

/// A result with the viewer's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Content { .. } => true,
            Self::Cohort(error) => error.is_of_input(),
            Self::Cache(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            Self::Listen { .. } | Self::System(_) => false,
        }
    }

    pub(crate) fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.into() }
    }
}
