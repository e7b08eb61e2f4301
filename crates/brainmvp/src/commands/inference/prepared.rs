//! New cases, prepared like those that the network was trained on.

use std::path::{Path, PathBuf};

use brainmvp_cohort::Case;
use brainmvp_infer::Blended;
use brainmvp_prep::cache::{CaseMetadata, GridRecord, PreparedCase, write_case};
use brainmvp_prep::{Pipeline, prepare_case};
use brainmvp_registration::Transform;
use brainmvp_ssl::Placement;
use brainmvp_ssl::patch::PatchSource;
use brainmvp_train::batches::CaseSource;
use brainmvp_volume::file::{self, FileHeader};
use brainmvp_volume::{Grid, Modality, Volume};
use tempfile::TempDir;

/// What a failure affects.
pub(crate) enum Failure {
    /// Only this case: the others are processed.
    Case(String),
    /// The whole command.
    Run(anyhow::Error),
}

impl From<brainmvp_infer::Error> for Failure {
    /// An interruption ends everything; any other failure of a network belongs to the case.
    fn from(error: brainmvp_infer::Error) -> Self {
        match error {
            brainmvp_infer::Error::Stopped => Self::Run(anyhow::anyhow!("interrupted")),
            other => Self::Case(other.to_string()),
        }
    }
}

/// A prepared case in a file of its own, mapped into memory as in training, with the header of its input.
pub(crate) struct Prepared {
    pub(crate) source: CaseSource,
    /// The header of the image whose grid the others were resampled to.
    pub(crate) header: FileHeader,
    /// The grid of that image, in the space of the prepared case.
    pub(crate) native: Grid,
    /// Where registration moved the images, each with the grid of its file; empty if nothing was registered.
    moved: Vec<(Grid, Transform)>,
    /// Deleted with the case.
    _folder: TempDir,
}

impl Prepared {
    /// Prepares a case; `scratch` is a temporary folder. Label maps are ignored.
    pub(crate) fn new(case: &Case, pipeline: &Pipeline, scratch: &Path) -> Result<Self, Failure> {
        let seen = Case { label: None, ..case.clone() };
        let contents = prepare_case(&seen, None, pipeline, String::new());
        let contents = contents.map_err(|error| Failure::Case(error.to_string()))?;
        let (reference, header) = reference(&seen, &contents.metadata).map_err(Failure::Case)?;
        let moved = registered(&seen, &contents.metadata).map_err(Failure::Case)?;
        let native = placed(&moved, &Grid::from(&contents.metadata.original));
        let native = native.ok_or_else(|| Failure::Case(damaged(&reference)))?;
        let store = || -> anyhow::Result<Self> {
            let folder = tempfile::Builder::new().prefix(".partial-").tempdir_in(scratch)?;
            let entry = write_case(folder.path(), &contents, pipeline.config().dtype)?;
            let stored = PreparedCase::open(folder.path().join(entry.file_name()))?;
            Ok(Self { source: CaseSource::new(&entry, stored), header, native, moved, _folder: folder })
        };
        store().map_err(Failure::Run)
    }

    /// The positions of a file's voxels in the space of the prepared case: those in the file, or where registration moved
    /// the image with the same grid, or without such an image the reference.
    pub(crate) fn placed(&self, grid: &Grid) -> Option<Grid> {
        placed(&self.moved, grid)
    }

    /// Probabilities of regions as volumes on the grid of the prepared case.
    pub(crate) fn volumes(&self, regions: Blended) -> Vec<Volume> {
        regions.classes.into_iter().map(|values| Volume::new(self.source.grid(), values)).collect()
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

/// A case of which only some modalities are used.
pub(crate) struct Seen<'a, S> {
    case: &'a S,
    modalities: Vec<Modality>,
}

impl<'a, S: PatchSource> Seen<'a, S> {
    pub(crate) fn new(case: &'a S, modalities: Vec<Modality>) -> Self {
        Self { case, modalities }
    }
}

impl<S: PatchSource> PatchSource for Seen<'_, S> {
    type Error = S::Error;

    fn id(&self) -> &str {
        self.case.id()
    }

    fn data_set(&self) -> &str {
        self.case.data_set()
    }

    fn person(&self) -> &str {
        self.case.person()
    }

    fn shape(&self) -> [usize; 3] {
        self.case.shape()
    }

    fn registered_shape(&self) -> [usize; 3] {
        self.case.registered_shape()
    }

    fn crop_offset(&self) -> [usize; 3] {
        self.case.crop_offset()
    }

    fn placement(&self) -> Option<Placement> {
        self.case.placement()
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, S::Error> {
        self.case.patch(modality, start, size)
    }

    fn labels(&self, start: [isize; 3], size: [usize; 3]) -> Result<Option<Vec<u16>>, S::Error> {
        self.case.labels(start, size)
    }

    fn class(&self) -> Option<&str> {
        self.case.class()
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_cohort::phantom::{Head, PhantomConfig, write_cohort};
    use brainmvp_infer::NativeSpace;
    use brainmvp_prep::{ContentFile, CropKind, PrepConfig, RegisterKind, SkullStrip, StoredType};
    use brainmvp_volume::nifti::{self, WriteOptions};

    use super::*;

    /// The correlation of the images over all voxels.
    fn correlation(a: &[f32], b: &[f32]) -> f64 {
        let mean = |v: &[f32]| v.iter().map(|v| f64::from(*v)).sum::<f64>() / v.len() as f64;
        let (a0, b0) = (mean(a), mean(b));
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            a.iter().zip(b).map(|(a, b)| f(f64::from(*a) - a0, f64::from(*b) - b0)).sum()
        };
        sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
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
        let Ok(prepared) = Prepared::new(&Case { brain_mask: None, ..case }, &pipeline, folder.path()) else {
            panic!("the case can be prepared");
        };
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
