//! Contracts that every metric of the list must satisfy.

use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Affine, Grid, LabelMap};
use proptest::prelude::*;

use super::*;
use crate::Emptiness;
use crate::mask::tests::{mask, mask_of, shape};
use crate::{BothEmpty, EmptyRule, LesionRule, Mask, OneEmpty};

const SPACING_MM: [f64; 3] = [0.9, 1.2, 5.0];

fn score(metric: Metric, prediction: &Mask, truth: &Mask) -> f64 {
    let pair = MaskPair::new(prediction.clone(), truth.clone(), &Affine::from_spacing(SPACING_MM, [0.0; 3]))
        .unwrap();
    SegmentationConfig::default().score(metric, &pair).value().unwrap()
}

fn best(metric: Metric) -> Option<f64> {
    match metric.better {
        Better::Higher => Some(1.0),
        Better::Lower | Better::NearZero => Some(0.0),
        Better::Neither => None,
    }
}

#[test]
fn names_are_found_again() {
    for metric in Metric::all() {
        assert_eq!(Metric::named(metric.name), Some(metric));
        let json = serde_json::to_string(&metric).unwrap();
        assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), metric);
    }
    assert!(serde_json::from_str::<Metric>("\"dise\"").unwrap_err().to_string().contains("known: dice"));
}

#[test]
fn a_missed_structure_is_as_bad_as_can_be() {
    let shape = [5, 6, 7];
    let (none, all) = (Mask::new(shape, &[false; 210]), Mask::new(shape, &[true; 210]));
    for metric in Metric::all() {
        let worst = match metric.when_empty {
            WhenEmpty::Distance => {
                (0..3).map(|i| (shape[i] as f64 * SPACING_MM[i]).powi(2)).sum::<f64>().sqrt()
            }
            WhenEmpty::OwnRule if metric.unit == Unit::Millimetre => LesionRule::default().penalty_mm,
            WhenEmpty::Share | WhenEmpty::OwnRule => 0.0,
            WhenEmpty::Defined => continue,
        };
        assert_eq!(score(metric, &none, &all), worst, "{metric:?}");
        assert_eq!(score(metric, &all, &none), worst, "{metric:?}");
        assert_eq!(Some(score(metric, &none, &none)), best(metric), "{metric:?}");
    }
}

#[test]
fn the_rule_for_empty_masks_is_followed() {
    let (none, some) = (Mask::new([2, 2, 2], &[false; 8]), Mask::new([2, 2, 2], &[true; 8]));
    let millimetres = Affine::from_spacing([1.0; 3], [0.0; 3]);
    let missed = MaskPair::new(none.clone(), some, &millimetres).unwrap();
    let absent = MaskPair::new(none.clone(), none, &millimetres).unwrap();
    assert_eq!((missed.emptiness(), absent.emptiness()), (Emptiness::Prediction, Emptiness::Both));
    let by = |both, one, penalty_mm| SegmentationConfig {
        empty: EmptyRule { both, one, penalty_mm },
        lesions: LesionRule { ignored_mm3: 0.0, ..LesionRule::default() },
        ..SegmentationConfig::default()
    };
    let (hd95, dice) = (Metric::named("hd95_mm").unwrap(), Metric::named("dice").unwrap());
    let penalty = by(BothEmpty::Excluded, OneEmpty::Worst, Some(373.0));
    assert_eq!(penalty.score(hd95, &missed).value(), Some(373.0));
    assert_eq!(penalty.score(dice, &missed).value(), Some(0.0));
    assert_eq!(penalty.score(hd95, &absent).value(), None);
    let lesion_hd95 = Metric::named("lesion_hd95_mm").unwrap();
    assert_eq!(penalty.score(lesion_hd95, &missed).value(), Some(374.0));
    assert_eq!(penalty.score(lesion_hd95, &absent).value(), None);
    let excluded = by(BothEmpty::Best, OneEmpty::Excluded, None);
    assert_eq!(excluded.score(dice, &missed).value(), None);
    assert_eq!(excluded.score(lesion_hd95, &missed).value(), None);
    assert_eq!(excluded.score(dice, &absent).value(), Some(1.0));
    let undefined = by(BothEmpty::Undefined, OneEmpty::Undefined, None);
    assert!(undefined.score(dice, &absent).value().unwrap().is_nan());
    let hd = Metric::named("hd_mm").unwrap();
    assert_eq!(undefined.score(hd, &missed).value(), Some(f64::INFINITY));
}

/// The score of two masks that are stored in another order, at the same place in the world.
fn score_stored(metric: Metric, pair: [&Mask; 2], order: &Reorientation) -> f64 {
    let grid = Grid::new(pair[0].shape(), Affine::from_spacing(SPACING_MM, [0.0; 3]));
    let stored = pair.map(|mask| {
        let voxels = (0..grid.len()).map(|voxel| u16::from(mask.contains(grid.voxel(voxel)))).collect();
        order.apply(&LabelMap::new(grid, voxels))
    });
    let masks = [0, 1].map(|i| {
        let inside: Vec<bool> = stored[i].voxels().iter().map(|label| *label > 0).collect();
        Mask::new(stored[i].shape(), &inside)
    });
    let [prediction, truth] = masks;
    let pair = MaskPair::new(prediction, truth, &stored[0].grid().affine).unwrap();
    SegmentationConfig::default().score(metric, &pair).value().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_score_depends_on_the_order_in_which_voxels_are_stored(
        (a, b) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
        order in 0..48_usize,
    ) {
        let order = Reorientation::all().nth(order).unwrap();
        for metric in Metric::all() {
            let (one, other) = (score(metric, &a, &b), score_stored(metric, [&a, &b], &order));
            prop_assert!((one - other).abs() < 1e-9 * (1.0 + one.abs()), "{:?} {:?}: {} {}", metric, order, one, other);
        }
    }
}

proptest! {
    #[test]
    fn identity_is_best(mask in mask()) {
        for metric in Metric::all() {
            if let Some(best) = best(metric) {
                prop_assert_eq!(score(metric, &mask, &mask), best, "{:?}", metric);
            }
        }
    }

    #[test]
    fn values_are_in_range_and_symmetric_where_they_say_so(
        (a, b) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
    ) {
        for metric in Metric::all() {
            let (one, other) = (score(metric, &a, &b), score(metric, &b, &a));
            prop_assert!(one.is_finite(), "{:?} {}", metric, one);
            if metric.unit == Unit::Share {
                prop_assert!((0.0..=1.0).contains(&one), "{:?} {}", metric, one);
            }
            if metric.better == Better::Lower {
                prop_assert!(one >= 0.0, "{:?} {}", metric, one);
            }
            if metric.symmetric {
                prop_assert!((one - other).abs() < 1e-12, "{:?} {} {}", metric, one, other);
            }
        }
    }
}
