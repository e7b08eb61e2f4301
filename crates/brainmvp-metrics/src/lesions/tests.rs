use brainmvp_volume::Affine;
use proptest::prelude::*;

use super::*;
use crate::mask::plain::{dilated, flags, labelled};
use crate::mask::tests::{all_voxels, mask_of, shape};
use crate::{Metric, SegmentationConfig};

const SHAPE: [usize; 3] = [40, 12, 12];

/// A box of voxels, the first and how many.
type Block = ([usize; 3], [usize; 3]);

/// A cube of 64 voxels that begins at `x`.
fn cube(x: usize) -> Block {
    ([x, 4, 4], [4; 3])
}

fn mask(blocks: &[Block]) -> Mask {
    let inside = |voxel: [usize; 3], (first, size): &Block| {
        (0..3).all(|axis| (first[axis]..first[axis] + size[axis]).contains(&voxel[axis]))
    };
    let voxels: Vec<bool> =
        all_voxels(SHAPE).map(|voxel| blocks.iter().any(|block| inside(voxel, block))).collect();
    Mask::new(SHAPE, &voxels)
}

fn pair(prediction: &[Block], truth: &[Block], spacing_mm: [f64; 3]) -> MaskPair {
    let affine = Affine::from_spacing(spacing_mm, [0.0; 3]);
    MaskPair::new(mask(prediction), mask(truth), &affine).unwrap()
}

/// TP, FN, FP, Dice and HD95.
fn found(pair: &MaskPair, rule: LesionRule) -> (usize, usize, usize, f64, f64) {
    let lesions = rule.find(pair);
    let counts = (lesions.true_positives(), lesions.false_negatives(), lesions.false_positives());
    (counts.0, counts.1, counts.2, lesions.dice(), lesions.hd95_mm())
}

fn by_gli(prediction: &[Block], truth: &[Block]) -> (usize, usize, usize, f64, f64) {
    found(&pair(prediction, truth, [1.0; 3]), LesionRule::default())
}

#[test]
fn one_found_one_missed_one_false_alarm() {
    // The found one is a voxel off: 48 of 64 and 64 voxels in common. Of the 98 corners of a surface, 34 are 1 mm away.
    let (truth, prediction) = ([cube(2), cube(20)], [cube(3), ([35, 4, 4], [1; 3])]);
    let expected = (1, 1, 1, 0.75 / 3.0, (1.0 + 374.0 + 374.0) / 3.0);
    assert_eq!(by_gli(&prediction, &truth), expected);
    let config = SegmentationConfig::default();
    let pair = pair(&prediction, &truth, [1.0; 3]);
    for (name, value) in [
        ("lesion_dice", 0.25),
        ("lesion_hd95_mm", 749.0 / 3.0),
        ("lesion_f1", 0.5),
        ("lesion_sensitivity", 0.5),
        ("lesion_precision", 0.5),
        ("lesion_tp", 1.0),
        ("lesion_fn", 1.0),
        ("lesion_fp", 1.0),
    ] {
        assert_eq!(config.score(Metric::named(name).unwrap(), &pair).value(), Some(value), "{name}");
    }
}

#[test]
fn a_bridge_counts_as_a_whole_in_both_lesions() {
    // 22 x 4 x 4 voxels. The far end is 18 mm away. Of its corners 9 have a mm^2, 12 at edges 1 / sqrt(2), and 4 sqrt(3) / 8:
    // 18.4 of 348 mm^2, which is more than 5 %.
    let bridge = ([2, 4, 4], [22, 4, 4]);
    assert_eq!(by_gli(&[bridge], &[cube(2), cube(20)]), (2, 0, 0, 2.0 * 64.0 / (64.0 + 352.0), 18.0));
}

#[test]
fn components_of_one_lesion_are_joined() {
    let halves = [([2, 4, 4], [1, 4, 4]), ([4, 4, 4], [2, 4, 4])];
    assert_eq!(by_gli(&halves, &[cube(2)]), (1, 0, 0, 2.0 * 48.0 / (64.0 + 48.0), 1.0));
}

#[test]
fn small_lesions_do_not_count_and_make_no_false_alarm() {
    let small = ([20, 4, 4], [3; 3]);
    for prediction in [&[cube(2)][..], &[cube(2), small], &[cube(2), ([22, 5, 5], [2; 3])]] {
        assert_eq!(by_gli(prediction, &[cube(2), small]), (1, 0, 0, 1.0, 0.0));
    }
    let (missed, met) = (pair(&[cube(2)], &[cube(2), small], [1.0; 3]), LesionRule::named("met").unwrap());
    assert_eq!(found(&missed, met), (1, 1, 0, 0.5, 187.0));
    assert_eq!(LesionRule::default().find(&missed).left_out(), 1);
    // 50 mm^3 is small, more is not.
    let rule = LesionRule { ignored_mm3: 50.0, ..met };
    assert_eq!(found(&pair(&[], &[([4; 3], [5, 5, 2])], [1.0; 3]), rule), (0, 0, 0, 1.0, 0.0));
    assert_eq!(found(&pair(&[], &[([4; 3], [17, 3, 1])], [1.0; 3]), rule), (0, 1, 0, 0.0, 374.0));
    let rounded = [5.0_f64.powf(1.0 / 3.0); 3];
    assert_eq!(found(&pair(&[], &[([4; 3], [5, 2, 1])], rounded), rule).1, 0);
}

#[test]
fn what_meets_the_dilated_lesion_belongs_to_it() {
    let at = |x: usize| by_gli(&[([x, 5, 5], [1; 3])], &[cube(2)]);
    // The lesion ends at 5: three voxels further there is no overlap, but no false alarm either.
    let (tp, fn_, fp, dice, hd95) = at(8);
    assert_eq!((tp, fn_, fp, dice), (1, 0, 0, 0.0));
    assert!(hd95 > 3.0 && hd95 < 10.0, "{hd95}");
    assert_eq!(at(9), (0, 1, 1, 0.0, 374.0));
}

