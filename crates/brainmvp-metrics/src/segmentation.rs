//! Scoring a predicted label map, region by region.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use brainmvp_volume::orientation::{self, Reorientation};
use brainmvp_volume::{Grid, LabelMap};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::lesions::LesionRule;
use crate::mask::Labels;
use crate::metrics::{Measured, WhenEmpty};
use crate::{Emptiness, Error, Mask, MaskPair, Metric, Region, Result, Score};

/// How far apart the corners of equal grids may be, in voxels of the smallest size.
const PLACE_TOLERANCE_VOXELS: f64 = 0.1;

/// The metrics to compute, and the rules for empty masks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SegmentationConfig {
    /// The metrics, by name.
    pub metrics: Vec<Metric>,
    /// How far apart surfaces may be to agree, for `nsd`.
    pub nsd_tolerance_mm: f64,
    /// The rules for empty masks.
    pub empty: EmptyRule,
    /// How lesions are told apart, for the metrics that count them.
    pub lesions: LesionRule,
}

/// The score where a mask is empty and a metric is undefined. Volumes and counts are always defined, and lesion-wise
/// scores wherever they are not left out. By default no case is left out and a missed structure gets the worst value, so that missing it never improves a mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmptyRule {
    /// Where both masks are empty.
    pub both: BothEmpty,
    /// Where one mask is empty: the structure was missed, or predicted where there is none.
    pub one: OneEmpty,
    /// The worst distance, in mm; the diagonal of the image if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty_mm: Option<f64>,
}

/// The score where both masks are empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BothEmpty {
    /// The best value: 1 for shares, 0 mm for distances.
    #[default]
    Best,
    /// None: the case is left out, and summaries state how many were.
    Excluded,
    /// The formula's value: NaN, as in MONAI.
    Undefined,
}

/// The score where one mask is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OneEmpty {
    /// The worst value: 0 for shares, the penalty for distances.
    #[default]
    Worst,
    /// None: the case is left out, and summaries state how many were. Misses then do not lower a mean.
    Excluded,
    /// The formula's value: NaN or infinity for distances, as in MONAI.
    Undefined,
}

/// The scores of one region of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionScores {
    /// The region.
    pub region: String,
    /// Which mask was empty.
    pub empty: Emptiness,
    /// The metrics in the order of tables.
    pub values: BTreeMap<Metric, Score>,
}

impl Default for SegmentationConfig {
    fn default() -> Self {
        Self {
            metrics: Metric::all().collect(),
            nsd_tolerance_mm: 2.0,
            empty: EmptyRule::default(),
            lesions: LesionRule::default(),
        }
    }
}

impl SegmentationConfig {
    /// Scores a prediction against the truth, both on one grid, which may be stored in different orders of its axes and
    /// directions: one entry for each of `regions`, in their order.
    ///
    /// # Errors
    /// As [`Self::evaluate_as`].
    pub fn evaluate(
        &self,
        prediction: &LabelMap,
        truth: &LabelMap,
        regions: &[Region],
    ) -> Result<Vec<RegionScores>> {
        let same = |region: &Region| (region.clone(), region.labels().clone());
        self.evaluate_as(prediction, truth, &regions.iter().map(same).collect::<Vec<_>>(), &BTreeSet::new())
    }

