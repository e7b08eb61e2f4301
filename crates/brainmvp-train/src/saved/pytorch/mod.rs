//! PyTorch's files: a zip of a pickle, which says what there is, and one stored entry for each tensor's bytes. Older files,
//! a stream of pickles or a tar, are read too.
//!
//! A pickle is a program for Python's unpickler. Nothing here runs it: it is parsed for the few things that `torch.save`
//! writes of tensors, dictionaries, numbers and strings, and calls of anything else stand for nothing.

mod read;
mod write;

pub(super) use read::PytorchFile;
pub(super) use write::write;

/// An entry beside PyTorch's own, which PyTorch passes over: what a weights file has in its metadata.
const DESCRIPTION: &str = "brainmvp.json";
