//! The one error type of this crate.

/// Why cases cannot be probed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to learn from.
    #[error("no training cases")]
    NoCases,
    /// A cross-validation divides persons.
    #[error("all training cases are of one person: there is none to choose a setting by")]
    OnePerson,
    /// Cases and truths, or cases and persons, are not as many.
    #[error("{cases} cases, but {others} {what}")]
    Counts {
        /// Cases.
        cases: usize,
        /// What should be as many.
        what: &'static str,
        /// How many there are.
        others: usize,
    },
    /// Blocks of one name and different lengths.
    #[error("'{block}' has {found} features in one case and {expected} in another")]
    Width {
        /// The block.
        block: String,
        /// Features of one case.
        found: usize,
        /// Those of another.
        expected: usize,
    },
    /// A feature or a number that is NaN or infinite.
    #[error("{0} is not finite")]
    NotFinite(String),
    /// A class beyond their number.
    #[error("class {class} of {count}")]
    Class {
        /// The class, from 0.
        class: usize,
        /// How many there are.
        count: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
