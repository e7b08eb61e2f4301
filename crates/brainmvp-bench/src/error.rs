//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// The errors of a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A Python that cannot do the work of a peer.
    #[error("{python}: {reason}", python = .python.display())]
    Peer {
        /// The Python.
        python: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// What was computed is no number.
    #[error("the result is not finite")]
    NotFinite,
    /// The trainer ended before enough steps were measured.
    #[error("the trainer stopped unexpectedly")]
    Stopped,
    /// What is to be prepared is not there, before or after the preparation.
    #[error("there is no {what}")]
    Missing {
        /// A file or a volume.
        what: &'static str,
    },
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A file that cannot be read or written.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// A name that no case can have.
    #[error(transparent)]
    Cohort(#[from] brainmvp_cohort::Error),
    /// A volume that cannot be prepared.
    #[error(transparent)]
    Preparation(#[from] brainmvp_prep::Error),
    /// A network that cannot be trained.
    #[error(transparent)]
    Train(#[from] brainmvp_train::Error),
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A Python that cannot do the work of a peer.
    pub(crate) fn of_peer(python: &Path, reason: impl ToString, advice: String) -> Self {
        Self::Peer { python: python.to_owned(), reason: reason.to_string(), advice }
    }

    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::Peer { .. } => true,
            Self::NotFinite | Self::Stopped | Self::Missing { .. } => false,
            Self::File(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            Self::Cohort(error) => error.is_of_input(),
            Self::Preparation(error) => error.is_of_input(),
            Self::Train(error) => error.is_of_input(),
        }
    }
}
