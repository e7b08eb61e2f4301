//! Batches: which cases, in which order, drawn how, on which threads.

mod identities;
mod loader;
mod sampler;
mod source;

pub use identities::Identities;
pub use loader::{Batch, Loader, LoaderConfig};
pub use sampler::{Order, Pick, Sampler};
pub use source::{CaseSource, open_cases};
