//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// The errors that can stop a study. What goes wrong in one of its cells stops that cell alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A study that makes no sense as it is asked for.
    #[error("study: {0}")]
    Config(String),
    /// A work folder in a state that the study does not expect.
    #[error("{path}: {reason}", path = .path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What was found, and what to do.
        reason: String,
    },
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// The disk is full, or cannot be written.
    #[error("{cell}: {reason}")]
    NoRoom {
        /// The cell that was at work.
        cell: String,
        /// The file, and the system's reason.
        reason: String,
    },
    /// A figure could not be drawn.
    #[error("{path}: the figure could not be drawn: {reason}", path = .path.display())]
    Figure {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The cohort cannot be read, made or divided.
    #[error(transparent)]
    Cohort(#[from] brainmvp_cohort::Error),
    /// The cases cannot be prepared.
    #[error(transparent)]
    Preparation(#[from] brainmvp_prep::Error),
    /// Settings or cases that no run can begin with.
    #[error(transparent)]
    Train(#[from] brainmvp_train::Error),
    /// Scores that cannot be summarised.
    #[error(transparent)]
    Metrics(#[from] brainmvp_metrics::Error),
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
            Self::Config(_) | Self::Folder { .. } => true,
            Self::Cohort(error) => error.is_of_input(),
            Self::Preparation(error) => error.is_of_input(),
            Self::Train(error) => error.is_of_input(),
            Self::Metrics(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            Self::NoRoom { .. } | Self::Figure { .. } => false,
        }
    }

    pub(crate) fn folder(path: &Path, reason: impl Into<String>) -> Self {
        Self::Folder { path: path.to_owned(), reason: reason.into() }
    }
}
