//! The operations on the Flex backend, and the gradients of those that have a kernel.

mod activation;
mod adamw;
#[cfg(test)]
mod agreement;
mod attention;
mod autodiff;
mod batch_norm;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod buffer;
mod conv;
mod crop;
#[cfg(test)]
mod defaults;
mod depthwise;
mod expand;
mod few_channels;
mod flex;
mod group_norm;
mod layer_norm;
mod linear;
mod mlp;
mod overlap;
mod panels;
mod patch;
mod peak;
mod product;
mod simd;
mod sliding;
mod tile;
mod weight_sums;
mod winograd;

pub use peak::peak_flops;
