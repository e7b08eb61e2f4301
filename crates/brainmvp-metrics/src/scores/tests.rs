use std::collections::BTreeMap;

use brainmvp_volume::Affine;
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::statistics::{BootstrapConfig, ZeroRule};
use crate::{Emptiness, EmptyRule, LesionRule, Mask, MaskPair, Metric, Score};

fn metric(name: &str) -> Metric {
    Metric::named(name).unwrap()
}

/// Scores of a row of voxels as truth and its first `found` of `there` voxels as prediction.
fn region(config: &SegmentationConfig, name: &str, found: usize, there: usize) -> RegionScores {
    let first = |count: usize| Mask::new([10, 1, 1], &std::array::from_fn::<_, 10, _>(|x| x < count));
    let affine = Affine::from_spacing([1.0; 3], [0.0; 3]);
    config.score_pair(name, &MaskPair::new(first(found), first(there), &affine).unwrap())
}

/// One region, a case for each pair of found and there.
fn scores(config: SegmentationConfig, cases: &[(usize, usize)]) -> Scores {
    let mut scores = Scores::new(config);
    for (number, (found, there)) in cases.iter().enumerate() {
        let row = region(scores.config(), "WT", *found, *there);
        scores.push(&format!("case-{number}"), vec![row]).unwrap();
    }
    scores
}

fn summary(scores: &Scores) -> Summary {
    scores.summary(&BootstrapConfig::default(), &mut ChaCha8Rng::seed_from_u64(0)).unwrap()
}

fn undefined() -> SegmentationConfig {
    let empty = serde_json::from_str(r#"{"both": "undefined", "one": "excluded"}"#).unwrap();
    SegmentationConfig { empty, ..SegmentationConfig::default() }
}

#[test]
fn empty_masks_are_counted_and_shown() {
    let cases = [(5, 5), (0, 5), (0, 0), (3, 0)];
    let found = summary(&scores(SegmentationConfig::default(), &cases));
    let wt = &found.regions[0];
    assert_eq!(wt.empty, EmptyCounts { neither: 1, both: 1, prediction: 1, truth: 1 });
    let dice = wt.metrics[&metric("dice")];
    assert_eq!((dice.excluded, dice.values.n, dice.values.mean), (0, 4, Score::new(0.5)));
    // A row of ten voxels, 1 x 1 across: two misses of sqrt(102) mm among four.
    let hd95 = wt.metrics[&metric("hd95_mm")].values.mean.value().unwrap();
    assert!((hd95 - 102.0_f64.sqrt() / 2.0).abs() < 1e-12);
    let excluded = EmptyRule { one: crate::OneEmpty::Excluded, ..EmptyRule::default() };
    let config = SegmentationConfig { empty: excluded, ..SegmentationConfig::default() };
    let found = summary(&scores(config, &cases));
    assert_eq!(found.regions[0].metrics[&metric("dice")].excluded, 2);
    let shown = found.empty_table().to_string();
    assert_eq!(
        shown.lines().last().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["WT", "4", "1", "1", "1", "1"]
    );
    let line = found.metrics_table().to_string().lines().nth(2).unwrap().to_owned();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..3], ["WT", "Dice", "1.0000"]);
    assert_eq!(line.split_whitespace().last(), Some("2"));
}

#[test]
fn a_case_is_scored_once() {
    let mut found = scores(SegmentationConfig::default(), &[(5, 5)]);
    let row = region(found.config(), "WT", 1, 2);
    let other = region(found.config(), "TC", 1, 2);
    assert!(found.push("case-0", vec![other.clone(), row.clone()]).is_err());
    assert!(found.push("case-1", vec![row.clone(), row.clone()]).is_err());
    assert_eq!(found.rows().len(), 1);
    found.push("case-1", vec![row, other]).unwrap();
    assert_eq!(found.regions(), ["WT", "TC"]);
}

