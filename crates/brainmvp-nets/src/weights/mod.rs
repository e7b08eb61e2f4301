//! Parameters and buffers by name, and their form in the published PyTorch state dicts.

mod follow;
mod layout;
mod named;
mod published;
mod transfer;
mod upstream;

pub use follow::follow;
pub(crate) use layout::Known;
pub use layout::{Head, Layout, Parts};
pub use named::{Entry, Named, Place, entries, handles, load, visit, visit_gradients};
pub use published::{Completed, Extra, StateDict, TEMPLATES, Taken, complete, take};
pub use transfer::{FirstLayer, InputChannels, Skipped, Transferred, transfer};
pub use upstream::{Axes, Upstream, published_axes, templates_to_ours, templates_to_upstream};
