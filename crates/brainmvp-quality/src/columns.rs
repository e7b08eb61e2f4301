//! The columns of the table: one line each.

use crate::outliers::Scale;
use crate::record::{ImageRecord, MeasuredIn, Original, Prepared, Registered};
use crate::table::Row;

/// A column of the table.
#[derive(Debug)]
pub struct Column {
    /// The name in the CSV file.
    pub name: &'static str,
    /// The heading on the page.
    pub title: &'static str,
    /// What it means and how it is measured.
    pub about: &'static str,
    /// Whether the page shows it only on demand.
    pub is_detail: bool,
    /// Whether brains and whole heads are compared separately, since the value depends on where in the image it was
    /// measured.
    pub(crate) is_of_part: bool,
    pub(crate) value: Value,
}

/// How the cells of a column are filled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    /// A word; if `is_compared`, an image is flagged when nine of ten images of its modality have another word.
    Text { of: fn(&Row<'_>) -> Option<String>, is_compared: bool },
    /// A number, flagged where it is an outlier on a scale.
    Number { of: fn(&Row<'_>) -> Option<f64>, digits: Digits, compared: Option<Scale> },
}

/// How a number is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Digits {
    /// This many decimal places.
    Decimals(usize),
    /// Four significant digits: grey values may be thousands, or thousandths.
    Four,
}

impl Digits {
    pub(crate) fn of(self, value: f64) -> String {
        let decimals = match self {
            Self::Decimals(decimals) => decimals,
            Self::Four if value == 0.0 || !value.is_finite() => 0,
            Self::Four => (3 - value.abs().log10().floor() as i32).clamp(0, 12) as usize,
        };
        format!("{value:.decimals$}")
    }
}

const fn grey_value(of: fn(&Row<'_>) -> Option<f64>, compared: Option<Scale>) -> Value {
    Value::Number { of, digits: Digits::Four, compared }
}

const fn text(of: fn(&Row<'_>) -> Option<String>) -> Value {
    Value::Text { of, is_compared: false }
}

const fn word(of: fn(&Row<'_>) -> Option<String>) -> Value {
    Value::Text { of, is_compared: true }
}

const fn number(decimals: usize, of: fn(&Row<'_>) -> Option<f64>) -> Value {
    Value::Number { of, digits: Digits::Decimals(decimals), compared: None }
}

const fn by_ratio(decimals: usize, floor: f64, of: fn(&Row<'_>) -> Option<f64>) -> Value {
    Value::Number { of, digits: Digits::Decimals(decimals), compared: Some(Scale::Ratio { floor }) }
}

const fn by_difference(decimals: usize, floor: f64, of: fn(&Row<'_>) -> Option<f64>) -> Value {
    Value::Number { of, digits: Digits::Decimals(decimals), compared: Some(Scale::Difference { floor }) }
}

const fn column(name: &'static str, title: &'static str, about: &'static str, value: Value) -> Column {
    Column { name, title, about, is_detail: false, is_of_part: false, value }
}

const fn detail(name: &'static str, title: &'static str, about: &'static str, value: Value) -> Column {
    Column { is_detail: true, ..column(name, title, about, value) }
}

const fn of_part(name: &'static str, title: &'static str, about: &'static str, value: Value) -> Column {
    Column { is_of_part: true, ..column(name, title, about, value) }
}

/// All columns, in their order.
pub static COLUMNS: &[Column] = &[
    column("case", "Case", "The name of the case.", text(|row| Some(row.record.case.id.to_string()))),
    detail("subject", "Subject", "The person.", text(|row| Some(row.record.case.subject.clone()))),
    detail(
        "data_set",
        "Data set",
        "The data set that the case comes from.",
        text(|row| Some(row.record.case.data_set.clone())),
    ),
    column(
        "site",
        "Site",
        "The hospital or scanner, according to the cohort.",
        text(|row| row.record.case.site.clone()),
    ),
    detail(
        "class",
        "Class",
        "The class, according to the cohort.",
        text(|row| row.record.case.class.clone()),
    ),
    detail(
        "numbers",
        "Numbers",
        "The numbers of the case that a regression can learn, according to the cohort.",
        text(|row| {
            let all = row.record.case.numbers.iter().map(|(name, number)| format!("{name} {number}"));
            Some(all.collect::<Vec<_>>().join(", ")).filter(|all| !all.is_empty())
        }),
    ),
    detail(
        "split",
        "Split",
        "The split: training, validation or test.",
        text(|row| row.record.case.split.map(|split| format!("{split:?}").to_lowercase())),
    ),
    column(
        "modality",
        "Modality",
        "The modality of the image.",
        text(|row| row.image.map(|image| image.modality.to_string())),
    ),
    column(
        "status",
        "Status",
        "Whether the case is in the cache.",
        text(|row| Some(row.status().to_owned())),
    ),
    detail("file", "File", "Whether the original file could be read.", text(file_state)),
    column(
        "size",
        "Size",
        "Voxels along the axes of the file.",
        text(|row| original(row).map(|o| by(&o.shape.map(|n| n.to_string())))),
    ),
    detail(
        "spacing_mm",
        "Spacing, mm",
        "Voxel size along the axes of the file.",
        text(|row| original(row).map(|o| by(&o.spacing_mm.map(|mm| short(mm, 2))))),
    ),
    column(
        "in_plane_mm",
        "In plane, mm",
        "The smallest of the three voxel sizes.",
        by_ratio(2, 1.25, |row| {
            original(row).map(|o| o.spacing_mm.into_iter().fold(f64::INFINITY, f64::min))
        }),
    ),
    column(
        "slice_mm",
        "Slices, mm",
        "The largest of the three voxel sizes: from slice to slice.",
        by_ratio(2, 1.25, |row| original(row).map(|o| o.spacing_mm.into_iter().fold(0.0, f64::max))),
    ),
    detail(
        "extent_mm",
        "Extent, mm",
        "Field of view along its shortest axis.",
        by_ratio(0, 1.25, |row| {
            original(row)
                .map(|o| (0..3).map(|i| o.shape[i] as f64 * o.spacing_mm[i]).fold(f64::INFINITY, f64::min))
        }),
    ),
    column(
        "orientation",
        "Axes",
        "The directions of the file's axes: R, A, S for right, front, top.",
        word(|row| original(row).map(|o| o.orientation.clone())),
    ),
    detail(
        "oblique_deg",
        "Oblique, °",
        "The largest angle between an axis of the file and the nearest axis of the body.",
        by_difference(1, 10.0, |row| original(row).map(|o| o.oblique_deg)),
    ),
    column(
        "skull",
        "Skull",
        "Whether the file shows the skull: 'stripped' if at least a fifth of it is one background value and the rest no larger than a brain.",
        word(|row| original(row).map(|o| if o.is_stripped { "stripped" } else { "on" }.to_owned())),
    ),
    detail(
        "not_finite",
        "Not finite",
        "Voxels of the file that are NaN or infinite.",
        number(0, |row| original(row).map(|o| o.not_finite as f64)),
    ),
    detail(
        "measured_in",
        "Measured in",
        "Where grey values, noise and SNR of the file are measured: in the brain mask, otherwise in all of a stripped image, otherwise in the head.",
        text(|row| {
            original(row).map(|o| {
                match o.measured_in {
                    MeasuredIn::BrainMask => "brain mask",
                    MeasuredIn::StrippedImage => "stripped image",
                    MeasuredIn::Head => "head",
                }
                .to_owned()
            })
        }),
    ),
    detail(
        "grey_p05",
        "Grey 5 %",
        "5th percentile of the file's grey values, where measured.",
        grey_value(|row| grey(row).map(|p| p[0]), None),
    ),
    of_part(
        "grey_median",
        "Grey, median",
        "Median of the file's grey values, where measured.",
        grey_value(|row| grey(row).map(|p| p[1]), Some(Scale::Ratio { floor: 1.5 })),
    ),
    detail(
        "grey_p95",
        "Grey 95 %",
        "95th percentile of the file's grey values, where measured.",
        grey_value(|row| grey(row).map(|p| p[2]), None),
    ),
    of_part(
        "contrast",
        "Contrast",
        "(p95 - p5) / (p95 + p5) of the file's grey values, where measured.",
        by_difference(2, 0.1, |row| {
            grey(row)
                .filter(|[low, _, high]| low + high > 0.0)
                .map(|[low, _, high]| (high - low) / (high + low))
        }),
    ),
    detail(
        "noise",
        "Noise",
        "Standard deviation of the noise: median absolute deviation of the finest diagonal wavelet coefficients (Coupé et al. 2010).",
        grey_value(|row| original(row).and_then(|o| o.noise), None),
    ),
    of_part(
        "snr",
        "SNR",
        "Median grey value divided by the noise. Smoothing and interpolation make it higher than it was in the scanner's image.",
        by_ratio(1, 1.5, |row| original(row).and_then(|o| o.snr)),
    ),
    column(
        "mask",
        "Brain mask",
        "Where the mask comes from: given with the case, found by this program, of the stripped images of the case, none needed (all are stripped), or none (the skull is left on).",
        text(|row| row.record.skull.as_ref().map(|skull| skull.mask.clone())),
    ),
    column(
        "brain_ml",
        "Brain, ml",
        "Volume of the brain mask or, without one, of the stripped brain, in the patient's own space.",
        by_ratio(0, 1.15, |row| row.record.skull.as_ref().map(|skull| skull.brain_ml)),
    ),
    detail(
        "touches",
        "Mask touches",
        "Sides of the field of view that the mask touches.",
        text(|row| {
            row.record
                .skull
                .as_ref()
                .filter(|skull| !skull.touches.is_empty())
                .map(|skull| skull.touches.join(" "))
        }),
    ),
    detail(
        "registered_onto",
        "Registered onto",
        "The image or atlas that it was registered to.",
        text(|row| match (registered(row), &row.record.already_in) {
            (Some(found), _) => Some(found.onto.clone().unwrap_or("the reference itself".to_owned())),
            (None, Some(space)) => row.image.map(|_| format!("already in {space}")),
            (None, None) => None,
        }),
    ),
    column(
        "similarity",
        "Similarity",
        "Mutual information with the image it was registered to; a case below the limit is left out.",
        by_difference(3, 0.02, |row| registered(row).and_then(|r| r.similarity)),
    ),
    detail(
        "overlap",
        "Overlap",
        "Share of the head that is in both images.",
        by_difference(2, 0.1, |row| registered(row).and_then(|r| r.overlap)),
    ),
    detail(
        "rotation_deg",
        "Rotation, °",
        "Rotation from the file to the prepared case.",
        by_difference(1, 10.0, |row| registered(row).map(|r| r.rotation_deg)),
    ),
    detail(
        "shift_mm",
        "Shift, mm",
        "The distance by which the middle of the brain was moved.",
        number(1, |row| registered(row).map(|r| r.shift_mm)),
    ),
    detail(
        "scale_largest",
        "Largest scale",
        "Largest stretch to the atlas.",
        by_difference(3, 0.1, |row| registered(row).map(|r| r.scales[0])),
    ),
    detail(
        "scale_smallest",
        "Smallest scale",
        "Smallest stretch to the atlas.",
        by_difference(3, 0.1, |row| registered(row).map(|r| r.scales[1])),
    ),
    column(
        "prepared_median",
        "Prepared, median",
        "Median of the prepared image in the brain, from 0 to 1.",
        by_difference(2, 0.1, |row| prepared(row).and_then(|p| p.percentiles).map(|p| p[1])),
    ),
    detail(
        "prepared_white",
        "Prepared, white",
        "Share of the brain that is at the upper end of the scale.",
        by_difference(3, 0.02, |row| prepared(row).map(|p| p.white_share)),
    ),
    column(
        "prepared_empty",
        "Prepared, empty",
        "Share of the brain that the image does not cover: the prepared image is 0 there.",
        by_difference(3, 0.02, |row| prepared(row).map(|p| p.empty_share)),
    ),
    detail(
        "label",
        "Label",
        "Whether the case has a label map.",
        text(|row| Some(if row.record.has_label { "yes" } else { "no" }.to_owned())),
    ),
];

fn image<'a>(row: &Row<'a>) -> Option<&'a ImageRecord> {
    row.image
}

fn original<'a>(row: &Row<'a>) -> Option<&'a Original> {
    image(row)?.original.as_ref()
}

fn file_state(row: &Row<'_>) -> Option<String> {
    let image = image(row)?;
    let read = image.original.is_some();
    (read || image.unread.is_some()).then(|| if read { "read" } else { "not read" }.to_owned())
}

fn registered<'a>(row: &Row<'a>) -> Option<&'a Registered> {
    image(row)?.registered.as_ref()
}

fn prepared<'a>(row: &Row<'a>) -> Option<&'a Prepared> {
    image(row)?.prepared.as_ref()
}

