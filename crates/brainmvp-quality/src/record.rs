//! The measurements of a case, as stored with its picture.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_cohort::CaseId;
use brainmvp_prep::cache::CaseFacts;
use brainmvp_volume::{Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The version of the measurements and pictures: every case is measured anew when it changes.
pub(crate) const RECORD_VERSION: u32 = 2;

/// The measurements of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRecord {
    /// The version of this record.
    pub version: u32,
    /// The case.
    pub case: CaseFacts,
    /// The content hash of the prepared case, from the cache; `None` for a case that is not in the cache.
    pub content_hash: Option<String>,
    /// Why the case is not in the cache, or cannot be read from it.
    pub left_out: Option<String>,
    /// How the skull of a prepared case was removed.
    pub skull: Option<Skull>,
    /// The space that all its images were already in, if they were not registered for that reason.
    pub already_in: Option<String>,
    /// Whether there is a label map.
    pub has_label: bool,
    /// Its images.
    pub images: Vec<ImageRecord>,
}

/// The measurements of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// Its modality.
    pub modality: Modality,
    /// The original file.
    pub original: Option<Original>,
    /// Why the file could not be read.
    pub unread: Option<String>,
    /// How it was registered.
    pub registered: Option<Registered>,
    /// The prepared image.
    pub prepared: Option<Prepared>,
    /// A small picture, PNG in base64.
    pub thumbnail: String,
}

/// An image as it is in its file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    /// Voxels along its axes.
    pub shape: [usize; 3],
    /// Voxel size along its axes.
    pub spacing_mm: [f64; 3],
    /// Three letters for the directions of the axes.
    pub orientation: String,
    /// The largest angle between an axis and the nearest axis of the body.
    pub oblique_deg: f64,
    /// Whether it shows only a brain.
    pub is_stripped: bool,
    /// Voxels that are NaN or infinite.
    pub not_finite: usize,
    /// The part of the image in which the following was measured.
    pub measured_in: MeasuredIn,
    /// The size of that part.
    pub foreground_ml: f64,
    /// Percentiles 5, 50 and 95 of the grey values there.
    pub percentiles: Option<[f64; 3]>,
    /// Standard deviation of the noise, see [`crate::noise_deviation`].
    pub noise: Option<f64>,
    /// The median grey value over the noise; `None` if either is not above 0.
    pub snr: Option<f64>,
}

/// The part of an image in which it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredIn {
    /// The brain mask of the prepared case.
    BrainMask,
    /// Everything but the background value of a stripped image.
    StrippedImage,
    /// All voxels above the threshold between background and head.
    Head,
}

/// The registration of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registered {
    /// The image it was registered to: a modality or an atlas; `None` for the image that the others were registered to.
    pub onto: Option<String>,
    /// Normalised mutual information with it, as reported by `register`.
    pub similarity: Option<f64>,
    /// Share of the head that is in both.
    pub overlap: Option<f64>,
    /// Rotation from the file to the prepared case.
    pub rotation_deg: f64,
    /// The distance by which the middle of the prepared case was moved.
    pub shift_mm: f64,
    /// Largest and smallest stretch.
    pub scales: [f64; 2],
}

/// A prepared image, measured in the brain mask or, without one, where it is above 0.
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

/// How the skull was removed, and the size of the brain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skull {
    /// Where the mask comes from: given, found, of stripped images of the case, none needed, or none.
    pub mask: String,
    /// The size of the mask or, without one, of the foreground, in the patient's own millimetres.
    pub brain_ml: f64,
    /// The sides of the field of view that it touches.
    pub touches: Vec<String>,
}

impl CaseRecord {
    /// Reads the record of a case; `None` if there is none, it is damaged, or of another version.
    pub fn load(dir: &Path, id: &CaseId) -> Option<Self> {
        let text = std::fs::read(path(dir, id, "json")).ok()?;
        let record: Self = serde_json::from_slice(&text).ok()?;
        (record.version == RECORD_VERSION && record.case.id == *id).then_some(record)
    }

    /// Writes the record, completely or not at all.
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
