//! Fine-tuning through the program.

use brainmvp_train::saved::SavedNetwork;

use crate::program::{Ended, Place};

/// A place with a cache of small phantoms with gliomas, and a pre-training of three steps on it.
fn place() -> Place {
    let place = Place::new();
    let phantom =
        ["phantom", "--out", "phantom", "--cases", "6", "--size", "32", "--lesions", "glioma", "--quiet"];
    place.run(&phantom).succeeds();
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"])
        .succeeds();
    let pretrain = ["pretrain", "--data", "cache", "--out", "run", "--set", "model.preset=tiny", "--set"];
    place
        .run(&[&pretrain[..], &["patch.size=16", "--set", "train.max_steps=3", "--quiet"]].concat())
        .succeeds();
    place
}

fn finetune(place: &Place, task: &str, init: &str, out: &str, more: &[&str]) -> Ended {
    let options = ["--data", "cache", "--init", init, "--out", out, "--set", "patch.size=16", "--set"];
    let settings = ["train.batch_size=2", "--set", "train.accumulate=1", "--set", "train.max_steps=2"];
    place.run(&[&["finetune", task][..], &options[..], &settings[..], more].concat())
}

#[test]
fn every_task_from_a_run_or_nothing() {
    let place = place();
    let more = ["--set", "patch.resize=16"];
    finetune(&place, "segment", "run", "segmenter", &more).succeeds().notes(&[
        "training and",
        "tensors are from run",
        "validation at step 2: dice",
        "next: brainmvp predict --model segmenter",
    ]);
    let stored = std::fs::read_to_string(place.path("segmenter/config.toml")).unwrap();
    assert!(stored.contains("name = \"WT\"") && stored.contains("source = \"run\""), "{stored}");
    finetune(&place, "classify", "run", "classifier", &more).succeeds().notes(&["accuracy"]);
    let target = [&more[..], &["--target", "lesion_ml"]].concat();
    finetune(&place, "regress", "run", "regressor", &target)
        .succeeds()
        .notes(&["lesion_ml: mean", "validation at step 2: minus mae"]);
    let scratch = ["--set", "model.preset=tiny", "--labels-fraction", "0.5", "--modalities", "t1c,flair"];
    finetune(&place, "segment", "none", "scratch", &scratch).succeeds().notes(&["validation at step 2"]);
    assert!(!place.path("scratch/templates.safetensors").exists());
    finetune(&place, "segment", "none", "scratch", &scratch).fails(2, &["scratch", "already contains a run"]);
    let resumed = [&scratch[..], &["--resume"]].concat();
    finetune(&place, "segment", "none", "scratch", &resumed).succeeds();
    let changed = [&resumed[..], &["--set", "mixing.weight_agreement=0.5"]].concat();
    finetune(&place, "segment", "none", "scratch", &changed).fails(2, &["another configuration"]);
    weights_out_and_in(&place);
}

/// What is exported of fine-tuned runs is what they hold, and fine-tuning starts from it too.
fn weights_out_and_in(place: &Place) {
    for (run, head) in [
        ("segmenter", "segmentation, 3 output channels"),
        ("classifier", "classifier of"),
        ("regressor", "regression, a number"),
    ] {
        for (format, out) in [("pytorch", "out.pt"), ("safetensors", "out.safetensors")] {
            place.run(&["export", run, "--format", format, "--out", out]).succeeds().prints(&[head]);
            let weights = |name: &str| SavedNetwork::open(&place.path(name)).unwrap();
            let (ours, theirs) = (weights(run), weights(out));
            assert_eq!(
                (ours.about.network, ours.weights),
                (theirs.about.network, theirs.weights),
                "{run} as {out}"
            );
        }
    }
    place.run(&["export", "run", "--format", "pytorch", "--out", "pretrained.pt"]).succeeds();
    finetune(place, "segment", "pretrained.pt", "again", &[])
        .succeeds()
        .notes(&["tensors are from pretrained.pt"]);
    assert!(place.path("again/templates.safetensors").is_file());
}

