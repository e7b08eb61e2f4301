//! What can be fetched: a table that only the server fills. A client names an entry by its number and never sends a path.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use brainmvp_cohort::CaseId;
use brainmvp_volume::Modality;

/// Something that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    /// A volume file that was named when the viewer started, or that a cohort lists.
    Listed(PathBuf),
    /// A file below a folder that was opened; links out of the folder are not followed.
    Inside(Inside),
    /// A tensor of a prepared case, given as NIfTI.
    Prepared {
        /// The folder of the cache.
        cache: PathBuf,
        /// The case.
        case: CaseId,
        /// What of it.
        part: Part,
    },
    /// Where a prediction differs from a label map on the same grid.
    Difference {
        /// The label map.
        truth: Box<Item>,
        /// The prediction.
        prediction: Box<Item>,
    },
    /// A picture within an event file of a run.
    Logged {
        /// The event file.
        file: Inside,
        /// Its first byte.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
}

/// What a prepared case holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// An image.
    Image(Modality),
    /// The label map.
    Label,
    /// The brain mask.
    BrainMask,
}

/// A file below a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Inside {
    /// The folder, without links.
    root: PathBuf,
    /// The file, without links.
    path: PathBuf,
}

impl Inside {
    /// The file `name` below the folder `root`; `None` if it is not there, or is outside once links and `..` are resolved.
    pub(crate) fn new(root: &Path, name: impl AsRef<Path>) -> Option<Self> {
        let root = std::fs::canonicalize(root).ok()?;
        let path = std::fs::canonicalize(root.join(name)).ok()?;
        (path.starts_with(&root) && path.is_file()).then_some(Self { root, path })
    }

    /// Where the file is, if it still is inside.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        Self::new(&self.root, &self.path).map(|found| found.path)
    }

    /// Where the file was when it was found.
    pub(crate) fn known(&self) -> &Path {
        &self.path
    }
}

/// Entries and their numbers. A number keeps its meaning for as long as the server runs.
#[derive(Debug)]
pub(crate) struct Numbered<T>(RwLock<Entries<T>>);

#[derive(Debug)]
struct Entries<T> {
    all: Vec<T>,
    numbers: HashMap<T, usize>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self(RwLock::new(Entries { all: Vec::new(), numbers: HashMap::new() }))
    }
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    /// The number of an entry, which is added if it is new.
    pub(crate) fn number(&self, entry: T) -> usize {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = entries.numbers.get(&entry) {
            return *number;
        }
        let number = entries.all.len();
        entries.all.push(entry.clone());
        entries.numbers.insert(entry, number);
        number
    }

    /// The entry of a number.
    pub(crate) fn get(&self, number: usize) -> Option<T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).all.get(number).cloned()
    }
}

/// All that can be fetched.
pub(crate) type Items = Numbered<Item>;

impl Items {
    /// The address of an item below the token: its number, and an ending that says what it is.
    pub(crate) fn address(&self, item: Item) -> String {
        let ending = item.ending();
        format!("file/{}{ending}", self.number(item))
    }
}

impl Item {
    /// How the name of what is delivered ends.
    fn ending(&self) -> &'static str {
        match self {
            Self::Listed(path) => ending(path),
            Self::Inside(inside) => ending(&inside.path),
            Self::Prepared { .. } | Self::Difference { .. } => ".nii",
            Self::Logged { .. } => ".png",
        }
    }
}

/// Files that are delivered as they are keep their ending; other volumes are delivered as `.nii`.
fn ending(path: &Path) -> &'static str {
    let name = path.to_string_lossy().to_ascii_lowercase();
    [".nii.gz", ".png", ".svg"].into_iter().find(|ending| name.ends_with(ending)).unwrap_or(".nii")
}
