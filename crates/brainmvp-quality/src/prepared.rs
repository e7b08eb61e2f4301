//! What the cache tells of a case.

use std::collections::BTreeMap;

use brainmvp_prep::Result;
use brainmvp_prep::cache::PreparedCase;
use brainmvp_registration::Transform;
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Grid, Modality, Volume};
use serde_json::Value;

use crate::measure::{Part, percentiles_in};
use crate::record::{MeasuredIn, Prepared, Registered, Skull};

/// A prepared case, with what is needed to compare it with its files.
pub(crate) struct Preparation<'a> {
    case: &'a PreparedCase,
    pub(crate) grid: Grid,
    /// The brain mask, or without one the voxels above 0 in any image.
    pub(crate) brain: Volume<u8>,
    pub(crate) label: Option<Volume<u8>>,
    /// The middle of the brain.
    pub(crate) centre_mm: [f64; 3],
    has_mask: bool,
    /// From places in the prepared case to those in the files.
    transforms: BTreeMap<Modality, Transform>,
}

impl<'a> Preparation<'a> {
    pub(crate) fn of(case: &'a PreparedCase) -> Result<Self> {
        let grid = Grid::from(case.grid());
        let mut brain = vec![0; grid.len()];
        if case.has_brain_mask() {
            case.read_brain_mask_patch([0; 3], grid.shape, &mut brain)?;
        } else {
            for modality in case.modalities() {
                let image = read(case, modality)?;
                brain.iter_mut().zip(image.voxels()).for_each(|(brain, v)| *brain |= u8::from(*v > 0.0));
            }
        }
        let mut label = None;
        if case.has_label() {
            let mut values = vec![0_u16; grid.len()];
            case.read_label_patch([0; 3], grid.shape, &mut values)?;
            label = Some(Volume::new(grid, values.into_iter().map(|v| u8::from(v > 0)).collect()));
        }
        let facts = &step(case, "register")["images"];
        let transforms = case.modalities().filter_map(|modality| {
            let rows = serde_json::from_value(facts[modality.name()]["transform"].clone()).ok()?;
            Some((modality, Transform::from_rows(rows)))
        });
        let brain = Volume::new(grid, brain);
        Ok(Self {
            case,
            grid,
            centre_mm: centre_mm(&brain),
            brain,
            label,
            has_mask: case.has_brain_mask(),
            transforms: transforms.collect(),
        })
    }

    pub(crate) fn image(&self, modality: Modality) -> Result<Volume> {
        read(self.case, modality)
    }

    /// From places in the prepared case to those in the file of an image.
    pub(crate) fn transform(&self, modality: Modality) -> Transform {
        self.transforms.get(&modality).copied().unwrap_or(Transform::identity())
    }

    /// Where the brain mask lies in an image that was not prepared yet; `None` without a mask.
    pub(crate) fn brain_in(&self, modality: Modality, original: &Grid) -> Option<Part> {
        if !self.has_mask {
            return None;
        }
        let seen = self.transform(modality).moved(original)?;
        let inside = onto_grid(&self.brain, &seen, Interpolation::Nearest, 0);
        Some((inside.voxels().iter().map(|v| *v > 0).collect(), MeasuredIn::BrainMask))
    }

    pub(crate) fn measures(&self, image: &Volume) -> Prepared {
        let inside: Vec<bool> = self.brain.voxels().iter().map(|v| *v > 0).collect();
        let values = || image.voxels().iter().zip(&inside).filter(|(_, inside)| **inside).map(|(v, _)| *v);
        let share = |what: fn(f32) -> bool| {
            values().filter(|v| what(*v)).count() as f64 / values().count().max(1) as f64
        };
        Prepared {
            percentiles: percentiles_in(image.voxels(), &inside),
            white_share: share(|value| value >= 1.0),
            empty_share: share(|value| value == 0.0),
        }
    }

    pub(crate) fn registered(&self, modality: Modality) -> Option<Registered> {
        let transform = self.transforms.get(&modality)?;
        let fact = &step(self.case, "register")["images"][modality.name()];
        let [largest, _, smallest] = transform.scales();
        Some(Registered {
            onto: fact["onto"].as_str().map(str::to_owned),
            similarity: fact["similarity"].as_f64(),
            overlap: fact["overlap"].as_f64(),
            rotation_deg: transform.rotation_deg(),
            shift_mm: transform.distance_mm(&Transform::identity(), self.centre_mm),
            scales: [largest, smallest],
        })
    }

    /// The space for whose sake the case was not registered.
    pub(crate) fn already_in(&self) -> Option<String> {
        step(self.case, "register")["already_in"].as_str().map(str::to_owned)
    }

    /// Sizes in an atlas are not the patient's: they are scaled back.
    pub(crate) fn skull(&self) -> Skull {
        let fact = step(self.case, "skull_strip");
        let reference = step(self.case, "register")["reference"].as_str().and_then(|name| name.parse().ok());
        let stretch = reference.map_or(1.0, |modality| self.transform(modality).linear().determinant().abs());
        let voxels = self.brain.voxels().iter().filter(|v| **v > 0).count();
        let voxel_mm3 = self.grid.affine.linear().determinant().abs();
        let unsaid = if self.has_mask { "given" } else { "none" };
        let touches = fact["touches_border"].as_array().into_iter().flatten();
        Skull {
            mask: fact["mask"].as_str().unwrap_or(unsaid).to_owned(),
            brain_ml: voxels as f64 * voxel_mm3 * stretch / 1000.0,
            touches: touches.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}

/// The middle of what is inside, or of the volume where nothing is.
fn centre_mm(mask: &Volume<u8>) -> [f64; 3] {
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for (place, _) in mask.voxels().iter().enumerate().filter(|(_, inside)| **inside > 0) {
        let voxel = mask.grid().voxel(place);
        (0..3).for_each(|axis| sum[axis] += voxel[axis] as f64);
        count += 1.0;
    }
    let middle = mask.shape().map(|n| (n as f64 - 1.0) / 2.0);
    mask.grid().affine.to_world(if count > 0.0 { sum.map(|sum| sum / count) } else { middle })
}

fn read(case: &PreparedCase, modality: Modality) -> Result<Volume> {
    let grid = Grid::from(case.grid());
    let mut voxels = vec![0.0; grid.len()];
    case.read_patch(modality, [0; 3], grid.shape, &mut voxels)?;
    Ok(Volume::new(grid, voxels))
}

/// What a step of the pipeline told; null where it did not run or had nothing to tell.
fn step<'a>(case: &'a PreparedCase, name: &str) -> &'a Value {
    let found = case.metadata().provenance.iter().find(|record| record.step == name);
    found.map_or(&Value::Null, |record| &record.did)
}