#[test]
fn mistakes() {
    let place = place();
    let tiny = ["--set", "model.preset=tiny"];
    for (task, init, more, words) in [
        ("segment", "absent", &[][..], &["absent"][..]),
        ("segment", "none", &["--set", "task.regions=[{ name = 'x', labels = [0] }]"], &["background"]),
        ("segment", "none", &["--set", "task.missing=guess"], &["guess"]),
        ("segment", "none", &["--fold", "7"], &["data.fold"]),
        ("segment", "none", &["--labels-fraction", "2"], &["0 to 1"]),
        ("segment", "none", &["--modalities", "t9"], &["t9"]),
        ("classify", "none", &["--set", "task.classes=['LGG']"], &["two or more"]),
        ("classify", "none", &["--target", "age"], &["--target"]),
        ("regress", "none", &[], &["task.target", "--target COLUMN"]),
        ("regress", "none", &["--target", "age"], &["none of the 6 prepared cases has a number 'age'"]),
        ("regress", "none", &["--target", "brain_ml", "--set", "task.regression_loss=cubic"], &["cubic"]),
    ] {
        finetune(&place, task, init, "out", &[&tiny[..], more].concat()).fails(2, words);
    }
    assert!(!place.path("out").exists(), "a mistake leaves nothing behind");
    place.run(&["finetune", "guess"]).fails(2, &["guess"]);
    place.run(&["finetune", "segment", "--data", "none", "--init", "none", "--out", "x"]).fails(2, &["none"]);
}

#[test]
fn test_cases_are_never_trained_on() {
    let place = place();
    let split = ["split", "phantom/cohort.json", "--test", "0.34", "--out", "divided.json"];
    // The files of the cohort are named from where it is.
    place.run(&split).succeeds().prints(&["training   4 cases", "test       2 cases"]);
    place.run(&["preprocess", "divided.json", "--out", "divided", "--spacing", "6", "--quiet"]).succeeds();
    let tiny = ["--set", "model.preset=tiny", "--set", "patch.size=16", "--set", "train.max_steps=1"];
    let pretrain = ["pretrain", "--data", "divided", "--out", "seen"];
    place
        .run(&[&pretrain[..], &tiny].concat())
        .succeeds()
        .notes(&["2 of 6 cases are test cases and left out"]);
    let finetune = ["finetune", "segment", "--data", "divided", "--init", "none", "--out", "tuned"];
    place.run(&[&finetune[..], &tiny].concat()).succeeds().notes(&["3 training and 1 validation cases"]);
    place.run(&["split", "phantom/cohort.json", "--out", "x.json"]).fails(2, &["--test"]);
    place
        .run(&["split", "phantom/cohort.json", "--test", "0.7", "--validation", "0.7", "--out", "x.json"])
        .fails(2, &["fit in 1"]);
}

