//! What can be said of many cases: averages with intervals, and whether two sets differ.

mod bootstrap;
mod describe;
mod wilcoxon;

pub use bootstrap::{BootstrapConfig, Interval, bootstrap};
pub use describe::Description;
pub(crate) use describe::mean;
pub use wilcoxon::{Wilcoxon, WilcoxonMethod, ZeroRule, wilcoxon};
