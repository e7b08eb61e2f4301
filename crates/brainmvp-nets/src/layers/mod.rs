//! The layers that networks are made of: parameters and how they start; the arithmetic is in `brainmvp-kernels`.

mod attention;
mod conv;
mod drop_path;
mod linear;
mod norm;
mod patch;

pub use attention::Attention;
pub use conv::DepthwiseConv3d;
pub use drop_path::{DropPath, Noise};
pub use linear::{Linear, Mlp, Pointwise};
pub use norm::{BatchNorm, LayerNorm};
pub use patch::{Downsample, PatchEmbed, Upsample};
