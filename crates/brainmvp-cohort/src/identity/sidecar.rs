//! The JSON file beside an image, as dcm2niix and BIDS write it: times in seconds.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::acquisition::Acquisition;

/// The attributes that are read. Files of other programs may have other things under these names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Sidecar {
    modality: Option<Text>,
    series_description: Option<Text>,
    protocol_name: Option<Text>,
    echo_time: Option<Number>,
    repetition_time: Option<Number>,
    inversion_time: Option<Number>,
    scanning_sequence: Option<Text>,
    image_type: Option<Text>,
    sequence_name: Option<Text>,
    pulse_sequence_name: Option<Text>,
    acquisition_contrast: Option<Text>,
    contrast_bolus_agent: Option<Text>,
    contrast_bolus_ingredient: Option<Text>,
    body_part_examined: Option<Text>,
    body_part: Option<Text>,
    complex_image_component: Option<Text>,
    diffusion_b_value: Option<Number>,
    /// Written by this program's own conversion, which has weighed the attributes, and knows the user's rules.
    modality_reason: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Several(Vec<String>),
    Other(IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    One(f64),
    Other(IgnoredAny),
}

impl Text {
    fn one(self) -> Option<String> {
        match self {
            Self::One(text) => Some(text).filter(|text| !text.trim().is_empty()),
            Self::Several(texts) => texts.into_iter().next(),
            Self::Other(_) => None,
        }
    }

    fn words(self) -> Vec<String> {
        let texts = match self {
            Self::One(text) => text.split(['_', '\\', '/']).map(str::to_owned).collect(),
            Self::Several(texts) => texts,
            Self::Other(_) => Vec::new(),
        };
        texts.into_iter().map(|text| text.trim().to_uppercase()).filter(|text| !text.is_empty()).collect()
    }
}

fn text(text: Option<Text>) -> Option<String> {
    text.and_then(Text::one)
}

fn words(text: Option<Text>) -> Vec<String> {
    text.map(Text::words).unwrap_or_default()
}

fn number(number: Option<Number>) -> Option<f64> {
    match number? {
        Number::One(value) => Some(value).filter(|value| value.is_finite()),
        Number::Other(_) => None,
    }
}

impl Acquisition {
    /// What the JSON file beside an image says; `None` if there is none, or it is not one of acquisition attributes.
    pub fn beside(image: &Path) -> Option<Self> {
        let stem = brainmvp_volume::file::stem(image)?;
        let json = std::fs::read_to_string(image.with_file_name(format!("{stem}.json"))).ok()?;
        Self::from_json(&json)
    }

    /// As [`Acquisition::beside`], from the text of the file.
    pub fn from_json(json: &str) -> Option<Self> {
        let object = json.trim_start_matches('\u{feff}').trim_start();
        let read: Sidecar = object.starts_with('{').then(|| serde_json::from_str(object).ok()).flatten()?;
        if read.modality_reason.is_some() {
            return None;
        }
        let ms = |seconds: Option<Number>| number(seconds).map(|seconds| seconds * 1000.0);
        Some(Self {
            device: text(read.modality),
            description: text(read.series_description),
            protocol: text(read.protocol_name),
            echo_time_ms: ms(read.echo_time),
            repetition_time_ms: ms(read.repetition_time),
            inversion_time_ms: ms(read.inversion_time),
            scanning_sequence: words(read.scanning_sequence),
            image_type: words(read.image_type),
            sequence_name: text(read.sequence_name).or_else(|| text(read.pulse_sequence_name)),
            contrast: text(read.acquisition_contrast).map(|contrast| contrast.to_uppercase()),
            agent: text(read.contrast_bolus_agent).or_else(|| text(read.contrast_bolus_ingredient)),
            body_part: text(read.body_part_examined).or_else(|| text(read.body_part)),
            component: text(read.complex_image_component).map(|component| component.to_uppercase()),
            b_value: number(read.diffusion_b_value),
            one_direction: false,
            slices: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_in_our_units_and_odd_ones_are_left_out() {
        let json = r#"{"EchoTime": 0.012, "RepetitionTime": [1, 2], "ImageType": ["ORIGINAL", "Primary"],
            "ScanningSequence": "SE_IR", "BodyPart": "BRAIN", "Modality": 3, "SeriesDescription": "t1 tra"}"#;
        let read = Acquisition::from_json(json).unwrap();
        assert_eq!((read.echo_time_ms, read.repetition_time_ms), (Some(12.0), None));
        assert_eq!(
            (read.scanning_sequence, read.image_type),
            (vec!["SE".into(), "IR".into()], vec!["ORIGINAL".into(), "PRIMARY".into()])
        );
        assert_eq!((read.device, read.description.as_deref()), (None, Some("t1 tra")));
        assert_eq!(Acquisition::from_json("[1]"), None);
        assert_eq!(Acquisition::from_json(r#"{"EchoTime": 0.1, "ModalityReason": "x"}"#), None);
    }
}
