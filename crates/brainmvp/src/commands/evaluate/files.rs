//! The label maps in a folder, by case.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_train::finetune::tasks::PROBABILITIES;
use brainmvp_volume::file::stem;

use crate::failure::bad_input;

/// Words that may follow the case in a name.
const WORDS: [&str; 6] = ["seg", "segmentation", "pred", "prediction", "label", "labels"];

/// The separators between such a word and the case.
const SEPARATORS: [char; 4] = ['_', '-', '.', ' '];

/// The label maps of a folder.
///
/// The label map of a case is `<case>.nii.gz` or `<case>_seg.nii.gz` (or of another format), or a file of the folder `<case>/`: one with
/// such a name, or `seg.nii.gz`, or the only one there. The other [`WORDS`] are equivalent to `seg`.
pub(super) struct LabelMaps {
    folder: PathBuf,
    /// The files by every name that a case may have; several files for one name are ambiguous.
    files: BTreeMap<String, Vec<PathBuf>>,
    /// The cases: names without the word.
    cases: Vec<String>,
}

impl LabelMaps {
    /// Lists a folder; the files are not opened.
    pub(super) fn of(folder: &Path) -> anyhow::Result<Self> {
        let (mut files, mut cases): (BTreeMap<String, Vec<PathBuf>>, Vec<String>) = Default::default();
        for path in entries(folder)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name == PROBABILITIES {
                    continue;
                }
                let inside = label_maps_of_case(&name, volumes(&path)?);
                if !inside.is_empty() {
                    cases.push(name.clone());
                    files.entry(name).or_default().extend(inside);
                }
            } else if let Some(stem) = stem(&path) {
                // A case may itself be called `x_seg`.
                let case = without_word(stem).unwrap_or(stem);
                cases.push(case.to_owned());
                files.entry(case.to_owned()).or_default().push(path.clone());
                if case != stem {
                    files.entry(stem.to_owned()).or_default().push(path.clone());
                }
            }
        }
        if cases.is_empty() {
            return Err(bad_input(format!(
                "{}: no volume file here (.nii .nii.gz .mgz .nrrd)",
                folder.display()
            )));
        }
        cases.sort_unstable();
        cases.dedup();
        Ok(Self { folder: folder.to_owned(), files, cases })
    }

    /// Where they are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cases, sorted.
    pub(super) fn cases(&self) -> &[String] {
        &self.cases
    }

    /// The label map of a case, or `None` if there is none; an error if there are several candidates.
    pub(super) fn find(&self, case: &str) -> Result<Option<&Path>, String> {
        match self.files.get(case).map(Vec::as_slice) {
            None | Some([]) => Ok(None),
            Some([file]) => Ok(Some(file)),
            Some(files) => {
                let below =
                    |file: &PathBuf| file.strip_prefix(&self.folder).unwrap_or(file).display().to_string();
                let names: Vec<_> = files.iter().map(below).collect();
                Err(format!("more than one file may be its label map: {}", names.join(", ")))
            }
        }
    }
}

/// The candidates in the folder of a case: the volume files that are called a label map, otherwise all of them.
fn label_maps_of_case(case: &str, files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_called = |path: &&PathBuf| {
        stem(path).is_some_and(|stem| stem == case || is_word(stem) || without_word(stem).is_some())
    };
    let called: Vec<_> = files.iter().filter(is_called).cloned().collect();
    if called.is_empty() { files } else { called }
}

/// The contents of a folder, sorted, without hidden entries.
fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = || {
        let entries = std::fs::read_dir(folder)?;
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
    };
    let mut paths = read().with_context(|| folder.display().to_string())?;
    paths.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    paths.sort_unstable();
    Ok(paths)
}

fn volumes(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_file() && stem(path).is_some()).collect())
}

/// `x` of `x_seg`.
fn without_word(stem: &str) -> Option<&str> {
    let cut = |word: &&str| without_ending(stem, word)?.strip_suffix(SEPARATORS);
    WORDS.iter().find_map(cut).filter(|case| !case.is_empty())
}

fn is_word(stem: &str) -> bool {
    WORDS.iter().any(|word| stem.eq_ignore_ascii_case(word))
}

/// `text` without `ending`, in upper or lower case.
fn without_ending<'a>(text: &'a str, ending: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(ending.len())?;
    text.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(ending)).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label_maps(names: &[&str]) -> (tempfile::TempDir, LabelMaps) {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = LabelMaps::of(folder.path()).unwrap();
        (folder, found)
    }

    #[test]
    fn every_place_of_a_label_map_is_known() {
        let names =
            ["a.nii.gz", "b_Seg.NII", "c/c_flair.nii.gz", "c/c-pred.nii.gz", "d/seg.nii", "e/any.nii"];
        let (folder, found) = label_maps(&[&names[..], &["notes.txt", ".f.nii", "g/notes.txt"]].concat());
        assert_eq!(found.cases(), ["a", "b", "c", "d", "e"]);
        for (case, name) in [("a", 0), ("b", 1), ("b_Seg", 1), ("c", 3), ("d", 4), ("e", 5)] {
            assert_eq!(found.find(case).unwrap(), Some(folder.path().join(names[name]).as_path()), "{case}");
        }
        assert_eq!(found.find("f").unwrap(), None);
    }

    #[test]
    fn one_of_several_is_not_guessed() {
        let (_folder, found) = label_maps(&["a.nii", "a_seg.nii", "b/x.nii", "b/y.nii", "c.nii", "c/c.nii"]);
        assert_eq!(found.cases(), ["a", "b", "c"]);
        for case in ["a", "b", "c"] {
            assert!(found.find(case).unwrap_err().contains("more than one file"), "{case}");
        }
        assert!(LabelMaps::of(tempfile::tempdir().unwrap().path()).is_err());
    }
}
