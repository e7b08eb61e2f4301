//! Crate.
mod error;
mod mask;
pub mod metrics;
mod pair;
mod region;
mod score;
mod segmentation;

pub use error::{Error, Result};
pub use mask::Mask;
pub use metrics::Metric;
pub use pair::{Emptiness, MaskPair, SurfaceDistances, VoxelCounts};
pub use region::Region;
pub use score::Score;
pub use segmentation::{BothEmpty, EmptyRule, OneEmpty, RegionScores, SegmentationConfig};
