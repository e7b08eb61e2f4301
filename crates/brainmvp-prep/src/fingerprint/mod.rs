//! What an image looks like, in a few kilobytes: enough to recognise it under another name.
//!
//! A [`Fingerprint`] is made from a prepared image. It is a low-pass copy of the brain on a small grid that is placed by
//! the brain itself (its centre of mass and size), with local mean and contrast taken out. So it hardly depends on where
//! the image lies, how large its voxels are, how its grey values were scaled, or how exactly the skull was removed.
//! [`Fingerprint::similarity`] turns and shifts one onto the other and correlates them: near 1 for the same image, however
//! it was stored, and clearly less for another patient. `docs/leakage.md` has the measured distributions.

mod alignment;
mod describe;
mod lattice;
mod library;
mod text;

use serde::{Deserialize, Serialize};

use self::alignment::{Cells, Subject};
pub use self::library::{Library, Match};

/// Cells along each axis of the grid.
const SIDE: usize = 24;

/// Cells of the grid.
const CELLS: usize = SIDE * SIDE * SIDE;

/// What one image looks like.
///
/// Two fingerprints can be compared where they are of one modality and one [`Fingerprint::VERSION`].
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint {
    /// A level for each cell inside the brain, [`OUTSIDE`] elsewhere; x runs fastest.
    cells: Box<[i8]>,
}

/// The mark of a cell outside the brain.
const OUTSIDE: i8 = i8::MIN;

impl Fingerprint {
    /// The version of what a fingerprint says. Those of different versions cannot be compared.
    pub const VERSION: u32 = 1;

    /// Two images of a [`Fingerprint::similarity`] of this or more are taken to be the same.
    pub const SAME_IMAGE: f64 = 0.92;

    /// How alike two images are: the correlation of their fingerprints where both have brain, after the best turn, mirroring,
    /// shift and scaling. 1 at most; 0 where they cannot be laid over each other.
    pub fn similarity(&self, other: &Self) -> f64 {
        let cells = Cells::of(other);
        let coarse = cells.halved();
        Subject::of(self).similarity(|| cells, &coarse, 0.0)
    }

    /// Cells inside the brain.
    fn inside(&self) -> usize {
        self.cells.iter().filter(|cell| **cell != OUTSIDE).count()
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fingerprint({} cells)", self.inside())
    }
}
