//! The findings of a check, as they are written to JSON.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, Grid, Modality, write_atomically};
use serde::{Deserialize, Serialize};

use crate::{Case, CaseId, Error, Result};

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The case cannot be used as it is; it is quarantined, and left out when it is prepared.
    Problem,
    /// Evidence of a mistake that only a person can judge; the case is used as it is.
    Warning,
    /// Worth knowing; preprocessing handles it.
    Note,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// A case without images.
    NoImage,
    /// The file is missing, truncated, corrupt or of another kind.
    Unreadable,
    /// NaN or infinity among the voxels.
    NotFinite,
    /// NaN around what an image shows, as its background.
    NanAround,
    /// All voxels are the same.
    Constant,
    /// An image with two values: a mask under the name of a modality.
    Binary,
    /// An axis of a single voxel.
    Flat,
    /// An implausible voxel size.
    Spacing,
    /// A field of view that is larger than any head: the voxel size is wrong.
    FieldOfView,
    /// Axes that are not at right angles.
    Shear,
    /// The sform and the qform of a NIfTI file are mirror images of each other.
    FormsMirrored,
    /// The sform and the qform of a NIfTI file disagree in another way.
    FormsDiffer,
    /// Neither sform nor qform: orientation and position are unknown.
    NoOrientation,
    /// Images of a case on several grids.
    GridsDiffer,
    /// An image at another position than the others of its case.
    NoOverlap,
    /// A label map or mask at another position than the images.
    LabelPlacement,
    /// A label map or mask on a grid of its own.
    LabelGrid,
    /// A label map or mask on the grid of an image, stored in another order of axes or directions.
    LabelOrder,
    /// A label that is not a whole number.
    LabelNotIntegral,
    /// A label value outside the declared scheme.
    LabelValue,
    /// Labels without a declared scheme.
    LabelUndeclared,
    /// A label map without labels.
    LabelEmpty,
    /// A brain mask with several values.
    MaskNotBinary,
    /// A brain mask without brain.
    MaskEmpty,
    /// An image with the voxels of another one of its case.
    Duplicate,
    /// The head of another subject.
    SameHead,
    /// An image with the voxels of one of another case.
    CopyOfOther,
    /// An image whose grey values are those of another modality of its case.
    ModalityDoubtful,
    /// A stripped image whose brain has another outline than the others of its case.
    OutlineDiffers,
    /// Required modalities are missing.
    MissingRequired,
    /// Modalities are missing that other cases of the data set have.
    MissingModality,
}

impl Kind {
    /// How serious a finding of this kind is.
    pub fn severity(self) -> Severity {
        match self {
            Self::ModalityDoubtful
            | Self::OutlineDiffers
            | Self::SameHead
            | Self::CopyOfOther
            | Self::FormsMirrored => Severity::Warning,
            Self::NanAround
            | Self::Shear
            | Self::FormsDiffer
            | Self::NoOrientation
            | Self::GridsDiffer
            | Self::LabelGrid
            | Self::LabelOrder
            | Self::LabelUndeclared
            | Self::LabelEmpty
            | Self::MissingModality => Severity::Note,
            _ => Severity::Problem,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// The case.
    pub case: CaseId,
    /// What the file is that it is about, if it is about one: a modality, `label` or `brain_mask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The path of that file, to be shown. It may name people, and is not written.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Its kind.
    pub kind: Kind,
    /// How serious it is.
    pub severity: Severity,
    /// What was found, in a sentence.
    pub message: String,
}

impl Problem {
    pub(super) fn new(case: &Case, file: Option<&Path>, kind: Kind, message: String) -> Self {
        let image = file.and_then(|file| case.files().find(|(_, path)| *path == file));
        let image = image.map(|(role, _)| role.name().to_owned());
        let message = case.without_paths(&message);
        // The file has a field of its own.
        let message = match &image {
            Some(image) => message.strip_prefix(&format!("{image}: ")).unwrap_or(&message).to_owned(),
            None => message,
        };
        let (case, file) = (case.id.clone(), file.map(Path::to_owned));
        Self { case, image, file, kind, severity: kind.severity(), message }
    }

    /// What was found, with what the file is, without the case.
    pub fn reason(&self) -> String {
        match &self.image {
            Some(image) => format!("{image}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.case, self.reason())
    }
}

/// How many files have a certain shape and spacing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSummary {
    /// Voxels along x, y, z.
    pub shape: [usize; 3],
    /// Voxel size in mm along x, y, z, to the nearest 0.001.
    pub spacing_mm: [f64; 3],
    /// Files with both.
    pub files: usize,
}

impl GridSummary {
    /// The most common first.
    pub(super) fn count(grids: impl Iterator<Item = Grid>) -> Vec<Self> {
        let mut counts: BTreeMap<([usize; 3], [i64; 3]), usize> = BTreeMap::new();
        for grid in grids {
            let spacing_um = grid.affine.spacing_mm().map(|mm| (mm * 1000.0).round() as i64);
            *counts.entry((grid.shape, spacing_um)).or_default() += 1;
        }
        let mut found: Vec<Self> = counts
            .into_iter()
            .map(|((shape, um), files)| Self { shape, spacing_mm: um.map(|um| um as f64 / 1000.0), files })
            .collect();
        found.sort_by_key(|summary| std::cmp::Reverse(summary.files));
        found
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The name of the cohort.
    pub cohort: String,
    /// The number of cases.
    pub cases: usize,
    /// The number of files.
    pub files: usize,
    /// The cases that should not be used, each with the messages of its problems.
    pub quarantined: BTreeMap<CaseId, Vec<String>>,
    /// Everything found, by case.
    pub problems: Vec<Problem>,
    /// Cases with each modality.
    pub modalities: BTreeMap<Modality, usize>,
    /// Shapes and spacings of the readable files, the most common first.
    pub grids: Vec<GridSummary>,
    /// Cases with each label value besides 0, by data set.
    pub label_values: BTreeMap<String, BTreeMap<u16, usize>>,
    /// Pairs of cases of different subjects that show the same head, whatever their names.
    #[serde(default)]
    pub same_heads: Vec<[CaseId; 2]>,
    /// Whether the heads were compared with each other; not if there are too many cases.
    #[serde(default)]
    pub heads_compared: bool,
}

impl Report {
    pub(super) fn new(cohort: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort();
        let mut quarantined: BTreeMap<CaseId, Vec<String>> = BTreeMap::new();
        for problem in problems.iter().filter(|problem| problem.severity == Severity::Problem) {
            quarantined.entry(problem.case.clone()).or_default().push(problem.reason());
        }
        Self {
            cohort: cohort.to_owned(),
            cases: 0,
            files: 0,
            quarantined,
            problems,
            modalities: BTreeMap::new(),
            grids: Vec::new(),
            label_values: BTreeMap::new(),
            same_heads: Vec::new(),
            heads_compared: false,
        }
    }

    /// Whether every case can be used; there may be notes.
    pub fn is_clean(&self) -> bool {
        self.quarantined.is_empty()
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(move |problem| problem.severity == severity)
    }

    /// Writes the report as JSON, completely or not at all; the same findings give the same bytes.
    ///
    /// # Errors
    /// Where the disk refuses or is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(|e| Error::malformed(path, e.to_string()))?;
        text.push('\n');
        Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
    }

    /// Reads a report that [`Report::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it is not a report.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::malformed(path, format!("not a report of a check: {e}")))
    }
}
