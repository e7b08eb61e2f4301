//! The losses of objectives.

mod classification;
mod contrast;
mod reconstruction;
mod segmentation;
mod supervised_contrast;

pub use classification::classification;
pub use contrast::{Contrast, Identity, Past, unit, unit_rows};
pub use reconstruction::{ReconstructionNorm, reconstruction};
pub use segmentation::{SegmentationTarget, cross_entropy, dice, segmentation};
pub use supervised_contrast::supervised_contrast;
