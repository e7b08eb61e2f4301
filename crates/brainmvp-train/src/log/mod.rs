//! The logs that a run writes for people to look at.
//!
//! - [`metrics`]: `metrics.jsonl`, one line per step, and `validation.jsonl`, the records for scripts;
//! - [`tensorboard`]: the same numbers, and pictures, as TensorBoard events.
//!
//! Nothing here depends on networks or tensors: numbers and slices go in, files come out.

pub mod metrics;
pub(crate) mod pictures;
pub mod tensorboard;

use std::path::PathBuf;

/// What can go wrong with a file of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A line of a record that is not what this program writes.
    #[error("{path}: line {line} does not contain metrics ({reason}); remove it", path = .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Replace(#[from] brainmvp_volume::Error),
}

/// A result with the log's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Line { .. } => true,
            Self::Replace(error) => error.is_of_input(),
        }
    }
}
