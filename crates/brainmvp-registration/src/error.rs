//! The one error type of this crate.

/// Why two images could not be registered, or a transform could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written, or is not what it should be.
    #[error(transparent)]
    Volume(#[from] brainmvp_volume::Error),
    /// The operating system refused to read or write.
    #[error(transparent)]
    File(#[from] brainmvp_volume::FileError),
    /// An image that cannot be registered.
    #[error("cannot be registered: {reason}")]
    Image {
        /// What the image lacks.
        reason: String,
    },
    /// The best alignment found is not good enough to be right.
    #[error("registration failed: {reason}")]
    Failed {
        /// What was found, and the limit that it violates.
        reason: String,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        match self {
            Self::Volume(error) => error.is_of_input(),
            Self::File(error) => error.is_of_input(),
            _ => true,
        }
    }

    pub(crate) fn image(reason: impl Into<String>) -> Self {
        Self::Image { reason: reason.into() }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into() }
    }
}
