//! Files that are written completely or not at all.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{AtPath as _, Result};

/// Writes a file so that a reader sees the old content or all of the new one, never a part.
///
/// The bytes go to a temporary file in the same folder, are flushed to the disk and then renamed over `path`.
///
/// # Errors
/// Where the folder cannot be written, the disk is full or `write` itself fails; `path` is then unchanged, and the
/// temporary file is deleted. That of a killed process is deleted by the next one that writes to the folder.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<()> {
    Ok(replace(path, write).at(path)?)
}

fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    remove_left_behind(folder);
    let (file, temporary) = temporary_file(folder)?.into_parts();
    let mut buffered = BufWriter::with_capacity(1 << 18, file);
    write(&mut buffered)?;
    buffered.flush()?;
    buffered.get_ref().sync_all()?;
    drop(buffered);
    temporary.persist(path).map_err(|failure| failure.error)?;
    sync_folder(folder);
    Ok(())
}

/// How the names of temporary files begin.
const PREFIX: &str = ".partial-";

/// A temporary file with ordinary permissions (minus the umask); `tempfile` alone would make it private. It is locked while it
/// is written.
fn temporary_file(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    loop {
        let temporary = builder.tempfile_in(folder)?;
        // File systems without locks go without. Another process may take the file for one that was left behind, as long as
        // it is not locked.
        let is_taken = matches!(temporary.as_file().try_lock(), Err(std::fs::TryLockError::WouldBlock));
        if !is_taken && temporary.path().exists() {
            return Ok(temporary);
        }
    }
}

/// Deletes the temporary files of killed processes in a folder, once for each folder. What cannot be deleted stays.
fn remove_left_behind(folder: &Path) {
    static SEEN: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.get_or_insert_default().insert(folder.to_owned()) {
        return;
    }
    drop(seen);
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if is_ours && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            std::fs::remove_file(&path).ok();
        }
    }
}

/// Makes the rename itself durable. Some file systems refuse to sync a folder; the file is whole either way.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(handle) = File::open(folder) {
        handle.sync_all().ok();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        for text in ["first and long", "second"] {
            write_atomically(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "old").unwrap();
        let result = write_atomically(&path, |file| {
            file.write_all(&vec![1; 1 << 20])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(
            matches!(result, Err(crate::Error::File(error)) if error.source.kind() == io::ErrorKind::StorageFull)
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn what_a_killed_process_left_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let [left, written] = [".partial-left", ".partial-written"].map(|name| folder.path().join(name));
        std::fs::write(&left, "").unwrap();
        let other = File::create(&written).unwrap();
        other.lock().unwrap();
        write_atomically(&folder.path().join("a.txt"), |_| Ok(())).unwrap();
        assert_eq!(
            names(folder.path()),
            [".partial-written", "a.txt"],
            "another process is writing that one"
        );
    }

    #[test]
    fn a_missing_folder_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomically(&folder.path().join("no/such.txt"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("such.txt"));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_an_ordinary_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, |_| Ok(())).unwrap();
        std::fs::write(&plain, "").unwrap();
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
