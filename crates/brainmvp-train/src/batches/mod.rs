//! Batches: which cases, in which order, drawn how, on which threads.

mod loader;
mod sampler;
mod source;

pub use loader::{Batch, Loader, LoaderConfig};
pub use sampler::Sampler;
pub use source::{CaseSource, open_cases};
