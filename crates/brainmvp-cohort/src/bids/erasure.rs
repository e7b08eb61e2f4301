//! What is erased of images before they are passed on.

use brainmvp_volume::nifti::Erased;
use brainmvp_volume::{Modality, Volume};

/// What is erased of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Erasure {
    /// Nothing, for this reason.
    Nothing(&'static str),
    /// Some of its voxels.
    Voxels(Erased),
}

/// Says what is erased of each of the images of one head; an error if that cannot be told.
pub type Eraser<'a> = dyn Fn(&[(Modality, Volume)]) -> Result<Vec<Erasure>, String> + Sync + 'a;
