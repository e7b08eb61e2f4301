//! What is known of one case, as it is kept beside its picture.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_cohort::CaseId;
use brainmvp_prep::cache::CaseFacts;
use brainmvp_volume::{Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The version of what is measured and drawn: a new one measures every case anew.
pub(crate) const RECORD_VERSION: u32 = 1;

/// What is known of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRecord {
    /// The version of this record.
    pub version: u32,
    /// Who it is.
    pub case: CaseFacts,
    /// What made the prepared case, as the cache says; `None` for a case that is not in the cache.
    pub content_hash: Option<String>,
    /// Why the case is not in the cache, or cannot be read from it.
    pub left_out: Option<String>,
    /// What was done about the skull, of a prepared case.
    pub skull: Option<Skull>,
    /// The space that all its images were in before, where they were not registered for that reason.
    pub already_in: Option<String>,
    /// Whether there is a label map.
    pub has_label: bool,
    /// Its images.
    pub images: Vec<ImageRecord>,
}

/// What is known of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// What it shows.
    pub modality: Modality,
    /// The file as it came.
    pub original: Option<Original>,
    /// Why the file could not be read.
    pub unread: Option<String>,
    /// How it was moved.
    pub registered: Option<Registered>,
    /// The image as it was prepared.
    pub prepared: Option<Prepared>,
    /// A small picture, PNG in base64.
    pub thumbnail: String,
}

/// An image as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    /// The name of the file.
    pub file: String,
    /// Voxels along its axes.
    pub shape: [usize; 3],
    /// Voxel size along its axes.
    pub spacing_mm: [f64; 3],
    /// Three letters for the ends to which the axes run.
    pub orientation: String,
    /// The largest angle between an axis and that of the body which it is nearest to.
    pub oblique_deg: f64,
    /// Whether it shows a brain and nothing else.
    pub is_stripped: bool,
    /// Voxels that are NaN or infinite.
    pub not_finite: usize,
    /// In which part of the image the following was measured.
    pub measured_in: MeasuredIn,
    /// The size of that part.
    pub foreground_ml: f64,
    /// Percentiles 5, 50 and 95 of the grey values there.
    pub percentiles: Option<[f64; 3]>,
    /// Standard deviation of the noise, see [`crate::noise_deviation`].
    pub noise: Option<f64>,
    /// The median grey value over the noise; `None` where either is not above 0.
    pub snr: Option<f64>,
}

/// The part of an image that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredIn {
    /// The brain mask of the prepared case.
    BrainMask,
    /// All but the background value of a stripped image.
    StrippedImage,
    /// What is brighter than the threshold between background and head.
    Head,
}

/// How an image was registered, of a case that was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// Onto what: a modality or an atlas; `None` for the image that the others were registered to.
    pub onto: Option<String>,
    /// Normalised mutual information with it, as `register` tells.
    pub similarity: Option<f64>,
    /// Share of the head that both show.
    pub overlap: Option<f64>,
    /// Rotation from the file to the prepared case.
    pub rotation_deg: f64,
    /// How far the middle of the prepared case lies from where the file had it.
    pub shift_mm: f64,
    /// Largest and smallest stretch.
    pub scales: [f64; 2],
}

/// An image as it was prepared, in the brain mask or, without one, where it is above 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// Percentiles 5, 50 and 95.
    pub percentiles: Option<[f64; 3]>,
    /// Share of voxels at the upper end of the scale.
    pub white_share: f64,
    /// Share of the brain mask (of all modalities' foreground) that is 0: not covered by this image.
    pub empty_share: f64,
}

/// What was done about the skull, and how large the brain is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skull {
    /// Where the mask is from: given, found, of stripped images of the case, none needed, none, or nothing was done.
    pub mask: String,
    /// The size of the mask, or else of the foreground, in the patient's own millimetres.
    pub brain_ml: f64,
    /// The sides of the field of view that it touches.
    pub touches: Vec<String>,
}

impl CaseRecord {
    /// Reads the record of a case; `None` where there is none, or none of this version.
    pub fn load(dir: &Path, id: &CaseId) -> Option<Self> {
        let text = std::fs::read(path(dir, id, "json")).ok()?;
        let record: Self = serde_json::from_slice(&text).ok()?;
        (record.version == RECORD_VERSION && record.case.id == *id).then_some(record)
    }

    /// Writes the record, all or nothing.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let path = path(dir, &self.case.id, "json");
        let text =
            serde_json::to_vec(self).map_err(|e| brainmvp_volume::Error::malformed(&path, e.to_string()))?;
        Ok(write_atomically(&path, |file| file.write_all(&text))?)
    }
}

/// The folder of the records and pictures.
pub(crate) const CASES: &str = "cases";

/// The file of a case.
pub(crate) fn path(dir: &Path, id: &CaseId, ending: &str) -> PathBuf {
    dir.join(CASES).join(format!("{id}.{ending}"))
}
