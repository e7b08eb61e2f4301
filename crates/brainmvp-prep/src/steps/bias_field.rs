//! Removes the coils' shading from images.

use serde_json::{Value, json};

use super::Step;
use crate::bias::find_bias_field;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Divides every image by its bias field, estimated in the brain mask or, without one, in the voxels above 0. Does
/// nothing unless the configuration asks for it; diffusion maps have no shading and are left as they are.
pub(super) struct BiasFieldCorrection;

impl Step for BiasFieldCorrection {
    fn name(&self) -> &'static str {
        "bias_field"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        if !config.bias_field {
            return Ok(Value::Null);
        }
        case.common_grid(self.name())?;
        let mask = case.brain_mask.take();
        let done = case.map_images(|modality, mut image| {
            if modality == brainmvp_volume::Modality::Adc {
                return Ok((image, Value::Null));
            }
            let inside = |voxel: usize| mask.as_ref().is_none_or(|mask| mask.voxels()[voxel] > 0);
            let reason = || {
                Error::step("bias_field", format!("{modality}: too little tissue to find a bias field in"))
            };
            let field = find_bias_field(&image, inside).ok_or_else(reason)?;
            let [low, high] = field.range();
            field.correct(&mut image);
            Ok((image, json!({ "lowest_gain": low, "highest_gain": high })))
        });
        case.brain_mask = mask;
        done
    }
}
