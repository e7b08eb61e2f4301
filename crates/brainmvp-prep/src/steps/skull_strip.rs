//! Makes a brain mask for cases that show the whole head.

use std::sync::OnceLock;

use brainmvp_volume::{LabelMap, Modality, Volume, background};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::brain::morphology::fill_holes;
use crate::brain::{BrainPrior, PLAUSIBLE_ML, find_brain, is_stripped, volume_ml};
use crate::{CaseVolumes, Error, PrepConfig, Result, SkullStrip};

/// Finds the brain if a case has neither a mask nor stripped images, from all its images together; 'brain_mask' then
/// removes the rest. Where some images are stripped and others are not, the stripped ones provide the mask. If the brain
/// found has an implausible size for an adult, the case fails, unless [`PrepConfig::any_brain_size`] says why not. For a mask that came with the case, which may show
/// anything, size and borders are only recorded.
pub(super) struct SkullStripping;

/// The name of the step.
pub(crate) const NAME: &str = "skull_strip";

/// The volume must be that of an adult: anything smaller is more likely a mistake.
const FOUND_ML: std::ops::RangeInclusive<f64> = 700.0..=2200.0;

impl Step for SkullStripping {
    fn name(&self) -> &'static str {
        NAME
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        if config.skull_strip == SkullStrip::None {
            return Ok(Value::Null);
        }
        if let Some(mask) = &case.brain_mask {
            let ml = volume_ml(mask);
            let plausible = PLAUSIBLE_ML.contains(&ml);
            let mut did = json!({
                "mask": "given", "volume_ml": ml.round(), "plausible": plausible, "touches_border": borders(mask),
            });
            if !plausible {
                let (low, high) = (PLAUSIBLE_ML.start(), PLAUSIBLE_ML.end());
                did["warning"] =
                    json!(format!("the brain mask has {ml:.0} ml, where brains have {low:.0} to {high:.0}"));
            }
            return Ok(did);
        }
        if config.skull_strip == SkullStrip::Mask {
            let reason = "the case has no brain mask; name one in the cohort, or use 'auto' or 'none'";
            return Err(Error::step(self.name(), reason));
        }
        // Diffusion maps are noise outside the brain, which scanners themselves set to 0, and angiographies show only a
        // slab of it: neither shows whether the others were stripped, or where the brain is, so they are used only if
        // there is nothing else.
        let telling = |modality: Modality| !matches!(modality, Modality::Adc | Modality::Mra);
        let any_telling = case.images.keys().any(|modality| telling(*modality));
        let used: Vec<_> =
            case.images.iter().filter(|(modality, _)| !any_telling || telling(**modality)).collect();
        let (stripped, whole): (Vec<_>, Vec<_>) =
            used.par_iter().copied().partition(|(_, image)| is_stripped(image));
        if whole.is_empty() {
            return Ok(json!({ "mask": "none needed" }));
        }
        case.common_grid(self.name())?;
        if !stripped.is_empty() {
            let (mask, did) = shown_by(&stripped, &whole);
            case.brain_mask = mask;
            return Ok(did);
        }
        let volumes: Vec<&Volume> = used.iter().map(|(_, image)| *image).collect();
        let found = self.find(&volumes)?;
        let modalities: Vec<_> = used.iter().map(|(modality, _)| modality.name()).collect();
        let touches = borders(&found);
        let ml = volume_ml(&found).round();
        let mut did =
            json!({ "mask": "found", "from": modalities, "volume_ml": ml, "touches_border": touches });
        if !FOUND_ML.contains(&ml) {
            let (low, high) = (FOUND_ML.start(), FOUND_ML.end());
            let what = format!(
                "the brain found in {} has {ml} ml, but an adult's has {low:.0} to {high:.0}",
                modalities.join(", ")
            );
            let Some(why) = &config.any_brain_size else {
                let advice = "look at it (`report`), give a mask, accept it with any_brain_size and a reason, or leave the \
                              skull on with skull_strip = \"none\"";
                return Err(Error::step(self.name(), format!("{what}; {advice}")));
            };
            did["warning"] = json!(format!("{what}; accepted: {why}"));
        }
        case.brain_mask = Some(found);
        Ok(did)
    }
}

impl SkullStripping {
    fn find(&self, images: &[&Volume]) -> Result<LabelMap> {
        static PRIOR: OnceLock<BrainPrior> = OnceLock::new();
        let found = find_brain(images, PRIOR.get_or_init(BrainPrior::built_in));
        Ok(found.map_err(|reason| Error::step(self.name(), reason.to_string()))?.mask)
    }
}

/// The mask that stripped images, at least one, provide for those with a skull, all on one grid, and its record: the union of their
/// brains. No mask if that does not have the size of a brain.
fn shown_by(stripped: &[(&Modality, &Volume)], whole: &[(&Modality, &Volume)]) -> (Option<LabelMap>, Value) {
    let names = |images: &[(&Modality, &Volume)]| images.iter().map(|(m, _)| m.name()).collect::<Vec<_>>();
    let grid = *stripped[0].1.grid();
    let mut inside = vec![false; grid.len()];
    for (_, image) in stripped {
        let background = background(image).unwrap_or(0.0);
        inside.iter_mut().zip(image.voxels()).for_each(|(inside, value)| *inside |= *value != background);
    }
    fill_holes(&mut inside, grid.shape);
    let mask = LabelMap::new(grid, inside.into_iter().map(u16::from).collect());
    let ml = volume_ml(&mask);
    let mut did = json!({ "mask": "of stripped images", "from": names(stripped), "volume_ml": ml.round() });
    if PLAUSIBLE_ML.contains(&ml) {
        did["touches_border"] = json!(borders(&mask));
        return (Some(mask), did);
    }
    let (with, without) = (names(whole).join(", "), names(stripped).join(", "));
    did["mask"] = json!("none");
    did["warning"] = json!(format!(
        "the skull is left on {with}: {without} is stripped, but to {ml:.0} ml, which is not the size of a brain; give a mask"
    ));
    (None, did)
}

/// The sides of the field of view at which a mask in RAS+ ends: the brain may continue beyond them.
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
