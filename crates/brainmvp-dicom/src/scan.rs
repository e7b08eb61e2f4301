//! All series below a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use walkdir::WalkDir;

use crate::file::ImageFile;
use crate::stored::Stored;
use crate::{Error, Result, Series};

/// The contents of a folder.
#[derive(Debug, Default)]
pub struct Scan {
    /// Series, sorted by patient, study and number.
    pub series: Vec<Series>,
    /// DICOM files that cannot be used, each with its reason.
    pub refused: Vec<Error>,
    /// DICOM files without an image: reports, contours, directories.
    pub without_image: usize,
    /// Files of other kinds.
    pub others: usize,
}

/// How many files are examined to decide whether a folder contains DICOM.
const LOOKED_AT: usize = 200;

/// Whether there is a DICOM file among the first files below `folder`.
pub fn holds_dicom(folder: &Path) -> bool {
    files(folder)
        .flatten()
        .take(LOOKED_AT)
        .any(|path| Stored::open(&path).is_ok_and(|mut file| file.has_mark()))
}

/// Reads the headers of all DICOM files below `folder` (or of the one file), whatever their names.
///
/// # Errors
/// [`Error::File`] if the folder cannot be read. Faulty files are in [`Scan::refused`].
pub fn scan(folder: &Path) -> Result<Scan> {
    let mut found = Scan::default();
    let mut paths: Vec<PathBuf> = Vec::new();
    for file in files(folder) {
        match file {
            Ok(path) => paths.push(path),
            Err(error) => {
                let (depth, path) = (error.depth(), error.path().unwrap_or(folder).to_owned());
                let error = Error::from(brainmvp_volume::FileError::new(&path, error));
                if depth == 0 {
                    return Err(error);
                }
                // A dangling link, or a folder without permission: the rest goes on.
                found.refused.push(error);
            }
        }
    }
    let read: Vec<Result<ImageFile>> = paths.par_iter().map(|path| ImageFile::read(path)).collect();
    let mut series: BTreeMap<[String; 3], Vec<ImageFile>> = BTreeMap::new();
    for file in read {
        match file {
            Ok(file) => {
                let key = [file.patient.clone(), file.study.clone(), file.series.clone()];
                series.entry(key).or_default().push(file);
            }
            Err(Error::NoImage { reason: "not a DICOM file", .. }) => found.others += 1,
            Err(Error::NoImage { .. }) => found.without_image += 1,
            Err(error) => found.refused.push(error),
        }
    }
    found.series = series.into_values().map(Series::new).collect();
    found.series.sort_by(|a, b| (&a.patient, &a.study, a.number).cmp(&(&b.patient, &b.study, b.number)));
    Ok(found)
}

fn files(folder: &Path) -> impl Iterator<Item = std::result::Result<PathBuf, walkdir::Error>> {
    let walk = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    walk.filter_entry(move |entry| entry.depth() == 0 || !hidden(entry.file_name()))
        .filter(|entry| entry.as_ref().map_or(true, |entry| entry.file_type().is_file()))
        .map(|entry| entry.map(walkdir::DirEntry::into_path))
}
