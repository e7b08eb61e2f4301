//! The losses of objectives.

mod contrast;
mod reconstruction;
mod segmentation;

pub use contrast::contrast;
pub use reconstruction::reconstruction;
pub use segmentation::{cross_entropy, dice, segmentation};
