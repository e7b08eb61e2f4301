//! Label maps against the truth.

use std::fs;
use std::path::PathBuf;

use brainmvp_volume::{Affine, Grid, LabelMap, nifti};
use serde_json::Value;

use crate::program::{Ended, Place};

const COHORT: [&str; 6] = ["evaluate", "--truth", "phantom/cohort.json", "--out", "metrics.json", "--pred"];

/// Gliomas in `phantom/`, and their label maps as predictions in `pred/`.
fn gliomas(cases: usize) -> Place {
    let place = Place::new();
    let cases_typed = cases.to_string();
    let options = ["--size", "32", "--lesions", "glioma", "--modalities", "flair", "--quiet"];
    place.run(&[&["phantom", "--out", "phantom", "--cases", &cases_typed], &options[..]].concat()).succeeds();
    fs::create_dir(place.path("pred")).unwrap();
    for number in 1..=cases {
        fs::copy(truth(&place, number), prediction(&place, number)).unwrap();
    }
    place
}

fn truth(place: &Place, number: usize) -> PathBuf {
    place.path(format!("phantom/phantom-{number:04}/phantom-{number:04}_seg.nii.gz"))
}

fn prediction(place: &Place, number: usize) -> PathBuf {
    place.path(format!("pred/phantom-{number:04}.nii.gz"))
}

/// Changes a prediction.
fn change(place: &Place, number: usize, change: impl FnOnce(LabelMap) -> LabelMap) {
    let path = prediction(place, number);
    nifti::write_labels(&path, &change(nifti::read_labels(&path).unwrap()), "").unwrap();
}

fn evaluate(place: &Place, more: &[&str]) -> Ended {
    place.run(&[&COHORT[..], &["pred"], more].concat())
}

/// The mean of a metric over the cases of a region.
fn mean(json: &Value, region: &str, metric: &str) -> f64 {
    let regions = json["summary"].as_array().unwrap();
    let found = regions.iter().find(|summary| summary["region"] == region).unwrap();
    found["metrics"][metric]["mean"].as_f64().unwrap()
}

