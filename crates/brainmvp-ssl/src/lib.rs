//! Self-supervised objectives: what is hidden, what fills it, and what is asked of the network.
//!
//! An [`objectives::Objective`] turns the patches of some cases into named losses. Drawing (which modality, which
//! place, which blocks) is apart from applying: [`objectives::Objective::draw`] makes plain data on loader threads from
//! a random generator that it is given; [`objectives::Objective::forward`] applies them.
//!
//! No files, no optimiser, no schedule: those are in `brainmvp-train`.

pub mod downstream;
mod frozen;
pub mod losses;
pub mod masking;
pub mod objectives;
pub mod patch;
mod placement;
pub mod templates;

pub use frozen::FrozenTemplates;
pub use placement::Placement;
