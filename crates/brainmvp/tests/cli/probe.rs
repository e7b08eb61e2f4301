//! Probing features through the program.

use std::collections::BTreeMap;

use brainmvp::probe::{Features, Linear, Neighbours, Sample, Truth, Tuning, probe};

use crate::program::Place;

/// A place with a pre-training of a step, a cache of phantoms of two classes that are divided, and one of the same undivided.
fn place() -> Place {
    let place = Place::new();
    let phantom = ["phantom", "--out", "phantom", "--cases", "16", "--size", "32", "--lesions", "glioma"];
    place.run(&[&phantom[..], &["--missing-rate", "0.2", "--quiet"]].concat()).succeeds();
    with_classes(&place, |case| if case % 2 == 0 { "even" } else { "odd" });
    let split =
        ["split", "phantom/cohort.json", "--test", "0.25", "--validation", "0.25", "--out", "divided.json"];
    place.run(&split).succeeds();
    for (cohort, cache) in [("phantom/cohort.json", "cache"), ("divided.json", "divided")] {
        place.run(&["preprocess", cohort, "--out", cache, "--spacing", "6", "--quiet"]).succeeds();
    }
    let pretrain = ["pretrain", "--data", "divided", "--out", "run", "--set", "model.preset=tiny", "--set"];
    place
        .run(&[&pretrain[..], &["patch.size=16", "--set", "train.max_steps=1", "--quiet"]].concat())
        .succeeds();
    place
}

/// Gives the cases of the cohort of phantoms these classes.
fn with_classes(place: &Place, class: impl Fn(usize) -> &'static str) {
    let mut cohort = place.json("phantom/cohort.json");
    for (number, case) in cohort["cases"].as_array_mut().unwrap().iter_mut().enumerate() {
        case["class"] = class(number).into();
    }
    place.write("phantom/cohort.json", &cohort.to_string());
}

fn probing<'a>(data: &'a str, target: &'a str, out: &'a str) -> [&'a str; 9] {
    ["probe", "--model", "run", "--data", data, "--target", target, "--out", out]
}

/// The rows of a table, by their first cell.
fn table(place: &Place, name: &str) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(place.path(name)).unwrap();
    let cells = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    text.lines().skip(1).map(cells).map(|mut row| (row.remove(0), row)).collect()
}

