//! Intensities to [0, 1].

use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::percentile::percentiles;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Scales every image so that its percentiles become 0 and 1, and clips it there. The percentiles are those of the
/// whole volume as it is at this step, zeros included.
pub(super) struct Normalize;

impl Step for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        case.map_images(|modality, mut image| {
            let fail = |reason: String| Error::step(self.name(), format!("{modality}: {reason}"));
            let found = percentiles(image.voxels(), config.percentiles).map_err(|e| fail(e.to_string()))?;
            let [low, high] = found;
            let range = high - low;
            if !(range > 0.0 && range.is_finite()) {
                let [p, q] = config.percentiles;
                return Err(fail(format!("percentiles {p} and {q} are {low} and {high}: no range to scale")));
            }
            let voxels = image.voxels_mut().par_iter_mut().with_min_len(1 << 16);
            voxels.for_each(|voxel| *voxel = ((*voxel - low) / range).clamp(0.0, 1.0));
            Ok((image, json!(found)))
        })
    }
}
