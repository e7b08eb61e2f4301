//! Channels-last 3-D operations.
//!
//! Activations are `[B, D, H, W, C]` from the first layer of a network to the last. `D`, `H`, `W` are the z, y and x
//! axes of a volume, so that a volume's memory (x fastest) is a tensor of one channel without any copy.
//! In this layout 1x1 convolutions and projections are matrix products on `[voxels, C]`, norms run over the last axis,
//! and only the neighbourhood operations need kernels of their own.
//!
//! [`VolumeOps`] is a Burn backend extension. Each operation has a default method written with Burn's own operations,
//! so every backend has it and tests have a reference; a backend overrides the ones that it has kernels for.
//! The functions in [`ops`] are what networks call.
//!
//! `cpu/` holds the kernels of the Flex backend. It is the only place in the project with `unsafe` arithmetic.

mod cpu;
mod extension;
mod memory;
pub mod ops;
mod pool;
mod precision;

pub use cpu::peak_flops;
pub use extension::VolumeOps;
pub use memory::keep_freed_memory;
pub use pool::in_pool;
pub use precision::{NoBf16, Precision, precision, set_precision};
