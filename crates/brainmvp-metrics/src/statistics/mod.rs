//! Statistics over many cases: averages with intervals, and tests whether two sets differ.

mod bootstrap;
mod describe;
mod several;
mod wilcoxon;

pub use bootstrap::{BootstrapConfig, Interval, bootstrap, bootstrap_runs};
pub(crate) use describe::mean;
pub use describe::{Description, standard_deviation};
pub use several::{holm, ranks};
pub use wilcoxon::{Wilcoxon, WilcoxonMethod, ZeroRule, wilcoxon};
