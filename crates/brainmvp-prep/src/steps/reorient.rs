//! Reorients volumes to RAS+.

use brainmvp_volume::orientation;
use serde_json::Value;

use super::Step;
use crate::{CaseVolumes, PrepConfig, Result};

/// Permutes and flips the axes of every volume so that they are nearest to RAS+. Nothing is interpolated.
pub(super) struct Reorient;

impl Step for Reorient {
    fn name(&self) -> &'static str {
        "reorient"
    }

    fn apply(&self, case: &mut CaseVolumes, _: &PrepConfig) -> Result<Value> {
        case.label = case.label.take().map(orientation::to_ras);
        case.brain_mask = case.brain_mask.take().map(orientation::to_ras);
        case.map_images(|_, image| {
            let from = orientation::code(&image.grid().affine);
            Ok((orientation::to_ras(image), from.into()))
        })
    }
}
