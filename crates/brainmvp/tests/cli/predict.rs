//! New cases through a fine-tuned network.

use std::fs;
use std::sync::OnceLock;

use brainmvp_volume::nifti;
use serde_json::Value;

use crate::formats::write_mgh;
use crate::program::{Ended, Place};

/// A place with small phantoms with gliomas, and on them a segmentation and a classification of two steps each. Made once:
/// tests copy what they change.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::of_all_tests("predict");
        let phantom = ["phantom", "--out", "phantom", "--cases", "4", "--size", "32", "--lesions", "glioma"];
        place.run(&[&phantom[..], &["--modalities", "flair,t1c", "--quiet"]].concat()).succeeds();
        let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "5", "--quiet"];
        place.run(&preprocess).succeeds();
        for (task, out) in [("segment", "segmenter"), ("classify", "classifier")] {
            let mut typed =
                vec!["finetune", task, "--data", "cache", "--init", "none", "--out", out, "--quiet"];
            for setting in [
                "model.preset=tiny",
                "patch.size=16",
                "patch.resize=16",
                "train.batch_size=2",
                "train.accumulate=1",
                "train.max_steps=2",
            ] {
                typed.extend(["--set", setting]);
            }
            place.run(&typed).succeeds();
        }
        place
    })
}

fn predict(model: &str, input: &[&str], out: &str, more: &[&str]) -> Ended {
    let start = ["predict", "--model", model, "--out", out];
    place().run(&[&start[..], more, &["--in"], input].concat())
}

fn image(case: usize, modality: &str) -> String {
    format!("phantom/phantom-{case:04}/phantom-{case:04}_{modality}.nii.gz")
}

/// Codes, affine and shape of a file, and the type of its voxels.
fn header(name: &str) -> nifti::Header {
    nifti::read_header(&place().path(name)).unwrap()
}

#[test]
fn files_of_freesurfer_are_segmented_too() {
    fs::create_dir(place().path("other")).unwrap();
    for modality in ["flair", "t1c"] {
        let image = nifti::read(&place().path(image(1, modality))).unwrap();
        write_mgh(&place().path(format!("other/phantom-0001_{modality}.mgh")), &image);
    }
    let other = ["other/phantom-0001_flair.mgh", "other/phantom-0001_t1c.mgh"];
    predict("segmenter", &other, "pred-other", &[]).succeeds().prints(&["1 predicted"]);
    predict("segmenter", &[&image(1, "flair"), &image(1, "t1c")], "pred-nifti", &[]).succeeds();
    let [a, b] = ["pred-other", "pred-nifti"]
        .map(|dir| nifti::read_labels(&place().path(dir).join("phantom-0001.nii.gz")).unwrap());
    assert!(a.grid().same_place(b.grid(), 1e-3), "the label map lies where the image lies");
    let apart = a.voxels().iter().zip(b.voxels()).filter(|(a, b)| a != b).count();
    assert!(apart < a.voxels().len() / 100, "{apart} voxels differ");
}

#[test]
fn label_maps_lie_where_the_images_lie() {
    predict("segmenter", &["phantom/cohort.json"], "pred", &["--probabilities"])
        .succeeds()
        .prints(&["pred: 4 predicted, 0 kept, 0 left out"]);
    let record = place().json("pred/predictions.json");
    let (input, output) = (header(&image(1, "flair")), header("pred/phantom-0001.nii.gz"));
    assert_eq!((&output.grid, &output.geometry), (&input.grid, &input.geometry));
    assert_eq!(output.datatype, nifti::Datatype::U8);
    let labels = nifti::read_labels(&place().path("pred/phantom-0001.nii.gz")).unwrap();
    let regions: Vec<_> = ["ET", "TC", "WT"]
        .iter()
        .map(|region| {
            let file = &record["cases"]["phantom-0001"]["probabilities"][region];
            let volume = nifti::read(&place().path("pred").join(file.as_str().unwrap())).unwrap();
            assert!(volume.voxels().iter().all(|p| (0.0..=1.0).contains(p)));
            assert_eq!(volume.grid(), labels.grid());
            volume
        })
        .collect();
    // A voxel is labelled only where some region is likely.
    for (at, label) in labels.voxels().iter().enumerate() {
        assert!(*label < 4 && (*label == 0 || regions.iter().any(|region| region.voxels()[at] > 0.5)));
    }
    assert!(labels.voxels().iter().any(|label| *label > 0), "two steps make some labels of most voxels");
    // What was written is what `evaluate` reads.
    let truth = ["evaluate", "--truth", "phantom/cohort.json", "--out", "scores.json", "--pred", "pred"];
    place().run(&truth).succeeds().prints(&["4 cases scored"]);
}

