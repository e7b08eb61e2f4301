//! What is asked of the preparation, before it is settled.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use crate::{
    ContentFile, CropKind, Intensity, Landmarks, PrepConfig, PrepPreset, RegisterKind, Result, SkullStrip,
    StoredType,
};

/// What a file or a command line asks for; what it leaves out is as the preset has it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepSettings {
    /// Whose settings the others are, where they are left out; the paper's, if this is too.
    pub preset: Option<PrepPreset>,
    /// As [`PrepConfig::steps`].
    pub steps: Option<Vec<String>>,
    /// As [`PrepConfig::register`]; affine, if there is an atlas and nothing else is said.
    pub register: Option<RegisterKind>,
    /// As [`PrepConfig::atlas`].
    pub atlas: Option<PathBuf>,
    /// As [`PrepConfig::spacing_mm`]; one number stands for all three.
    #[serde(deserialize_with = "one_or_three")]
    pub spacing_mm: Option<[f64; 3]>,
    /// As [`PrepConfig::percentiles`].
    pub percentiles: Option<[f64; 2]>,
    /// As [`PrepConfig::skull_strip`].
    pub skull_strip: Option<SkullStrip>,
    /// As [`PrepConfig::bias_field`].
    pub bias_field: Option<bool>,
    /// As [`PrepConfig::intensity`]; the standard scale, if there are landmarks and nothing else is said.
    pub intensity: Option<Intensity>,
    /// The file of [`PrepConfig::landmarks`].
    pub landmarks: Option<PathBuf>,
    /// As [`PrepConfig::crop`].
    pub crop: Option<CropKind>,
    /// As [`PrepConfig::dtype`].
    pub dtype: Option<StoredType>,
}

impl PrepSettings {
    /// These, and those of `below` where these leave something out.
    pub fn over(self, below: Self) -> Self {
        Self {
            preset: self.preset.or(below.preset),
            steps: self.steps.or(below.steps),
            register: self.register.or(below.register),
            atlas: self.atlas.or(below.atlas),
            spacing_mm: self.spacing_mm.or(below.spacing_mm),
            percentiles: self.percentiles.or(below.percentiles),
            skull_strip: self.skull_strip.or(below.skull_strip),
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
    /// If the file of the atlas or of the landmarks cannot be read, or as [`PrepConfig::validate`].
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
