//! The reference numbers: MONAI's for segmentations, those of BraTS 2023 for lesions, scikit-learn's for classifications.

#![allow(clippy::unwrap_used)]

use brainmvp_golden::{Golden, file, json};
use brainmvp_metrics::metrics::classification;
use brainmvp_metrics::{
    BothEmpty, EmptyRule, LesionRule, Mask, MaskPair, Metric, OneEmpty, Region, Score, SegmentationConfig,
};
use brainmvp_volume::{Affine, Grid, LabelMap};
use serde_json::Value;

const TOLERANCE: f64 = 1e-6;

/// Python writes NaN and Infinity, which JSON does not have.
fn segmentation_numbers() -> Value {
    let text = std::fs::read_to_string(file("metrics_segmentation.json")).unwrap();
    serde_json::from_str(&text.replace("NaN", "\"NaN\"").replace("Infinity", "\"Infinity\"")).unwrap()
}

/// The masks of a class, row-major `[40, 44, 36]` in the file, as masks whose x is the file's first axis.
fn mask(golden: &Golden, name: &str, class: usize) -> Mask {
    let (shape, values) = golden.tensor(name);
    let [nx, ny, nz] = [shape[1], shape[2], shape[3]];
    let values = &values[class * nx * ny * nz..];
    let mut voxels = vec![false; nx * ny * nz];
    for (i, voxel) in voxels.iter_mut().enumerate() {
        let (x, y, z) = (i % nx, i / nx % ny, i / (nx * ny));
        *voxel = values[(x * ny + y) * nz + z] != 0.0;
    }
    Mask::new([nx, ny, nz], &voxels)
}

fn close(found: Score, expected: Score) -> bool {
    match (found.value(), expected.value()) {
        // The reference is in single precision: relative to values above 1.
        (Some(a), Some(b)) => found == expected || (a - b).abs() <= TOLERANCE * b.abs().max(1.0),
        _ => false,
    }
}

#[test]
fn segmentations_are_scored_as_by_monai() {
    let numbers = segmentation_numbers();
    let masks = Golden::open("metrics_segmentation");
    let undefined = EmptyRule { both: BothEmpty::Undefined, one: OneEmpty::Undefined, penalty_mm: None };
    let as_monai = SegmentationConfig { empty: undefined, ..SegmentationConfig::default() };
    let mut compared = 0;
    for (key, expected) in numbers.as_object().unwrap().iter().filter(|(key, _)| key.starts_with('(')) {
        let spacing: Vec<f64> =
            key.trim_matches(['(', ')']).split(", ").map(|mm| mm.parse().unwrap()).collect();
        let affine = Affine::from_spacing(spacing.try_into().unwrap(), [0.0; 3]);
        for class in 0..5 {
            let (prediction, truth) = (mask(&masks, "prediction", class), mask(&masks, "truth", class));
            let pair = MaskPair::new(prediction, truth, &affine).unwrap();
            for (name, theirs) in
                [("hd95_mm", "hd95"), ("hd_mm", "hd100"), ("assd_mm", "assd"), ("nsd", "nsd_2mm")]
            {
                let expected: Score = serde_json::from_value(expected[theirs][class].clone()).unwrap();
                let found = as_monai.score(Metric::named(name).unwrap(), &pair);
                assert!(close(found, expected), "{name}, class {class}, {key}: {found} {expected}");
                compared += 1;
            }
            let expected: Score = serde_json::from_value(numbers["dice"][class].clone()).unwrap();
            let found = SegmentationConfig::default().score(Metric::named("dice").unwrap(), &pair);
            assert!(close(found, expected), "dice, class {class}: {found} {expected}");
        }
    }
    assert_eq!(compared, 60);
}

/// A label map of balls, each a centre, a squared radius and a label; later ones are painted over earlier ones.
fn balls(grid: Grid, balls: &Value) -> LabelMap {
    let balls: Vec<Vec<f64>> = balls.as_array().unwrap().iter().map(numbers).collect();
    let label = |offset: usize| {
        let voxel = grid.voxel(offset);
        let inside = |ball: &&Vec<f64>| {
            (0..3).map(|axis| (voxel[axis] as f64 - ball[axis]).powi(2)).sum::<f64>() <= ball[3]
        };
        balls.iter().rev().find(inside).map_or(0, |ball| ball[4] as u16)
    };
    LabelMap::new(grid, (0..grid.len()).map(label).collect())
}

#[test]
fn lesions_are_scored_as_in_brats_2023() {
    let regions = [("WT", vec![1, 2, 3]), ("TC", vec![1, 3]), ("ET", vec![3])];
    let regions = regions.map(|(name, labels)| Region::new(name, labels).unwrap());
    let cases = json("metrics_lesions");
    let mut compared = 0;
    for case in cases.as_array().unwrap() {
        let three = |field: &str| -> [f64; 3] { numbers(&case[field]).try_into().unwrap() };
        let grid =
            Grid::new(three("shape").map(|n| n as usize), Affine::from_spacing(three("spacing"), [0.0; 3]));
        let challenge = case["challenge"].as_str().unwrap().to_lowercase();
        let lesions = LesionRule::named(&challenge).unwrap();
        let config = SegmentationConfig { lesions, ..SegmentationConfig::default() };
        let (prediction, truth) = (balls(grid, &case["prediction"]), balls(grid, &case["truth"]));
        for found in config.evaluate(&prediction, &truth, &regions).unwrap() {
            let expected = &case["regions"][&found.region];
            for (ours, theirs) in [
                ("lesion_tp", "tp"),
                ("lesion_fn", "fn"),
                ("lesion_fp", "fp"),
                ("lesion_dice", "dice"),
                ("lesion_hd95_mm", "hd95"),
            ] {
                let found = found.values[&Metric::named(ours).unwrap()];
                let expected = Score::new(expected[theirs].as_f64().unwrap());
                assert!(close(found, expected), "{ours}: {found}, {expected} in {case}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 900);
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn classes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect()
}

#[test]
fn classifications_are_scored_as_by_scikit_learn() {
    let golden = json("metrics_classification");
    let two = &golden["binary"];
    let found = classification::binary(&numbers(&two["score"]), &classes(&two["label"]), 0.5).unwrap();
    let expect = |found: Score, expected: &Value| {
        let expected = Score::new(expected.as_f64().unwrap());
        assert!(close(found, expected), "{found} {expected}");
    };
    expect(found.auc, &two["auc"]);
    expect(found.accuracy, &two["acc@0.5"]);
    expect(found.f1_macro, &two["f1_macro@0.5"]);
    expect(found.f1_binary.unwrap(), &two["f1_binary@0.5"]);
    let three = &golden["three_class"];
    let probabilities: Vec<f64> = three["prob"].as_array().unwrap().iter().flat_map(numbers).collect();
    let found = classification::multiclass(&probabilities, &classes(&three["label"]), 3).unwrap();
    expect(found.auc, &three["auc_ovr_macro"]);
    expect(found.accuracy, &three["acc"]);
    expect(found.f1_macro, &three["f1_macro"]);
}