#[test]
fn files_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.json");
    let mut before = scores(undefined(), &[(5, 5), (0, 5), (0, 0), (3, 7)]);
    before.note_missing("case-1");
    before.quarantine("case-9", "unreadable");
    before.save_json(&path, &summary(&before), None).unwrap();
    let after = Scores::load_json(&path).unwrap();
    assert_eq!(before, after);
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(json["scores"][1]["values"]["dice"], serde_json::Value::Null);
    assert_eq!(json["scores"][2]["values"]["hd95_mm"], "NaN");
    let read: Summary = serde_json::from_value(json["summary"].clone()).unwrap();
    assert_eq!(read, summary(&before));
    let other = std::fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 9");
    std::fs::write(&path, other).unwrap();
    assert!(Scores::load_json(&path).unwrap_err().to_string().contains("version 9"));
}

#[test]
fn the_table_for_spreadsheets_has_a_line_for_a_case_and_region() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.csv");
    let metrics = vec![metric("dice"), metric("hd95_mm")];
    scores(SegmentationConfig { metrics, ..undefined() }, &[(5, 5), (0, 5), (0, 0)])
        .save_csv(&path, None)
        .unwrap();
    let expected = "case,region,empty,dice,hd95_mm\ncase-0,WT,neither,1,0\ncase-1,WT,prediction,,\n\
                    case-2,WT,both,NaN,NaN\n";
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn sets_are_compared_case_by_case() {
    let config = SegmentationConfig::default;
    let worse = scores(config(), &[(1, 10), (2, 10), (3, 10), (4, 10), (5, 10), (6, 10)]);
    let better = scores(config(), &[(2, 10), (4, 10), (6, 10), (8, 10), (10, 10)]);
    let found = Comparison::new(&better, &worse, ZeroRule::default()).unwrap();
    assert_eq!(found.only_second, ["case-5 WT"]);
    assert!(found.only_first.is_empty());
    for name in ["dice", "hd95_mm", "volume_difference_mm3"] {
        let row = found.metrics.iter().find(|row| row.metric == metric(name)).unwrap();
        assert_eq!(
            (row.n, row.better, row.test.statistic),
            (5, Some(Side::First), Score::new(0.0)),
            "{name}"
        );
    }
    let volume = found.metrics.iter().find(|row| row.metric == metric("volume_mm3")).unwrap();
    assert_eq!((volume.better, volume.difference), (None, Score::new(3.0)));
    assert!(found.table().to_string().contains("0.0625"));
    assert!(Comparison::new(&better, &scores(undefined(), &[(1, 2)]), ZeroRule::Pratt).is_err());
    assert!(Comparison::new(&better, &Scores::new(config()), ZeroRule::Pratt).is_err());
    let met = SegmentationConfig { lesions: LesionRule::named("met").unwrap(), ..config() };
    let error = Comparison::new(&better, &scores(met, &[(1, 10)]), ZeroRule::Pratt).unwrap_err();
    assert!(error.to_string().contains("lesions"), "{error}");
}

fn any_scores() -> impl Strategy<Value = RegionScores> {
    let value = prop_oneof![Just(Score::EXCLUDED), any::<f64>().prop_map(Score::new)];
    let empty = prop_oneof![Just(Emptiness::Neither), Just(Emptiness::Both), Just(Emptiness::Prediction)];
    let count = Metric::all().count();
    (empty, prop::collection::vec(value, count)).prop_map(|(empty, values)| {
        let values: BTreeMap<_, _> = Metric::all().zip(values).collect();
        RegionScores { region: "WT".to_owned(), empty, values }
    })
}

proptest! {
    #[test]
    fn rows_survive_json(scores in any_scores()) {
        let row = CaseScores { case: "case".to_owned(), scores };
        let json = serde_json::to_string(&row).unwrap();
        prop_assert_eq!(serde_json::from_str::<CaseScores>(&json).unwrap(), row);
    }
}
