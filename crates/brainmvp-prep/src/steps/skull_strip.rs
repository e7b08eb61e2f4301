//! A brain mask for cases that come with the whole head.

use std::sync::OnceLock;

use brainmvp_volume::{LabelMap, Modality, Volume};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::brain::{BrainPrior, find_brain, is_stripped, volume_ml};
use crate::{CaseVolumes, Error, PrepConfig, Result, SkullStrip};

/// Finds the brain where a case has neither a mask nor stripped images, from all its images together; 'brain_mask' then
/// takes the rest away. A brain found of a size that no adult's has ends the case; of a mask that came with it, which may
/// be of anything, size and borders are recorded.
pub(super) struct SkullStripping;

/// From a newborn's brain to the largest adult's, cisterns included.
const PLAUSIBLE_ML: std::ops::RangeInclusive<f64> = 250.0..=2200.0;
/// What is found must be an adult's: anything smaller is more likely a mistake.
const FOUND_ML: std::ops::RangeInclusive<f64> = 700.0..=2200.0;

impl Step for SkullStripping {
    fn name(&self) -> &'static str {
        "skull_strip"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        if config.skull_strip == SkullStrip::None {
            return Ok(Value::Null);
        }
        if let Some(mask) = &case.brain_mask {
            let ml = volume_ml(mask);
            return Ok(json!({
                "mask": "given", "volume_ml": ml.round(), "plausible": PLAUSIBLE_ML.contains(&ml),
                "touches_border": borders(mask),
            }));
        }
        if config.skull_strip == SkullStrip::Mask {
            let reason = "the case has no brain mask; name one in the cohort, or use 'auto' or 'none'";
            return Err(Error::step(self.name(), reason));
        }
        // Maps of diffusion are noise outside the brain, which scanners set to 0 themselves, and angiographies show a slab
        // of it: neither tells whether the others were stripped, nor where the brain is, unless there is nothing else.
        let telling = |modality: Modality| !matches!(modality, Modality::Adc | Modality::Mra);
        let any_telling = case.images.keys().any(|modality| telling(*modality));
        let used: Vec<_> =
            case.images.iter().filter(|(modality, _)| !any_telling || telling(**modality)).collect();
        if used.par_iter().any(|(_, image)| is_stripped(image)) {
            // One stripped image shows where the brain is, and the others are taken to be as they should.
            return Ok(json!({ "mask": "none needed" }));
        }
        case.common_grid(self.name())?;
        let volumes: Vec<&Volume> = used.iter().map(|(_, image)| *image).collect();
        let found = self.find(&volumes)?;
        let modalities: Vec<_> = used.iter().map(|(modality, _)| modality.name()).collect();
        let touches = borders(&found);
        let ml = volume_ml(&found).round();
        if !FOUND_ML.contains(&ml) {
            let reason = format!(
                "the brain found in {} has {ml} ml, which no adult's has ({:.0} to {:.0}); give a mask, or \
                 leave the skull on with skull_strip = \"none\"",
                modalities.join(", "),
                FOUND_ML.start(),
                FOUND_ML.end()
            );
            return Err(Error::step(self.name(), reason));
        }
        case.brain_mask = Some(found);
        Ok(json!({ "mask": "found", "from": modalities, "volume_ml": ml, "touches_border": touches }))
    }
}

impl SkullStripping {
    fn find(&self, images: &[&Volume]) -> Result<LabelMap> {
        static PRIOR: OnceLock<BrainPrior> = OnceLock::new();
        let found = find_brain(images, PRIOR.get_or_init(BrainPrior::built_in));
        Ok(found.map_err(|reason| Error::step(self.name(), reason.to_string()))?.mask)
    }
}

/// The sides of the field of view at which a mask in RAS+ ends: the brain may go on beyond.
fn borders(mask: &LabelMap) -> Vec<&'static str> {
    const SIDES: [[&str; 2]; 3] = [["left", "right"], ["back", "front"], ["bottom", "top"]];
    let grid = mask.grid();
    let reaches = |axis: usize, place: usize| {
        let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
        (0..grid.shape[a] * grid.shape[b]).any(|face| {
            let mut voxel = [0; 3];
            (voxel[axis], voxel[a], voxel[b]) = (place, face % grid.shape[a], face / grid.shape[a]);
            mask.at(voxel) > 0
        })
    };
    (0..3)
        .flat_map(|axis| [(axis, 0), (axis, 1)])
        .filter(|(axis, end)| reaches(*axis, end * (grid.shape[*axis] - 1)))
        .map(|(axis, end)| SIDES[axis][end])
        .collect()
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};

    use super::*;

    #[test]
    fn sides_that_cut_the_brain() {
        let grid = Grid::new([4, 4, 4], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let mut mask = LabelMap::filled(grid, 0);
        assert_eq!(borders(&mask), [""; 0]);
        mask.voxels_mut()[grid.offset([1, 3, 2])] = 1;
        mask.voxels_mut()[grid.offset([2, 2, 0])] = 1;
        assert_eq!(borders(&mask), ["front", "bottom"]);
    }
}
