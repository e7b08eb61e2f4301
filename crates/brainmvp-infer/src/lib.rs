//! A network applied to a whole case: windows, mirroring, and the way back to the space of the input.
//!
//! - [`SlidingWindow`] takes a network over a volume of any size in overlapping windows and blends what it gives.
//! - [`Mirror`] averages what a network gives for a window and its mirror images.
//! - [`segment`], [`classify`] and [`embed`] are what a network says of a case.
//! - [`NativeSpace`] brings probabilities back to the grid of the input, where a [`LabelDecision`] makes labels of them.
//!
//! Values come as everywhere: `[x, y, z]` with x fastest, which is a tensor `[Z, Y, X]`; nothing is transposed.

mod blend;
mod error;
mod labels;
mod mirror;
mod native;
mod predict;
mod source;
mod window;

pub use blend::Slab;
pub use error::{Error, Result};
pub use labels::LabelDecision;
pub use mirror::{Axis, Mirror};
pub use native::NativeSpace;
pub use predict::{classify, embed, segment};
pub use source::{Channels, WindowSource};
pub use window::{Blended, Blending, SlidingWindow};