#[test]
fn a_perfect_prediction_has_dice_1() {
    let place = gliomas(3);
    let ended = evaluate(&place, &["--csv", "results.csv"]).succeeds();
    ended.prints(&["WT", "HD95 [mm]", "1.0000", "Missed", "metrics.json: 3 cases scored, 0 left out"]);
    let json = place.json("metrics.json");
    for region in ["ET", "TC", "WT"] {
        let found = ["dice", "nsd", "hd95_mm"].map(|metric| mean(&json, region, metric));
        assert_eq!(found, [1.0, 1.0, 0.0], "{region}");
    }
    let csv = fs::read_to_string(place.path("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 3 * 3);
    assert!(csv.starts_with("case,region,empty,dice,hd95_mm,"), "{csv}");
}

#[test]
fn a_shift_lowers_dice_by_as_much_as_it_moves() {
    let place = gliomas(2);
    let shift = |labels: LabelMap| {
        let mut voxels = labels.voxels().to_vec();
        voxels.rotate_right(1);
        LabelMap::new(*labels.grid(), voxels)
    };
    change(&place, 1, shift);
    evaluate(&place, &[]).succeeds();
    let json = place.json("metrics.json");
    let rows = json["scores"].as_array().unwrap();
    let of = |case: &str| rows.iter().find(|row| row["case"] == case && row["region"] == "WT").unwrap();
    // The phantom's lesion is away from the edges, so that one voxel of 6 mm is how far all of it moved.
    let whole = nifti::read_labels(&truth(&place, 1)).unwrap();
    let voxels = whole.voxels();
    let size = voxels.iter().filter(|value| **value > 0).count();
    let common = voxels.windows(2).filter(|pair| pair[0] > 0 && pair[1] > 0).count();
    let values = &of("phantom-0001")["values"];
    assert!((values["dice"].as_f64().unwrap() - common as f64 / size as f64).abs() < 1e-12);
    assert!((values["hd_mm"].as_f64().unwrap() - 6.0).abs() < 1e-4, "{values}");
    assert_eq!(of("phantom-0002")["values"]["dice"], 1.0);
}

#[test]
fn lesions_are_counted() {
    let place = gliomas(2);
    // A corner of the first image is a false alarm; all of the second case's tumour is missed.
    change(&place, 1, |labels| {
        let mut voxels = labels.voxels().to_vec();
        voxels[0] = 2;
        LabelMap::new(*labels.grid(), voxels)
    });
    change(&place, 2, |labels| labels.map(|_| 0));
    evaluate(&place, &["--metrics", "lesion_dice,lesion_hd95_mm,lesion_tp,lesion_fn,lesion_fp"])
        .succeeds()
        .prints(&["Lesion Dice", "Lesion HD95 [mm]", "False lesions"]);
    let json = place.json("metrics.json");
    let of = |number: usize| {
        let rows = json["scores"].as_array().unwrap();
        let case = format!("phantom-{number:04}");
        let values = &rows.iter().find(|row| row["case"] == case && row["region"] == "WT").unwrap()["values"];
        let names = ["lesion_dice", "lesion_hd95_mm", "lesion_tp", "lesion_fn", "lesion_fp"];
        names.map(|name| values[name].as_f64().unwrap())
    };
    assert_eq!(of(1), [0.5, 187.0, 1.0, 0.0, 1.0]);
    assert_eq!(of(2), [0.0, 374.0, 0.0, 1.0, 0.0]);
    assert_eq!(mean(&json, "WT", "lesion_dice"), 0.25);
    fs::rename(place.path("metrics.json"), place.path("gli.json")).unwrap();
    let met = ["--lesions", "met,penalty_mm=100", "--metrics", "lesion_hd95_mm"];
    evaluate(&place, &met).succeeds();
    assert_eq!(mean(&place.json("metrics.json"), "WT", "lesion_hd95_mm"), 75.0);
    evaluate(&place, &["--compare", "gli.json", "--lesions", "met"]).fails(2, &["lesions differ"]);
    evaluate(&place, &["--compare", "gli.json"]).succeeds().prints(&["Lesion Dice"]);
}

#[test]
fn a_missing_prediction_does_not_improve_the_mean() {
    let place = gliomas(4);
    fs::remove_file(prediction(&place, 2)).unwrap();
    fs::copy(prediction(&place, 1), place.path("pred/stranger.nii.gz")).unwrap();
    evaluate(&place, &[]).succeeds().notes(&[
        "no prediction for 1 of 4 cases, scored as empty: phantom-0002",
        "1 prediction without a truth, not scored: stranger",
    ]);
    let json = place.json("metrics.json");
    assert_eq!((mean(&json, "WT", "dice"), &json["missing"][0]), (0.75, &"phantom-0002".into()));
    // That glioma does not enhance, and no file is no proof that somebody saw it.
    let et = json["summary"].as_array().unwrap().iter().find(|summary| summary["region"] == "ET").unwrap();
    assert_eq!((&et["empty"]["both"], &et["metrics"]["dice"]["n"]), (&2.into(), &3.into()));
    evaluate(&place, &["--missing", "skip"]).succeeds().prints(&["3 cases scored, 1 left out"]);
    let json = place.json("metrics.json");
    assert_eq!(mean(&json, "WT", "dice"), 1.0);
    assert_eq!(json["quarantined"]["phantom-0002"], "no prediction");
    evaluate(&place, &["--missing", "error"]).fails(2, &["no prediction for 1 of 4 cases", "phantom-0002"]);
    for number in [1, 3, 4] {
        fs::remove_file(prediction(&place, number)).unwrap();
    }
    evaluate(&place, &[]).fails(2, &["pred", "no prediction for 4 of 4 cases"]);
}

#[test]
fn what_cannot_be_scored_is_named_and_the_others_are() {
    let place = gliomas(5);
    change(&place, 1, |labels| {
        let grid = Grid::new(labels.shape(), Affine::from_spacing([6.0; 3], [0.0; 3]));
        LabelMap::new(grid, labels.into_voxels())
    });
    change(&place, 2, |labels| labels.map(|value| if value == 2 { 4 } else { value }));
    fs::write(prediction(&place, 3), "damaged").unwrap();
    fs::copy(prediction(&place, 4), place.path("pred/phantom-0004_seg.nii.gz")).unwrap();
    evaluate(&place, &[])
        .fails(2, &["4 of 5 cases could not be scored"])
        .prints(&["1 case scored, 4 left out"])
        .notes(&[
            "'phantom-0001' is left out",
            "different grids ([27, 32, 27] voxels of [6.0, 6.0, 6.0] mm from [0.0, 0.0, 0.0] mm, RAS and [27,",
            "'phantom-0002' is left out",
            "label values 4 are not among the declared 1, 2, 3",
            "'phantom-0003' is left out",
            "more than one file",
        ]);
    let json = place.json("metrics.json");
    assert_eq!(json["quarantined"].as_object().unwrap().len(), 4);
    assert_eq!(json["scores"].as_array().unwrap().len(), 3);
    fs::remove_file(prediction(&place, 5)).unwrap();
    fs::write(prediction(&place, 5), "damaged").unwrap();
    evaluate(&place, &[]).fails(2, &["no case could be scored"]);
}

#[test]
fn folders_of_label_maps() {
    let place = gliomas(2);
    fs::create_dir_all(place.path("truth/phantom-0002")).unwrap();
    fs::copy(truth(&place, 1), place.path("truth/phantom-0001_seg.nii.gz")).unwrap();
    fs::copy(truth(&place, 2), place.path("truth/phantom-0002/any.nii.gz")).unwrap();
    let run = |more: &[&str]| {
        let folders = ["evaluate", "--pred", "pred", "--truth", "truth", "--out", "metrics.json"];
        place.run(&[&folders[..], more].concat())
    };
    let regions = || {
        let json = place.json("metrics.json");
        let names = json["summary"].as_array().unwrap().iter().map(|region| region["region"].clone());
        names.map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    run(&["--metrics", "dice"]).succeeds().prints(&["label 1", "2 cases scored"]);
    assert_eq!(regions()[..2], ["label 1", "label 2"]);
    run(&["--label-scheme", "brats_2023"]).succeeds();
    assert_eq!(regions(), ["ET", "TC", "WT"]);
    run(&["--regions", "all=1,2,3;core=1,3"]).succeeds();
    assert_eq!(regions(), ["all", "core"]);
    run(&["--regions", "core=1"]).fails(2, &["no case could be scored"]).notes(&["not among the declared 1"]);
    run(&["--regions", "core=1", "--label-scheme", "brats_2023"]).succeeds();
    run(&["--regions", "ET=4", "--label-scheme", "brats_2023"]).fails(2, &["value 4", "brats_2023"]);
    run(&["--split", "test"]).fails(2, &["--split"]);
}

#[test]
fn predictions_may_number_their_labels_in_their_own_way() {
    let place = gliomas(2);
    // The first case as BraTS numbered it before 2023, in a data set that says so.
    let labels = nifti::read_labels(&truth(&place, 1)).unwrap();
    nifti::write_labels(&truth(&place, 1), &labels.map(|value| if value == 3 { 4 } else { value }), "")
        .unwrap();
    let mut cohort = place.json("phantom/cohort.json");
    cohort["cases"][0]["data_set"] = "old".into();
    cohort["data_sets"]["old"] = serde_json::json!({ "label_scheme": "brats_legacy" });
    fs::write(place.path("phantom/cohort.json"), cohort.to_string()).unwrap();
    let scheme_alone = evaluate(&place, &[]);
    assert!(scheme_alone.code == 2 && scheme_alone.stderr.contains("values 3 are not"), "{scheme_alone:?}");
    let regions = serde_json::json!([
        { "name": "ET", "labels": [3] }, { "name": "all", "labels": [1, 2, 3, 4] }
    ]);
    let record = serde_json::json!({ "version": 1, "settings": { "regions": regions } });
    fs::write(place.path("pred/predictions.json"), record.to_string()).unwrap();
    evaluate(&place, &[]).succeeds().prints(&["2 cases scored, 0 left out"]);
    let json = place.json("metrics.json");
    assert_eq!(["ET", "all"].map(|region| mean(&json, region, "dice")), [1.0, 1.0]);
    fs::write(place.path("pred/predictions.json"), "{}").unwrap();
    evaluate(&place, &[]).fails(2, &["predictions.json", "record of predictions"]);
}

#[test]
fn two_results_are_compared() {
    let place = gliomas(3);
    evaluate(&place, &["--nsd-tolerance", "1"]).succeeds();
    fs::rename(place.path("metrics.json"), place.path("perfect.json")).unwrap();
    for number in [1, 2] {
        change(&place, number, |labels| labels.map(|value| if value == 2 { 0 } else { value }));
    }
    evaluate(&place, &["--compare", "perfect.json"]).fails(2, &["nsd_tolerance_mm differs"]);
    assert!(!place.path("metrics.json").exists());
    let same = ["--nsd-tolerance", "1", "--compare", "perfect.json"];
    evaluate(&place, &same).succeeds().prints(&[
        "first: metrics.json, second: perfect.json",
        "Better",
        "second",
    ]);
    evaluate(&place, &["--compare", "absent.json"]).fails(2, &["absent.json", "No such file"]);
    evaluate(&place, &["--compare", "phantom/cohort.json"]).fails(2, &["cohort.json", "no scores"]);
}

#[test]
fn the_seed_and_nothing_else_decides_the_intervals() {
    let place = gliomas(8);
    fs::remove_file(prediction(&place, 2)).unwrap();
    let written = |more: &[&str]| {
        evaluate(&place, &[&["--metrics", "dice,volume_mm3"], more].concat()).succeeds();
        fs::read_to_string(place.path("metrics.json")).unwrap()
    };
    let first = written(&["--threads", "1"]);
    assert_eq!(first, written(&["--threads", "3", "--memory", "1"]));
    assert_ne!(first, written(&["--seed", "5"]));
}

#[test]
fn options_that_cannot_be_followed() {
    let place = gliomas(1);
    for (more, word) in [
        (&["--missing", "guess"][..], "empty, skip, error"),
        (&["--empty", "both=worst"], "unknown variant"),
        (&["--empty", "one=excluded,penalty_mm=-1"], "penalty_mm"),
        (&["--nsd-tolerance=-1"], "nsd_tolerance_mm"),
        (&["--lesions", "glioma"], "known: gli ssa men ped met"),
        (&["--lesions", "gli,dilations=200"], "lesions.dilations"),
        (&["--metrics", "dise"], "unknown metric 'dise'"),
        (&["--metrics", "dice,dice"], "each once"),
        (&["--regions", "WT=0"], "background"),
        (&["--regions", "WT=1;WT=2"], "one name twice"),
        (&["--label-scheme", "brats"], "brats_2023"),
        (&["--split", "half"], "unknown split"),
        (&["--split", "test"], "no case of this split"),
        (&["--csv", "pred"], "is a folder"),
    ] {
        evaluate(&place, more).fails(2, &[word]);
    }
    place.run(&[&COHORT[..], &["absent"]].concat()).fails(2, &["absent", "No such file"]);
    place.run(&[&COHORT[..], &["phantom/cohort.json"]].concat()).fails(2, &["cohort.json"]);
    assert!(!place.path("metrics.json").exists());
}