#[test]
fn a_classification_is_predicted_and_scored() {
    let place = place();
    let more = ["--set", "patch.resize=16", "--set", "data.validation_share=0"];
    finetune(&place, "classify", "run", "classifier", &more).succeeds();
    let predict = ["predict", "--model", "classifier", "--in", "phantom/cohort.json", "--out", "predicted"];
    place.run(&predict).succeeds();
    let evaluate =
        ["evaluate", "--pred", "predicted", "--truth", "phantom/cohort.json", "--out", "scores.json"];
    place.run(&[&evaluate[..], &["--csv", "scores.csv"]].concat()).succeeds().prints(&[
        "AUC",
        "95 % interval",
        "by true class (rows)",
        "6 cases scored",
    ]);
    let report = place.json("scores.json");
    let confusion: u64 = report["scores"]["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|cell| cell.as_u64().unwrap())
        .sum();
    assert_eq!(confusion, 6);
    assert_eq!(report["cases"].as_array().unwrap().len(), 6);
    // The truth in the place of the prediction is scored as perfect.
    let head = std::fs::read_to_string(place.path("predicted/predictions.csv")).unwrap();
    let head = head.lines().next().unwrap();
    let classes: Vec<&str> = head.split(',').skip(2).map(|cell| &cell[2..cell.len() - 1]).collect();
    let cohort = place.json("phantom/cohort.json");
    let mut perfect = format!("{head}\n");
    for case in cohort["cases"].as_array().unwrap() {
        let (id, truth) = (case["id"].as_str().unwrap(), case["class"].as_str().unwrap());
        let p: Vec<&str> = classes.iter().map(|class| if *class == truth { "1" } else { "0" }).collect();
        perfect = format!("{perfect}{id},{truth},{}\n", p.join(","));
    }
    place.write("perfect.csv", &perfect);
    let against = ["--truth", "phantom/cohort.json", "--out", "perfect.json"];
    place.run(&[&["evaluate", "--pred", "perfect.csv"][..], &against].concat()).succeeds();
    assert_eq!(place.json("perfect.json")["scores"]["accuracy"], 1.0);
    place.write("short.csv", &perfect.lines().take(3).collect::<Vec<_>>().join("\n"));
    let short = [&["evaluate", "--pred", "short.csv"][..], &against].concat();
    place.run(&short).fails(2, &["4 cases without a prediction"]);
    place.run(&[&short[..], &["--missing", "skip"]].concat()).succeeds().prints(&["2 cases scored"]);
    place.write("odd.csv", &perfect.replace(",1", ",7"));
    place.run(&[&["evaluate", "--pred", "odd.csv"][..], &against].concat()).fails(2, &["line 2"]);
}

#[test]
fn a_regression_is_predicted_and_scored() {
    let place = place();
    let more = ["--target", "brain_ml", "--set", "patch.resize=16", "--set", "data.validation_share=0"];
    finetune(&place, "regress", "run", "regressor", &[&more[..], &["--dry-run"]].concat())
        .succeeds()
        .prints(&["6 (", "a step"]);
    finetune(&place, "regress", "run", "regressor", &more).succeeds();
    let resumed = [&more[..], &["--set", "train.max_steps=4", "--resume"]].concat();
    finetune(&place, "regress", "run", "regressor", &resumed).succeeds();
    let predict = ["predict", "--model", "regressor", "--in", "phantom/cohort.json", "--out", "predicted"];
    place
        .run(&[&predict[..], &["--probabilities"]].concat())
        .fails(2, &["a regression has no probabilities"]);
    place.run(&predict).succeeds().prints(&["phantom-0001: brain_ml ", "predictions.csv: 6 predicted"]);
    place.run(&[&predict[..], &["--resume"]].concat()).succeeds();
    let record = place.json("predicted/predictions.json");
    assert_eq!(record["settings"]["target"], "brain_ml");
    let number = record["cases"]["phantom-0001"]["number"].as_f64().unwrap();
    // A step or two have changed little: predictions are in the unit of the column, near its mean.
    let cohort = place.json("phantom/cohort.json");
    let truth = |case: &serde_json::Value| case["numbers"]["brain_ml"].as_f64().unwrap();
    let truths: Vec<f64> = cohort["cases"].as_array().unwrap().iter().map(truth).collect();
    let (low, high) = truths.iter().fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    assert!(low > 500.0 && high < 2500.0, "ml of a brain: {truths:?}");
    assert!(number > low - 3.0 * (high - low) && number < high + 3.0 * (high - low), "{number}: {truths:?}");
    let against = ["--truth", "phantom/cohort.json", "--out", "scores.json", "--csv", "scores.csv"];
    place.run(&[&["evaluate", "--pred", "predicted"][..], &against].concat()).succeeds().prints(&[
        "Mean absolute error",
        "R2",
        "95 % interval",
        "6 cases scored",
    ]);
    let report = place.json("scores.json");
    assert_eq!((&report["target"], &report["scores"]["cases"]), (&"brain_ml".into(), &6.into()));
    assert!(report["intervals"]["mae"]["low"].as_f64() <= report["scores"]["mae"].as_f64());
    // The truth in the place of the prediction is scored as perfect.
    let rows = cohort["cases"].as_array().unwrap().iter();
    let rows: String =
        rows.map(|case| format!("{},{}\n", case["id"].as_str().unwrap(), truth(case))).collect();
    place.write("perfect.csv", &format!("case,brain_ml\n{rows}"));
    place.run(&[&["evaluate", "--pred", "perfect.csv"][..], &against].concat()).succeeds();
    let scores = &place.json("scores.json")["scores"];
    assert_eq!((&scores["mae"], &scores["r2"], &scores["spearman"]), (&0.0.into(), &1.0.into(), &1.0.into()));
    place.write("odd.csv", &format!("case,brain_ml\n{rows}").replace(".", "x"));
    place
        .run(&[&["evaluate", "--pred", "odd.csv"][..], &against].concat())
        .fails(2, &["line", "not a number"]);
    let subsets = ["evaluate", "--model", "regressor", "--modality-subsets"];
    place.run(&[&subsets[..], &against].concat()).fails(2, &["finetune regress", "no label map"]);
}

#[test]
fn numbers_of_a_table_are_learnt_without_preparing_again() {
    let place = place();
    place.write("people.csv", "id;age\nphantom-0001;61,5\nphantom-0002;48\nphantom-0004;70,25\n");
    let index = ["index", "phantom", "--out", "aged.json", "--table", "people.csv", "--numbers"];
    place.run(&[&index[..], &["age"]].concat()).succeeds().prints(&["age", "3"]);
    place.run(&[&index[..], &["weight"]].concat()).fails(2, &["none of the columns"]);
    place.run(&[&index[..], &["age"]].concat()).succeeds();
    place.run(&["preprocess", "aged.json", "--out", "cache", "--spacing", "6"]).succeeds();
    let more = ["--target", "age", "--set", "patch.resize=16", "--set", "data.validation_share=0"];
    finetune(&place, "regress", "run", "regressor", &more).succeeds().notes(&[
        "3 of 6 cases have no number 'age'",
        "age: mean 59.9167",
        "3 training",
    ]);
}
