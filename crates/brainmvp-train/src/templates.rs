//! The templates of a run: their place in the world, and out into NIfTI files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_prep::cache::GridRecord;
use brainmvp_ssl::FrozenTemplates;
use brainmvp_ssl::patch::PatchSource;
use brainmvp_ssl::templates::template_start;
use brainmvp_volume::picture::Picture;
use brainmvp_volume::{Affine, Grid, Modality, Volume, nifti};
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::placement::assumed_grid;
use crate::pretrained::Pretrained;
use crate::source::Source;
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
        let reference = most_frequent(cases);
        let (shape, affine) = reference.map_or(([1; 3], [[0.0; 4]; 3]), |grid| (grid.shape, grid.affine));
        let size: [usize; 3] = size.try_into().unwrap_or_else(|_| {
            std::array::from_fn(|axis| grids().map(|grid| grid.shape[axis]).max().unwrap_or(1))
        });
        let first =
            std::array::from_fn(|axis| -((size[axis] as isize - shape[axis] as isize).div_euclid(2) as f64));
        let affine = Affine::from_rows(affine);
        let origin = affine.to_world(first);
        let mut rows = affine.rows();
        for (row, origin) in rows.iter_mut().zip(origin) {
            row[3] = origin;
        }
        Self { shape: size, affine: rows }
    }
}

impl TemplateGrid {
    /// Names of the cases that do not lie where the most do, within a millimetre.
    pub(crate) fn cases_elsewhere(cases: &[CaseSource]) -> Vec<&str> {
        let Some(reference) = most_frequent(cases).map(grid) else { return Vec::new() };
        let elsewhere = |case: &&CaseSource| !grid(case.registered_grid()).same_place(&reference, 1.0);
        cases.iter().filter(elsewhere).map(PatchSource::id).collect()
    }
}

/// The grid that the most cases are registered on; of several the first.
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
    /// Where they lie.
    pub grid: TemplateGrid,
    /// Whether that is known. PyTorch's files do not tell: then voxels of 1 mm are laid around the origin.
    pub is_placed: bool,
    /// Of the modalities that the run has seen: voxels with x fastest, normalised as they are used.
    pub volumes: BTreeMap<Modality, Vec<f32>>,
}

/// How near a template is to the mean image of its modality.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// Of which modality.
    pub modality: Modality,
    /// Cases that have it.
    pub cases: usize,
    /// Mean absolute difference of template and mean image over the brain.
    pub difference: f64,
    /// The same for a blank template, which is what training began with.
    pub blank_difference: f64,
    /// Pearson correlation of template and mean image over the brain: unlike the differences, it knows no grey level,
    /// only anatomy.
    pub correlation: f64,
}

impl RunTemplates {
    /// Reads the templates of what [`SavedNetwork::open`](crate::saved::SavedNetwork::open) opens: those that a fine-tuning
    /// from there uses.
    ///
    /// # Errors
    /// As [`Pretrained::open`], and if it has no templates.
    pub fn load(source: impl Into<Source>) -> Result<Self> {
        let pretrained = Pretrained::open(source)?;
        let origin = pretrained.origin;
        let templates = pretrained.templates.ok_or_else(|| Error::network(&origin, "it has no templates"))?;
        Ok(Self { origin, ..Self::of(&templates.frozen) })
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
        }
    }

    /// Writes one NIfTI file a modality into a folder; returns the paths.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, out: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
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

    /// Compares every template with the mean image of its modality over prepared cases. The picture has a row for each
    /// modality: three planes of the mean image, then of the template.
    ///
    /// # Errors
    /// If a case cannot be read.
    pub fn compare(&self, cases: &[CaseSource]) -> Result<(Vec<Likeness>, Picture)> {
        let (mut likenesses, mut rows) = (Vec::new(), Vec::new());
        for (&modality, template) in &self.volumes {
            let (count, mean) = self.mean_image(cases, modality)?;
            let planes = |volume: &[f32]| Picture::three_planes(volume, self.grid.shape, (0.0, 1.0));
            rows.push((modality.name(), [planes(&mean), planes(template)]));
            likenesses.push(Likeness::of(modality, count, &mean, template));
        }
        let rows: Vec<(&str, &[Picture])> = rows.iter().map(|(name, row)| (*name, row.as_slice())).collect();
        Ok((likenesses, Picture::montage(&rows)))
    }

    /// The mean over all cases that have a modality, on the templates' grid, and how many they are.
    fn mean_image(&self, cases: &[CaseSource], modality: Modality) -> Result<(usize, Vec<f32>)> {
        let mut sum = vec![0.0; self.grid.shape.iter().product()];
        let mut count = 0;
        for case in cases.iter().filter(|case| case.modalities().contains(&modality)) {
            let start = template_start(case, [0; 3], self.grid.shape).map(|place| -place);
            let volume = case.patch(modality, start, self.grid.shape)?;
            sum.iter_mut().zip(volume).for_each(|(sum, value)| *sum += value);
            count += 1;
        }
        for value in &mut sum {
            *value /= count.max(1) as f32;
        }
        Ok((count, sum))
    }
}

impl Likeness {
    fn of(modality: Modality, cases: usize, mean: &[f32], template: &[f32]) -> Self {
        let brain = || {
            let pairs = mean.iter().zip(template).filter(|(mean, _)| **mean > BRAIN);
            pairs.map(|(mean, template)| (f64::from(*mean), f64::from(*template)))
        };
        let voxels = brain().count().max(1) as f64;
        let average = |f: &dyn Fn(f64, f64) -> f64| brain().map(|(m, t)| f(m, t)).sum::<f64>() / voxels;
        let (m0, t0) = (average(&|m, _| m), average(&|_, t| t));
        let spread = average(&|m, _| (m - m0).powi(2)) * average(&|_, t| (t - t0).powi(2));
        let correlation = average(&|m, t| (m - m0) * (t - t0)) / spread.sqrt().max(f64::MIN_POSITIVE);
        Self {
            modality,
            cases,
            difference: average(&|m, t| (m - t).abs()),
            blank_difference: average(&|m, _| m.abs()),
            correlation,
        }
    }
}

/// Above this, a voxel of a mean image counts as brain.
const BRAIN: f32 = 0.05;
