//! Downstream tasks: the inputs and the losses of a network that is fine-tuned.
//!
//! A task is an [`Objective`](crate::objectives::Objective) as a pre-training method is, so that the one training loop runs
//! it. Of a case [`Inputs`] reads the channels, where a modality may be missing; [`MixingConfig`] makes two copies of them
//! with templates or something else in the place of some modalities (BrainMVP eqs. 6 and 7); [`AugmentationConfig`]
//! changes both alike.

mod augmentation;
mod classification;
mod copies;
mod inputs;
mod mixing;
mod segmentation;
#[cfg(test)]
mod tests;

pub use augmentation::{Augmentation, AugmentationConfig};
pub use classification::{Classifying, ClassifyingPlan, ClassifyingSample, Resized};
pub use copies::{CopyLoss, CopyPlan};
pub use inputs::{Channel, Inputs, Missing, interleave};
pub use mixing::{Agreement, MixWith, MixingConfig, Supervision};
pub use segmentation::{Segmenting, SegmentingPlan, SegmentingSample, regions_of, segmentation_loss};
