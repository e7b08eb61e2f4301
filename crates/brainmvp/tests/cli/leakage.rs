//! Cases that a network has seen before, under another name and in other files.

use std::fs;

use brainmvp_volume::resample::{Interpolation, Voxel, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume, nifti};
use serde_json::{Value, json};

use crate::program::Place;

const MODALITIES: [&str; 2] = ["flair", "t1c"];

/// Settings of every training here.
const TINY: [&str; 10] = [
    "--set",
    "patch.size=16",
    "--set",
    "patch.resize=16",
    "--set",
    "train.batch_size=2",
    "--set",
    "train.accumulate=1",
    "--set",
    "train.max_steps=2",
];

/// The case in another file: turned by some degrees, shifted, on a coarser grid.
fn moved<T: Voxel>(volume: &Volume<T>, interpolation: Interpolation) -> Volume<T> {
    let (sin, cos) = 5.0_f64.to_radians().sin_cos();
    let turn = Affine::from_rows([[cos, -sin, 0.0, 9.0], [sin, cos, 0.0, -6.0], [0.0, 0.0, 1.0, 4.0]]);
    let grid = Grid::new(volume.shape(), turn.after(&volume.grid().affine));
    let volume = Volume::new(grid, volume.voxels().to_vec());
    let wide = Grid::new([30, 34, 30], Affine::from_spacing([6.5; 3], [-94.0, -128.0, -90.0]));
    onto_grid(&volume, &wide, interpolation, T::default())
}

/// The case with its axes stored in another order and direction, as its affine says.
fn flipped<T: Voxel>(volume: &Volume<T>) -> Volume<T> {
    let [nx, ny, nz] = volume.shape();
    let to_old = Affine::from_rows([
        [0.0, 0.0, -1.0, nx as f64 - 1.0],
        [1.0, 0.0, 0.0, 0.0],
        [0.0, -1.0, 0.0, nz as f64 - 1.0],
    ]);
    let grid = Grid::new([ny, nz, nx], volume.grid().affine.after(&to_old));
    let voxel = |at| {
        let [y, z, x] = grid.voxel(at);
        volume.at([nx - 1 - x, y, nz - 1 - z])
    };
    Volume::new(grid, (0..grid.len()).map(voxel).collect())
}

/// Brighter, on another scale.
fn rescaled(volume: &Volume) -> Volume {
    volume.map(|value| 17.0 * value)
}

/// A place with a cohort in `phantom/` that a run of pre-training in `run` has seen, and a cohort `other/cohort.json` of
/// another data set: four other patients for training, and in the test split two of those seen and two others.
fn place() -> Place {
    let place = Place::new();
    for (out, seed, cases) in [("phantom", "1", "5"), ("other", "2", "6")] {
        let phantom = ["phantom", "--out", out, "--seed", seed, "--cases", cases, "--size", "32"];
        let more = ["--lesions", "glioma", "--modalities", "flair,t1c", "--missing-rate", "0", "--quiet"];
        place.run(&[&phantom[..], &more].concat()).succeeds();
    }
    let mut cohort = place.json("other/cohort.json");
    let cases = cohort["cases"].as_array_mut().unwrap();
    for (number, case) in cases.iter_mut().enumerate() {
        let name = format!("patient-{number}");
        (case["id"], case["subject"]) = (name.clone().into(), name.into());
        case["split"] = if number < 4 { "training" } else { "test" }.into();
    }
    for (source, name) in [("phantom-0002", "moved"), ("phantom-0004", "flipped")] {
        cases.push(disguised(&place, source, name));
    }
    cohort["data_sets"] = json!({ "hospital": cohort["data_sets"]["phantom-glioma"] });
    for case in cohort["cases"].as_array_mut().unwrap() {
        case["data_set"] = "hospital".into();
    }
    place.write("other/cohort.json", &cohort.to_string());
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"])
        .succeeds();
    let pretrain = ["pretrain", "--data", "cache", "--out", "run", "--set", "model.preset=tiny", "--quiet"];
    place
        .run(&[&pretrain[..], &["--set", "patch.size=16", "--set", "train.max_steps=2"]].concat())
        .succeeds();
    place
}

