//! Reports on the quality of a cohort's images, before and after preparation.
//!
//! [`make_records`] measures and draws each case of a cache together with its original files; [`write_table`] puts the
//! measurements into one table, as a page and as CSV, with the outliers marked.
//!
//! ```text
//! REPORT/index.html        the table: works offline, can be sorted, and links to the pictures
//! REPORT/images.csv        the same, one row per image
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
