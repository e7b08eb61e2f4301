//! The steps of the pipeline: one file each, and one line in [`registry`].

mod background;
mod bias_field;
mod brain_mask;
mod common_grid;
mod crop;
mod normalize;
mod register;
mod reorient;
mod resample;
mod skull_strip;

pub use crop::VoxelBox;
pub(crate) use skull_strip::NAME as SKULL_STRIP;

use serde_json::Value;

use crate::{CaseVolumes, PrepConfig, Result};

/// A step of the pipeline. It takes its settings from the configuration and has no state.
pub trait Step: Send + Sync {
    /// The name in the configuration and in the provenance.
    fn name(&self) -> &'static str;

    /// Changes a case, and returns a record of what it did.
    ///
    /// # Errors
    /// [`crate::Error::Step`] if this case cannot be processed.
    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value>;
}

/// All steps. They run in the order of [`PrepConfig::steps`].
pub fn registry() -> &'static [&'static dyn Step] {
    &[
        &background::Background,
        &register::Register,
        &reorient::Reorient,
        &common_grid::CommonGrid,
        &resample::Resample,
        &skull_strip::SkullStripping,
        &brain_mask::BrainMask,
        &bias_field::BiasFieldCorrection,
        &crop::Crop,
        &normalize::Normalize,
    ]
}
