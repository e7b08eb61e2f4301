//! A description of an image in a few kilobytes, by which it is recognised under another name.
//!
//! A [`Fingerprint`] is made from a prepared image. It is a low-pass copy of the brain on a small grid whose position and
//! size are those of the brain itself (its centre of mass and extent), normalised by the local mean and contrast. So it
//! hardly depends on the position of the image, its voxel size, the scale of its intensities, or the exact skull
//! stripping. [`Fingerprint::similarity`] aligns two fingerprints and correlates them: it is near 1 for the same image,
//! however it was stored, and clearly less for another patient. `docs/leakage.md` has the measured distributions.

mod alignment;
mod describe;
mod heads;
mod lattice;
mod library;
mod text;

use serde::{Deserialize, Serialize};

use self::alignment::{Cells, Subject};
pub use self::heads::{Head, MOST_PAIRS, SameHead, same_heads};
pub use self::library::{Library, Match};

/// Cells along each axis of the grid.
const SIDE: usize = 24;

/// Cells of the grid.
const CELLS: usize = SIDE * SIDE * SIDE;

/// A description of one image.
///
/// Two fingerprints can be compared if they have the same modality and the same [`Fingerprint::VERSION`].
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint {
    /// A level for each cell inside the brain, [`OUTSIDE`] elsewhere; x runs fastest.
    cells: Box<[i8]>,
}

/// The value of a cell outside the brain.
const OUTSIDE: i8 = i8::MIN;

impl Fingerprint {
    /// The version of the content of fingerprints. Different versions cannot be compared.
    pub const VERSION: u32 = 1;

    /// Two images with at least this [`Fingerprint::similarity`] are considered the same.
    pub const SAME_IMAGE: f64 = 0.92;

    /// The similarity of two images: the correlation of their fingerprints where both have brain, after the best
    /// rotation, reflection, shift and scaling. At most 1; 0 if they cannot be aligned.
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
