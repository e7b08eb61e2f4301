//! Encoders: one file each.

mod uniformer;

pub use uniformer::{AttentionBlock, ConvBlock, UniFormer, UniFormerConfig};
