//! The logs that a run writes for people to look at.
//!
//! - [`metrics`]: `metrics.jsonl`, one line per step, and `validation.jsonl`, the records for scripts;
//! - [`tensorboard`]: the same numbers, and pictures, as TensorBoard events.
//!
//! Nothing here depends on networks or tensors: numbers and slices go in, files come out.

pub mod metrics;
pub(crate) mod pictures;
pub mod tensorboard;

use std::path::{Path, PathBuf};

/// What can go wrong with a file of the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    #[error("{path}: {source}", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
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
    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
