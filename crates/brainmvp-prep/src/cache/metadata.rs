//! The metadata of a prepared case.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_cohort::{Case, CaseId, Split};
use brainmvp_volume::{Affine, Grid, Modality};
use serde::{Deserialize, Serialize};

use crate::Space;
use crate::fingerprint::Fingerprint;

/// The version of the layout of a case's file.
pub const CASE_VERSION: u32 = 3;

/// The facts of a prepared case, stored in its file. What the cohort says of it is in the manifest alone
/// ([`super::CaseEntry`]), since that may change while the volumes stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseMetadata {
    /// [`CASE_VERSION`] when it was written.
    pub version: u32,
    /// The name of the case.
    pub id: CaseId,
    /// The grid of the stored volumes.
    pub grid: GridRecord,
    /// The grid that all images were brought to, before the crop.
    pub uncropped: GridRecord,
    /// The grid of the reference image as its file has it.
    pub original: GridRecord,
    /// What the coordinates of all these grids but `original` mean.
    pub space: Space,
    /// The voxel `[x, y, z]` of `uncropped` that became the first stored one. Where `uncropped` has the size of the
    /// templates, this is also the case's place in them; after a symmetric crop it equals
    /// `(uncropped.shape - grid.shape) / 2`.
    pub crop_offset: [usize; 3],
    /// What every step did, in order.
    pub provenance: Vec<StepRecord>,
    /// The values of the label map's file besides background.
    pub label_values: BTreeSet<u16>,
    /// What its images look like, by which they are known under another name; none of an image that shows too little.
    pub fingerprints: BTreeMap<Modality, Fingerprint>,
    /// Hash (BLAKE3, hex) of the input files, the configuration and the version of the pipeline.
    pub content_hash: String,
}

/// What the cohort says about a case, apart from its files; see [`Case`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFacts {
    /// The name of the case.
    pub id: CaseId,
    /// The person.
    pub subject: String,
    /// The data set that the case belongs to; batches mix them.
    pub data_set: String,
    /// The hospital or scanner.
    pub site: Option<String>,
    /// The class for classification.
    pub class: Option<String>,
    /// Numbers for regression, by the name of their column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
    /// The part of the study.
    pub split: Option<Split>,
}

impl From<&Case> for CaseFacts {
    fn from(case: &Case) -> Self {
        Self {
            id: case.id.clone(),
            subject: case.subject.clone(),
            data_set: case.data_set.clone(),
            site: case.site.clone(),
            class: case.class.clone(),
            numbers: case.numbers.clone(),
            split: case.split,
        }
    }
}

impl CaseMetadata {
    /// What the steps warned of, in their order.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.provenance.iter().filter_map(|record| record.did["warning"].as_str())
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The name of the step.
    pub step: String,
    /// Its facts: grids, percentiles found, bounds, by modality.
    pub did: serde_json::Value,
}

/// A [`Grid`] in a file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridRecord {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// The first three rows of the affine from voxel indices to RAS+ mm.
    pub affine: [[f64; 4]; 3],
}

impl From<&Grid> for GridRecord {
    fn from(grid: &Grid) -> Self {
        Self { shape: grid.shape, affine: grid.affine.rows() }
    }
}

impl From<&GridRecord> for Grid {
    fn from(record: &GridRecord) -> Self {
        Self::new(record.shape, Affine::from_rows(record.affine))
    }
}

/// The name of a stored tensor that is no image.
pub(crate) mod tensor {
    /// The label map.
    pub(crate) const LABEL: &str = "label";
    /// The brain mask.
    pub(crate) const BRAIN_MASK: &str = "brain_mask";
    /// The running count of foreground voxels, a number for each row along x.
    pub(crate) const FOREGROUND_ROWS: &str = "foreground_rows";
    /// The key of the JSON in the file's metadata.
    pub(crate) const METADATA_KEY: &str = "brainmvp";
}

/// The modalities in the order of the templates, out of a set of tensor names.
pub(crate) fn modalities_among<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Modality> {
    let mut found: Vec<Modality> = names.into_iter().filter_map(|name| name.parse().ok()).collect();
    found.sort();
    found
}
