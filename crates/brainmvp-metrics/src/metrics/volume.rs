//! Volumes of the masks. They are defined for empty masks too.

use super::{Better, SegmentationMetric, Unit, WhenEmpty};

/// The predicted volume.
pub(super) static VOLUME: SegmentationMetric = SegmentationMetric {
    name: "volume_mm3",
    title: "Volume",
    unit: Unit::CubicMillimetre,
    better: Better::Neither,
    symmetric: false,
    when_empty: WhenEmpty::Defined,
    formula: |pair| pair.voxels().prediction as f64 * pair.voxel_mm3(),
};

/// The true volume.
pub(super) static TRUTH_VOLUME: SegmentationMetric = SegmentationMetric {
    name: "truth_volume_mm3",
    title: "True volume",
    unit: Unit::CubicMillimetre,
    better: Better::Neither,
    symmetric: false,
    when_empty: WhenEmpty::Defined,
    formula: |pair| pair.voxels().truth as f64 * pair.voxel_mm3(),
};

/// The predicted volume minus the true one. Its mean is the bias.
pub(super) static VOLUME_DIFFERENCE: SegmentationMetric = SegmentationMetric {
    name: "volume_difference_mm3",
    title: "Difference",
    unit: Unit::CubicMillimetre,
    better: Better::NearZero,
    symmetric: false,
    when_empty: WhenEmpty::Defined,
    formula: |pair| (pair.voxels().prediction as f64 - pair.voxels().truth as f64) * pair.voxel_mm3(),
};
