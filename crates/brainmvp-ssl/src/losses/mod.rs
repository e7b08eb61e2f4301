//! The losses of objectives.

mod classification;
mod contrast;
mod reconstruction;
mod segmentation;

pub use classification::classification;
pub use contrast::contrast;
pub use reconstruction::reconstruction;
pub use segmentation::{cross_entropy, dice, segmentation};
