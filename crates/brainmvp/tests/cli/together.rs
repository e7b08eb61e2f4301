//! Which files belong together, and whom they show.

use std::fs;
use std::path::Path;

use brainmvp_volume::nifti;
use serde_json::Value;

use crate::program::Place;

/// Empty files: `index` looks at names alone.
fn with_files(files: &[&str]) -> Place {
    let place = Place::new();
    for file in files {
        let path = place.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    place
}

/// The ids and subjects of a cohort.
fn subjects(cohort: &Value) -> Vec<(&str, &str)> {
    let cases = cohort["cases"].as_array().unwrap().iter();
    cases.map(|case| (case["id"].as_str().unwrap(), case["subject"].as_str().unwrap())).collect()
}

#[test]
fn series_and_examinations_of_patients() {
    let place = with_files(&[
        "study/P01/baseline/01-T1.nii.gz",
        "study/P01/baseline/02-T1+C.nii.gz",
        "study/P01/baseline/03-T2.nii.gz",
        "study/P01/baseline/04-FLAIR.nii.gz",
        "study/P01/followup/01-T1.nii.gz",
        "study/P01/followup/02-FLAIR.nii.gz",
        "study/P02/baseline/01-T1.nii.gz",
        "study/P02/baseline/02-FLAIR.nii.gz",
    ]);
    let ended = place.run(&["index", "study", "--out", "c.json"]).succeeds();
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let line = |word: &str| lines.iter().position(|line| line.contains(word)).unwrap();
    let guess = "'P01/baseline' is read as examination 'baseline' of subject 'P01'";
    assert!(line(guess) < line("written to c.json"), "the guess is told before it is used: {ended:?}");
    let cohort = place.json("c.json");
    let expected = [("P01_baseline", "P01"), ("P01_followup", "P01"), ("P02_baseline", "P02")];
    assert_eq!(subjects(&cohort), expected);
    let images = cohort["cases"][0]["images"].as_object().unwrap();
    assert_eq!(images["t1c"], "study/P01/baseline/02-T1+C.nii.gz");
    assert_eq!(images.len(), 4);
    place.run(&["split", "c.json", "--test", "0.5", "--out", "s.json"]).succeeds();
    let split = place.json("s.json");
    assert_eq!(split["cases"][0]["split"], split["cases"][1]["split"], "one patient, one split");
}

#[test]
fn words_for_labels_and_masks() {
    let place = with_files(&["study/a/t1.nii", "study/a/Zyx.nii", "study/a/Qrs.nii"]);
    let aliases = ["--alias", "Zyx=label", "--alias", "Qrs=mask"];
    place.run(&[&["index", "study", "--out", "c.json"], &aliases[..]].concat()).succeeds();
    let case = &place.json("c.json")["cases"][0];
    assert_eq!((&case["label"], &case["brain_mask"]), (&"study/a/Zyx.nii".into(), &"study/a/Qrs.nii".into()));
}

#[test]
fn lists_tables_and_archives() {
    let place = with_files(&["data/p1/x.nii", "data/p1/y.nii", "data/p1/z.nii"]);
    place.write(
        "list.json",
        r#"[{"t1": "data\\p1\\x.nii", "flair": "data\\p1\\y.nii", "seg": "data\\p1\\z.nii"}]"#,
    );
    place.write("table.csv", "id;age;class\np1;63,5;2,0\n");
    let index = ["index", "list.json", "--out", "c.json"];
    place.run(&[&index[..], &["--table", "table.csv"]].concat()).succeeds().prints(&["1 case of 1 data set"]);
    let case = &place.json("c.json")["cases"][0];
    assert_eq!((&case["id"], &case["class"]), (&"p1".into(), &"2".into()), "{case}");
    assert_eq!(
        (&case["images"]["flair"], &case["label"]),
        (&"data/p1/y.nii".into(), &"data/p1/z.nii".into())
    );
    place.write("far.json", r#"[{"t1": "p2/t1.nii"}]"#);
    let here = fs::canonicalize(place.path(".")).unwrap();
    place.run(&["index", "far.json", "--out", "d.json"]).fails(
        2,
        &[&here.join("p2/t1.nii").display().to_string(), &format!("start from {}", here.display())],
    );
    let mut header = [0; 512];
    header[..12].copy_from_slice(b"p3/t1.nii.gz");
    header[124..135].copy_from_slice(b"00000000000");
    fs::write(place.path("data/rest.tar"), header).unwrap();
    for source in ["data", "data/rest.tar"] {
        let ended = place.run(&["index", source, "--out", "e.json"]);
        assert!(ended.stderr.contains("unpack") && ended.stderr.contains("p3/t1.nii.gz"), "{ended:?}");
    }
}

/// Changes the label map of a case of the phantom.
fn relabel(place: &Place, case: &str, change: impl Fn(u16) -> u16) {
    let path = place.path(format!("phantom/{case}/{case}_seg.nii.gz"));
    let labels = nifti::read_labels(&path).unwrap().map(change);
    nifti::write_labels(&path, &labels, "").unwrap();
}

#[test]
fn ignored_labels_count_neither_in_training_nor_in_scores() {
    let place = Place::new();
    let phantom =
        ["phantom", "--out", "phantom", "--cases", "4", "--size", "32", "--lesions", "glioma", "--quiet"];
    place.run(&phantom).succeeds();
    fs::create_dir(place.path("pred")).unwrap();
    let mut cohort = place.json("phantom/cohort.json");
    let cases: Vec<String> = cohort["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["id"].as_str().unwrap().to_owned())
        .collect();
    // The predictions know more than the truth, which leaves open where the tumour enhances.
    for case in &cases {
        relabel(&place, case, |value| u16::from(value != 0) + u16::from(value == 3));
        let seg = place.path(format!("phantom/{case}/{case}_seg.nii.gz"));
        fs::copy(&seg, place.path(format!("pred/{case}.nii.gz"))).unwrap();
        relabel(&place, case, |value| if value == 2 { 9 } else { value });
    }
    cohort["data_sets"]["phantom-glioma"] = serde_json::json!({ "label_scheme": {
        "values": { "1": "tumour", "2": "enhancing", "9": "ignore" },
        "regions": [{ "name": "whole", "labels": [1, 2] }, { "name": "tumour", "labels": [1] }],
    }});
    place.write("phantom/cohort.json", &cohort.to_string());
    place.run(&["check", "phantom/cohort.json"]).succeeds();
    let evaluate = ["evaluate", "--truth", "phantom/cohort.json", "--pred", "pred", "--out", "m.json"];
    place.run(&evaluate).succeeds().prints(&["4 cases scored, 0 left out"]);
    let scores = place.json("m.json");
    for region in scores["summary"].as_array().unwrap() {
        for (metric, perfect) in [("dice", 1.0), ("hd95_mm", 0.0), ("volume_difference_mm3", 0.0)] {
            if let Some(found) = region["metrics"].get(metric) {
                assert_eq!(found["mean"], perfect, "{metric} of {region}");
            }
        }
    }
    // Training: a scheme without regions has those of its structures, and no region of what is ignored.
    cohort["data_sets"]["phantom-glioma"] =
        serde_json::json!({ "label_scheme": { "1": "tumour", "9": "ignore" } });
    place.write("phantom/cohort.json", &cohort.to_string());
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"])
        .succeeds();
    let settings = [
        "model.preset=tiny",
        "patch.size=16",
        "train.batch_size=2",
        "train.accumulate=1",
        "train.max_steps=2",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let finetune = ["finetune", "segment", "--data", "cache", "--init", "none", "--out", "run"];
    let ended = place.run(&[&finetune[..], &settings].concat()).succeeds();
    assert!(!ended.stderr.contains("left out"), "{ended:?}");
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(config.contains("name = \"tumour\"") && !config.contains("ignore\""), "{config}");
}

/// The files of a case under another name, and its entry in the cohort.
fn renamed(place: &Place, cohort: &Value, number: usize, name: &str) -> Value {
    let mut case = cohort["cases"][number].clone();
    (case["id"], case["subject"]) = (name.into(), name.into());
    let folder = place.path("phantom").join(name);
    fs::create_dir(&folder).unwrap();
    for (modality, image) in case["images"].as_object_mut().unwrap() {
        let from = place.path("phantom").join(image.as_str().unwrap());
        let volume = nifti::read(&from).unwrap();
        // Another scale of grey values, so that no file is a copy.
        let to = folder.join(format!("{modality}.nii.gz"));
        nifti::write(
            &to,
            &volume.map(|value| 3.0 * value + 1e-3 * value * value),
            nifti::WriteOptions::default(),
        )
        .unwrap();
        *image = format!("{name}/{modality}.nii.gz").into();
    }
    case.as_object_mut().unwrap().retain(|key, _| key != "label" && key != "brain_mask");
    case
}

#[test]
fn one_head_under_two_names() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "phantom", "--cases", "6", "--size", "32", "--missing-rate", "0"];
    place.run(&[&phantom[..], &["--modalities", "t1,flair", "--quiet"]].concat()).succeeds();
    let mut cohort = place.json("phantom/cohort.json");
    let twin = renamed(&place, &cohort, 2, "someone");
    cohort["cases"].as_array_mut().unwrap().push(twin);
    place.write("phantom/cohort.json", &cohort.to_string());
    let said = "shows the same head as case 'phantom-0003' of subject";
    let ended = place.run(&["check", "phantom/cohort.json", "--json", "report.json"]).succeeds();
    ended.prints(&["warning: someone: ", said, "give both one subject"]);
    let report = place.json("report.json");
    assert_eq!(report["same_heads"], serde_json::json!([["phantom-0003", "someone"]]), "and no other pair");
    // Kept together by `split`, whatever the seed.
    for seed in ["1", "2", "3", "4"] {
        let split =
            ["split", "phantom/cohort.json", "--test", "0.4", "--seed", seed, "--out", "phantom/s.json"];
        place.run(&[&split[..], &["--check", "report.json"]].concat()).succeeds();
        let split = place.json("phantom/s.json");
        let of = |id: &str| {
            let cases = split["cases"].as_array().unwrap();
            cases.iter().find(|case| case["id"] == id).unwrap()["split"].clone()
        };
        assert_eq!(of("someone"), of("phantom-0003"), "seed {seed}");
    }
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
    place.run(&preprocess).succeeds().notes(&["warning: case 'someone'", said]);
    let again = place.run(&preprocess).succeeds();
    assert!(!again.stderr.contains(said), "said once, when it is new: {again:?}");
}

#[test]
fn a_header_and_its_voxels_in_another_file() {
    let place = Place::new();
    let phantom =
        ["phantom", "--out", "phantom", "--cases", "1", "--size", "32", "--modalities", "t1", "--quiet"];
    place.run(&[&phantom[..], &["--missing-rate", "0"]].concat()).succeeds();
    let image = nifti::read(&place.path("phantom/phantom-0001/phantom-0001_t1.nii.gz")).unwrap();
    fs::create_dir(place.path("slicer")).unwrap();
    let rows = image.grid().affine.rows();
    let vector = |c: usize| format!("({},{},{})", rows[0][c], rows[1][c], rows[2][c]);
    let [x, y, z] = image.shape();
    let header = format!(
        "NRRD0004\ntype: float\ndimension: 3\nspace: RAS\nsizes: {x} {y} {z}\nspace directions: {} {} {}\nendian: little\n\
         encoding: raw\nspace origin: {}\ndata file: voxels.raw\n",
        vector(0),
        vector(1),
        vector(2),
        vector(3)
    );
    fs::write(place.path("slicer/a_t1.nhdr"), header).unwrap();
    let bytes = |scale: f32| -> Vec<u8> {
        image.voxels().iter().flat_map(|voxel| (scale * voxel).to_le_bytes()).collect()
    };
    let voxels = place.path("slicer/voxels.raw");
    fs::write(&voxels, bytes(1.0)).unwrap();
    place.run(&["index", "slicer", "--out", "c.json"]).succeeds().prints(&["1 case"]);
    place.run(&["check", "c.json"]).succeeds();
    let preprocess = ["preprocess", "c.json", "--out", "cache", "--spacing", "6"];
    place.run(&preprocess).succeeds().prints(&["1 case prepared"]);
    place.run(&preprocess).succeeds().prints(&["1 already there"]);
    fs::write(&voxels, bytes(2.0)).unwrap();
    place.run(&preprocess).succeeds().prints(&["1 case prepared"]);
    fs::remove_file(&voxels).unwrap();
    place
        .run(&["check", "c.json"])
        .fails(2, &["1 of 1"])
        .prints(&[Path::new("voxels.raw").to_str().unwrap()]);
}
