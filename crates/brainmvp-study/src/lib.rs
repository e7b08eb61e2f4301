//! Studies: is one way of pre-training better than another, on these data, under equal conditions?
//!
//! A [`StudyConfig`](config::StudyConfig) becomes [`arms`] (what begins a network, and how it is fine-tuned); a [`plan`]
//! multiplies them by tasks, shares of labels, folds and seeds; [`run`] carries the cells out in a work [`folder`], each of
//! which is a run of the training library, and scores them on the test cases; [`summary`] says what came of it, and [`report`]
//! writes it. Nothing here trains: what differs between arms is settings alone.

pub mod arms;
pub mod config;
mod data;
mod error;
pub mod folder;
pub mod outcome;
pub mod plan;
pub mod report;
mod requests;
pub mod run;
mod score;
pub mod status;
pub mod studies;
pub mod summary;
pub mod systems;

pub use error::{Error, Result};
pub use requests::Work;
pub use run::{How, Study, Watcher};
pub use score::{Fill, Scored};
