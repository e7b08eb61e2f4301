//! Measures this machine: the operations of the networks, steps of training, inference and preparation, beside programs that do
//! the same in Python.
//!
//! Each piece of [`work`] is done in a [process](child) of its own, which has its own peak of memory, first by this program and
//! then by a [`peer`]; a [`report`] compares them. [`operations`] are measured in this process. Nothing here prints.

pub mod child;
mod error;
pub mod machine;
pub mod memory;
mod networks;
pub mod operations;
pub mod peer;
mod preprocess;
pub mod report;
pub mod rows;
mod step;
pub mod work;

pub use error::{Error, Result};
