//! Applies a network to a whole case: windows, mirroring, and resampling back to the space of the input.
//!
//! - [`SlidingWindow`] applies a network to a volume of any size in overlapping windows and blends the results.
//! - [`Mirror`] averages the results of a network for a window and its mirror images.
//! - [`segment`], [`classify`], [`regress`] and [`embed`] compute a network's predictions for a case.
//! - [`NativeSpace`] resamples probabilities to the grid of the input, where a [`LabelDecision`] turns them into labels.
//!
//! The order is the usual one: `[x, y, z]` with x fastest, which is a tensor `[Z, Y, X]`; nothing is transposed.

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
pub use predict::{classify, embed, regress, segment};
pub use source::{Channels, WindowSource};
pub use window::{Blended, Blending, SlidingWindow};
