//! Prepared cases on disk: one safetensors file a case, and a manifest.
//!
//! ```text
//! CACHE/manifest.json          Manifest: the preparation, every prepared case, every quarantined one with its reason
//! CACHE/files/<hash>-<name>    what the preparation needs: the atlas, by its content
//! CACHE/<case>.safetensors     flair, t1, ...     F16 or F32 [Z, Y, X]   the images, in [0, 1]
//!                              label              U8 or U16 [Z, Y, X]    where the case has one
//!                              brain_mask         U8 [Z, Y, X]           where the case has one
//!                              foreground_rows    U32 [Z, Y]             foreground voxels up to the end of each row
//!                              __metadata__       "brainmvp": CaseMetadata as JSON
//! ```
//!
//! Tensors are row-major, so `x` runs fastest, in the order of a [`brainmvp_volume::Volume`]; every shape and offset of
//! the interface is `[x, y, z]`. A voxel is foreground where any stored image is above 0.

mod case;
mod manifest;
mod metadata;
mod stored;
mod write;

use std::path::{Path, PathBuf};

pub use case::PreparedCase;
pub use manifest::{CaseEntry, MANIFEST_VERSION, Manifest, QuarantinedCase};
pub use metadata::{CASE_VERSION, CaseFacts, CaseMetadata, GridRecord, StepRecord};
pub use write::{CaseContents, write_case};

use serde::Deserialize;

use crate::fingerprint::{Head, SameHead, same_heads};
use crate::{Error, Result};

/// Refuses the JSON of a file whose layout is not that of `version`, whatever else it says.
fn refuse_other_version(path: &Path, json: &[u8], version: u32) -> Result<()> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice::<Versioned>(json) {
        Ok(found) if found.version != version => Err(Error::cache(
            path,
            format!(
                "its layout has version {}, and this program reads {version}: prepare the cases again with \
                 `brainmvp preprocess --force`",
                found.version
            ),
        )),
        _ => Ok(()),
    }
}

/// A folder of prepared cases, opened for reading.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    manifest: Manifest,
}

impl Cache {
    /// Opens a cache by its manifest; the files of the cases are opened one by one with [`Cache::open_case`].
    ///
    /// # Errors
    /// If there is no manifest, or it was written by another version or damaged.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let manifest = Manifest::load(&dir)?;
        Ok(Self { dir, manifest })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The prepared cases, sorted by id.
    pub fn cases(&self) -> &[CaseEntry] {
        &self.manifest.cases
    }

    /// The preparation, and the cases that could not be prepared.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Pairs of cases of different subjects whose prepared images show the same head, the earlier one first; `None` if there
    /// are too many cases to compare. Cases that cannot be opened are passed over.
    pub fn same_heads(&self) -> Option<Vec<([&CaseFacts; 2], SameHead)>> {
        let opened: Vec<(&CaseFacts, PreparedCase)> = self
            .cases()
            .iter()
            .filter_map(|entry| Some((&entry.case, self.open_case(entry).ok()?)))
            .collect();
        let heads: Vec<Head<'_>> = opened
            .iter()
            .map(|(facts, case)| Head {
                subject: (&facts.data_set, &facts.subject),
                images: &case.metadata().fingerprints,
            })
            .collect();
        let found = same_heads(&heads)?.into_iter();
        Some(found.map(|same| (same.cases.map(|number| opened[number].0), same)).collect())
    }

    /// Opens a case; only its header is read at this point.
    ///
    /// # Errors
    /// If the file is missing, truncated or not what the manifest says.
    pub fn open_case(&self, entry: &CaseEntry) -> Result<PreparedCase> {
        PreparedCase::open_entry(&self.dir, entry)
    }
}
