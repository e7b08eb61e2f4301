//! The layers that networks are made of: parameters and their initialisation; the arithmetic is in `brainmvp-kernels`.

mod attention;
mod conv;
mod drop_path;
mod interpolation;
mod linear;
mod norm;
mod pass;
mod patch;
mod pool;
mod window;

pub use attention::Attention;
pub use brainmvp_kernels::ops::Activation;
pub use conv::{Conv3d, DepthwiseConv3d};
pub use drop_path::DropPath;
pub use interpolation::{nearest_upsample, trilinear_resize, trilinear_upsample};
pub use linear::{Linear, Mlp, Pointwise};
pub use norm::{BatchNorm, GroupNorm, InstanceNorm, LayerNorm};
pub use pass::Pass;
pub use patch::{Downsample, PatchEmbed, Upsample, blocks};
pub use pool::{average_pool, max_pool, mean_over_voxels};
pub use window::WindowAttention;
pub(crate) use window::published_offsets;
