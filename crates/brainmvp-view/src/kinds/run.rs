//! A run: its files are read when they are asked for, since it may be training.

use std::path::Path;

use super::title_of;
use crate::Result;
use crate::shown::{Collection, RunPlace};

#[expect(clippy::unnecessary_wraps, reason = "all kinds are opened in the same way")]
pub(super) fn open(path: &Path, into: &mut Collection) -> Result<()> {
    into.runs.push(RunPlace { folder: path.to_owned(), title: title_of(path) });
    Ok(())
}
