//! The one error type of this crate.

use std::path::{Path, PathBuf};

use brainmvp_prep::Difference;

/// The errors that can stop a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An invalid configuration.
    #[error("configuration: {0}")]
    Config(String),
    /// Cases that were prepared in another way than those that a network was trained on.
    #[error(
        "{origin}: it was trained on cases that were prepared in another way: {list}",
        list = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Differences {
        /// Of which network.
        origin: String,
        /// What its cases have, and against it what the new ones have.
        differences: Vec<Difference>,
    },
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// A checkpoint that cannot be continued from.
    #[error("{path}: {reason}", path = .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Weights that do not form a network of this program.
    #[error("{path}: {source}", path = .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: brainmvp_nets::Error,
    },
    /// A network that is read, but not what it is needed for.
    #[error("{origin}: {reason}")]
    Network {
        /// The file and step.
        origin: String,
        /// What it is not or lacks, and what to do.
        reason: String,
    },
    /// A run folder in a state that the command does not expect.
    #[error("{path}: {reason}", path = .path.display())]
    RunFolder {
        /// The folder.
        path: PathBuf,
        /// What was found and what to do.
        reason: String,
    },
    /// A table of the user that cannot be taken as it is.
    #[error("{path}: {reason}", path = .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and in which line.
        reason: String,
    },
    /// A prepared case could not be read.
    #[error(transparent)]
    Cache(#[from] brainmvp_prep::Error),
    /// The log could not be written or read.
    #[error(transparent)]
    Log(#[from] crate::log::Error),
    /// A volume could not be written.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// The network could not be scored on a case.
    #[error("case '{case}': {source}")]
    Judge {
        /// The validation case.
        case: String,
        /// Why not.
        source: brainmvp_infer::Error,
    },
    /// Invalid settings of inference.
    #[error("configuration: inference: {0}")]
    Inference(#[from] brainmvp_infer::Error),
    /// Invalid regions or scores.
    #[error(transparent)]
    Metrics(#[from] brainmvp_metrics::Error),
    /// The loss or a gradient is NaN or infinite.
    #[error(
        "step {step}: the {what} is not finite; cases in the batch: {cases}. The last good state is {kept}. \
         Check these cases, or lower optimizer.learning_rate or set optimizer.clip_norm"
    )]
    NotFinite {
        /// The step that failed.
        step: u64,
        /// Loss or gradient.
        what: &'static str,
        /// Names of the cases, joined by commas.
        cases: String,
        /// The checkpoint that is kept.
        kept: String,
    },
    /// The processes that train one network have come to different weights.
    #[error(
        "after step {step}, the processes do not have the same weights; are they the same program, on machines with the same \
         instructions? The last checkpoint is good"
    )]
    Disagreement {
        /// The last step.
        step: u64,
    },
    /// A device that this build or machine does not have.
    #[error("device '{name}': {reason}")]
    Device {
        /// What was asked for.
        name: String,
        /// Why it is not available.
        reason: String,
    },
    /// A loader thread died.
    #[error("a loader thread stopped unexpectedly")]
    Loader,
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_of_input(),
            Self::Cache(error) => error.is_of_input(),
            Self::Log(error) => error.is_of_input(),
            Self::Volume(error) => error.is_of_input(),
            Self::Metrics(error) => error.is_of_input(),
            Self::Inference(error) | Self::Judge { source: error, .. } => error.is_of_input(),
            Self::Config(_)
            | Self::Differences { .. }
            | Self::Checkpoint { .. }
            | Self::Weights { .. }
            | Self::Network { .. }
            | Self::RunFolder { .. }
            | Self::Table { .. }
            | Self::Device { .. } => true,
            Self::NotFinite { .. } | Self::Disagreement { .. } | Self::Loader => false,
        }
    }

    /// Whether the file of a prepared case is gone, damaged or changed.
    pub(crate) fn is_of_lost_case(&self) -> bool {
        use brainmvp_prep::Error as Prep;
        matches!(self, Self::Cache(Prep::File(_) | Prep::Cache { .. }))
    }

    pub(crate) fn checkpoint(path: &Path, reason: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn table(path: &Path, reason: impl Into<String>) -> Self {
        Self::Table { path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn network(origin: &str, reason: impl Into<String>) -> Self {
        Self::Network { origin: origin.to_owned(), reason: reason.into() }
    }

    pub(crate) fn run_folder(path: &Path, reason: impl Into<String>) -> Self {
        Self::RunFolder { path: path.to_owned(), reason: reason.into() }
    }
}