/// Writes the files of a case under another name; returns its entry in the cohort.
fn disguised(place: &Place, source: &str, name: &str) -> Value {
    let folder = place.path("other").join(name);
    fs::create_dir(&folder).unwrap();
    let mut images = serde_json::Map::new();
    let from = |role: &str| place.path(format!("phantom/{source}/{source}_{role}.nii.gz"));
    for modality in MODALITIES {
        let image = nifti::read(&from(modality)).unwrap();
        let image = if name == "moved" {
            rescaled(&moved(&image, Interpolation::Trilinear))
        } else {
            flipped(&image)
        };
        nifti::write(&folder.join(format!("{modality}.nii.gz")), &image, nifti::WriteOptions::default())
            .unwrap();
        images.insert(modality.to_owned(), format!("{name}/{modality}.nii.gz").into());
    }
    let label = nifti::read_labels(&from("seg")).unwrap();
    let label = if name == "moved" { moved(&label, Interpolation::Nearest) } else { flipped(&label) };
    nifti::write_labels(&folder.join("seg.nii.gz"), &label, "").unwrap();
    json!({
        "id": name, "subject": name, "data_set": "hospital", "split": "test", "images": images,
        "label": format!("{name}/seg.nii.gz"),
    })
}

#[test]
fn seen_cases_are_named_whatever_they_are_called() {
    let place = place();
    let seen = place.json("run/seen.json");
    assert_eq!(seen["cases"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&seen["cases"][1]["case"], &seen["cases"][1]["stage"]),
        (&"phantom-0002".into(), &"pretraining".into())
    );

    // Other voxels, percentiles and crop than the run's.
    let preprocess = ["preprocess", "other/cohort.json", "--out", "other-cache", "--spacing", "5", "--quiet"];
    place.run(&[&preprocess[..], &["--preset", "released"]].concat()).succeeds();
    let finetune = ["finetune", "segment", "--data", "other-cache", "--init", "run", "--out", "segmenter"];
    let accepted = ["--accept-differences", "spacing,percentiles"];
    place.run(&[&finetune[..], &TINY, &accepted].concat()).succeeds().notes(&[
        "2 of 4 test cases were seen before: 'flipped' as 'phantom-0004' of phantom-glioma in pre-training (same flair, t1c), \
         'moved' as 'phantom-0002' of phantom-glioma in pre-training (same flair, t1c)",
    ]);
    let seen = place.json("segmenter/seen.json");
    let stages =
        |stage: &str| seen["cases"].as_array().unwrap().iter().filter(|case| case["stage"] == stage).count();
    assert_eq!((stages("pretraining"), stages("finetuning") + stages("validation")), (5, 4));

    let predict = ["predict", "--model", "segmenter", "--in", "other/cohort.json", "--out", "predicted"];
    place.run(&[&predict[..], &["--split", "test"]].concat()).succeeds().notes(&[
        "case 'moved' was seen before, as 'phantom-0002' of phantom-glioma in pre-training",
        "the network has seen 2 of 4 cases",
    ]);
    let evaluate = ["evaluate", "--truth", "other/cohort.json", "--metrics", "dice", "--out", "metrics.json"];
    place
        .run(&[&evaluate[..], &["--pred", "predicted", "--split", "test", "--csv", "metrics.csv"]].concat())
        .succeeds()
        .prints(&["4 cases scored", "Without 2 cases that the network has seen in training: flipped, moved"]);
    assert_with_and_without(&place.json("metrics.json"), &["patient-4", "patient-5"]);
    let csv = fs::read_to_string(place.path("metrics.csv")).unwrap();
    assert!(
        csv.lines()
            .filter(|line| line.ends_with(",yes"))
            .all(|line| line.starts_with("moved") || line.starts_with("flipped"))
    );
    assert_eq!(
        csv.lines().filter(|line| line.ends_with(",yes")).count(),
        csv.lines().filter(|line| line.ends_with(",no")).count()
    );

    let subsets = ["--model", "segmenter", "--modality-subsets", "--split", "test"];
    place.run(&[&evaluate[..], &subsets].concat()).succeeds().prints(&["Without 2 cases"]);
    assert_with_and_without(&place.json("metrics.json")["subsets"][0], &["patient-4", "patient-5"]);
}

#[test]
fn a_test_case_among_the_training_cases_is_named() {
    let place = place();
    place.run(&["index", "phantom", "other", "--out", "all.json"]).succeeds();
    let mut cohort = place.json("all.json");
    for case in cohort["cases"].as_array_mut().unwrap() {
        case["split"] = if case["id"] == "moved" { "test" } else { "training" }.into();
    }
    place.write("all.json", &cohort.to_string());
    place.run(&["preprocess", "all.json", "--out", "all", "--spacing", "6", "--quiet"]).succeeds();
    let pretrain = ["pretrain", "--data", "all", "--out", "both", "--set", "model.preset=tiny", "--set"];
    place
        .run(&[&pretrain[..], &["patch.size=16", "--set", "train.max_steps=1"]].concat())
        .succeeds()
        .notes(&["1 of 1 test cases were seen before: 'moved' as 'phantom-0002' of phantom in pre-training"]);
}

