//! The program from outside, as a user or a script meets it: what it prints, writes and returns.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod bench;
mod book;
mod convert;
#[cfg(unix)]
mod documentation;
mod dry_run;
mod evaluate;
mod faults;
mod finetune;
mod formats;
#[path = "../../../brainmvp-dicom/tests/handmade/mod.rs"]
mod handmade;
mod leakage;
mod mistakes;
mod pipeline;
mod placement;
mod predict;
mod privacy;
mod probe;
mod program;
mod provenance;
mod real_files;
mod recipes;
mod register;
mod report;
#[cfg(unix)]
mod runs;
#[cfg(unix)]
mod signals;
mod together;
mod weights;
