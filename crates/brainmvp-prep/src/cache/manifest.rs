//! The table of contents of a cache.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use brainmvp_cohort::{CaseId, LabelScheme};
use brainmvp_volume::{AtPath as _, Modality};
use serde::{Deserialize, Serialize};

use super::{CaseFacts, refuse_other_version};
use crate::{Error, PrepConfig, Preparation, Result, Space};

/// The version of the layout of `manifest.json`.
pub const MANIFEST_VERSION: u32 = 3;

const FILE_NAME: &str = "manifest.json";

/// The content of a cache, and how it was made. Stored as `manifest.json`, sorted by case, so that it can be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] when it was written.
    pub version: u32,
    /// How its cases were prepared. Files that this needs are in the folder `files` of the cache.
    pub preparation: Preparation,
    /// The meaning of label values, of the data sets that declare it.
    #[serde(default)]
    pub label_schemes: BTreeMap<String, LabelScheme>,
    /// The prepared cases, sorted by id.
    pub cases: Vec<CaseEntry>,
    /// The cases that could not be prepared, sorted by id.
    pub quarantined: Vec<QuarantinedCase>,
}

/// A prepared case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseEntry {
    /// Who it is.
    pub case: CaseFacts,
    /// BLAKE3 of the file, hex.
    pub file_hash: String,
    /// [`crate::cache::CaseMetadata::content_hash`]: the inputs and the configuration.
    pub content_hash: String,
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// What its coordinates mean.
    pub space: Space,
    /// The images that it has, in the order of the templates.
    pub modalities: Vec<Modality>,
    /// Whether it has a label map.
    pub has_label: bool,
    /// The values of the label map's file besides background.
    pub label_values: BTreeSet<u16>,
    /// How many voxels are above 0 in any image.
    pub foreground_voxels: u64,
    /// What its preparation warned of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How long its preparation took.
    pub seconds: f64,
}

/// A case that could not be prepared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuarantinedCase {
    /// The name of the case.
    pub id: CaseId,
    /// What is wrong; files are named by what they are (`t1`), not by their paths.
    pub reason: String,
}

impl Manifest {
    /// A manifest without cases.
    pub fn new(config: PrepConfig) -> Self {
        Self {
            version: MANIFEST_VERSION,
            preparation: Preparation::of(config),
            label_schemes: BTreeMap::new(),
            cases: Vec::new(),
            quarantined: Vec::new(),
        }
    }

    /// Reads the manifest of a cache folder.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, [`Error::Cache`] if it is damaged or of another version.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read(&path).at(&path)?;
        refuse_other_version(&path, &text, MANIFEST_VERSION)?;
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|e| Error::cache(&path, format!("not a manifest: {e}")))?;
        Ok(Self { preparation: manifest.preparation.stored_in(dir), ..manifest })
    }

    /// Writes the manifest into a cache folder, sorted, all or nothing.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&mut self, dir: &Path) -> Result<()> {
        self.cases.sort_by(|a, b| a.case.id.cmp(&b.case.id));
        self.quarantined.sort_by(|a, b| a.id.cmp(&b.id));
        let path = dir.join(FILE_NAME);
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::cache(&path, e.to_string()))?;
        text.push(b'\n');
        Ok(brainmvp_volume::write_atomically(&path, |file| file.write_all(&text))?)
    }

    /// The prepared case of this id.
    pub fn case(&self, id: &CaseId) -> Option<&CaseEntry> {
        self.cases.iter().find(|entry| entry.case.id == *id)
    }
}

impl CaseEntry {
    /// The name of the case's file within the cache; an id is a valid file name.
    pub fn file_name(&self) -> String {
        file_name(&self.case.id)
    }
}

pub(super) fn file_name(id: &CaseId) -> String {
    format!("{id}.safetensors")
}