    /// The same where the two number their labels differently: each region has its own values in the prediction, and
    /// those beside it in the truth. Voxels with `ignored` values in the truth count nowhere, whatever is predicted there.
    ///
    /// # Errors
    /// [`Error::Grids`] if the grids differ; [`Error::Spacing`] and [`Error::Config`] if voxel sizes or settings
    /// are not usable numbers.
    pub fn evaluate_as(
        &self,
        prediction: &LabelMap,
        truth: &LabelMap,
        regions: &[(Region, BTreeSet<u16>)],
        ignored: &BTreeSet<u16>,
    ) -> Result<Vec<RegionScores>> {
        self.validate()?;
        let affine = truth.grid().affine;
        let tolerance_mm =
            PLACE_TOLERANCE_VOXELS * affine.spacing_mm().iter().copied().fold(f64::MAX, f64::min);
        let prediction = in_order_of(prediction, truth, tolerance_mm)?;
        let (prediction, truth) = rayon::join(
            || Labels::new(prediction.shape(), prediction.voxels()),
            || Labels::new(truth.shape(), truth.voxels()),
        );
        let ignored = (!ignored.is_empty()).then(|| truth.mask(ignored));
        let known = |mask: Mask| match &ignored {
            Some(ignored) => mask.without(ignored),
            None => mask,
        };
        let score = |(region, of_truth): &(Region, BTreeSet<u16>)| {
            let (prediction, truth) =
                rayon::join(|| known(prediction.mask(region.labels())), || known(truth.mask(of_truth)));
            let pair = MaskPair::new(prediction, truth, &affine)?;
            Ok(self.score_pair(region.name(), &pair))
        };
        regions.par_iter().map(score).collect()
    }

    /// All metrics of a pair of masks.
    pub fn score_pair(&self, region: &str, pair: &MaskPair) -> RegionScores {
        let measured = Measured::new(pair, self);
        let values = self.metrics.iter().map(|metric| (*metric, self.judge(*metric, &measured))).collect();
        RegionScores { region: region.to_owned(), empty: pair.emptiness(), values }
    }

    /// One metric of a pair of masks.
    pub fn score(&self, metric: Metric, pair: &MaskPair) -> Score {
        self.judge(metric, &Measured::new(pair, self))
    }

    fn judge(&self, metric: Metric, pair: &Measured<'_>) -> Score {
        let formula = || Score::new((metric.formula)(pair));
        // The value of a share or a distance where a mask is empty.
        let either = |share: f64, distance_mm: f64| match metric.when_empty {
            WhenEmpty::Share => Score::new(share),
            WhenEmpty::Distance => Score::new(distance_mm),
            WhenEmpty::OwnRule | WhenEmpty::Defined => formula(),
        };
        match pair.emptiness() {
            _ if metric.when_empty == WhenEmpty::Defined => formula(),
            Emptiness::Neither => formula(),
            Emptiness::Both => match self.empty.both {
                BothEmpty::Best => either(1.0, 0.0),
                BothEmpty::Excluded => Score::EXCLUDED,
                BothEmpty::Undefined => formula(),
            },
            Emptiness::Prediction | Emptiness::Truth => match self.empty.one {
                OneEmpty::Worst => either(0.0, self.empty.penalty_mm.unwrap_or_else(|| pair.diagonal_mm())),
                OneEmpty::Excluded => Score::EXCLUDED,
                OneEmpty::Undefined => formula(),
            },
        }
    }

    /// Refuses settings that are impossible.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: String, expected: &str| {
            Err(Error::Config { field, value, expected: expected.to_owned() })
        };
        let different: BTreeSet<Metric> = self.metrics.iter().copied().collect();
        if self.metrics.is_empty() || different.len() < self.metrics.len() {
            return refuse("metrics", format!("{:?}", self.metrics), "one metric or more, each once");
        }
        if !(self.nsd_tolerance_mm.is_finite() && self.nsd_tolerance_mm >= 0.0) {
            return refuse(
                "nsd_tolerance_mm",
                self.nsd_tolerance_mm.to_string(),
                "a distance of 0 mm or more",
            );
        }
        match self.empty.penalty_mm {
            Some(mm) if !(mm.is_finite() && mm > 0.0) => {
                let expected = "a distance above 0 mm; leave it out for the image's diagonal";
                refuse("empty.penalty_mm", mm.to_string(), expected)
            }
            _ => self.lesions.validate(),
        }
    }
}

/// The prediction with its voxels in the order of the truth's. Voxels are moved, never interpolated.
fn in_order_of<'a>(
    prediction: &'a LabelMap,
    truth: &LabelMap,
    tolerance_mm: f64,
) -> Result<Cow<'a, LabelMap>> {
    let order = Reorientation::between(prediction.grid(), truth.grid(), tolerance_mm);
    let order = order.ok_or_else(|| Error::Grids {
        prediction: describe(prediction.grid()),
        truth: describe(truth.grid()),
    })?;
    Ok(if order.is_identity() { Cow::Borrowed(prediction) } else { Cow::Owned(order.apply(prediction)) })
}

