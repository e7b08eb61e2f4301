//! What grey values say of the weighting of an image: for `check`, which compares names with voxels, and for `index`,
//! which asks the voxels where names leave it open.

mod sketch;
mod vote;

use brainmvp_volume::Modality;

pub(crate) use sketch::{Sketch, correlation, lean, ranks, shared_values};
pub(crate) use vote::{Vote, vote};

/// The modalities whose contrast is known well enough to compare grey values.
pub(crate) const KNOWN: [Modality; 4] = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];

/// With fewer blocks nothing can be concluded.
pub(crate) const LEAST_BLOCKS: usize = 1000;
