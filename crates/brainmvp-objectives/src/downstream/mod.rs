//! Downstream tasks: the inputs and the losses of a network that is fine-tuned.
//!
//! Like a pre-training method, a task is an [`Objective`](crate::Objective), so that the same training loop
//! runs both. [`Inputs`] reads the channels of a case, in which modalities may be missing. [`MixingConfig`] makes two
//! copies of them, in which some modalities are replaced by templates or something else (BrainMVP eqs. 6 and 7).
//! [`AugmentationConfig`] changes both copies in the same way.

mod augmentation;
mod classification;
mod copies;
mod inputs;
mod mixing;
mod regression;
mod resized;
mod segmentation;
#[cfg(test)]
mod tests;

pub use augmentation::{Augmentation, AugmentationConfig};
pub use classification::{Classifying, ClassifyingPlan, ClassifyingSample};
pub use copies::{CopyLoss, CopyPlan};
pub use inputs::{Channel, Inputs, Missing, interleave};
pub use mixing::{Agreement, MixWith, MixingConfig, Supervision};
pub use regression::{Regressing, RegressingPlan, RegressingSample, Scale};
pub use resized::Resized;
pub use segmentation::{
    LabelMeaning, Segmenting, SegmentingPlan, SegmentingSample, regions_of, segmentation_loss,
};
