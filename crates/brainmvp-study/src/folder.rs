//! The work folder of a study.
//!
//! ```text
//! DIR/study.toml                        what is asked
//! DIR/cases/HASH/cache, fold-0-of-5, ...          the prepared cases, by what decides them
//! DIR/pretraining/METHOD-NETWORK-HASH/seed-0/run  a run of `brainmvp pretrain`, likewise
//! DIR/cells/TASK/ARM/labels-1/seed-0/run          a run of `brainmvp finetune`
//! DIR/cells/TASK/ARM/labels-1/seed-0/result.json  what came of it, once it is scored
//! DIR/cells/TASK/ARM/labels-1/seed-0/predictions  the label maps of the test cases, in the space of the prepared cases
//! DIR/cells/TASK/ARM/labels-1/seed-0/failed.json  why nothing came of it
//! DIR/cells/TASK/ARM/labels-1/seed-0/asked.json   by which settings it was begun
//! DIR/cells/TASK/ARM/labels-1/seed-0/log.txt      what the runs said
//! DIR/done/IDENTITY.json                in which folder a cell is, for other parts that ask the same
//! DIR/status.md                         what is done, running, failed and left
//! DIR/results.csv, study.json, tables/, curves/, pictures/   the results so far
//! DIR/PART/cells, tables, ...           the same for each part of a study that has parts
//! ```

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, FileError, write_atomically};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How far a pre-training or a cell is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Finished.
    Done,
    /// A process is at it.
    Running,
    /// It came to nothing, for this reason.
    Failed(String),
    /// Not finished; it may have been begun.
    Left,
}

/// The name of what tells that a part is done.
pub(crate) const RESULT: &str = "result.json";
const FAILED: &str = "failed.json";
const LOCK: &str = ".lock";

/// The folder of a pre-training or a cell.
#[derive(Debug, Clone)]
pub(crate) struct Part(PathBuf);

/// Why a part failed.
#[derive(Debug, Serialize, Deserialize)]
struct Failure {
    reason: String,
}

impl Part {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The folder of its run.
    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn state(&self) -> Result<State> {
        if Lock::is_held(&self.0.join(LOCK)) {
            return Ok(State::Running);
        }
        let otherwise = if self.0.join(RESULT).is_file() { State::Done } else { State::Left };
        // A result that has failed is one of other settings.
        Ok(self.failure()?.map_or(otherwise, State::Failed))
    }

    /// Why it failed, if it did.
    pub(crate) fn failure(&self) -> Result<Option<String>> {
        let failure: Option<Failure> = read(&self.0.join(FAILED))?;
        Ok(failure.map(|failure| failure.reason))
    }

    /// Begins with it, unless another process has.
    pub(crate) fn begin(&self) -> Result<Option<Lock>> {
        std::fs::create_dir_all(&self.0).at(&self.0)?;
        Lock::take(&self.0.join(LOCK))
    }

    pub(crate) fn finish(&self, result: &impl Serialize) -> Result<()> {
        write(&self.0.join(RESULT), result)?;
        self.forget_failure()
    }

    pub(crate) fn fail(&self, reason: &str) -> Result<()> {
        write(&self.0.join(FAILED), &Failure { reason: reason.to_owned() })
    }

    pub(crate) fn forget_failure(&self) -> Result<()> {
        let path = self.0.join(FAILED);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(FileError::new(&path, e).into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn result<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        read(&self.0.join(RESULT))
    }

    /// Notes by which question its run is begun.
    pub(crate) fn ask(&self, identity: &str) -> Result<()> {
        write(&self.0.join("asked.json"), &identity)
    }

    /// By which question it was.
    pub(crate) fn asked(&self) -> Result<Option<String>> {
        read(&self.0.join("asked.json"))
    }

    /// A line for `log.txt`. A log that cannot be written stops nothing.
    pub(crate) fn log(&self, line: &str) {
        let file = File::options().create(true).append(true).open(self.0.join("log.txt"));
        if let Ok(mut file) = file {
            drop(writeln!(file, "{line}"));
        }
    }
}

/// A lock that the system releases when the process ends, however it ends.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    fn open(path: &Path) -> Result<File> {
        Ok(File::options().create(true).append(true).open(path).at(path)?)
    }

    /// Takes it, unless another process has it. File systems without locks go without.
    fn take(path: &Path) -> Result<Option<Self>> {
        let file = Self::open(path)?;
        if matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)) {
            return Ok(None);
        }
        Ok(Some(Self { _file: file }))
    }

    /// Takes it, after any other process that has it.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let file = Self::open(path)?;
        // File systems without locks go without.
        drop(file.lock());
        Ok(Self { _file: file })
    }

    fn is_held(path: &Path) -> bool {
        let Ok(file) = File::open(path) else { return false };
        matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
    }
}

/// Writes a value as JSON.
pub(crate) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).map_err(|e| Error::folder(path, e.to_string()))?;
    text.push('\n');
    write_text(path, &text)
}

/// Writes a text, and the folder that it is in.
pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).at(folder)?;
    }
    Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
}

/// One file under two names; a copy where the file system cannot do that.
pub(crate) fn share(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    if std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut source = File::open(from).at(from)?;
    Ok(write_atomically(to, |file| std::io::copy(&mut source, file).map(drop))?)
}

/// The files of a folder under second names in another one, if there is such a folder.
pub(crate) fn share_all(from: &Path, to: &Path) -> Result<()> {
    let entries = match std::fs::read_dir(from) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(FileError::new(from, e).into()),
    };
    std::fs::create_dir_all(to).at(to)?;
    for entry in entries {
        let entry = entry.at(from)?;
        share(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Reads a value, if there is a file.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(FileError::new(path, e).into()),
    };
    let value = serde_json::from_str(&text);
    value
        .map(Some)
        .map_err(|e| Error::folder(path, format!("is damaged: {e}; delete it to do this part again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_done_failed_running_or_left() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part::new(folder.path().join("a/b"));
        assert_eq!(part.state().unwrap(), State::Left);
        let lock = part.begin().unwrap().unwrap();
        assert_eq!(part.state().unwrap(), State::Running);
        assert!(part.begin().unwrap().is_none(), "another process is at it");
        drop(lock);
        assert_eq!(part.state().unwrap(), State::Left);
        part.fail("no memory").unwrap();
        assert_eq!(part.state().unwrap(), State::Failed("no memory".to_owned()));
        part.finish(&3).unwrap();
        assert_eq!(part.state().unwrap(), State::Done);
        assert_eq!(part.result::<u32>().unwrap(), Some(3));
        part.fail("of other settings").unwrap();
        assert_eq!(part.state().unwrap(), State::Failed("of other settings".to_owned()));
        part.forget_failure().unwrap();
        std::fs::write(folder.path().join("a/b").join(RESULT), "{").unwrap();
        assert!(part.result::<u32>().unwrap_err().to_string().contains("delete it"));
    }
}
