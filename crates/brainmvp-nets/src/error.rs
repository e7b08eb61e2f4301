//! The one error type of this crate.

/// Why a state dict cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is of no network that this program has.
    #[error(
        "no network that this program knows: of {tensors} tensors{example} none is called patch_embed1.proj.weight \
         (UniFormer) or conv1a.weight (UNET3D)"
    )]
    UnknownNetwork {
        /// How many tensors there are.
        tensors: usize,
        /// One of their names, as part of a sentence.
        example: String,
    },
    /// It holds more than one network.
    #[error("several networks, under {}: save the one that is meant alone", .prefixes.join(" and "))]
    SeveralNetworks {
        /// What the names of each begin with.
        prefixes: Vec<String>,
    },
    /// Its shapes make no network.
    #[error("a network that this program cannot make: {0}")]
    Numbers(String),
    /// A tensor has another shape than the rest of the network asks for.
    #[error("tensor '{key}' has shape {found:?}; the rest of the network asks for {expected:?}")]
    Shape {
        /// Its name.
        key: String,
        /// As the network asks for.
        expected: Vec<usize>,
        /// As it is.
        found: Vec<usize>,
    },
    /// Tensors that the network cannot do without are not there.
    #[error("{count} tensors are missing, the first is '{first}'")]
    Missing {
        /// The first of them.
        first: String,
        /// How many they are.
        count: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
