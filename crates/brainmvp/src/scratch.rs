//! Temporary folders of a run, next to its output.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Context as _;
use tempfile::TempDir;

/// The prefix of the names of these folders, in any folder that a run writes to.
const PREFIX: &str = ".brainmvp-scratch-";

/// The file in each of them that its run keeps locked. The system unlocks it when the run ends, however it ends.
const LOCK: &str = "in-use";

/// A folder that is removed when this value is dropped. Folders left by a killed run are removed by the next run that
/// writes to the same place.
pub(crate) struct Scratch {
    // Closed before the folder is removed.
    _lock: File,
    folder: TempDir,
}

impl Scratch {
    /// Makes one in an existing folder.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub(crate) fn within(parent: &Path) -> anyhow::Result<Self> {
        let sought = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let made = Self::make(sought);
        made.with_context(|| format!("cannot make a temporary folder in {}", sought.display()))
    }

    /// Makes one in the folder of an output file; without one, in the system's folder for temporary files.
    ///
    /// # Errors
    /// Those of [`Scratch::within`].
    pub(crate) fn beside(file: Option<&Path>) -> anyhow::Result<Self> {
        match file.and_then(Path::parent) {
            Some(parent) => Self::within(parent),
            None => Self::within(&std::env::temp_dir()),
        }
    }

    fn make(parent: &Path) -> std::io::Result<Self> {
        remove_left_behind(parent)?;
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let path = folder.path().join(LOCK);
            let lock = match File::create(&path) {
                Ok(lock) => lock,
                // Another run removed it before it was locked, because it looked abandoned.
                Err(_) if !folder.path().exists() => continue,
                Err(error) => return Err(error),
            };
            // On a file system without locks, there is no lock, and no folder is considered abandoned.
            drop(lock.lock());
            if path.exists() {
                return Ok(Self { _lock: lock, folder });
            }
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders of runs that have ended.
fn remove_left_behind(parent: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(parent)?.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let lock = File::options().write(true).open(entry.path().join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            // A folder that cannot be removed does no harm.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn it_is_gone_with_its_value() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::beside(Some(&parent.path().join("out.json"))).unwrap();
        fs::write(scratch.path().join("file"), "content").unwrap();
        assert!(names(parent.path())[0].starts_with(PREFIX));
        drop(scratch);
        assert!(names(parent.path()).is_empty());
    }

    #[test]
    fn what_is_left_behind_is_removed_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let left = parent.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        fs::write(left.join("large"), "content").unwrap();
        fs::create_dir(parent.path().join("other")).unwrap();
        let first = Scratch::within(parent.path()).unwrap();
        assert!(!left.exists());
        let second = Scratch::within(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists());
        assert_eq!(names(parent.path()).len(), 3);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Scratch::within(Path::new("no/such/folder")).err().unwrap();
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
