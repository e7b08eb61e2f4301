//! What the preparation does, as a file says it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ContentFile, Error, Landmarks, Result};

/// How a cohort is prepared. Two caches made with equal configurations from equal files are equal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepConfig {
    /// See [`PrepSettings::steps`](crate::PrepSettings::steps).
    pub steps: Vec<String>,
    /// See [`PrepSettings::register`](crate::PrepSettings::register).
    pub register: RegisterKind,
    /// The image whose space and grid cases are brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atlas: Option<ContentFile>,
    /// See [`PrepSettings::spacing_mm`](crate::PrepSettings::spacing_mm).
    pub spacing_mm: [f64; 3],
    /// See [`PrepSettings::percentiles`](crate::PrepSettings::percentiles).
    pub percentiles: [f64; 2],
    /// See [`PrepSettings::skull_strip`](crate::PrepSettings::skull_strip).
    pub skull_strip: SkullStrip,
    /// See [`PrepSettings::any_brain_size`](crate::PrepSettings::any_brain_size).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_brain_size: Option<String>,
    /// See [`PrepSettings::bias_field`](crate::PrepSettings::bias_field).
    pub bias_field: bool,
    /// See [`PrepSettings::intensity`](crate::PrepSettings::intensity).
    pub intensity: Intensity,
    /// The standard scales of [`Intensity::Nyul`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmarks: Option<Landmarks>,
    /// See [`PrepSettings::crop`](crate::PrepSettings::crop).
    pub crop: CropKind,
    /// See [`PrepSettings::dtype`](crate::PrepSettings::dtype).
    pub dtype: StoredType,
}

/// How intensities are scaled to [0, 1]; outside the brain they are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Intensity {
    /// The percentiles of the whole volume, zeros included, become 0 and 1: what the paper does. The contrast of a case
    /// depends on how much of its volume is brain, and on its brightest tissue.
    Percentile,
    /// Mean and standard deviation of the brain: a value of 0.5 + z / 8, so that z runs from -4 to 4. Cases are alike
    /// whatever the size of their field of view; for fine-tuning on data of many sites.
    ZScore,
    /// The percentiles of the brain are mapped to their average position in a cohort, and what is between them
    /// follows (Nyúl et al. 2000): tissue has the same grey in all cases, but a large lesion shifts it.
    Nyul,
}

/// What is done about the skull.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SkullStrip {
    /// A case with a brain mask uses it; one with stripped images stays as it is; in any other the brain is found.
    Auto,
    /// Images stay as they are, but for a case's own brain mask.
    None,
    /// Every case must have a brain mask.
    Mask,
}

/// What of a case is registered. The images of a case always go onto each other by a rigid motion: they show one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisterKind {
    /// Nothing: the headers say where everything is.
    None,
    /// The images to each other, and rigidly to the atlas if there is one.
    Rigid,
    /// The images onto each other, and onto the atlas with scales and shears.
    Affine,
}

/// What is cut away around the foreground (the voxels above 0 in any modality).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CropKind {
    /// As much from both ends of an axis, so that the centre of the volume stays the centre of the templates.
    Symmetric,
    /// The tight bounding box.
    BoundingBox,
    /// Nothing.
    None,
}

/// The number type of stored images, whose values are in [0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoredType {
    /// Half precision: half the disk and memory traffic, an error below 2.5e-4.
    F16,
    /// Single precision.
    F32,
}

/// The two settings of BrainMVP's own preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PrepPreset {
    /// As the paper says: percentiles 1 to 99.
    Paper,
    /// As the authors' released program does: percentiles 5 to 95.
    Released,
}

impl Default for PrepConfig {
    fn default() -> Self {
        Self::preset(PrepPreset::Paper)
    }
}

impl PrepConfig {
    /// The configuration of a preset.
    pub fn preset(preset: PrepPreset) -> Self {
        let steps = [
            "background",
            "register",
            "reorient",
            "common_grid",
            "resample",
            "skull_strip",
            "brain_mask",
            "bias_field",
            "crop",
            "normalize",
        ];
        Self {
            steps: steps.map(str::to_owned).to_vec(),
            register: RegisterKind::None,
            atlas: None,
            spacing_mm: [1.0; 3],
            percentiles: match preset {
                PrepPreset::Paper => [1.0, 99.0],
                PrepPreset::Released => [5.0, 95.0],
            },
            skull_strip: SkullStrip::Auto,
            any_brain_size: None,
            bias_field: false,
            intensity: Intensity::Percentile,
            landmarks: None,
            crop: CropKind::Symmetric,
            dtype: StoredType::F16,
        }
    }

    /// Refuses values that make no sense; the names of the steps are checked by [`crate::Pipeline::new`].
    ///
    /// # Errors
    /// [`Error::Config`] names the value and its bounds.
    pub fn validate(&self) -> Result<()> {
        if !self.spacing_mm.iter().all(|s| (0.05..=50.0).contains(s)) {
            return Err(Error::config(format!("spacing_mm = {:?}: give 0.05 to 50 mm", self.spacing_mm)));
        }
        match (self.register, &self.atlas) {
            (RegisterKind::None, Some(atlas)) => {
                let name = atlas.name();
                return Err(Error::config(format!(
                    "atlas = {name}: choose register = rigid or affine with it"
                )));
            }
            (RegisterKind::Affine, None) => {
                return Err(Error::config("register = affine needs an atlas; without one choose rigid"));
            }
            (RegisterKind::Rigid | RegisterKind::Affine, _)
                if !self.steps.iter().any(|s| s == "register") =>
            {
                return Err(Error::config("register is chosen, but steps lacks 'register'"));
            }
            _ => {}
        }
        match (self.intensity, &self.landmarks) {
            (Intensity::Nyul, None) => {
                return Err(Error::config(
                    "intensity = nyul needs landmarks, which are learnt from a cohort",
                ));
            }
            (Intensity::Percentile | Intensity::ZScore, Some(_)) => {
                return Err(Error::config("landmarks are given; choose intensity = nyul with them"));
            }
            _ => {}
        }
        if self.any_brain_size.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
            return Err(Error::config("any_brain_size: say why brains of any size are accepted"));
        }
        let [low, high] = self.percentiles;
        if !(0.0 <= low && low < high && high <= 100.0) {
            return Err(Error::config(format!(
                "percentiles = {:?}: give 0 <= low < high <= 100",
                [low, high]
            )));
        }
        Ok(())
    }
}
