//! How good the images of a cohort are, before and after their preparation.
//!
//! [`make_records`] measures each case of a cache, beside its original files, and draws it; [`write_table`] puts what was
//! measured into one table, as a page and as CSV, with the outliers marked.
//!
//! ```text
//! REPORT/index.html        the table: works without a network, sorts, and leads to the pictures
//! REPORT/images.csv        the same, a row an image
//! REPORT/cases/<id>.png    every image in three planes, before and after, with outlines
//! REPORT/cases/<id>.json   CaseRecord: what was measured
//! ```

mod columns;
mod draw;
mod error;
mod foreground;
mod measure;
mod noise;
mod outliers;
mod page;
mod prepared;
mod record;
mod report;
mod table;

pub use columns::{COLUMNS, Column};
pub use error::{Error, Result};
pub use noise::noise_deviation;
pub use outliers::{FEWEST_TO_COMPARE, Scale, Spread};
pub use record::{CaseRecord, ImageRecord, Original, Prepared, Registered, Skull};
pub use report::{Options, Sources, Summary, make_records};
pub use table::{Flag, Group, Row, Table, write_table};
