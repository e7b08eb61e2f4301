//! The one error type of this crate.

/// What can go wrong while a network is applied to a case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An invalid setting.
    #[error("{field} = {value}: {expected}")]
    Config {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// The possible values.
        expected: String,
    },
    /// A volume, or a result of the network, with the wrong size.
    #[error("{what} has the shape {got:?}, expected {expected:?}")]
    Shape {
        /// Which.
        what: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The expected shape.
        expected: Vec<usize>,
    },
    /// The network's result contains NaN or infinity.
    #[error(
        "the network's result is not finite in the window at voxel {window:?} (x, y, z); the weights or the images \
         contain NaN or infinity"
    )]
    NotFinite {
        /// The first voxel of the window.
        window: [isize; 3],
    },
    /// Regions that cannot be turned into labels.
    #[error("regions: {0}")]
    Regions(String),
    /// The voxels of a window could not be read.
    #[error("{0}")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is done with a window failed.
    #[error("{0}")]
    Predict(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The run was stopped by its caller.
    #[error("stopped")]
    Stopped,
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        matches!(self, Self::Config { .. } | Self::Regions(_))
    }

    /// The voxels of a window could not be read.
    pub fn source(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Source(Box::new(error))
    }

    /// What is done with a window failed.
    pub fn predict(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Predict(Box::new(error))
    }
}
