//! A file or folder that the operating system refused, in the errors of every crate.

use std::io;
use std::path::{Path, PathBuf};

/// The operating system refused to read or write.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = .path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub source: io::Error,
}

impl FileError {
    /// The system's reason, with the file or folder that it is about.
    pub fn new(path: &Path, source: impl Into<io::Error>) -> Self {
        Self { path: path.to_owned(), source: source.into() }
    }

    /// Whether the user's input is to blame, rather than the machine.
    pub fn is_of_input(&self) -> bool {
        is_wrong_path(self.source.kind())
    }
}

/// Whether a path is wrong, or a file is not text where text is needed: faults of the input, and not of the machine.
pub fn is_wrong_path(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidFilename, IsADirectory, NotADirectory, NotFound};
    // A file stands in the way of a folder where something "already exists".
    let wrong_place = matches!(kind, NotFound | NotADirectory | IsADirectory | AlreadyExists);
    wrong_place || matches!(kind, InvalidFilename | InvalidData)
}

/// Names the file that a result of the operating system is about.
pub trait AtPath<T> {
    /// The result, with the file in its error.
    ///
    /// # Errors
    /// That of the result.
    ///
    /// ```
    /// use std::path::Path;
    ///
    /// use brainmvp_volume::AtPath as _;
    ///
    /// let path = Path::new("nowhere.csv");
    /// let error = std::fs::read(path).at(path).unwrap_err();
    /// assert!(error.to_string().starts_with("nowhere.csv: "));
    /// assert!(error.is_of_input());
    /// ```
    fn at(self, path: &Path) -> Result<T, FileError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError::new(path, source))
    }
}
