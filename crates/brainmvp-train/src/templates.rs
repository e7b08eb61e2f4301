//! The templates of a run: their position in the world, and writing them to NIfTI files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_kernels::ops::coarser as coarser_size;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::templates::sum_of_levels;
use brainmvp_objectives::{Frame, FrozenTemplates};
use brainmvp_prep::cache::GridRecord;
use brainmvp_volume::{Affine, AtPath as _, Grid, Modality, Volume, nifti};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::checkpoint::Checkpoint;
use crate::placement::assumed_grid;
use crate::saved::{SavedNetwork, refuse_odd};
use crate::source::Source;
use crate::{Error, Result};

/// The size and position of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemplateGrid {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// First three rows of the affine to RAS+ mm.
    pub affine: [[f64; 4]; 3],
}

/// Where these cases are: of several grids, the one that most have.
pub(crate) fn frame(cases: &[CaseSource]) -> Frame {
    let shapes = || cases.iter().map(|case| case.registered_grid().shape);
    let nowhere = || Grid::new([1; 3], Affine::from_spacing([1.0; 3], [0.0; 3]));
    Frame {
        reference: most_frequent(cases).map_or_else(nowhere, grid),
        largest: std::array::from_fn(|axis| shapes().map(|shape| shape[axis]).max().unwrap_or(1)),
    }
}

/// The names of the cases that are not where most are, within a millimetre.
pub(crate) fn cases_elsewhere(cases: &[CaseSource]) -> Vec<&str> {
    let Some(reference) = most_frequent(cases).map(grid) else { return Vec::new() };
    let elsewhere = |case: &&CaseSource| !grid(case.registered_grid()).same_place(&reference, 1.0);
    cases.iter().filter(elsewhere).map(PatchSource::id).collect()
}

/// The grid that most cases are registered on; the first of several.
pub(crate) fn most_frequent(cases: &[CaseSource]) -> Option<&GridRecord> {
    let mut counts: Vec<(&GridRecord, usize)> = Vec::new();
    for case in cases {
        let record = case.registered_grid();
        match counts.iter_mut().find(|(known, _)| *known == record) {
            Some((_, count)) => *count += 1,
            None => counts.push((record, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(record, _)| record)
}

fn grid(record: &GridRecord) -> Grid {
    Grid::new(record.shape, Affine::from_rows(record.affine))
}

/// The templates of a run, or of a file of weights.
pub struct RunTemplates {
    /// Where they are from, to be shown: file and step.
    pub origin: String,
    /// Their position.
    pub grid: TemplateGrid,
    /// Whether it is known. PyTorch's files do not have it: then voxels of 1 mm around the origin are assumed.
    pub is_placed: bool,
    /// The templates of the modalities that the run has used: voxels with x fastest, normalised as in use.
    pub volumes: BTreeMap<Modality, Vec<f32>>,
    /// How many steps have moved each. Mean images are not moved, and a file of weights does not tell.
    pub updates: BTreeMap<Modality, usize>,
}

impl RunTemplates {
    /// Reads the templates of what [`SavedNetwork::open`](crate::saved::SavedNetwork::open) opens: those that a fine-tuning
    /// from there uses.
    ///
    /// # Errors
    /// As [`SavedNetwork::open`], and if it has no templates.
    pub fn load(source: impl Into<Source>) -> Result<Self> {
        let saved = SavedNetwork::open(source)?;
        let templates =
            saved.templates.ok_or_else(|| Error::network(&saved.origin, "it has no templates"))?;
        let updates = templates.updates.clone();
        Ok(Self { origin: saved.origin, updates, ..Self::of(&templates.frozen()) })
    }

    fn of(templates: &FrozenTemplates) -> Self {
        let shape = templates.size();
        let affine = templates.grid().unwrap_or_else(|| assumed_grid(shape)).affine.rows();
        let volumes =
            templates.modalities().filter_map(|modality| Some((modality, templates.get(modality)?.to_vec())));
        Self {
            grid: TemplateGrid { shape, affine },
            is_placed: templates.grid().is_some(),
            origin: String::new(),
            volumes: volumes.collect(),
            updates: BTreeMap::new(),
        }
    }

    /// Writes one NIfTI file per modality into a folder; returns the paths.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, out: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(out).at(out)?;
        let mut paths = Vec::new();
        for (modality, values) in &self.volumes {
            let grid = Grid::new(self.grid.shape, Affine::from_rows(self.grid.affine));
            let path = out.join(format!("{modality}.nii.gz"));
            let description = format!("BrainMVP template {modality}");
            let options = nifti::WriteOptions { description, ..Default::default() };
            nifti::write(&path, &Volume::new(grid, values.clone()), options)?;
            paths.push(path);
        }
        Ok(paths)
    }
}

/// The parameter that every template has: its voxels, or the finest level of its pyramid.
fn finest_level(modality: Modality) -> String {
    format!("templates.volumes.{}", modality.index())
}

/// The template of a modality in a checkpoint, not normalised, x fastest; of a pyramid, the sum of its levels.
///
/// # Errors
/// If it is not there, is not of `shape` (x, y, z) voxels, contains values that are not finite, or the file cannot be
/// read.
pub(crate) fn stored_volume(
    checkpoint: &mut Checkpoint,
    modality: Modality,
    [x, y, z]: [usize; 3],
) -> Result<Vec<f32>> {
    let coarser = (0..).map(|level| format!("templates.coarser.{level}.{}", modality.index()));
    let present = coarser.take_while(|name| checkpoint.holds(&format!("model.{name}")));
    let names: Vec<String> = std::iter::once(finest_level(modality)).chain(present).collect();
    let mut size = [z, y, x];
    let mut levels = Vec::new();
    for name in names {
        let (shape, values) = checkpoint.tensor(&format!("model.{name}"))?;
        if shape != size {
            let reason = format!("{name} has shape {shape:?} instead of {size:?}");
            return Err(Error::checkpoint(checkpoint.path(), reason));
        }
        refuse_odd(checkpoint.path(), &name, &values)?;
        levels.push(Tensor::from_data(TensorData::new(values, size), &Device::flex()));
        size = size.map(coarser_size);
    }
    let volume = sum_of_levels(levels).into_data().try_into_vec();
    volume.map_err(|e| Error::checkpoint(checkpoint.path(), format!("{e:?}")))
}
