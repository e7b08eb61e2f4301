//! The heads that are put on an encoder.

mod reconstruction;
mod segmentation;

pub use reconstruction::{DecoderLevel, ReconstructionDecoder};
pub(crate) use segmentation::wrapped;
pub use segmentation::{ConvResidualBlock, InputProjection, Segmented, SkipDecoder, SkipLevel};