/// The cases of one split, with their features as `embed` writes them, and their numbers.
fn sample(place: &Place, split: &str) -> (Vec<String>, Vec<Features>, Vec<f64>) {
    let text = std::fs::read_to_string(place.path("features.csv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let cohort = place.json("divided.json");
    let of_split = cohort["cases"].as_array().unwrap().iter().filter(|case| case["split"] == split);
    let (mut names, mut features, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for case in of_split {
        let id = case["id"].as_str().unwrap();
        let blocks = rows.iter().filter(|row| row[0] == id).map(|row| {
            (row[1].to_owned(), row[2..].iter().map(|cell| cell.parse().unwrap()).collect::<Vec<f32>>())
        });
        features.push(blocks.collect());
        numbers.push(case["numbers"]["brain_ml"].as_f64().unwrap());
        names.push(id.to_owned());
    }
    (names, features, numbers)
}

/// A number: what is written is what the library makes of the features that `embed` writes.
#[test]
fn a_number_is_predicted_from_the_features_of_embed() {
    let place = place();
    place
        .run(&probing("divided", "brain_ml", "probe"))
        .succeeds()
        .prints(&[
            "Mean absolute error",
            "R2",
            "Linear: penalty",
            "chosen by the validation cases",
            "4 cases scored",
        ])
        .notes(&["8 training, 4 validation and 4 test cases"]);
    let report = place.json("probe/probe.json");
    assert_eq!((&report["target"], &report["scored"]), (&"brain_ml".into(), &"test".into()));
    assert_eq!(report["cases"], serde_json::json!({ "training": 8, "validation": 4, "test": 4 }));
    let embed = ["embed", "--model", "run", "--in", "divided", "--out", "features.csv"];
    place.run(&embed).succeeds();

    let [(_, training, of_training), (_, held, of_held), (names, test, of_test)] =
        ["training", "validation", "test"].map(|split| sample(&place, split));
    let baseline = of_training.iter().sum::<f64>() / 8.0;
    let training = Sample { features: training.iter().collect(), truth: Truth::Numbers(of_training) };
    let held = Sample { features: held.iter().collect(), truth: Truth::Numbers(of_held) };
    let test: Vec<&Features> = test.iter().collect();
    let linear = probe::<Linear>(&training, &Tuning::Held(&held)).unwrap();
    let neighbours = probe::<Neighbours>(&training, &Tuning::Held(&held)).unwrap();
    assert_eq!(report["probes"]["linear"]["penalty"], linear.setting);
    assert_eq!(report["probes"]["neighbours"]["count"], neighbours.setting as f64);
    let (linear, neighbours) = (linear.predict(&test).unwrap(), neighbours.predict(&test).unwrap());
    let written = table(&place, "probe/probe.csv");
    assert_eq!(written.len(), 4);
    for (place, name) in names.iter().enumerate() {
        let found: Vec<f64> = written[name].iter().map(|cell| cell.parse().unwrap()).collect();
        let expected = [of_test[place], baseline, linear[(place, 0)], neighbours[(place, 0)]];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6 * expected.abs(), "{name}: {found}, not {expected}");
        }
    }
    let error =
        names.iter().enumerate().map(|(place, _)| (linear[(place, 0)] - of_test[place]).abs()).sum::<f64>()
            / 4.0;
    let told = report["probes"]["linear"]["scores"]["mae"].as_f64().unwrap();
    assert!((told - error).abs() < 1e-6 * error);
    let interval = &report["probes"]["linear"]["intervals"]["mae"];
    assert!(interval["low"].as_f64().unwrap() <= told && told <= interval["high"].as_f64().unwrap());

    place.run(&probing("divided", "brain_ml", "again")).succeeds();
    for file in ["probe.json", "probe.csv"] {
        let [a, b] = ["probe", "again"].map(|out| std::fs::read(place.path(out).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
}

#[test]
fn classes_are_probed_with_any_parts_and_any_model() {
    let place = place();
    place.run(&probing("divided", "class", "probe")).succeeds().prints(&[
        "Class shares",
        "Nearest neighbours",
        "AUC",
        "squared error",
    ]);
    let report = place.json("probe/probe.json");
    assert_eq!(report["classes"], serde_json::json!(["even", "odd"]));
    assert_eq!(report["probes"]["baseline"]["scores"]["auc"], 0.5);
    for row in table(&place, "probe/probe.csv").values() {
        // Truth, and for each model what it predicts, and the probabilities.
        assert_eq!(row.len(), 10);
        for probabilities in row[1..].chunks(3) {
            let sum: f64 = probabilities[1..].iter().map(|cell| cell.parse::<f64>().unwrap()).sum();
            assert!((sum - 1.0).abs() < 1e-9);
        }
    }

    // Nobody has divided the cohort: a fifth of the subjects is scored, and chooses nothing.
    place
        .run(&probing("cache", "class", "undivided"))
        .succeeds()
        .prints(&["chosen by a cross-validation of the training cases in 5 parts"])
        .notes(&["warning: there are no test cases", "were seen before"]);
    assert_eq!(place.json("undivided/probe.json")["scored"], "validation");

    // The features of a fine-tuned network are those of all modalities.
    let finetune = ["finetune", "classify", "--data", "divided", "--init", "run", "--out", "tuned", "--set"];
    let settings = ["patch.size=16", "--set", "patch.resize=16", "--set", "train.batch_size=2", "--set"];
    let steps = ["train.accumulate=1", "--set", "train.max_steps=1", "--quiet"];
    place.run(&[&finetune[..], &settings, &steps].concat()).succeeds();
    let mut typed = probing("divided", "class", "joint");
    typed[2] = "tuned";
    place.run(&typed).succeeds();
    let features = place.json("joint/probe.json")["features"].as_object().unwrap().clone();
    assert_eq!(features.keys().collect::<Vec<_>>(), ["all modalities"]);
}

#[test]
fn mistakes_of_probing() {
    let place = place();
    let refuse = |data: &str, target: &str, words: &[&str]| {
        place.run(&probing(data, target, "out")).fails(2, words);
    };
    let unknown = place.run(&probing("divided", "age", "out"));
    unknown.fails(2, &["none of the 16 prepared cases has a number 'age'"]).notes(&["brain_ml", "lesion_ml"]);
    refuse("phantom", "class", &["manifest.json"]);
    place.write("file", "");
    place.run(&probing("divided", "class", "file")).fails(2, &["is a file"]);
    for model in ["nothing", "divided/manifest.json", "divided"] {
        let mut typed = probing("divided", "class", "out");
        typed[2] = model;
        place.run(&typed).fails(2, &[model]);
    }
    let prepare = || {
        place
            .run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"])
            .succeeds();
    };
    with_classes(&place, |_| "one");
    prepare();
    refuse("cache", "class", &["two classes or more", "one"]);
    let mut cohort = place.json("phantom/cohort.json");
    for case in cohort["cases"].as_array_mut().unwrap() {
        case.as_object_mut().unwrap().remove("class");
        case["numbers"]["brain_ml"] = 7.0.into();
        case["split"] = "training".into();
    }
    let numbers = cohort["cases"][3]["numbers"].as_object_mut().unwrap();
    numbers.remove("lesion_ml");
    let left_out = cohort["cases"][3]["id"].as_str().unwrap().to_owned();
    place.write("phantom/cohort.json", &cohort.to_string());
    prepare();
    refuse("cache", "class", &["none of the 16 prepared cases has a class"]);
    refuse("cache", "brain_ml", &["all have the same number"]);
    assert!(!place.path("out").exists(), "a mistake leaves nothing behind");
    let note = format!("1 of 16 cases have no number 'lesion_ml' and are left out: {left_out}");
    place.run(&probing("cache", "lesion_ml", "out")).succeeds().notes(&[&note]);
    assert!(!table(&place, "out/probe.csv").contains_key(&left_out));
}
