//! Shows what the other stages write: cohorts, prepared cases, runs, predictions, studies and volumes.
//!
//! As one page that needs nothing else and prints: [`report`]. And as a viewer in the browser: [`Server::open`] looks at what it is given and binds a port of this computer; [`Server::run`] serves until it is told to
//! stop. Everything is read from the files that the other stages write. Nothing is written, and pages and libraries are
//! part of the program.
//!
//! What keeps others out:
//!
//! - only 127.0.0.1 is listened on, and the first part of every address is a random token;
//! - a request must name this computer as its host and, where it names an origin, that too (`guard`);
//! - only GET and HEAD are answered, and pages may load nothing from elsewhere;
//! - a client never sends a path: it names numbers of a table that the server filled when it opened its paths (`items`).
//!   Links that lead out of an opened folder are not followed. The images that a cohort lists may be anywhere.

mod api;
mod deliver;
mod error;
mod events;
mod files;
mod guard;
mod items;
mod kind;
mod kinds;
mod pages;
pub mod report;
pub mod run_summary;
mod runs;
mod server;
mod shown;
pub mod text;
mod voxels;

pub use error::{Error, Result};
pub use server::{Options, Server};
