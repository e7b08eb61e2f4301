//! Frames: the 2-D images of a file, each with its position and acquisition parameters.

use dicom_dictionary_std::tags;
use nalgebra::Vector3;

use crate::attributes::{self, Scope};

/// A 2-D image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    /// Its position, or the reason why it has none.
    pub(crate) plane: Result<Plane, &'static str>,
    /// Slope and intercept: the true value is `slope * stored + intercept`.
    pub(crate) rescale: [f64; 2],
    /// `ImageType` or `FrameType`, in capitals.
    pub(crate) image_type: Vec<String>,
    /// Magnitude, phase or another part of the complex signal.
    pub(crate) component: Component,
    pub(crate) echo_time_ms: Option<f64>,
    pub(crate) inversion_time_ms: Option<f64>,
    pub(crate) flip_angle_degrees: Option<f64>,
    /// Diffusion weighting in s/mm^2.
    pub(crate) b_value: Option<f64>,
    /// The direction of the diffusion gradient; `None` if there is none, or the image covers all directions.
    pub(crate) direction: Option<[f64; 3]>,
    pub(crate) temporal_position: Option<f64>,
    pub(crate) acquisition: Option<f64>,
    pub(crate) trigger_time_ms: Option<f64>,
    /// The slice's thickness along the normal, for a single slice.
    pub(crate) thickness_mm: Option<f64>,
}

/// The position of a frame, in the patient's coordinates of DICOM (LPS: x to the left, y to the back, z up), mm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plane {
    /// Unit step from one column to the next.
    pub(crate) along_row: Vector3<f64>,
    /// Unit step from one row to the next.
    pub(crate) along_column: Vector3<f64>,
    /// The centre of the first pixel.
    pub(crate) position: Vector3<f64>,
    /// The distance between columns and between rows.
    pub(crate) spacing_mm: [f64; 2],
}

/// The part of the complex signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Component {
    Magnitude,
    Phase,
    Real,
    Imaginary,
}

/// How far the direction cosines may be from unit length and from a right angle.
const COSINE_TOLERANCE: f64 = 1e-3;

impl Frame {
    /// Reads the attributes of a frame.
    ///
    /// # Errors
    /// Where the scaling of its values is there but not a number, as a sentence about the file.
    pub(crate) fn of(scope: Scope<'_>) -> Result<Self, String> {
        use tags::{
            FRAME_CONTENT_SEQUENCE, MR_ECHO_SEQUENCE, MR_IMAGE_FRAME_TYPE_SEQUENCE, MR_MODIFIER_SEQUENCE,
            MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, PIXEL_MEASURES_SEQUENCE,
            PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
        };
        let mut image_type = scope.words(MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::FRAME_TYPE);
        if image_type.is_empty() {
            image_type = attributes::words(scope.root(), tags::IMAGE_TYPE);
        }
        let component = scope.text(MR_IMAGE_FRAME_TYPE_SEQUENCE, tags::COMPLEX_IMAGE_COMPONENT);
        let echo = scope.number(MR_ECHO_SEQUENCE, tags::EFFECTIVE_ECHO_TIME);
        let inversion = scope.number(MR_MODIFIER_SEQUENCE, tags::INVERSION_TIMES);
        let (b_value, direction) = diffusion(scope);
        let spacing = scope.number(PIXEL_MEASURES_SEQUENCE, tags::SPACING_BETWEEN_SLICES);
        let rescale = |tag, name| scope.stated_number(PIXEL_VALUE_TRANSFORMATION_SEQUENCE, tag, name);
        let slope = rescale(tags::RESCALE_SLOPE, "RescaleSlope")?.unwrap_or(1.0);
        let intercept = rescale(tags::RESCALE_INTERCEPT, "RescaleIntercept")?.unwrap_or(0.0);
        let root = |tag| attributes::number(scope.root(), tag);
        Ok(Self {
            plane: plane(scope),
            rescale: [slope, intercept],
            component: component_of(component.as_deref(), &image_type),
            image_type,
            echo_time_ms: echo.or_else(|| root(tags::ECHO_TIME)),
            inversion_time_ms: inversion.or_else(|| root(tags::INVERSION_TIME)),
            flip_angle_degrees: scope.number(MR_TIMING_AND_RELATED_PARAMETERS_SEQUENCE, tags::FLIP_ANGLE),
            b_value,
            direction,
            temporal_position: scope
                .number(FRAME_CONTENT_SEQUENCE, tags::TEMPORAL_POSITION_INDEX)
                .or_else(|| root(tags::TEMPORAL_POSITION_IDENTIFIER)),
            acquisition: root(tags::ACQUISITION_NUMBER),
            trigger_time_ms: root(tags::TRIGGER_TIME),
            thickness_mm: spacing
                .or_else(|| scope.number(PIXEL_MEASURES_SEQUENCE, tags::SLICE_THICKNESS))
                .filter(|mm| *mm > 0.0),
        })
    }
}

