//! Networks against the reference ones.

#![allow(clippy::unwrap_used)] // that is how a test fails

mod networks;
mod reference;
mod uniformer;
