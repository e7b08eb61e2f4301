//! Volumes that are no NIfTI files, as NIfTI in memory.

use std::path::PathBuf;

use brainmvp_prep::cache::{Cache, PreparedCase};
use brainmvp_volume::nifti::{Datatype, encode};
use brainmvp_volume::{Grid, LabelMap, Volume, file};

use crate::items::{Inside, Item, Part};
use crate::{Error, Result};

/// How far two grids may be apart and still count as one.
const SAME_PLACE_MM: f64 = 0.1;

/// The bytes of a `.nii` file.
pub(crate) fn nifti(item: &Item) -> Result<Vec<u8>> {
    match item {
        Item::Listed(_) | Item::Inside(_) => Ok(encode(&image(item)?, Datatype::F32, "")),
        Item::Prepared { cache, case, part } => {
            let opened = Cache::open(cache)?;
            let entry = opened.manifest().case(case);
            let entry =
                entry.ok_or_else(|| Error::content(cache, format!("has no case '{case}' any more")))?;
            prepared(&opened.open_case(entry)?, *part)
        }
        Item::Difference { truth, prediction } => difference(&labels(truth)?, &labels(prediction)?),
        Item::Logged { file, .. } => Err(Error::content(file.known(), "is not a volume")),
    }
}

/// A tensor of a prepared case, on its own grid.
fn prepared(case: &PreparedCase, part: Part) -> Result<Vec<u8>> {
    let grid = Grid::from(case.grid());
    let (start, shape) = ([0; 3], grid.shape);
    Ok(match part {
        Part::Image(modality) => {
            let mut voxels = vec![0.0_f32; grid.len()];
            case.read_patch(modality, start, shape, &mut voxels)?;
            encode(&Volume::new(grid, voxels), Datatype::F32, "prepared image")
        }
        Part::Label => {
            let mut voxels = vec![0_u16; grid.len()];
            case.read_label_patch(start, shape, &mut voxels)?;
            encode(&Volume::new(grid, voxels), Datatype::U16, "prepared label map")
        }
        Part::BrainMask => {
            let mut voxels = vec![0_u8; grid.len()];
            case.read_brain_mask_patch(start, shape, &mut voxels)?;
            encode(&Volume::new(grid, voxels), Datatype::U8, "prepared brain mask")
        }
    })
}

/// Where a file below a folder is, if it still is there.
fn still(inside: &Inside) -> Result<PathBuf> {
    inside.path().ok_or_else(|| Error::content(inside.known(), "is not in its folder any more"))
}

/// The image of a volume file.
pub(crate) fn image(item: &Item) -> Result<Volume> {
    match item {
        Item::Listed(path) => Ok(file::read(path)?),
        Item::Inside(inside) => Ok(file::read(&still(inside)?)?),
        _ => Err(Error::System("not a volume file".to_owned())),
    }
}

/// The label map of a volume file.
pub(crate) fn labels(item: &Item) -> Result<LabelMap> {
    match item {
        Item::Listed(path) => Ok(file::read_labels(path)?),
        Item::Inside(inside) => Ok(file::read_labels(&still(inside)?)?),
        Item::Prepared { cache: path, .. } => Err(Error::content(path, "is not compared with predictions")),
        Item::Difference { .. } | Item::Logged { .. } => Err(Error::System("not a label map".to_owned())),
    }
}

/// 1 where only the label map has a value, 2 where only the prediction has one, 3 where both have different ones.
fn difference(truth: &LabelMap, prediction: &LabelMap) -> Result<Vec<u8>> {
    if !truth.grid().same_place(prediction.grid(), SAME_PLACE_MM) {
        let reason = "label and prediction are not on the same grid, so there is no difference to show";
        return Err(Error::System(reason.to_owned()));
    }
    let pairs = truth.voxels().iter().zip(prediction.voxels());
    let voxels = pairs.map(|(truth, prediction)| match (truth, prediction) {
        (a, b) if a == b => 0_u8,
        (_, 0) => 1,
        (0, _) => 2,
        _ => 3,
    });
    Ok(encode(&Volume::new(*truth.grid(), voxels.collect()), Datatype::U8, "difference"))
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    fn map(shape: [usize; 3], voxels: Vec<u16>) -> LabelMap {
        LabelMap::new(Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3])), voxels)
    }

    #[test]
    fn differences_have_three_kinds() {
        let bytes =
            difference(&map([5, 1, 1], vec![0, 1, 1, 0, 2]), &map([5, 1, 1], vec![0, 1, 0, 1, 1])).unwrap();
        assert_eq!(bytes[352..], [0, 0, 1, 2, 3]);
        assert!(difference(&map([2, 1, 1], vec![0, 1]), &map([1, 2, 1], vec![0, 1])).is_err());
    }
}
