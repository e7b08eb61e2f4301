//! Generated trees with the names of public data sets, of tools and of scanners, and their traps.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod agents;
mod bids;
mod brats;
mod challenges;
mod contract;
mod lists;
mod nnunet;
mod options;
mod plain;
mod real_files;
mod subjects;
mod trees;
