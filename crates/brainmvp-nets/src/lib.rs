//! Networks, their layers and heads, and their weights.
//!
//! Activations are `[B, D, H, W, C]` with D, H, W = z, y, x of the volume. Sizes are checked once per network, not in
//! each layer. Parameters are named as in the published PyTorch state dicts; [`weights`] converts their axes.
//!
//! A new network is one file in `networks/` and a line in the list of its `mod.rs`.

mod error;
pub mod heads;
mod init;
pub mod layers;
pub mod networks;
pub mod weights;

pub use error::{Error, Result};
pub use init::{Init, normal};