fn grey(row: &Row<'_>) -> Option<[f64; 3]> {
    original(row)?.percentiles
}

/// `240 x 240 x 155`.
fn by(parts: &[String; 3]) -> String {
    parts.join(" x ")
}

/// A number without trailing zeros.
pub(crate) fn short(value: f64, decimals: usize) -> String {
    without_zeros(&format!("{value:.decimals$}"))
}

/// `1.50` becomes `1.5`; `100` stays as it is.
pub(crate) fn without_zeros(number: &str) -> String {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_programs_and_unique() {
        for (index, column) in COLUMNS.iter().enumerate() {
            assert!(column.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            assert!(COLUMNS[..index].iter().all(|other| other.name != column.name), "{}", column.name);
            assert!(column.about.ends_with('.'), "{}", column.name);
        }
    }

    #[test]
    fn numbers_as_they_are_written() {
        assert_eq!(
            [1234.56, 98.765, 0.000_812_34, 0.0, -3.0].map(|v| Digits::Four.of(v)),
            ["1235", "98.77", "0.0008123", "0", "-3.000"]
        );
        assert_eq!(
            [short(1.0, 2), short(0.9375, 2), short(5.5, 2), short(100.0, 0)],
            ["1", "0.94", "5.5", "100"]
        );
    }
}
