//! Metrics of the overlap of two masks.

use super::{Better, SegmentationMetric, Unit, WhenEmpty};

/// Dice, the share of common voxels: 2 |P and T| / (|P| + |T|) (Dice 1945).
pub(super) static DICE: SegmentationMetric = SegmentationMetric {
    name: "dice",
    title: "Dice",
    unit: Unit::Share,
    better: Better::Higher,
    symmetric: true,
    when_empty: WhenEmpty::Share,
    formula: |pair| {
        let voxels = pair.voxels();
        2.0 * voxels.common as f64 / (voxels.prediction + voxels.truth) as f64
    },
};

/// Sensitivity (recall), the share of the truth that was found: |P and T| / |T|.
pub(super) static SENSITIVITY: SegmentationMetric = SegmentationMetric {
    name: "sensitivity",
    title: "Sensitivity",
    unit: Unit::Share,
    better: Better::Higher,
    symmetric: false,
    when_empty: WhenEmpty::Share,
    formula: |pair| pair.voxels().common as f64 / pair.voxels().truth as f64,
};

/// Precision, the share of the prediction that is correct: |P and T| / |P|.
pub(super) static PRECISION: SegmentationMetric = SegmentationMetric {
    name: "precision",
    title: "Precision",
    unit: Unit::Share,
    better: Better::Higher,
    symmetric: false,
    when_empty: WhenEmpty::Share,
    formula: |pair| pair.voxels().common as f64 / pair.voxels().prediction as f64,
};
