//! What is put on an encoder.

mod reconstruction;

pub use reconstruction::ReconstructionDecoder;
