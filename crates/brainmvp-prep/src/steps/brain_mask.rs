//! Sets everything outside the brain mask to 0.

use std::collections::BTreeMap;

use brainmvp_volume::LabelMap;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::Step;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Sets the voxels of every image outside the case's brain mask to 0; a case without one stays as it is. Labels are kept
/// everywhere; where much of one lies outside the mask, that is a warning: the mask or the label is at the wrong place.
pub(super) struct BrainMask;

/// The share of a label outside the mask, and its volume in ml, above which it is a warning. Masks differ by a voxel or so
/// at the border.
const OUTSIDE: (f64, f64) = (0.05, 0.1);

/// What of a label value lies outside the mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Outside {
    /// The share of the value's voxels.
    share: f64,
    ml: f64,
}

impl Step for BrainMask {
    fn name(&self) -> &'static str {
        "brain_mask"
    }

    fn apply(&self, case: &mut CaseVolumes, _: &PrepConfig) -> Result<Value> {
        let Some(mask) = case.brain_mask.take() else { return Ok(Value::Null) };
        let inside = mask.voxels().iter().filter(|v| **v > 0).count();
        if inside == 0 {
            return Err(Error::step(self.name(), "the brain mask is empty"));
        }
        case.map_images(|modality, mut image| {
            if image.shape() != mask.shape() {
                let (a, b) = (mask.shape(), image.shape());
                let reason = format!("the mask has {a:?} voxels, {modality} {b:?}; run 'resample' before");
                return Err(Error::step(self.name(), reason));
            }
            let voxels = image.voxels_mut().par_iter_mut().with_min_len(1 << 16);
            voxels.zip(mask.voxels()).filter(|(_, inside)| **inside == 0).for_each(|(voxel, _)| *voxel = 0.0);
            Ok((image, Value::Null))
        })?;
        let mut did = json!({ "voxels_inside": inside });
        let outside = case.label.as_ref().map(|label| outside(label, &mask)).unwrap_or_default();
        if let Some(warning) = warning(&outside) {
            did["warning"] = json!(warning);
        }
        if !outside.is_empty() {
            did["label_outside"] = json!(outside);
        }
        case.brain_mask = Some(mask);
        Ok(did)
    }
}

/// The label values with voxels outside the mask. A label of another grid, which no case keeps, has none.
fn outside(label: &LabelMap, mask: &LabelMap) -> BTreeMap<u16, Outside> {
    let mut counts: BTreeMap<u16, [usize; 2]> = BTreeMap::new();
    if label.shape() == mask.shape() {
        let labelled = label.voxels().iter().zip(mask.voxels()).filter(|(value, _)| **value > 0);
        for (value, inside) in labelled {
            counts.entry(*value).or_default()[usize::from(*inside > 0)] += 1;
        }
    }
    let voxel_ml = label.grid().voxel_mm3() / 1000.0;
    let of = |[outside, inside]: [usize; 2]| Outside {
        share: outside as f64 / (outside + inside) as f64,
        ml: outside as f64 * voxel_ml,
    };
    counts
        .into_iter()
        .filter(|(_, counts)| counts[0] > 0)
        .map(|(value, counts)| (value, of(counts)))
        .collect()
}

/// The warning for what lies outside: the value with the largest share, and how many others there are.
fn warning(outside: &BTreeMap<u16, Outside>) -> Option<String> {
    let (share, ml) = OUTSIDE;
    let much: Vec<_> = outside.iter().filter(|(_, found)| found.share > share && found.ml > ml).collect();
    let (value, worst) = much.iter().max_by(|a, b| a.1.share.total_cmp(&b.1.share))?;
    let others = match much.len() - 1 {
        0 => String::new(),
        1 => ", and 1 other label also does".to_owned(),
        count => format!(", and {count} other labels also do"),
    };
    let percent = 100.0 * worst.share;
    Some(format!("{percent:.0} % of label {value} ({:.1} ml) lies outside the brain mask{others}", worst.ml))
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};

    use super::*;

    #[test]
    fn labels_outside_the_mask_are_measured() {
        // 1 ml a voxel.
        let grid = Grid::new([10, 10, 2], Affine::from_spacing([10.0; 3], [0.0; 3]));
        let mask = LabelMap::new(grid, (0..200).map(|i| u16::from(i % 10 < 5)).collect());
        // Label 1: ten inside, ten outside. 2: twenty inside, one outside. 3: outside.
        let mut label = LabelMap::filled(grid, 0);
        for (value, inside, beyond) in [(1, 10, 10), (2, 20, 1), (3, 0, 2)] {
            for (is_inside, count) in [(1, inside), (0, beyond)] {
                let free = (0..200).filter(|at| mask.voxels()[*at] == is_inside && label.voxels()[*at] == 0);
                free.take(count)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|at| label.voxels_mut()[at] = value);
            }
        }
        let found = outside(&label, &mask);
        let expected = [(1, 0.5, 10.0), (2, 1.0 / 21.0, 1.0), (3, 1.0, 2.0)];
        assert_eq!(found, expected.map(|(value, share, ml)| (value, Outside { share, ml })).into());
        let text = warning(&found).unwrap();
        assert_eq!(
            text,
            "100 % of label 3 (2.0 ml) lies outside the brain mask, and 1 other label also does"
        );
        assert_eq!(warning(&outside(&label, &mask.map(|_| 1))), None);
        // A voxel or two are no matter.
        assert_eq!(warning(&[(1, Outside { share: 0.5, ml: 0.05 })].into()), None);
    }
}
