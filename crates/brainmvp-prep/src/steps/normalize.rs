//! Intensities to [0, 1].

use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::percentile::percentiles;
use crate::{CaseVolumes, Error, Intensity, PrepConfig, Result};

/// Scales every image into [0, 1] as [`Intensity`] says, and clips it there. Percentiles are those of the whole volume as
/// it is at this step, zeros included.
pub(super) struct Normalize;

impl Step for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        match config.intensity {
            Intensity::Percentile => self.by_percentiles(case, config),
            Intensity::ZScore => self.by_deviation(case),
        }
    }
}

impl Normalize {
    fn by_percentiles(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        case.map_images(|modality, mut image| {
            let fail = |reason: String| Error::step(self.name(), format!("{modality}: {reason}"));
            let found = percentiles(image.voxels(), config.percentiles).map_err(|e| fail(e.to_string()))?;
            let [low, high] = found;
            let range = high - low;
            if !(range > 0.0 && range.is_finite()) {
                let [p, q] = config.percentiles;
                return Err(fail(format!("percentiles {p} and {q} are {low} and {high}: no range to scale")));
            }
            image.voxels_mut().par_chunks_mut(1 << 16).for_each(|voxels| {
                for voxel in voxels {
                    *voxel = ((*voxel - low) / range).clamp(0.0, 1.0);
                }
            });
            Ok((image, json!(found)))
        })
    }

    /// Mean and deviation are those of the brain mask, or without one of the voxels that are not 0.
    fn by_deviation(&self, case: &mut CaseVolumes) -> Result<Value> {
        /// How many standard deviations lie between 0 and 1.
        const RANGE: f64 = 8.0;
        case.common_grid(self.name())?;
        let mask = case.brain_mask.take();
        let done = case.map_images(|modality, mut image| {
            let fail = |reason: String| Error::step("normalize", format!("{modality}: {reason}"));
            let inside = |place: usize, value: f32| match &mask {
                Some(mask) => mask.voxels()[place] > 0,
                None => value != 0.0,
            };
            let (mut count, mut sum, mut squares) = (0.0_f64, 0.0, 0.0);
            for (place, value) in image.voxels().iter().enumerate().filter(|(p, v)| inside(*p, **v)) {
                if !value.is_finite() {
                    return Err(fail(format!("voxel {:?} is {value}", image.grid().voxel(place))));
                }
                let value = f64::from(*value);
                (count, sum, squares) = (count + 1.0, sum + value, squares + value * value);
            }
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).sqrt();
            if !(deviation > 1e-6 * mean.abs() && deviation.is_finite()) {
                return Err(fail(format!(
                    "mean {mean} and deviation {deviation} of {count} voxels: no range to scale"
                )));
            }
            for (place, value) in image.voxels_mut().iter_mut().enumerate() {
                let score = (f64::from(*value) - mean) / deviation;
                *value =
                    if inside(place, *value) { (0.5 + score / RANGE).clamp(0.0, 1.0) as f32 } else { 0.0 };
            }
            Ok((image, json!({ "mean": mean, "deviation": deviation })))
        });
        case.brain_mask = mask;
        done
    }
}
