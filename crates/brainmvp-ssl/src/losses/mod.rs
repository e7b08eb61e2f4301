//! The losses of objectives.

mod contrast;
mod reconstruction;

pub use contrast::contrast;
pub use reconstruction::reconstruction;
