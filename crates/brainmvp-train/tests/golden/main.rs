//! Against the reference numbers.

#![allow(clippy::unwrap_used)] // that is how a test fails

mod adamw;
mod released;
