//! The losses of objectives.

mod classification;
mod contrast;
mod correlation;
mod reconstruction;
mod regression;
mod segmentation;
mod supervised_contrast;

pub use classification::classification;
pub use contrast::{Contrast, Identity, Past, unit, unit_rows};
pub use correlation::{local_correlation, roughness};
pub use reconstruction::{ReconstructionNorm, reconstruction};
pub use regression::{RegressionLoss, regression};
pub use segmentation::{SegmentationTarget, cross_entropy, dice, segmentation};
pub use supervised_contrast::supervised_contrast;
