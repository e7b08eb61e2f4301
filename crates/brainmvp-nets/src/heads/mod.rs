//! The heads that are put on an encoder.

mod reconstruction;
mod segmentation;

pub use reconstruction::{DecoderLevel, ReconstructionDecoder};
pub use segmentation::{ConvResidualBlock, InputProjection, Segmented, SkipDecoder, SkipLevel};
