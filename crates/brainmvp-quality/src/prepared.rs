//! What the cache says about a case.

use std::collections::BTreeMap;

use brainmvp_prep::Result;
use brainmvp_prep::cache::PreparedCase;
use brainmvp_registration::Transform;
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Grid, Modality, Volume};
use serde_json::Value;

use crate::measure::{Part, percentiles_in};
use crate::record::{MeasuredIn, Prepared, Registered, Skull};

/// A prepared case, with everything needed to compare it with its original files.
pub(crate) struct Preparation<'a> {
    case: &'a PreparedCase,
    pub(crate) grid: Grid,
    /// The brain mask, or without one the voxels above 0 in any image.
    pub(crate) brain: Volume<u8>,
    pub(crate) label: Option<Volume<u8>>,
    /// The middle of the brain.
    pub(crate) centre_mm: [f64; 3],
    has_mask: bool,
    /// The image that the others were registered to, if they were.
    reference: Option<Modality>,
    /// The maps from points in the prepared case to points in the files.
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
        let (reference, transforms) = placed(case).map_err(|reason| damaged(case, &reason))?;
        let brain = Volume::new(grid, brain);
        Ok(Self {
            case,
            grid,
            centre_mm: centre_mm(&brain),
            brain,
            label,
            has_mask: case.has_brain_mask(),
            reference,
            transforms,
        })
    }

    pub(crate) fn image(&self, modality: Modality) -> Result<Volume> {
        read(self.case, modality)
    }

    /// The map from points in the prepared case to points in the file of an image.
    pub(crate) fn transform(&self, modality: Modality) -> Transform {
        self.transforms.get(&modality).copied().unwrap_or(Transform::identity())
    }

    /// The brain mask on the grid of an original image; `None` without a mask.
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

    /// The space that the case was already in, so that it was not registered.
    pub(crate) fn already_in(&self) -> Option<String> {
        step(self.case, "register")["already_in"].as_str().map(str::to_owned)
    }

    /// The brain mask's origin and the volume of the brain, scaled back from the atlas to the patient's size.
    pub(crate) fn skull(&self) -> Skull {
        let fact = step(self.case, "skull_strip");
        let stretch =
            self.reference.map_or(1.0, |modality| self.transform(modality).linear().determinant().abs());
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

/// The reference and the transform of every image of a case that was registered; nothing of one that was not.
fn placed(
    case: &PreparedCase,
) -> std::result::Result<(Option<Modality>, BTreeMap<Modality, Transform>), String> {
    let did = step(case, "register");
    let Some(images) = did["images"].as_object() else { return Ok((None, BTreeMap::new())) };
    let reference: Modality = did["reference"].as_str().ok_or("it has no reference")?.parse()?;
    let transform = |modality: Modality| {
        let rows = images.get(modality.name()).map(|image| image["transform"].clone());
        let rows = rows.ok_or_else(|| format!("it has no transform of {modality}"))?;
        let rows = serde_json::from_value(rows).map_err(|e| format!("the transform of {modality}: {e}"))?;
        Ok((modality, Transform::from_rows(rows)))
    };
    let transforms: BTreeMap<_, _> =
        case.modalities().map(transform).collect::<std::result::Result<_, String>>()?;
    Ok((Some(reference), transforms))
}

fn damaged(case: &PreparedCase, reason: &str) -> brainmvp_prep::Error {
    let reason = format!("the record of its registration is damaged ({reason}); prepare the case again");
    brainmvp_prep::Error::Cache { path: case.path().to_owned(), reason }
}

/// The middle of the mask, or of the volume if the mask is empty.
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

/// The record of a step of the pipeline; null if it did not run or recorded nothing.
fn step<'a>(case: &'a PreparedCase, name: &str) -> &'a Value {
    let found = case.metadata().provenance.iter().find(|record| record.step == name);
    found.map_or(&Value::Null, |record| &record.did)
}
