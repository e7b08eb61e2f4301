//! Paths as data lists write them.

use std::path::{Path, PathBuf};

use super::Draft;

/// A path of a list, with `/` between its parts, whatever separators it was written with.
pub(super) fn slashed(path: &str) -> String {
    path.replace('\\', "/").trim_start_matches("./").to_owned()
}

/// Where a path of a list is, below the folder that the list starts from.
pub(super) fn resolve(base: &Path, path: &str) -> PathBuf {
    let as_written = base.join(path);
    // A backslash may be part of a name.
    if path.contains('\\') && as_written.is_file() { as_written } else { base.join(slashed(path)) }
}

/// The file of a draft that is not there.
pub(super) fn absent(draft: &Draft) -> Option<&Path> {
    draft.files.iter().map(|file| file.path.as_path()).find(|path| !path.is_file())
}

/// What to say if none of the files of a list are there.
pub(super) fn nowhere(cases: usize, first: &Path, base: &Path) -> String {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    format!(
        "none of {cases} cases has its files; the first was looked for at {}, since the list's paths start from {}; see \
         --base-dir",
        whole(first).display(),
        whole(if base.as_os_str().is_empty() { Path::new(".") } else { base }).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_of_either_kind() {
        let base = Path::new("/data");
        for path in ["a/t1.nii", "./a/t1.nii", "a\\t1.nii", ".\\a\\t1.nii"] {
            assert_eq!(resolve(base, path), Path::new("/data/a/t1.nii"), "{path}");
        }
        assert_eq!(resolve(base, "/x/t1.nii"), Path::new("/x/t1.nii"));
    }

    #[cfg(unix)]
    #[test]
    fn a_backslash_in_a_name_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a\\t1.nii");
        std::fs::write(&path, "").unwrap();
        assert_eq!(resolve(folder.path(), "a\\t1.nii"), path);
    }

    #[test]
    fn where_it_was_looked_for_is_said() {
        let message = nowhere(3, Path::new("a/t1.nii"), Path::new(""));
        let here = std::env::current_dir().unwrap();
        assert!(message.contains(&here.join("a/t1.nii").display().to_string()), "{message}");
        assert!(message.contains(&format!("start from {};", here.display())), "{message}");
    }
}
