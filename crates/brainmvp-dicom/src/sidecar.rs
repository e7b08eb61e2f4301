//! The part of an acquisition that is passed on: a list of harmless parameters, with the names and units (seconds) of
//! BIDS.
//!
//! Left out on purpose: names, ids, dates, times, places, staff, serial numbers, UIDs, comments, descriptions and
//! all private elements (DICOM PS3.15, annex E).

use serde_json::{Map, Value, json};

use crate::acquisition::Acquisition;
use crate::frame::Frame;

pub(crate) fn of(acquisition: &Acquisition, frame: &Frame) -> Map<String, Value> {
    let seconds = |ms: Option<f64>| ms.map(|ms| json!(rounded(ms / 1000.0)));
    let number = |value: Option<f64>| value.map(|value| json!(rounded(value)));
    let text = |value: &Option<String>| value.as_ref().map(|value| json!(value));
    let words = |words: &[String]| (!words.is_empty()).then(|| json!(words.join("_")));
    let rows = [
        ("Modality", Some(json!(acquisition.device))),
        ("Manufacturer", text(&acquisition.manufacturer)),
        ("ManufacturersModelName", text(&acquisition.model)),
        ("SoftwareVersions", text(&acquisition.software)),
        ("MagneticFieldStrength", number(acquisition.field_strength_tesla)),
        ("MRAcquisitionType", text(&acquisition.dimensions)),
        ("ScanningSequence", words(&acquisition.scanning_sequence)),
        ("SequenceVariant", words(&acquisition.sequence_variant)),
        ("ScanOptions", words(&acquisition.scan_options)),
        ("SequenceName", text(&acquisition.sequence_name)),
        ("ImageType", (!frame.image_type.is_empty()).then(|| json!(frame.image_type))),
        ("EchoTime", seconds(frame.echo_time_ms)),
        ("RepetitionTime", seconds(acquisition.repetition_time_ms)),
        ("InversionTime", seconds(frame.inversion_time_ms.filter(|ms| *ms > 0.0))),
        ("FlipAngle", number(frame.flip_angle_degrees)),
        ("SliceThickness", number(acquisition.thickness_mm)),
        ("SpacingBetweenSlices", number(acquisition.spacing_between_slices_mm)),
        ("PixelBandwidth", number(acquisition.pixel_bandwidth)),
        ("DiffusionBValue", number(frame.b_value)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Rounds off the noise of a division by 1000.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