/// The means with and without the seen cases are those of the scores of the cases.
fn assert_with_and_without(json: &Value, unseen: &[&str]) {
    let names: Vec<&String> = json["seen"]["cases"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["flipped", "moved"]);
    for (summary, count) in [(&json["summary"], 4), (&json["seen"]["without"], 2)] {
        for region in summary.as_array().unwrap() {
            let of_region = |row: &&Value| row["region"] == region["region"];
            let chosen = |row: &&Value| count == 4 || unseen.contains(&row["case"].as_str().unwrap());
            let rows = json["scores"].as_array().unwrap().iter().filter(of_region).filter(chosen);
            let dice: Vec<f64> = rows.map(|row| row["values"]["dice"].as_f64().unwrap()).collect();
            assert_eq!(dice.len(), count);
            let mean = dice.iter().sum::<f64>() / count as f64;
            assert!((region["metrics"]["dice"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{region}");
        }
    }
}

#[test]
fn subjects_are_known_within_their_data_set() {
    let place = place();
    // Other images under the names that pre-training has seen.
    let mut cohort = place.json("other/cohort.json");
    let cases = cohort["cases"].as_array_mut().unwrap();
    cases.truncate(6);
    cases[0]["subject"] = "phantom-0003".into();
    cases[1]["subject"] = "phantom-0001".into();
    for (case, data_set) in cases.iter_mut().zip([
        "phantom-glioma",
        "hospital",
        "hospital",
        "hospital",
        "phantom-glioma",
        "phantom-glioma",
    ]) {
        (case["data_set"], case["class"]) =
            (data_set.into(), ["HGG", "LGG"][usize::from(data_set == "phantom-glioma")].into());
        case["split"] = "training".into();
    }
    cohort["data_sets"] = json!({ "phantom-glioma": {}, "hospital": {} });
    place.write("other/named.json", &cohort.to_string());
    place.run(&["preprocess", "other/named.json", "--out", "named", "--spacing", "6", "--quiet"]).succeeds();
    let finetune = ["finetune", "classify", "--data", "named", "--init", "run", "--out", "classifier"];
    place.run(&[&finetune[..], &TINY, &["--set", "data.validation_share=0"]].concat()).succeeds();
    // From weights alone nobody knows what they have seen.
    place.run(&["export", "run", "--format", "safetensors", "--out", "weights.safetensors"]).succeeds();
    let finetune =
        ["finetune", "classify", "--data", "named", "--init", "weights.safetensors", "--out", "unknown"];
    place
        .run(&[&finetune[..], &TINY].concat())
        .succeeds()
        .notes(&["which cases weights.safetensors was trained on is not known"]);
    let mut cohort = place.json("other/named.json");
    cohort["cases"].as_array_mut().unwrap().iter_mut().for_each(|case| case["subject"] = case["id"].clone());
    cohort["cases"][4]["subject"] = "phantom-0003".into();
    place.write("other/again.json", &cohort.to_string());
    let predict = ["predict", "--model", "classifier", "--in", "other/again.json", "--out", "classes"];
    place.run(&predict).succeeds().notes(&[
        "case 'patient-4' was seen before, as 'phantom-0003' of phantom-glioma in pre-training (same subject)",
    ]);
    let record = place.json("classes/predictions.json");
    let stages = |case: &str| {
        let seen = record["cases"][case]["seen"].as_array().unwrap();
        seen.iter().map(|seen| seen["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(stages("patient-1"), ["finetuning"], "phantom-0001 of another data set is another person");
    assert_eq!(stages("patient-4"), ["pretraining", "finetuning", "finetuning"]);
    let evaluate = ["evaluate", "--pred", "classes", "--truth", "other/again.json", "--out", "scores.json"];
    place.run(&evaluate).succeeds().prints(&["There are only 6 cases that the network has seen in training"]);
    let report = place.json("scores.json");
    assert_eq!(report["seen"]["cases"].as_object().unwrap().len(), 6);
    assert!(report["seen"]["without"].is_null());
}
