//! Resamples every volume to one grid with the wanted spacing.

use brainmvp_volume::resample::{Interpolation, Voxel, grid_at_spacing, onto_grid, to_spacing};
use brainmvp_volume::{Grid, Volume};
use serde_json::{Value, json};

use super::Step;
use crate::pipeline::SAME_PLACE_MM;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Resamples every volume to the grid of the atlas, or without one of the reference image, at the wanted spacing:
/// images trilinearly, label map and brain mask by the nearest voxel. A volume whose own grid this is keeps its border
/// values beyond its outermost voxel centres; any other is 0 if it does not reach.
pub(super) struct Resample;

/// A prepared volume with more voxels than this (1 GiB in single precision) means a mistake in a header.
const MAX_VOXELS: usize = 1 << 28;

impl Step for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        let reference = case.target.or_else(|| case.reference_grid());
        let reference = reference.ok_or_else(|| Error::step(self.name(), "the case has no image"))?;
        let target = Target { grid: grid_at_spacing(&reference, config.spacing_mm), reference, config };
        let shape = target.grid.shape;
        let voxels = shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
        if !voxels.is_some_and(|n| (1..=MAX_VOXELS).contains(&n)) {
            let reason = format!("{shape:?} voxels at {:?} mm; check the file's spacing", config.spacing_mm);
            return Err(Error::step(self.name(), reason));
        }
        let nearest = Interpolation::Nearest;
        case.label = case.label.take().map(|label| target.bring(label, nearest).0);
        case.brain_mask = case.brain_mask.take().map(|mask| target.bring(mask, nearest).0);
        let images = case.map_images(|_, image| {
            let (image, how) = target.bring(image, Interpolation::Trilinear);
            Ok((image, how.into()))
        })?;
        Ok(json!({ "shape": shape, "spacing_mm": target.grid.affine.spacing_mm(), "images": images }))
    }
}

/// The grid that all volumes are resampled to, and the one that it is derived from.
struct Target<'a> {
    grid: Grid,
    reference: Grid,
    config: &'a PrepConfig,
}

impl Target<'_> {
    /// The volume on the target grid, and what was done to it.
    fn bring<T: Voxel>(&self, volume: Volume<T>, interpolation: Interpolation) -> (Volume<T>, &'static str) {
        if volume.grid().same_place(&self.grid, SAME_PLACE_MM) {
            (Volume::new(self.grid, volume.into_voxels()), "kept")
        } else if volume.grid().same_place(&self.reference, SAME_PLACE_MM) {
            let volume = Volume::new(self.reference, volume.into_voxels());
            (to_spacing(&volume, self.config.spacing_mm, interpolation), "spacing")
        } else {
            (onto_grid(&volume, &self.grid, interpolation, T::default()), "onto reference")
        }
    }
}
