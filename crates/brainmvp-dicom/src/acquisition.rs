//! What a file says about its acquisition, as far as it matters for the modality or may be passed on.

use dicom_dictionary_std::tags;

use crate::attributes::{self, Scope};

/// How an image was acquired. Nothing here says who was examined, when or where, except perhaps the descriptions: they
/// are free text, and never leave the program unless the user asks for them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Acquisition {
    /// `MR`, `CT`...
    pub(crate) device: String,
    pub(crate) description: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) software: Option<String>,
    pub(crate) field_strength_tesla: Option<f64>,
    /// `2D` or `3D`.
    pub(crate) dimensions: Option<String>,
    /// `SE`, `GR`, `IR`, `EP`; for an enhanced file, as far as its attributes give the same information.
    pub(crate) scanning_sequence: Vec<String>,
    pub(crate) sequence_variant: Vec<String>,
    pub(crate) scan_options: Vec<String>,
    pub(crate) sequence_name: Option<String>,
    /// `T1`, `T2`, `FLUID_ATTENUATED`... of enhanced files.
    pub(crate) contrast: Option<String>,
    pub(crate) repetition_time_ms: Option<f64>,
    pub(crate) thickness_mm: Option<f64>,
    pub(crate) spacing_between_slices_mm: Option<f64>,
    pub(crate) pixel_bandwidth: Option<f64>,
    /// The contrast agent, as it is stated.
    pub(crate) agent: Option<String>,
    /// `BodyPartExamined`.
    pub(crate) body_part: Option<String>,
}

impl Acquisition {
    pub(crate) fn of(scope: Scope<'_>) -> Self {
        let root = scope.root();
        let text = |tag| attributes::text(root, tag);
        let measures = |tag| scope.number(tags::PIXEL_MEASURES_SEQUENCE, tag);
        Self {
            device: text(tags::MODALITY).unwrap_or_default(),
            description: text(tags::SERIES_DESCRIPTION),
            protocol: text(tags::PROTOCOL_NAME),
            manufacturer: text(tags::MANUFACTURER),
            model: text(tags::MANUFACTURER_MODEL_NAME),
            software: text(tags::SOFTWARE_VERSIONS),
            field_strength_tesla: attributes::number(root, tags::MAGNETIC_FIELD_STRENGTH),
            dimensions: text(tags::MR_ACQUISITION_TYPE),
            scanning_sequence: scanning_sequence(scope),
            sequence_variant: attributes::words(root, tags::SEQUENCE_VARIANT),
            scan_options: attributes::words(root, tags::SCAN_OPTIONS),
            sequence_name: text(tags::SEQUENCE_NAME).or_else(|| text(tags::PULSE_SEQUENCE_NAME)),
            contrast: scope
                .text(tags::MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::ACQUISITION_CONTRAST)
                .map(|contrast| contrast.to_uppercase()),
            repetition_time_ms: scope
                .number(tags::MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, tags::REPETITION_TIME),
            thickness_mm: measures(tags::SLICE_THICKNESS),
            spacing_between_slices_mm: measures(tags::SPACING_BETWEEN_SLICES),
            pixel_bandwidth: scope.number(tags::MR_IMAGING_MODIFIER_SEQUENCE, tags::PIXEL_BANDWIDTH),
            agent: agent(scope),
            body_part: text(tags::BODY_PART_EXAMINED),
        }
    }
}

/// `ScanningSequence`, or what an enhanced file has in its place.
fn scanning_sequence(scope: Scope<'_>) -> Vec<String> {
    let root = scope.root();
    let mut words = attributes::words(root, tags::SCANNING_SEQUENCE);
    if words.is_empty() {
        let is = |tag, value: &str| attributes::text(root, tag).is_some_and(|text| text == value);
        match attributes::text(root, tags::ECHO_PULSE_SEQUENCE).as_deref() {
            Some("SPIN") => words.push("SE".to_owned()),
            Some("GRADIENT") => words.push("GR".to_owned()),
            Some("BOTH") => words.extend(["SE".to_owned(), "GR".to_owned()]),
            _ => {}
        }
        if is(tags::ECHO_PLANAR_PULSE_SEQUENCE, "YES") {
            words.push("EP".to_owned());
        }
        let inverted = scope.text(tags::MR_MODIFIER_SEQUENCE, tags::INVERSION_RECOVERY);
        if inverted.is_some_and(|text| text == "YES") {
            words.push("IR".to_owned());
        }
    }
    words
}

/// The agent by its name, or by its sequence, which is there if one was given.
fn agent(scope: Scope<'_>) -> Option<String> {
    let root = scope.root();
    let sequence = !attributes::items(root, tags::CONTRAST_BOLUS_AGENT_SEQUENCE).is_empty();
    let named = attributes::text(root, tags::CONTRAST_BOLUS_AGENT);
    named.or_else(|| sequence.then(|| "ContrastBolusAgentSequence".to_owned()))
}
