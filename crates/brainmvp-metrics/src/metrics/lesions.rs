//! Metrics that count lesions ([`crate::lesions`]). Where there is no lesion, or no prediction, their own rule says what
//! that is worth.

use super::{Better, Measured, SegmentationMetric, Unit, WhenEmpty};

/// The mean Dice over lesions and false alarms.
pub(super) static DICE: SegmentationMetric = SegmentationMetric {
    name: "lesion_dice",
    title: "Lesion Dice",
    formula: |pair| pair.lesions().dice(),
    ..SHARE
};

/// The mean HD95 over lesions and false alarms.
pub(super) static HD95: SegmentationMetric = SegmentationMetric {
    name: "lesion_hd95_mm",
    title: "Lesion HD95",
    unit: Unit::Millimetre,
    better: Better::Lower,
    formula: |pair| pair.lesions().hd95_mm(),
    ..SHARE
};

/// F1 of the detection, 2 TP / (2 TP + FP + FN).
pub(super) static F1: SegmentationMetric = SegmentationMetric {
    name: "lesion_f1",
    title: "Lesion F1",
    formula: |pair| {
        let lesions = pair.lesions();
        let wrong = lesions.false_positives() + lesions.false_negatives();
        share(pair, 2 * lesions.true_positives(), wrong)
    },
    ..SHARE
};

/// The share of the lesions that were found, TP / (TP + FN).
pub(super) static SENSITIVITY: SegmentationMetric = SegmentationMetric {
    name: "lesion_sensitivity",
    title: "Lesion sensitivity",
    formula: |pair| share(pair, pair.lesions().true_positives(), pair.lesions().false_negatives()),
    ..SHARE
};

/// The share of the findings that are lesions, TP / (TP + FP).
pub(super) static PRECISION: SegmentationMetric = SegmentationMetric {
    name: "lesion_precision",
    title: "Lesion precision",
    formula: |pair| share(pair, pair.lesions().true_positives(), pair.lesions().false_positives()),
    ..SHARE
};

/// TP, the lesions that were found.
pub(super) static FOUND: SegmentationMetric = SegmentationMetric {
    name: "lesion_tp",
    title: "Lesions found",
    better: Better::Neither,
    formula: |pair| pair.lesions().true_positives() as f64,
    ..COUNT
};

/// FN, the lesions that were missed.
pub(super) static MISSED: SegmentationMetric = SegmentationMetric {
    name: "lesion_fn",
    title: "Lesions missed",
    formula: |pair| pair.lesions().false_negatives() as f64,
    ..COUNT
};

/// FP, the predicted components that belong to no lesion.
pub(super) static FALSE: SegmentationMetric = SegmentationMetric {
    name: "lesion_fp",
    title: "False lesions",
    formula: |pair| pair.lesions().false_positives() as f64,
    ..COUNT
};

/// What the shares have in common.
const SHARE: SegmentationMetric = SegmentationMetric {
    name: "",
    title: "",
    unit: Unit::Share,
    better: Better::Higher,
    symmetric: false,
    when_empty: WhenEmpty::OwnRule,
    formula: |_| f64::NAN,
};

/// What the counts have in common.
const COUNT: SegmentationMetric =
    SegmentationMetric { unit: Unit::Count, better: Better::Lower, when_empty: WhenEmpty::Defined, ..SHARE };

/// The share of `right` among both. Of nothing it is that of an empty mask: 1 where there is neither a lesion nor a
/// false alarm, otherwise 0.
fn share(pair: &Measured<'_>, right: usize, wrong: usize) -> f64 {
    if right + wrong > 0 {
        return right as f64 / (right + wrong) as f64;
    }
    let lesions = pair.lesions();
    f64::from(u8::from(lesions.counted().is_empty() && lesions.false_positives() == 0))
}