#[test]
fn files_of_one_case_that_lacks_a_modality() {
    let typed = format!("t1c={}", image(2, "t1c"));
    predict("segmenter", &[&typed], "one", &["--mirror", "x", "--overlap", "0.25", "--missing", "zero"])
        .succeeds();
    let record = place().json("one/predictions.json");
    let case = &record["cases"]["phantom-0002"];
    assert_eq!((&case["missing"][0], &record["settings"]["mirror"][0]), (&"flair".into(), &"x".into()));
    assert_eq!(record["settings"]["windows"]["overlap"], 0.25);
    assert!(place().path("one/phantom-0002.nii.gz").is_file());
    predict("segmenter", &[&image(2, "seg")], "none", &[]).fails(2, &["not that of an image"]);
    assert!(!place().path("none").exists());
}

#[test]
fn bad_cases_are_named_and_resuming_does_the_rest() {
    let cohort = fs::read_to_string(place().path("phantom/cohort.json")).unwrap();
    let mut cohort: Value = serde_json::from_str(&cohort).unwrap();
    let cases = cohort["cases"].as_array_mut().unwrap();
    cases[1]["images"]["t1c"] = "broken.nii.gz".into();
    cases[2]["images"] = serde_json::json!({ "t2": "phantom-0003/phantom-0003_t1c.nii.gz" });
    cases[0]["label"] = "absent_label.nii.gz".into();
    fs::write(place().path("phantom/odd.json"), cohort.to_string()).unwrap();
    let again = |more: &[&str]| predict("segmenter", &["phantom/odd.json"], "odd", more);
    fs::write(place().path("phantom/broken.nii.gz"), "broken").unwrap();
    again(&[])
        .fails(2, &["2 of 4 cases could not be predicted"])
        .notes(&[
            "'phantom-0002' is left out",
            "t1c: not a NIfTI file",
            "none of the modalities that the network uses",
        ])
        .prints(&["2 predicted, 0 kept, 2 left out"]);
    let record = place().json("odd/predictions.json");
    assert_eq!(record["quarantined"].as_object().unwrap().len(), 2);
    again(&[]).fails(2, &["--resume"]);
    again(&["--resume", "--overlap", "0.1"]).fails(2, &["other settings"]);
    fs::copy(place().path(image(2, "t1c")), place().path("phantom/broken.nii.gz")).unwrap();
    fs::remove_file(place().path("odd/phantom-0001.nii.gz")).unwrap();
    again(&["--resume"]).fails(2, &["1 of 4"]).prints(&["2 predicted, 1 kept, 1 left out"]);
    let names: Vec<_> = fs::read_dir(place().path("odd")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "three label maps, the record and nothing half done: {names:?}");
}

#[test]
fn classes_have_probabilities() {
    predict("classifier", &["phantom/cohort.json"], "classes", &["--mirror"])
        .succeeds()
        .prints(&["predictions.csv"]);
    let csv = fs::read_to_string(place().path("classes/predictions.csv")).unwrap();
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(head[..2], ["case", "class"]);
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let p: Vec<f32> = cells[2..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{line}");
        let best = p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        assert_eq!(head[2 + best], format!("p({})", cells[1]));
    }
    assert_eq!(csv.lines().count(), 5);

    // A record without the probability of a class is no record of 0.
    let path = place().path("classes/predictions.json");
    let mut record = place().json("classes/predictions.json");
    let class = record["settings"]["classes"][0].as_str().unwrap().to_owned();
    record["cases"]["phantom-0001"]["classes"].as_object_mut().unwrap().remove(&class);
    fs::write(&path, record.to_string()).unwrap();
    predict("classifier", &["phantom/cohort.json"], "classes", &["--mirror", "--resume"])
        .fails(2, &["predictions.json", "lacks the probability of a class"]);
    predict("classifier", &["phantom/cohort.json"], "c", &["--probabilities"]).fails(2, &["--probabilities"]);
}

