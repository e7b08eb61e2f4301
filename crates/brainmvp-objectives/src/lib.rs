//! Objectives of pre-training and fine-tuning: what is masked, what replaces it, and the losses.
//!
//! An [`Objective`] turns the patches of some cases into named losses. Drawing (which modality, which
//! position, which blocks) is separate from applying: [`Objective::draw`] makes plain data on loader
//! threads with a given random generator; [`Objective::forward`] applies them.
//!
//! No files, no optimiser, no schedule: those are in `brainmvp-train`.

pub mod distortion;
pub mod downstream;
mod frame;
mod frozen;
pub mod limits;
pub mod losses;
pub mod masking;
mod objective;
pub mod patch;
mod placement;
pub mod pretraining;
pub mod templates;
pub mod turn;

pub use frame::Frame;
pub use frozen::FrozenTemplates;
pub use objective::{Counts, DrawBy, Evaluation, Group, Moment, Objective, Scene};
pub use placement::Placement;
