//! Files that a preparation needs, identified by their content.

use std::fs::File;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, file};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The folder of such files within a cache or a run.
const FOLDER: &str = "files";

/// Digits of the hash in the name of a stored file.
const DIGITS: usize = 16;

/// A file identified by its content, and its present location. Only name and content are recorded: whoever reads the
/// record supplies the location. Two are equal if their contents are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContentFile {
    /// What it was called when it was first used.
    name: String,
    /// BLAKE3 of its bytes, hex; of a header and voxel pair, of both files.
    hash: String,
    #[serde(skip)]
    place: Option<PathBuf>,
}

impl PartialEq for ContentFile {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for ContentFile {}

impl ContentFile {
    /// The file at a path, as it is now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, hash: hash_file(path)?.to_hex().to_string(), place: Some(path.to_owned()) })
    }

    /// What it was called when it was first used.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// BLAKE3 of its bytes, hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The same file, located at `path`.
    ///
    /// # Errors
    /// [`Error::FileChanged`] if another file is there; if it cannot be read.
    pub fn at(&self, path: &Path) -> Result<Self> {
        let found = hash_file(path)?.to_hex().to_string();
        if found != self.hash {
            return Err(Error::FileChanged {
                path: path.to_owned(),
                name: self.name.clone(),
                expected: self.hash.clone(),
                found,
            });
        }
        Ok(Self { place: Some(path.to_owned()), ..self.clone() })
    }

    /// The same file, located among those of a cache or run.
    #[must_use]
    pub fn stored_in(&self, folder: &Path) -> Self {
        Self { place: Some(folder.join(FOLDER).join(self.stored_name(&self.name))), ..self.clone() }
    }

    /// Its location, after checking its content.
    ///
    /// # Errors
    /// [`Error::FileNeeded`] if it does not exist or its location is not known, [`Error::FileChanged`] if another one has
    /// taken its place; if it cannot be read.
    pub fn path(&self) -> Result<&Path> {
        let needed = || Error::FileNeeded { name: self.name.clone(), hash: self.hash.clone() };
        let path = self.place.as_deref().ok_or_else(needed)?;
        match self.at(path) {
            Ok(_) => Ok(path),
            Err(Error::File(error)) if error.source.kind() == std::io::ErrorKind::NotFound => Err(needed()),
            Err(error) => Err(error),
        }
    }

    /// Copies it to the files of a cache or run, unless it is there already. Returns it with its new location.
    ///
    /// # Errors
    /// Those of [`Self::path`], and if the copy cannot be written.
    pub fn store(&self, folder: &Path) -> Result<Self> {
        let stored = self.stored_in(folder);
        if stored.path().is_ok() {
            return Ok(stored);
        }
        let source = self.path()?;
        let files = folder.join(FOLDER);
        std::fs::create_dir_all(&files).at(&files)?;
        for part in parts(source) {
            let name = part.file_name().unwrap_or_default().to_string_lossy();
            let mut from = File::open(&part).at(&part)?;
            brainmvp_volume::write_atomically(&files.join(self.stored_name(&name)), |to| {
                std::io::copy(&mut from, to).map(drop)
            })?;
        }
        stored.path()?;
        Ok(stored)
    }

    fn stored_name(&self, name: &str) -> String {
        // The content of a record cannot be trusted: the name must not lead out of the folder.
        let hash: String = self.hash.chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect();
        let name = Path::new(name).file_name().unwrap_or_default().to_string_lossy();
        // A file that is stored already has the hash in its name.
        let name = name.strip_prefix(&format!("{hash}-")).unwrap_or(&name);
        format!("{hash}-{name}")
    }
}

/// The hash of a file; of a header and voxel pair, of both files.
pub(crate) fn hash_file(path: &Path) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    for path in parts(path) {
        let file = File::open(&path).and_then(|file| hasher.update_reader(file).map(|_| ()));
        file.at(&path)?;
    }
    Ok(hasher.finalize())
}

/// The file itself, or every file of its `.hdr` and `.img` pair, or the file with the voxels of its `.nhdr` too.
pub(crate) fn parts(path: &Path) -> Vec<PathBuf> {
    const ENDINGS: [&str; 8] = [".hdr", ".img", ".hdr.gz", ".img.gz", ".HDR", ".IMG", ".HDR.GZ", ".IMG.GZ"];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let pair = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).map(|stem| {
        let all = ENDINGS.iter().map(|ending| path.with_file_name(format!("{stem}{ending}")));
        all.filter(|part| part.is_file()).collect::<Vec<_>>()
    });
    pair.filter(|parts| !parts.is_empty()).unwrap_or_else(|| {
        // A header that cannot be read is reported when it is.
        let is_header = name.to_ascii_lowercase().ends_with(".nhdr");
        let voxels = is_header.then(|| file::voxel_file(path).ok().flatten()).flatten();
        std::iter::once(path.to_owned()).chain(voxels).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_file_is_found_by_its_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (source, cache) = (folder.path().join("atlas.hdr"), folder.path().join("cache"));
        std::fs::write(&source, "header").unwrap();
        std::fs::write(folder.path().join("atlas.img"), "voxels").unwrap();
        let file = ContentFile::of(&source).unwrap();
        let stored = file.store(&cache).unwrap();
        std::fs::remove_file(&source).unwrap();
        assert!(matches!(file.path(), Err(Error::FileNeeded { .. } | Error::FileChanged { .. })));
        let text = serde_json::to_string(&stored).unwrap();
        assert!(!text.contains("cache"), "{text}");
        let recorded: ContentFile = serde_json::from_str(&text).unwrap();
        assert!(matches!(recorded.path(), Err(Error::FileNeeded { name, .. }) if name == "atlas.hdr"));
        let path = recorded.stored_in(&cache);
        let path = path.path().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"header");
        assert_eq!(std::fs::read(path.with_extension("img")).unwrap(), b"voxels");
        // From a cache into a run, without the first file.
        let again = recorded.stored_in(&cache).store(&folder.path().join("run")).unwrap();
        assert!(again.path().unwrap().starts_with(folder.path().join("run")));
    }

    #[test]
    fn a_header_and_its_voxels_are_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.nhdr");
        let header = "NRRD0004\ntype: uchar\ndimension: 3\nspace: RAS\nsizes: 1 1 2\nencoding: raw\n\
                      space directions: (1,0,0) (0,1,0) (0,0,1)\ndata file: a.raw\n";
        std::fs::write(&path, header).unwrap();
        let hash = |voxels: [u8; 2]| {
            std::fs::write(folder.path().join("a.raw"), voxels).unwrap();
            hash_file(&path).unwrap()
        };
        assert_ne!(hash([1, 2]), hash([1, 3]));
    }

    #[test]
    fn other_content_under_the_same_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("atlas.nii.gz");
        std::fs::write(&path, "one").unwrap();
        let stored = ContentFile::of(&path).unwrap().store(folder.path()).unwrap();
        let place = stored.path().unwrap().to_owned();
        std::fs::write(&place, "two").unwrap();
        let message = stored.path().unwrap_err().to_string();
        assert!(message.contains("atlas.nii.gz") && message.contains(stored.hash()), "{message}");
        assert!(stored.at(&place).is_err());
        // What is right takes the place of what is wrong.
        ContentFile::of(&path).unwrap().store(folder.path()).unwrap();
        assert_eq!(std::fs::read(place).unwrap(), b"one");
    }
}
