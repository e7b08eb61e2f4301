//! Statistics over many cases: averages with intervals, and tests whether two sets differ.

mod bootstrap;
mod describe;
mod wilcoxon;

pub use bootstrap::{BootstrapConfig, Interval, bootstrap};
pub use describe::Description;
pub(crate) use describe::mean;
pub use wilcoxon::{Wilcoxon, WilcoxonMethod, ZeroRule, wilcoxon};