/// Shape, spacing, origin and orientation as text.
fn describe(grid: &Grid) -> String {
    let rounded = |v: [f64; 3]| v.map(|mm| (mm * 1000.0).round() / 1000.0);
    let (spacing, origin) = (rounded(grid.affine.spacing_mm()), rounded(grid.affine.origin_mm()));
    let code = orientation::code(&grid.affine);
    format!("{:?} voxels of {spacing:?} mm from {origin:?} mm, {code}", grid.shape)
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    fn labels(spacing_mm: f64, voxels: &[u16]) -> LabelMap {
        let grid = Grid::new([voxels.len(), 1, 1], Affine::from_spacing([spacing_mm; 3], [0.0; 3]));
        LabelMap::new(grid, voxels.to_vec())
    }

    #[test]
    fn regions_are_unions_of_labels() {
        let regions = [Region::new("WT", [1, 2]).unwrap(), Region::new("TC", [2]).unwrap()];
        let (prediction, truth) = (labels(2.0, &[0, 1, 1, 0, 0]), labels(2.0, &[0, 1, 2, 2, 0]));
        let found = SegmentationConfig::default().evaluate(&prediction, &truth, &regions).unwrap();
        let dice = Metric::named("dice").unwrap();
        assert_eq!(found[0].values[&dice], Score::new(0.8));
        assert_eq!((found[1].region.as_str(), found[1].empty), ("TC", Emptiness::Prediction));
        assert_eq!(found[1].values[&dice], Score::new(0.0));
        let volume = Metric::named("volume_mm3").unwrap();
        assert_eq!(found[0].values[&volume], Score::new(16.0));
    }

    #[test]
    fn truth_and_prediction_may_number_their_labels_differently() {
        let regions = [(Region::new("ET", [3]).unwrap(), BTreeSet::from([4]))];
        let (prediction, truth) = (labels(1.0, &[0, 3, 3, 4]), labels(1.0, &[0, 4, 4, 3]));
        let found = SegmentationConfig::default()
            .evaluate_as(&prediction, &truth, &regions, &BTreeSet::new())
            .unwrap();
        assert_eq!(found[0].values[&Metric::named("dice").unwrap()], Score::new(1.0));
    }

    proptest::proptest! {
        #[test]
        fn what_is_predicted_in_ignored_voxels_changes_no_metric(
            truth in proptest::collection::vec(0_u16..4, 60),
            predicted in proptest::collection::vec(0_u16..3, 60),
            there in proptest::collection::vec(0_u16..3, 60),
        ) {
            let grid = Grid::new([5, 4, 3], Affine::from_spacing([1.0, 2.0, 3.0], [0.0; 3]));
            let same = |region: Region| (region.clone(), region.labels().clone());
            let regions = [Region::new("a", [1]).unwrap(), Region::new("all", [1, 2]).unwrap()].map(same);
            let other = predicted.iter().zip(&there).zip(&truth);
            let other: Vec<u16> = other.map(|((p, o), t)| if *t == 3 { *o } else { *p }).collect();
            let truth = LabelMap::new(grid, truth);
            let scores = |predicted: Vec<u16>| {
                let predicted = LabelMap::new(grid, predicted);
                SegmentationConfig::default()
                    .evaluate_as(&predicted, &truth, &regions, &BTreeSet::from([3]))
                    .unwrap()
            };
            proptest::prop_assert_eq!(scores(predicted), scores(other));
        }
    }

    #[test]
    fn other_grids_are_refused() {
        let region = [Region::new("WT", [1]).unwrap()];
        let config = SegmentationConfig::default();
        let error = config.evaluate(&labels(1.0, &[1, 0]), &labels(1.5, &[1, 0]), &region).unwrap_err();
        assert!(error.to_string().contains("1.5"), "{error}");
    }

    #[test]
    fn another_storage_order_is_scored_as_it_lies() {
        let rows = |columns: [[f64; 3]; 3], origin: [f64; 3]| {
            Affine::from_rows(std::array::from_fn(|r| {
                [columns[0][r], columns[1][r], columns[2][r], origin[r]]
            }))
        };
        let grid = Grid::new([4, 3, 2], rows([[1.0, 0.0, 0.1], [0.0, 2.0, 0.0], [-0.1, 0.0, 3.0]], [5.0; 3]));
        let truth = LabelMap::new(grid, (0..24).map(|i| u16::from(i % 5 == 0)).collect());
        let region = [Region::new("WT", [1]).unwrap()];
        let config = SegmentationConfig::default();
        let score = |prediction: &LabelMap| config.evaluate(prediction, &truth, &region);
        let same = score(&truth).unwrap();
        // Axes in the order y, z, x, with y and x running backwards.
        let ras =
            Reorientation::to_ras(&rows([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]], [0.0; 3]));
        let stored = ras.inverse().apply(&truth);
        assert_eq!(stored.shape(), [3, 2, 4]);
        assert_eq!(score(&stored).unwrap(), same);
        // Mirrored in the world, not only in the file: another place.
        let mut mirrored = grid.affine.rows();
        mirrored[0][0] = -1.0;
        let elsewhere =
            LabelMap::new(Grid::new(grid.shape, Affine::from_rows(mirrored)), truth.voxels().to_vec());
        assert!(matches!(score(&elsewhere), Err(Error::Grids { .. })));
    }

    #[test]
    fn volumes_and_distances_of_sheared_voxels() {
        let (sin, cos) = 20.0_f64.to_radians().sin_cos();
        let affine =
            Affine::from_rows([[2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 4.0 * sin, 0.0], [0.0, 0.0, 4.0 * cos, 0.0]]);
        let grid = Grid::new([3, 2, 1], affine);
        let truth = LabelMap::new(grid, vec![0, 1, 1, 1, 0, 0]);
        let found = SegmentationConfig::default()
            .evaluate(&truth, &truth, &[Region::new("WT", [1]).unwrap()])
            .unwrap();
        let volume = found[0].values[&Metric::named("volume_mm3").unwrap()];
        assert!((volume.value().unwrap() - 24.0 * cos).abs() < 1e-9, "{volume:?}");
        // One voxel each, a step along y and one along z apart: the square of their sum.
        let grid = Grid::new([1, 2, 2], affine);
        let voxel = |at: usize| LabelMap::new(grid, (0..4).map(|v| u16::from(v == at)).collect());
        let found = SegmentationConfig::default()
            .evaluate(&voxel(0), &voxel(3), &[Region::new("WT", [1]).unwrap()])
            .unwrap();
        let distance = found[0].values[&Metric::named("hd95_mm").unwrap()].value().unwrap();
        assert!((distance - (1.0 + 16.0 + 8.0 * sin).sqrt()).abs() < 1e-12, "{distance}");
    }

    #[test]
    fn settings_that_no_metric_can_follow_are_refused() {
        let refused = |config: SegmentationConfig, field: &str| {
            assert!(config.validate().unwrap_err().to_string().starts_with(field));
        };
        let default = SegmentationConfig::default;
        assert!(default().validate().is_ok());
        refused(SegmentationConfig { nsd_tolerance_mm: f64::NAN, ..default() }, "nsd_tolerance_mm");
        refused(SegmentationConfig { metrics: Vec::new(), ..default() }, "metrics");
        let empty = EmptyRule { penalty_mm: Some(0.0), ..EmptyRule::default() };
        refused(SegmentationConfig { empty, ..default() }, "empty.penalty_mm");
        let lesions = LesionRule { ignored_mm3: -1.0, ..LesionRule::default() };
        refused(SegmentationConfig { lesions, ..default() }, "lesions.ignored_mm3");
        let lesions = LesionRule { dilations: 101, ..LesionRule::default() };
        refused(SegmentationConfig { lesions, ..default() }, "lesions.dilations");
        let lesions = LesionRule { penalty_mm: f64::NAN, ..LesionRule::default() };
        refused(SegmentationConfig { lesions, ..default() }, "lesions.penalty_mm");
    }
}