#[test]
fn every_set_of_modalities_is_scored_in_one_table() {
    let start = ["evaluate", "--model", "segmenter", "--modality-subsets", "--truth", "phantom/cohort.json"];
    let run = |more: &[&str]| place().run(&[&start[..], &["--out", "subsets.json"], more].concat());
    run(&["--csv", "subsets.csv", "--metrics", "dice,hd95_mm"]).succeeds().prints(&[
        "flair+t1c",
        "WT Dice",
        "ET HD95 [mm]",
        "subsets.json: 3 sets of modalities, 0 cases left out",
    ]);
    let json = place().json("subsets.json");
    let subsets = json["subsets"].as_array().unwrap();
    assert_eq!(subsets.len(), 3);
    assert!(subsets.iter().all(|subset| subset["cases"] == 4));
    // All modalities together are what `predict` and `evaluate` say.
    predict("segmenter", &["phantom/cohort.json"], "all", &[]).succeeds();
    let evaluate =
        ["evaluate", "--truth", "phantom/cohort.json", "--metrics", "dice,hd95_mm", "--pred", "all"];
    place().run(&[&evaluate[..], &["--out", "all.json"]].concat()).succeeds();
    assert_eq!(subsets[2]["summary"], place().json("all.json")["summary"]);
    assert_eq!(fs::read_to_string(place().path("subsets.csv")).unwrap().lines().count(), 1 + 3 * 3);
    run(&["--pred", "all"]).fails(2, &["--pred"]);
    run(&["--regions", "WT=1"]).fails(2, &["--regions"]);
    place().run(&[&evaluate[..], &["--out", "x.json", "--mirror"]].concat()).fails(2, &["--model"]);
}

/// Dice by region as `evaluate` says it.
fn dice_of(scores: &Value) -> Vec<(String, f64)> {
    let regions = scores["summary"].as_array().unwrap_or_else(|| panic!("{scores}"));
    let dice = |region: &Value| region["metrics"]["dice"]["mean"].as_f64().unwrap();
    regions.iter().map(|region| (region["region"].as_str().unwrap().to_owned(), dice(region))).collect()
}

#[test]
fn the_score_that_selects_a_model_is_the_score_that_is_reported() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "phantom", "--cases", "8", "--size", "32", "--lesions", "glioma"];
    place
        .run(&[&phantom[..], &["--modalities", "flair,t1c", "--missing-rate", "0", "--quiet"]].concat())
        .succeeds();
    let split = ["split", "phantom/cohort.json", "--test", "0.1", "--validation", "0.25"];
    place.run(&[&split[..], &["--out", "divided.json", "--quiet"]].concat()).succeeds();
    // Voxels of the phantoms are 6 mm: what is predicted lies on the grid of the input, but for the crop.
    for (spacing, same_grid) in [("6", true), ("5", false)] {
        let named = |what: &str| format!("{what}-{spacing}");
        let [cache, run, pred, scores, subsets] =
            ["cache", "run", "pred", "scores.json", "subsets.json"].map(named);
        let preprocess = ["preprocess", "divided.json", "--out", &cache, "--spacing", spacing, "--quiet"];
        place.run(&preprocess).succeeds();
        let mut typed =
            vec!["finetune", "segment", "--data", &cache, "--init", "none", "--out", &run, "--quiet"];
        for setting in [
            "model.preset=tiny",
            "patch.size=16",
            "train.batch_size=2",
            "train.max_steps=12",
            "optimizer.schedule.learning_rate=3e-3",
        ] {
            typed.extend(["--set", setting]);
        }
        place.run(&typed).succeeds();
        let chosen = ["--split", "validation"];
        let predict = ["predict", "--model", &run, "--in", "divided.json", "--out", &pred, "--quiet"];
        place.run(&[&predict[..], &chosen].concat()).succeeds();
        let evaluate = ["evaluate", "--truth", "divided.json", "--metrics", "dice", "--quiet"];
        let of_files = ["--pred", &pred, "--out", &scores];
        place.run(&[&evaluate[..], &of_files, &chosen].concat()).succeeds();
        let of_model = ["--model", &run, "--modality-subsets", "--out", &subsets];
        place.run(&[&evaluate[..], &of_model, &chosen].concat()).succeeds();
        let reported = dice_of(&place.json(&scores));
        // On any grid, what is scored of files is what is scored without them.
        let subsets = place.json(&subsets);
        assert_eq!(dice_of(subsets["subsets"].as_array().unwrap().last().unwrap()), reported);
        let text = fs::read_to_string(place.path(&run).join("validation.jsonl")).unwrap();
        let mut validations = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let validation = validations.rfind(|validation| validation["best"] == true).unwrap();
        assert!(reported.iter().any(|(_, dice)| (0.001..0.95).contains(dice)), "{reported:?}");
        for (region, dice) in &reported {
            let selected = validation["scores"][format!("dice {region}")].as_f64().unwrap();
            // Validation scores on the prepared grid. Where that is another, the same labels have other voxels.
            let apart = (selected - dice).abs();
            assert!(apart <= if same_grid { 1e-6 } else { 0.15 }, "{spacing} mm {region}: {selected} {dice}");
        }
    }
}

