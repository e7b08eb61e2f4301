//! Scales intensities to [0, 1].

use brainmvp_volume::Modality;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::landmarks::landmarks_of;
use crate::percentile::percentiles;
use crate::{CaseVolumes, Error, Intensity, PrepConfig, Result};

/// Scales every image as [`Intensity`] says, and clips it to [0, 1]. Percentiles are those of the whole volume at this
/// step, zeros included.
pub(super) struct Normalize;

impl Step for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        match config.intensity {
            Intensity::Percentile => self.by_percentiles(case, config),
            Intensity::ZScore => self.by_deviation(case),
            Intensity::Nyul => self.by_landmarks(case, config),
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

    /// Scales by the landmarks of the brain.
    fn by_landmarks(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        self.in_brain(case, |modality, inside| {
            let standard = config.landmarks.as_ref().and_then(|landmarks| landmarks.of(modality));
            let standard = standard.ok_or("there are no landmarks of this modality")?;
            let own = landmarks_of(inside)?;
            let scale = standard.scale_from(&own);
            Ok((move |value| scale.apply(value), json!({ "landmarks": own })))
        })
    }

    /// Scales by the mean and standard deviation of the brain.
    fn by_deviation(&self, case: &mut CaseVolumes) -> Result<Value> {
        /// How many standard deviations are between 0 and 1.
        const RANGE: f64 = 8.0;
        self.in_brain(case, |_, inside| {
            let (mut sum, mut squares) = (0.0, 0.0);
            for value in inside.iter().map(|value| f64::from(*value)) {
                (sum, squares) = (sum + value, squares + value * value);
            }
            let count = inside.len() as f64;
            let mean = sum / count;
            let deviation = (squares / count - mean * mean).sqrt();
            if !(deviation > 1e-6 * mean.abs() && deviation.is_finite()) {
                return Err(format!(
                    "mean {mean} and deviation {deviation} of {count} voxels: no range to scale"
                ));
            }
            let scale = move |value| 0.5 + (value - mean) / deviation / RANGE;
            Ok((scale, json!({ "mean": mean, "deviation": deviation })))
        })
    }

    /// Scales every image by what `find` returns for its values in the brain: the nonzero voxels of the brain mask or,
    /// without one, of the image. The others, which the original image does not reach, stay 0.
    fn in_brain<S: Fn(f64) -> f64>(
        &self,
        case: &mut CaseVolumes,
        find: impl Fn(Modality, &[f32]) -> std::result::Result<(S, Value), String> + Sync,
    ) -> Result<Value> {
        case.common_grid(self.name())?;
        let mask = case.brain_mask.take();
        let done = case.map_images(|modality, mut image| {
            let fail = |reason: String| Error::step("normalize", format!("{modality}: {reason}"));
            let inside = |place: usize, value: f32| {
                value != 0.0 && mask.as_ref().is_none_or(|mask| mask.voxels()[place] > 0)
            };
            let mut values = Vec::new();
            for (place, value) in image.voxels().iter().enumerate().filter(|(p, v)| inside(*p, **v)) {
                if !value.is_finite() {
                    return Err(fail(format!("voxel {:?} is {value}", image.grid().voxel(place))));
                }
                values.push(*value);
            }
            let (scale, told) = find(modality, &values).map_err(fail)?;
            for (place, value) in image.voxels_mut().iter_mut().enumerate() {
                *value =
                    if inside(place, *value) { scale(f64::from(*value)).clamp(0.0, 1.0) as f32 } else { 0.0 };
            }
            Ok((image, told))
        });
        case.brain_mask = mask;
        done
    }
}
