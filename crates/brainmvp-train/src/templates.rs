//! The templates of a run: their place in the world, and out into NIfTI files.

use std::path::{Path, PathBuf};

use brainmvp_prep::cache::GridRecord;
use brainmvp_volume::{Affine, Grid, Modality, Volume, nifti};
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::checkpoint::Checkpoint;
use crate::run::RunFolder;
use crate::{Error, Result};

/// Size and place of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemplateGrid {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// First three rows of the affine to RAS+ mm.
    pub affine: [[f64; 4]; 3],
}

impl TemplateGrid {
    /// The grid that the registered volumes share; `size` if it is given. Where the volumes differ in size, the templates
    /// are as large as the largest along each axis, so that every patch lies inside. The most frequent grid says where
    /// they are.
    pub(crate) fn of(size: &[usize], cases: &[CaseSource]) -> Self {
        let grids = || cases.iter().map(CaseSource::registered_grid);
        let count = |grid: &GridRecord| grids().filter(|other| *other == grid).count();
        // The first of the most frequent.
        let reference = grids().rev().max_by_key(|grid| count(grid));
        let (shape, affine) = reference.map_or(([1; 3], [[0.0; 4]; 3]), |grid| (grid.shape, grid.affine));
        let size: [usize; 3] = size.try_into().unwrap_or_else(|_| {
            std::array::from_fn(|axis| grids().map(|grid| grid.shape[axis]).max().unwrap_or(1))
        });
        let first = std::array::from_fn(|axis| {
            -((size[axis] as isize - shape[axis] as isize).div_euclid(2) as f64)
        });
        let affine = Affine::from_rows(affine);
        let origin = affine.to_world(first);
        let mut rows = affine.rows();
        for (row, origin) in rows.iter_mut().zip(origin) {
            row[3] = origin;
        }
        Self { shape: size, affine: rows }
    }
}

/// A template that was written, or not.
#[derive(Debug, Clone)]
pub struct Written {
    /// Of which modality.
    pub modality: Modality,
    /// Where; `None` if the modality was never seen, so that there is nothing to write.
    pub path: Option<PathBuf>,
}

/// Writes the templates of a run's newest checkpoint as one NIfTI file a modality, min-max normalised as they are used.
///
/// # Errors
/// If there is no checkpoint, it cannot be read, or a file cannot be written.
pub fn write_templates(run: &Path, out: &Path) -> Result<Vec<Written>> {
    let folder = RunFolder::open(run)?;
    let step = folder
        .checkpoints()?
        .pop()
        .ok_or_else(|| Error::run_folder(run, "has no checkpoint yet; let the run reach one"))?;
    let path = folder.checkpoint(step);
    let mut checkpoint = Checkpoint::open(&path)?;
    let grid: TemplateGrid = serde_json::from_value(checkpoint.state().facts["templates"].clone())
        .map_err(|_| Error::checkpoint(&path, "it has no templates"))?;
    std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
    let mut written = Vec::new();
    for modality in Modality::ALL {
        let name = format!("templates.volumes.{}", modality.index());
        let seen = checkpoint.state().updates.contains_key(&name);
        let path = seen.then(|| out.join(format!("{modality}.nii.gz")));
        if let Some(path) = &path {
            let (_, values) = checkpoint.tensor(&format!("model.{name}"))?;
            let volume = Volume::new(Grid::new(grid.shape, Affine::from_rows(grid.affine)), normalised(values));
            let options = nifti::WriteOptions { description: format!("BrainMVP template {modality}"), ..Default::default() };
            nifti::write(path, &volume, options)?;
        }
        written.push(Written { modality, path });
    }
    Ok(written)
}

/// Values moved and scaled to [0, 1].
fn normalised(mut values: Vec<f32>) -> Vec<f32> {
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    let range = if high > low { high - low } else { 1.0 };
    for value in &mut values {
        *value = (*value - low) / range;
    }
    values
}
