//! Metrics of the distances between two surfaces.
//!
//! A surface is the voxels of a mask with a face-neighbour outside it, and distances are between voxel centres, as
//! MONAI computes them.

use super::{Better, SegmentationMetric, Unit, WhenEmpty};
use crate::MaskPair;

/// Distances that exceed the tolerance by less than this fraction of it still count as within it: the rounding of a
/// product such as 20 voxels x 0.1 mm must not be decisive.
const ROUNDING: f64 = 1e-6;

/// HD95, the larger of the two directions' 95th percentiles (with numpy's linear interpolation).
pub(super) static HD95: SegmentationMetric = SegmentationMetric {
    name: "hd95_mm",
    title: "HD95",
    unit: Unit::Millimetre,
    better: Better::Lower,
    symmetric: true,
    when_empty: WhenEmpty::Distance,
    formula: |pair| larger(pair, |sorted| percentile(sorted, 95.0)),
};

/// HD, the Hausdorff distance: the largest distance of either direction.
pub(super) static HD: SegmentationMetric = SegmentationMetric {
    name: "hd_mm",
    title: "HD",
    unit: Unit::Millimetre,
    better: Better::Lower,
    symmetric: true,
    when_empty: WhenEmpty::Distance,
    formula: |pair| larger(pair, |sorted| sorted.last().copied().unwrap_or(f64::NAN)),
};

/// ASSD, the average symmetric surface distance: the mean over the distances of both directions together.
pub(super) static ASSD: SegmentationMetric = SegmentationMetric {
    name: "assd_mm",
    title: "ASSD",
    unit: Unit::Millimetre,
    better: Better::Lower,
    symmetric: true,
    when_empty: WhenEmpty::Distance,
    formula: |pair| {
        let surfaces = pair.surface_distances();
        let sum = surfaces.to_truth.iter().sum::<f64>() + surfaces.to_prediction.iter().sum::<f64>();
        sum / (surfaces.to_truth.len() + surfaces.to_prediction.len()) as f64
    },
};

/// NSD, the normalised surface Dice: the share of both surfaces that is within the tolerance of the other
/// (Nikolov et al. 2021).
pub(super) static NSD: SegmentationMetric = SegmentationMetric {
    name: "nsd",
    title: "NSD",
    unit: Unit::Share,
    better: Better::Higher,
    symmetric: true,
    when_empty: WhenEmpty::Share,
    formula: |pair| {
        let tolerance_mm = pair.config.nsd_tolerance_mm * (1.0 + ROUNDING);
        let surfaces = pair.surface_distances();
        let within = |sorted: &[f64]| sorted.partition_point(|mm| *mm <= tolerance_mm);
        let close = within(&surfaces.to_truth) + within(&surfaces.to_prediction);
        close as f64 / (surfaces.to_truth.len() + surfaces.to_prediction.len()) as f64
    },
};

/// The larger value of both directions; NaN if either is.
fn larger(pair: &MaskPair, of: impl Fn(&[f64]) -> f64) -> f64 {
    let surfaces = pair.surface_distances();
    let (a, b) = (of(&surfaces.to_truth), of(&surfaces.to_prediction));
    if a.is_nan() || b > a { b } else { a }
}

/// The `percent`th percentile of ascending values by linear interpolation; NaN if there are none.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let rank = percent / 100.0 * last as f64;
    let (below, above) = (sorted[rank as usize], sorted[(rank.ceil() as usize).min(last)]);
    below + (above - below) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        // numpy.percentile([1, 2, 4, 8], [0, 50, 95, 100])
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (percent, expected) in [(0.0, 1.0), (50.0, 3.0), (95.0, 7.4), (100.0, 8.0)] {
            assert!((percentile(&sorted, percent) - expected).abs() < 1e-12);
        }
        assert!(percentile(&[], 95.0).is_nan());
    }
}
