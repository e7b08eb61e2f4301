//! A new case: from its files to a case that is prepared like those that a network was trained on.

use std::path::{Path, PathBuf};

use brainmvp_cohort::Case;
use brainmvp_prep::cache::{CaseMetadata, GridRecord, PreparedCase};
use brainmvp_prep::{Pipeline, prepare_case};
use brainmvp_registration::Transform;
use brainmvp_volume::file::{self, FileHeader};
use brainmvp_volume::{Grid, Modality};

use crate::batches::CaseSource;

/// Why a case has no result.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// Because of the case; others are not affected.
    #[error("{0}")]
    Case(String),
    /// The work was stopped.
    #[error("interrupted")]
    Stopped,
    /// Because of something that affects all cases.
    #[error(transparent)]
    Run(#[from] crate::Error),
}

impl From<brainmvp_infer::Error> for CaseError {
    /// An interruption ends everything; any other failure of a network belongs to the case.
    fn from(error: brainmvp_infer::Error) -> Self {
        match error {
            brainmvp_infer::Error::Stopped => Self::Stopped,
            other => Self::Case(other.to_string()),
        }
    }
}

/// A prepared case in memory, with what is needed to bring a result back to the space of its files.
pub struct NewCase {
    /// The case.
    pub source: CaseSource,
    /// The header of the image whose grid the others were resampled to.
    pub header: FileHeader,
    /// The grid of that image, in the space of the prepared case.
    pub native: Grid,
    /// Where registration moved the images, each with the grid of its file; empty if nothing was registered.
    moved: Vec<(Grid, Transform)>,
}

impl NewCase {
    /// Prepares a case. Label maps are ignored.
    ///
    /// # Errors
    /// [`CaseError::Case`] if it cannot be prepared.
    pub fn new(case: &Case, pipeline: &Pipeline) -> Result<Self, CaseError> {
        let failed = |error: brainmvp_prep::Error| CaseError::Case(case.without_paths(&error.to_string()));
        let unread = |reason: String| CaseError::Case(case.without_paths(&reason));
        let seen = Case { label: None, ..case.clone() };
        let contents = prepare_case(&seen, None, pipeline, String::new()).map_err(failed)?;
        let (reference, header) = reference(&seen, &contents.metadata).map_err(unread)?;
        let moved = registered(&seen, &contents.metadata).map_err(unread)?;
        let native = placed(&moved, &Grid::from(&contents.metadata.original));
        let native = native.ok_or_else(|| unread(damaged(&reference)))?;
        let (entry, prepared) =
            PreparedCase::in_memory(&contents, pipeline.config().dtype).map_err(failed)?;
        Ok(Self { source: CaseSource::new(&entry, prepared), header, native, moved })
    }

    /// The positions of a file's voxels in the space of the prepared case: those in the file, or where registration moved
    /// the image with the same grid, or without such an image the reference. `None` if the record of the registration is
    /// damaged.
    pub fn placed(&self, grid: &Grid) -> Option<Grid> {
        placed(&self.moved, grid)
    }
}

/// The image whose grid the case was made from.
fn reference(case: &Case, metadata: &CaseMetadata) -> Result<(PathBuf, FileHeader), String> {
    for path in case.images.values() {
        let header = file::read_header(path).map_err(|error| error.to_string())?;
        if GridRecord::from(&header.grid) == metadata.original {
            return Ok((path.clone(), header));
        }
    }
    Err("the image that the case was prepared from has changed in the meantime".to_owned())
}

/// Where registration moved the images of a case, the reference first.
fn registered(case: &Case, metadata: &CaseMetadata) -> Result<Vec<(Grid, Transform)>, String> {
    let step = metadata.provenance.iter().find(|step| step.step == "register").map(|step| &step.did);
    let Some(did) = step.filter(|did| did.get("images").is_some()) else { return Ok(Vec::new()) };
    let reference: Modality = serde_json::from_value(did["reference"].clone()).map_err(|e| e.to_string())?;
    let others = case.images.keys().copied().filter(|modality| *modality != reference);
    let mut moved = Vec::new();
    for modality in std::iter::once(reference).chain(others) {
        let Some(image) = did["images"].get(modality.name()) else { continue };
        let path = &case.images[&modality];
        let rows = serde_json::from_value(image["transform"].clone()).map_err(|_| damaged(path))?;
        let header = file::read_header(path).map_err(|error| error.to_string())?;
        moved.push((header.grid, Transform::from_rows(rows)));
    }
    Ok(moved)
}

fn damaged(path: &Path) -> String {
    format!("{}: the record of its registration is damaged", path.display())
}

/// Grids this close to each other are the same, as in preparation.
const SAME_PLACE_MM: f64 = 0.01;

fn placed(moved: &[(Grid, Transform)], grid: &Grid) -> Option<Grid> {
    let same = moved.iter().find(|(of_image, _)| of_image.same_lattice(grid, SAME_PLACE_MM));
    match same.or(moved.first()) {
        Some((_, transform)) => transform.moved(grid),
        None => Some(*grid),
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_infer::NativeSpace;
    use brainmvp_objectives::patch::PatchSource as _;
    use brainmvp_phantom::{Head, PhantomConfig, write_cohort};
    use brainmvp_prep::{ContentFile, CropKind, PrepConfig, RegisterKind, SkullStrip, StoredType};
    use brainmvp_volume::Volume;
    use brainmvp_volume::nifti::{self, WriteOptions};

    use super::*;

    /// The correlation of the images over all voxels.
    fn correlation(a: &[f32], b: &[f32]) -> f64 {
        brainmvp_metrics::images::correlation(a, b, &vec![true; a.len()])
    }

    #[test]
    fn what_registration_moved_comes_back_to_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let config = PhantomConfig {
            cases: 1,
            size: 48,
            modalities: vec![Modality::T1, Modality::T2],
            missing_rate: 0.0,
            head: Head::Whole,
            ..PhantomConfig::default()
        };
        let case = write_cohort(&config, folder.path(), &|_| {}).unwrap().cases.remove(0);
        let original = nifti::read(&case.images[&Modality::T1]).unwrap();
        // The atlas is the same head, turned by 90 degrees and shifted.
        let turn =
            Transform::from_rows([[0.0, -1.0, 0.0, 12.0], [1.0, 0.0, 0.0, -30.0], [0.0, 0.0, 1.0, 8.0]]);
        let atlas = folder.path().join("atlas.nii.gz");
        nifti::write(&atlas, &turn.move_volume(original.clone()).unwrap(), WriteOptions::default()).unwrap();
        let preparation = PrepConfig {
            register: RegisterKind::Rigid,
            atlas: Some(ContentFile::of(&atlas).unwrap()),
            skull_strip: SkullStrip::None,
            crop: CropKind::None,
            dtype: StoredType::F32,
            spacing_mm: [4.0; 3],
            ..PrepConfig::default()
        };
        let pipeline = Pipeline::new(&preparation).unwrap();
        let prepared = NewCase::new(&Case { brain_mask: None, ..case }, &pipeline).unwrap();
        let voxels = prepared.source.patch(Modality::T1, [0; 3], prepared.source.shape()).unwrap();
        let volume = [Volume::new(prepared.source.grid(), voxels)];
        let back = |grid| {
            let back = NativeSpace::new(&volume, grid).unwrap().probability(0);
            correlation(back.voxels(), original.voxels())
        };
        let (moved, ignored) = (back(prepared.native), back(*original.grid()));
        assert!(moved > 0.95 && ignored < 0.8, "{moved}, without the transform {ignored}");
    }
}
