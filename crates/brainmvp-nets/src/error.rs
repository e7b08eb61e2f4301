//! The one error type of this crate.

/// Why a state dict cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not belong to any network of this program.
    #[error(
        "not a network that this program supports: none of its {tensors} tensors{example} is called {}", .known.join(" or ")
    )]
    UnknownNetwork {
        /// The number of tensors.
        tensors: usize,
        /// One of their names, as part of a sentence.
        example: String,
        /// The first layers that would be recognised, with their networks.
        known: Vec<String>,
    },
    /// It contains more than one network.
    #[error("several networks, under {}: save only the one that is wanted", .prefixes.join(" and "))]
    SeveralNetworks {
        /// The prefix of the names of each.
        prefixes: Vec<String>,
    },
    /// A configuration has sections for more than one network.
    #[error("{} are several networks: set the one that model.preset names", .0.iter().map(|name| format!("model.{name}")).collect::<Vec<_>>().join(" and "))]
    SeveralSections(Vec<&'static str>),
    /// Its shapes do not form a network.
    #[error("a network that this program cannot build: {0}")]
    Numbers(String),
    /// A tensor has a shape that does not fit the rest of the network.
    #[error("tensor '{key}' has shape {found:?}; the rest of the network needs {expected:?}")]
    Shape {
        /// Its name.
        key: String,
        /// The shape that the network needs.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// Tensors that the network needs are missing.
    #[error("{count} tensors are missing, the first is '{first}'")]
    Missing {
        /// The first of them.
        first: String,
        /// Their number.
        count: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