fn plane(scope: Scope<'_>) -> Result<Plane, &'static str> {
    use tags::{PIXEL_MEASURES_SEQUENCE, PLANE_ORIENTATION_SEQUENCE, PLANE_POSITION_SEQUENCE};
    let position = scope
        .numbers(PLANE_POSITION_SEQUENCE, tags::IMAGE_POSITION_PATIENT)
        .ok_or("has no usable ImagePositionPatient")?;
    let [a, b, c, d, e, f] = scope
        .numbers(PLANE_ORIENTATION_SEQUENCE, tags::IMAGE_ORIENTATION_PATIENT)
        .ok_or("has no usable ImageOrientationPatient")?;
    let [between_rows, between_columns] =
        scope.numbers(PIXEL_MEASURES_SEQUENCE, tags::PIXEL_SPACING).ok_or("has no usable PixelSpacing")?;
    if between_rows <= 0.0 || between_columns <= 0.0 {
        return Err("has a PixelSpacing that is not positive");
    }
    let (along_row, along_column) = (Vector3::new(a, b, c), Vector3::new(d, e, f));
    let off_unit = |v: &Vector3<f64>| (v.norm() - 1.0).abs() > COSINE_TOLERANCE;
    if off_unit(&along_row)
        || off_unit(&along_column)
        || along_row.dot(&along_column).abs() > COSINE_TOLERANCE
    {
        return Err("has an ImageOrientationPatient that is not two unit vectors at a right angle");
    }
    Ok(Plane {
        along_row: along_row.normalize(),
        along_column: along_column.normalize(),
        position: Vector3::from(position),
        spacing_mm: [between_columns, between_rows],
    })
}

fn component_of(stated: Option<&str>, image_type: &[String]) -> Component {
    // The first two words are ORIGINAL/DERIVED and PRIMARY/SECONDARY; what follows depends on the manufacturer.
    let words = image_type.iter().skip(2).map(String::as_str).chain(stated);
    let mut found = Component::Magnitude;
    for word in words {
        match word {
            "P" | "PHASE" | "PHASE MAP" => found = Component::Phase,
            "R" | "REAL" => found = Component::Real,
            "I" | "IMAGINARY" => found = Component::Imaginary,
            _ => {}
        }
    }
    found
}

/// The b-value, and the gradient's direction if there is one.
fn diffusion(scope: Scope<'_>) -> (Option<f64>, Option<[f64; 3]>) {
    let sequence = tags::MR_DIFFUSION_SEQUENCE;
    let root = scope.root();
    let b_value = scope
        .number(sequence, tags::DIFFUSION_B_VALUE)
        .or_else(|| private(root, 0x0019, "SIEMENS MR HEADER", 0x0C))
        .or_else(|| private(root, 0x2001, "Philips Imaging DD 001", 0x03))
        // GE adds a constant of 10^9 to the b-value.
        .or_else(|| private(root, 0x0043, "GEMS_PARM_01", 0x39).map(|value| value % 100_000.0))
        .or_else(|| b_value_of(&attributes::text(root, tags::SEQUENCE_NAME)?));
    let gradient = tags::DIFFUSION_GRADIENT_ORIENTATION;
    let nested = |group: &dicom_object::InMemDicomObject| {
        let item = attributes::items(group, tags::DIFFUSION_GRADIENT_DIRECTION_SEQUENCE).first();
        item.and_then(|item| attributes::numbers(item, gradient))
    };
    let direction = scope.places(sequence).find_map(nested).or_else(|| attributes::numbers(root, gradient));
    let direction = direction.or_else(|| {
        let element = root.private_element(0x0019, "SIEMENS MR HEADER", 0x0E).ok()?;
        element.to_multi_float64().ok()?.try_into().ok()
    });
    let isotropic =
        scope.text(sequence, tags::DIFFUSION_DIRECTIONALITY).is_some_and(|text| text == "ISOTROPIC");
    let directed = |d: &[f64; 3]| !isotropic && d.iter().any(|x| *x != 0.0);
    (b_value.filter(|b| *b >= 0.0), direction.filter(directed))
}

fn private(root: &dicom_object::InMemDicomObject, group: u16, creator: &str, element: u8) -> Option<f64> {
    let values = root.private_element(group, creator, element).ok()?.to_multi_float64().ok()?;
    values.first().copied().filter(|value| value.is_finite())
}

/// `1000` of Siemens' `*ep_b1000t`.
fn b_value_of(sequence_name: &str) -> Option<f64> {
    let (_, after) = sequence_name.trim_start_matches('*').strip_prefix("ep")?.split_once("_b")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).map_or(after, |end| &after[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_values_in_names_of_sequences() {
        let rows = [
            ("*ep_b1000t", Some(1000.0)),
            ("*ep_b0", Some(0.0)),
            ("ep_b50#3", Some(50.0)),
            ("*tse2d1_9", None),
        ];
        for (name, expected) in rows {
            assert_eq!(b_value_of(name), expected, "{name}");
        }
        assert_eq!(b_value_of("*fl3d_b1000"), None, "not echo-planar");
    }

    #[test]
    fn the_part_of_the_signal_comes_after_the_first_two_words() {
        let words = |text: &str| text.split('\\').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(component_of(None, &words("ORIGINAL\\PRIMARY\\P\\ND")), Component::Phase);
        assert_eq!(component_of(Some("REAL"), &words("ORIGINAL\\PRIMARY")), Component::Real);
        assert_eq!(component_of(Some("MAGNITUDE"), &words("ORIGINAL\\PRIMARY\\M")), Component::Magnitude);
    }
}
