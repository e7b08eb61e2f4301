//! PyTorch's files: a zip with a pickle, which lists the contents, and one stored entry for the bytes of each tensor.
//! Older files, a stream of pickles or a tar, are read too.
//!
//! A pickle is a program for Python's unpickler. Nothing here runs it: it is parsed for the few constructs that
//! `torch.save` writes for tensors, dictionaries, numbers and strings, and all other calls are ignored.

mod read;
mod write;

pub(super) use read::PytorchFile;
pub(super) use write::write;

/// An entry in addition to PyTorch's own, which PyTorch ignores: the metadata of a weights file.
const DESCRIPTION: &str = "brainmvp.json";
