//! DICOM files made by hand, with the parameters that tests vary.

#![allow(clippy::unwrap_used, dead_code)]

use std::path::{Path, PathBuf};

use dicom_core::value::{PixelFragmentSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// Columns and rows of every image.
pub(crate) const SHAPE: [usize; 2] = [6, 4];

/// The slices of a series.
pub(crate) struct Slices {
    pub(crate) series: &'static str,
    pub(crate) patient: &'static str,
    pub(crate) syntax: &'static str,
    pub(crate) normal_spacing_mm: f64,
    pub(crate) orientation: [f64; 6],
    pub(crate) description: &'static str,
    pub(crate) rescale: [f64; 2],
    pub(crate) echo_time_ms: f64,
}

impl Default for Slices {
    fn default() -> Self {
        Self {
            series: "1.2.3.1",
            patient: "P-77",
            syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN,
            normal_spacing_mm: 5.5,
            orientation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            description: "AX T1",
            rescale: [1.0, 0.0],
            echo_time_ms: 9.0,
        }
    }
}

/// The stored value of a pixel: signed, and different everywhere.
pub(crate) fn stored(z: usize, row: usize, column: usize) -> i16 {
    (100 * z + 10 * row + column) as i16 - 50
}

impl Slices {
    /// Slice `z`; `more` elements replace the existing ones.
    pub(crate) fn slice(&self, z: usize, more: Vec<DataElement<InMemDicomObject>>) -> InMemDicomObject {
        let [a, b, c, d, e, f] = self.orientation;
        let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
        let position = normal.map(|n| n * self.normal_spacing_mm * z as f64 + 10.0);
        let instance = format!("{}.{}", self.series, z + 1);
        let text = |tag, vr, text: &str| DataElement::new(tag, vr, PrimitiveValue::from(text));
        let numbers = |values: &[f64]| values.iter().map(ToString::to_string).collect::<Vec<_>>().join("\\");
        let number = |tag, values: &[f64]| text(tag, VR::DS, &numbers(values));
        let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        let pixels =
            (0..SHAPE[1]).flat_map(|row| (0..SHAPE[0]).map(move |column| stored(z, row, column) as u16));
        let mut object = InMemDicomObject::from_element_iter([
            text(tags::SOP_CLASS_UID, VR::UI, uids::MR_IMAGE_STORAGE),
            text(tags::SOP_INSTANCE_UID, VR::UI, &instance),
            text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M\\ND"),
            text(tags::MODALITY, VR::CS, "MR"),
            text(tags::MANUFACTURER, VR::LO, "Maker"),
            text(tags::STATION_NAME, VR::SH, "STATION-5"),
            text(tags::INSTITUTION_NAME, VR::LO, "General Hospital"),
            text(tags::SERIES_DESCRIPTION, VR::LO, self.description),
            text(tags::PATIENT_NAME, VR::PN, "Doe^Jane"),
            text(tags::PATIENT_ID, VR::LO, self.patient),
            text(tags::PATIENT_BIRTH_DATE, VR::DA, "19500102"),
            text(tags::STUDY_DATE, VR::DA, "20200304"),
            text(tags::STUDY_INSTANCE_UID, VR::UI, &format!("1.2.9.{}", self.patient.len())),
            text(tags::SERIES_INSTANCE_UID, VR::UI, self.series),
            text(tags::SCANNING_SEQUENCE, VR::CS, "SE"),
            number(tags::ECHO_TIME, &[self.echo_time_ms]),
            number(tags::REPETITION_TIME, &[550.0]),
            number(tags::SLICE_THICKNESS, &[5.0]),
            text(tags::SERIES_NUMBER, VR::IS, "3"),
            text(tags::INSTANCE_NUMBER, VR::IS, &(z + 1).to_string()),
            number(tags::IMAGE_POSITION_PATIENT, &position),
            number(tags::IMAGE_ORIENTATION_PATIENT, &self.orientation),
            number(tags::PIXEL_SPACING, &[0.9, 0.8]),
            short(tags::SAMPLES_PER_PIXEL, 1),
            text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
            short(tags::ROWS, SHAPE[1] as u16),
            short(tags::COLUMNS, SHAPE[0] as u16),
            short(tags::BITS_ALLOCATED, 16),
            short(tags::BITS_STORED, 16),
            short(tags::HIGH_BIT, 15),
            short(tags::PIXEL_REPRESENTATION, 1),
            number(tags::RESCALE_SLOPE, &self.rescale[..1]),
            number(tags::RESCALE_INTERCEPT, &self.rescale[1..]),
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.collect())),
        ]);
        for element in more {
            object.put(element);
        }
        object
    }

    /// Writes slice `z` below a folder, under a name that does not show its position.
    pub(crate) fn write(&self, folder: &Path, z: usize, more: Vec<DataElement<InMemDicomObject>>) -> PathBuf {
        let path = folder.join(format!("{}-{}", self.series, (z * 7 + 3) % 100));
        write(self.slice(z, more), self.syntax, &path);
        path
    }
}

/// Writes a data set as a file.
pub(crate) fn write(object: InMemDicomObject, syntax: &str, path: &Path) {
    let meta = FileMetaTableBuilder::new().transfer_syntax(syntax);
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

/// Pixels as fragments, one per frame.
pub(crate) fn fragments(frames: Vec<Vec<u8>>) -> DataElement<InMemDicomObject> {
    let sequence = PixelFragmentSequence::new_fragments(frames);
    DataElement::new(tags::PIXEL_DATA, VR::OB, Value::from(sequence))
}

pub(crate) fn text(tag: dicom_core::Tag, vr: VR, text: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(text))
}