#[test]
fn features_of_cases_and_modalities() {
    let embed = |model: &str, input: &str, out: &str| {
        place().run(&["embed", "--model", model, "--in", input, "--out", out])
    };
    embed("segmenter", "phantom/cohort.json", "files.csv").succeeds().prints(&["4 rows of 64 features"]);
    embed("segmenter", "cache", "cache.csv").succeeds();
    // Prepared anew or from the cache of the training: the same, to the digit.
    let [files, cache] =
        ["files.csv", "cache.csv"].map(|name| fs::read_to_string(place().path(name)).unwrap());
    assert_eq!(files, cache);
    assert!(files.starts_with("case,modality,f0,") && files.contains("phantom-0001,flair+t1c,"), "{files}");
    embed("segmenter", "cache", "features.safetensors").succeeds();
    embed("segmenter", "cache", "features.txt").fails(2, &[".safetensors"]);
    embed("absent", "cache", "features.csv").fails(2, &["absent"]);
    let pretrain = ["pretrain", "--data", "cache", "--out", "run", "--set", "model.preset=tiny", "--set"];
    place()
        .run(&[&pretrain[..], &["patch.size=16", "--set", "train.max_steps=2", "--quiet"]].concat())
        .succeeds();
    predict("run", &["phantom/cohort.json"], "not", &[])
        .fails(2, &["this is a pre-training run, which cannot predict"]);
    embed("run", "cache", "pretrained.csv").succeeds().prints(&["8 rows of 64 features"]);
    let csv = fs::read_to_string(place().path("pretrained.csv")).unwrap();
    assert!(csv.contains("phantom-0001,flair,") && csv.contains("phantom-0001,t1c,"), "{csv}");
}

#[test]
fn mistakes() {
    for (model, input, more, words) in [
        ("absent", "phantom/cohort.json", &[][..], &["absent"][..]),
        ("cache", "phantom/cohort.json", &[], &["is not a run"]),
        ("segmenter", "absent.json", &[], &["absent.json"]),
        ("segmenter", "scan.nii.gz", &[], &["MODALITY=scan.nii.gz"]),
        ("segmenter", "phantom/cohort.json", &["--overlap", "1"], &["overlap"]),
        ("segmenter", "phantom/cohort.json", &["--mirror", "w"], &["unknown axis"]),
        ("segmenter", "phantom/cohort.json", &["--batch", "0"], &["batch"]),
        ("segmenter", "phantom/cohort.json", &["--device", "abacus"], &["abacus"]),
    ] {
        predict(model, &[input], "mistake", more).fails(2, words);
    }
    assert!(!place().path("mistake").exists(), "a mistake leaves nothing behind");
}
