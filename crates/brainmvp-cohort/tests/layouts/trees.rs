//! Generated trees, and what is found in them.

use std::path::PathBuf;

use brainmvp_cohort::Case;
use brainmvp_cohort::layouts::{IndexOptions, Indexed, index};
use brainmvp_volume::Modality::{self, Flair, T1, T1c, T2};
use tempfile::TempDir;

/// Empty files: an index looks at names alone.
pub(crate) fn tree(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

pub(crate) fn auto(folder: &TempDir) -> Indexed {
    index(folder.path(), "auto", &IndexOptions::default()).unwrap()
}

pub(crate) fn case<'a>(indexed: &'a Indexed, id: &str) -> &'a Case {
    let cases = &indexed.cohort.cases;
    cases.iter().find(|case| case.id.as_str() == id).unwrap_or_else(|| panic!("no case {id} in {cases:#?}"))
}

pub(crate) fn ids(indexed: &Indexed) -> Vec<&str> {
    indexed.cohort.cases.iter().map(|case| case.id.as_str()).collect()
}

pub(crate) fn modalities(case: &Case) -> Vec<Modality> {
    case.images.keys().copied().collect()
}

pub(crate) fn name(path: Option<&PathBuf>) -> &str {
    path.and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or("-")
}

pub(crate) const GLIOMA: [Modality; 4] = [Flair, T1, T1c, T2];
