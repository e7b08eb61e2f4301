//! Parameters and buffers by name, and their form in the published PyTorch state dicts.

mod named;
mod transfer;
mod upstream;

pub use named::{Entry, Named, Place, handles, load, visit, visit_gradients};
pub use transfer::{FirstLayer, Skipped, Transferred, transfer};
pub use upstream::Upstream;
