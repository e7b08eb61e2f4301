//! Requested settings of the preparation, from which the configuration is made.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::{
    ContentFile, CropKind, Intensity, Landmarks, PrepConfig, PrepPreset, RegisterKind, Result, SkullStrip,
    StoredType,
};

/// The settings in a file or on a command line. Those that are left out come from the preset.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrepSettings {
    /// The preset: whose values the keys have that are left out.
    pub preset: Option<PrepPreset>,
    /// The steps in their order (`brainmvp list steps`).
    pub steps: Option<Vec<String>>,
    /// What of a case is registered; with an atlas `"affine"` if nothing else is said.
    pub register: Option<RegisterKind>,
    /// The image whose space and grid cases are brought to: a file. `brainmvp atlas` makes one.
    pub atlas: Option<PathBuf>,
    /// Voxel size along x, y and z in mm; a single number is for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub spacing_mm: Option<[f64; 3]>,
    /// The percentiles, 0 to 100, that become 0 and 1; values beyond are clipped.
    pub percentiles: Option<[f64; 2]>,
    /// What is done about the skull.
    pub skull_strip: Option<SkullStrip>,
    /// Why brains of any size are accepted, for example because voxel sizes are nominal. Without a reason, a case is
    /// left out if the brain found in it has less than 700 or more than 2200 ml.
    pub any_brain_size: Option<String>,
    /// Whether the smooth shading of the receive coils is taken away (N4).
    pub bias_field: Option<bool>,
    /// How grey values are scaled to [0, 1]; with landmarks `"nyul"` if nothing else is said.
    pub intensity: Option<Intensity>,
    /// The standard scale of each modality: a file of `brainmvp landmarks`.
    pub landmarks: Option<PathBuf>,
    /// What is cut away around the foreground.
    pub crop: Option<CropKind>,
    /// The number type of the stored images.
    pub dtype: Option<StoredType>,
}

impl PrepSettings {
    /// These settings, completed by those of `below`.
    pub fn over(self, below: Self) -> Self {
        Self {
            preset: self.preset.or(below.preset),
            steps: self.steps.or(below.steps),
            register: self.register.or(below.register),
            atlas: self.atlas.or(below.atlas),
            spacing_mm: self.spacing_mm.or(below.spacing_mm),
            percentiles: self.percentiles.or(below.percentiles),
            skull_strip: self.skull_strip.or(below.skull_strip),
            any_brain_size: self.any_brain_size.or(below.any_brain_size),
            bias_field: self.bias_field.or(below.bias_field),
            intensity: self.intensity.or(below.intensity),
            landmarks: self.landmarks.or(below.landmarks),
            crop: self.crop.or(below.crop),
            dtype: self.dtype.or(below.dtype),
        }
    }

    /// The whole configuration.
    ///
    /// # Errors
    /// If the file of the atlas or of the landmarks cannot be read, and those of [`PrepConfig::validate`].
    pub fn config(self) -> Result<PrepConfig> {
        let preset = PrepConfig::preset(self.preset.unwrap_or(PrepPreset::Paper));
        let landmarks = self.landmarks.as_deref().map(Landmarks::load).transpose()?;
        let register = if self.atlas.is_some() { RegisterKind::Affine } else { preset.register };
        let intensity = if landmarks.is_some() { Intensity::Nyul } else { preset.intensity };
        let config = PrepConfig {
            steps: self.steps.unwrap_or(preset.steps),
            register: self.register.unwrap_or(register),
            atlas: self.atlas.as_deref().map(ContentFile::of).transpose()?,
            spacing_mm: self.spacing_mm.unwrap_or(preset.spacing_mm),
            percentiles: self.percentiles.unwrap_or(preset.percentiles),
            skull_strip: self.skull_strip.unwrap_or(preset.skull_strip),
            any_brain_size: self.any_brain_size.or(preset.any_brain_size),
            bias_field: self.bias_field.unwrap_or(preset.bias_field),
            intensity: self.intensity.unwrap_or(intensity),
            landmarks,
            crop: self.crop.unwrap_or(preset.crop),
            dtype: self.dtype.unwrap_or(preset.dtype),
        };
        config.validate()?;
        Ok(config)
    }
}

fn one_or_three<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<[f64; 3]>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a voxel size in mm, or three: [x, y, z]")]
    enum Size {
        One(f64),
        Three([f64; 3]),
    }
    Ok(Some(match Size::deserialize(deserializer)? {
        Size::One(mm) => [mm; 3],
        Size::Three(mm) => mm,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_the_presets() {
        let config = PrepSettings::default().config().unwrap();
        assert_eq!(config, PrepConfig::default());
        let released = PrepSettings { preset: Some(PrepPreset::Released), ..PrepSettings::default() };
        assert_eq!(released.config().unwrap(), PrepConfig::preset(PrepPreset::Released));
    }

    #[test]
    fn one_lies_over_the_other() {
        let parse = |text| serde_json::from_str::<PrepSettings>(text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("sri24.nii.gz");
        std::fs::write(&image, "voxels").unwrap();
        let with_atlas = |settings: PrepSettings| PrepSettings { atlas: Some(image.clone()), ..settings };
        let file =
            parse(r#"{ "preset": "released", "spacing_mm": 1.5, "register": "rigid", "dtype": "f32" }"#);
        let typed = parse(r#"{ "spacing_mm": [1, 2, 3], "crop": "bounding_box" }"#);
        let config = with_atlas(typed).over(file).config().unwrap();
        assert_eq!((config.spacing_mm, config.percentiles), ([1.0, 2.0, 3.0], [5.0, 95.0]));
        assert_eq!((config.register, config.crop), (RegisterKind::Rigid, CropKind::BoundingBox));
        assert_eq!((config.dtype, config.atlas.unwrap().name()), (StoredType::F32, "sri24.nii.gz"));
        let atlas = with_atlas(PrepSettings::default()).config().unwrap();
        assert_eq!(atlas.register, RegisterKind::Affine);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            (r#"{ "spacing": 2 }"#, "spacing"),
            (r#"{ "spacing_mm": "two" }"#, "voxel size in mm"),
            (r#"{ "preset": "papper" }"#, "papper"),
        ] {
            let error = serde_json::from_str::<PrepSettings>(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let far = PrepSettings { percentiles: Some([9.0, 2.0]), ..PrepSettings::default() };
        assert!(far.config().unwrap_err().to_string().contains("percentiles"));
    }
}