#[test]
fn parts_that_dilation_joins_are_one_lesion() {
    let whole = |x: usize| by_gli(&[cube(2)], &[cube(2), cube(x)]);
    assert_eq!((whole(12).0, whole(12).1), (1, 0));
    assert_eq!((whole(13).0, whole(13).1), (1, 1));
}

#[test]
fn empty_masks() {
    assert_eq!(by_gli(&[], &[]), (0, 0, 0, 1.0, 0.0));
    assert_eq!(by_gli(&[], &[cube(2)]), (0, 1, 0, 0.0, 374.0));
    assert_eq!(by_gli(&[cube(2), ([30, 4, 4], [1; 3])], &[]), (0, 0, 2, 0.0, 374.0));
    let shares =
        ["lesion_f1", "lesion_sensitivity", "lesion_precision"].map(|name| Metric::named(name).unwrap());
    let config = SegmentationConfig::default();
    for (prediction, truth, expected) in
        [(&[][..], &[][..], 1.0), (&[], &[cube(2)], 0.0), (&[cube(2)], &[], 0.0)]
    {
        let pair = pair(prediction, truth, [1.0; 3]);
        assert_eq!(shares.map(|metric| config.score(metric, &pair).value()), [Some(expected); 3]);
    }
}

#[test]
fn sizes_are_in_mm_and_dilation_is_in_voxels() {
    // 16 voxels of 5 mm^3 count. One slice off, they have nothing in common and are 5 mm apart.
    let slice = |z: usize| ([4, 4, z], [4, 4, 1]);
    let thick = |z: usize| found(&pair(&[slice(z)], &[slice(2)], [1.0, 1.0, 5.0]), LesionRule::default());
    assert_eq!(thick(3), (1, 0, 0, 0.0, 5.0));
    assert_eq!(thick(5), (1, 0, 0, 0.0, 15.0));
    assert_eq!(thick(6), (0, 1, 1, 0.0, 374.0));
}

#[test]
fn rules_have_names() {
    for named in &LESION_RULES {
        assert_eq!(LesionRule::named(named.name), Some(named.rule));
        named.rule.validate().unwrap();
    }
    assert_eq!(LesionRule::named("glioma"), None);
}

/// The rule in plain words, voxel by voxel, on the whole grid: TP, FN, FP, Dice and HD95.
fn found_plainly(
    prediction: &[bool],
    truth: &[bool],
    shape: [usize; 3],
    affine: &Affine,
    rule: LesionRule,
) -> (usize, usize, usize, f64, f64) {
    let extent = (0..rule.dilations).fold(truth.to_vec(), |voxels, _| dilated(shape, &voxels));
    let lesions = labelled(shape, &extent);
    let components = labelled(shape, prediction);
    let mut accused: BTreeSet<usize> = components.iter().copied().filter(|label| *label > 0).collect();
    let (mut tp, mut fn_, mut dice, mut hd95) = (0, 0, 0.0, 0.0);
    for number in 1..=lesions.iter().copied().max().unwrap_or(0) {
        let lesion: Vec<bool> = truth.iter().zip(&lesions).map(|(t, l)| *t && *l == number).collect();
        let reach = (0..rule.dilations).fold(lesion.clone(), |voxels, _| dilated(shape, &voxels));
        let met: BTreeSet<usize> =
            components.iter().zip(&reach).filter(|(c, r)| **c > 0 && **r).map(|(c, _)| *c).collect();
        accused.retain(|label| !met.contains(label));
        let joined: Vec<bool> = components.iter().map(|label| met.contains(label)).collect();
        let pair = MaskPair::new(Mask::new(shape, &joined), Mask::new(shape, &lesion), affine).unwrap();
        let voxels = pair.voxels();
        if voxels.truth as f64 * pair.voxel_mm3() <= rule.ignored_mm3 {
            continue;
        }
        (tp, fn_) = if met.is_empty() { (tp, fn_ + 1) } else { (tp + 1, fn_) };
        dice += 2.0 * voxels.common as f64 / (voxels.prediction + voxels.truth) as f64;
        hd95 += if met.is_empty() { rule.penalty_mm } else { surface::hd95_mm(&pair) };
    }
    let (fp, count) = (accused.len(), tp + fn_ + accused.len());
    if count == 0 {
        return (0, 0, 0, 1.0, 0.0);
    }
    hd95 += fp as f64 * rule.penalty_mm;
    (tp, fn_, fp, dice / count as f64, hd95 / count as f64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn lesions_are_those_of_the_plain_rule(
        (prediction, truth) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
        (dilations, ignored_mm3) in (0_u32..4, prop_oneof![Just(0.0), 0.0..30.0]),
        spacing_mm in prop_oneof![Just([1.0; 3]), Just([0.9, 0.9, 5.5])],
    ) {
        let rule = LesionRule { dilations, ignored_mm3, penalty_mm: 100.0 };
        let (shape, affine) = (truth.shape(), Affine::from_spacing(spacing_mm, [0.0; 3]));
        let expected = found_plainly(&flags(&prediction), &flags(&truth), shape, &affine, rule);
        let pair = MaskPair::new(prediction, truth, &affine).unwrap();
        let found = found(&pair, rule);
        prop_assert_eq!((found.0, found.1, found.2), (expected.0, expected.1, expected.2));
        prop_assert!((found.3 - expected.3).abs() < 1e-12, "{:?} {:?}", found, expected);
        prop_assert!((found.4 - expected.4).abs() < 1e-9, "{:?} {:?}", found, expected);
    }
}
