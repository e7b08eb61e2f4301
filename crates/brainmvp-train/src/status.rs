//! How a run ended, for those who look at its folder: `RUN/status.json`.

use std::io::Write as _;

use brainmvp_volume::{FileError, write_atomically};
use serde::Serialize;

use crate::Result;
use crate::run::RunFolder;
use crate::trainer::Ended;

/// What a run records of itself when it begins and when it ends. A process that is killed leaves `running`; whether one
/// is at it is told by the lock of the folder.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    /// `running`, `done`, `stopped`, to be continued, or `failed`.
    state: &'static str,
    /// The step at which it ends, unless its scores stop rising before.
    last_step: u64,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Status {
    /// That of a run which takes its steps.
    pub(crate) fn running(last_step: u64) -> Self {
        Self { state: "running", last_step, reason: None }
    }

    /// That of a run which has ended.
    pub(crate) fn of(ended: &Result<Ended>, last_step: u64) -> Self {
        let (state, reason) = match ended {
            Ok(Ended::Finished) => ("done", None),
            Ok(Ended::Stopped) => ("stopped", None),
            Err(error) => ("failed", Some(error.to_string())),
        };
        Self { state, last_step, reason }
    }

    /// Writes it to the folder of the run.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn record(&self, folder: &RunFolder) -> Result<()> {
        let path = folder.path().join("status.json");
        let text = serde_json::to_vec(self).map_err(|error| FileError::new(&path, error))?;
        Ok(write_atomically(&path, |file| file.write_all(&text))?)
    }
}
