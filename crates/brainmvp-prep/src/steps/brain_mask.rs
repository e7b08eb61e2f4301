//! Sets everything outside the brain mask to 0.

use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Sets the voxels of every image outside the case's brain mask to 0; a case without one stays as it is.
pub(super) struct BrainMask;

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
        case.brain_mask = Some(mask);
        Ok(json!({ "voxels_inside": inside }))
    }
}
