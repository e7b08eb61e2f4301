//! Objectives of pre-training and fine-tuning: what is masked, what replaces it, and the losses.
//!
//! An [`objectives::Objective`] turns the patches of some cases into named losses. Drawing (which modality, which
//! position, which blocks) is separate from applying: [`objectives::Objective::draw`] makes plain data on loader
//! threads with a given random generator; [`objectives::Objective::forward`] applies them.
//!
//! No files, no optimiser, no schedule: those are in `brainmvp-train`.

pub mod distortion;
pub mod downstream;
mod frame;
mod frozen;
pub mod limits;
pub mod losses;
pub mod masking;
pub mod objectives;
pub mod patch;
mod placement;
pub mod templates;
pub mod turn;

pub use frame::Frame;
pub use frozen::FrozenTemplates;
pub use placement::Placement;
