//! What a run will take, before it is begun.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use brainmvp_train::log::metrics::read_metrics;

use crate::program::Place;

const COMMON: [&str; 8] = [
    "--set",
    "patch.size=16",
    "--set",
    "train.epochs=8",
    "--set",
    "checkpoint.every_steps=5",
    "--set",
    "log.pictures_every_steps=4",
];

/// The lines of a dry run, by their first word.
fn told(stdout: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (name, value) = line.trim().split_once("  ")?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    stdout.lines().filter_map(line).collect()
}

/// The number at the start of a text.
fn number(text: &str) -> f64 {
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// `3.4 kB` in bytes.
fn bytes(text: &str) -> f64 {
    let unit = text.split_whitespace().nth(1).unwrap();
    number(text)
        * match unit {
            "B" => 1.0,
            "kB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            other => panic!("{other}"),
        }
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| if e.path().is_dir() { size(&e.path()) } else { e.metadata().unwrap().len() }).sum()
}

/// A dry run and the run itself.
fn compare(place: &Place, command: &[&str], out: &str) -> BTreeMap<String, String> {
    let typed = [command, &["--out", out], &COMMON].concat();
    let dry = || told(&place.run(&[&typed[..], &["--dry-run"]].concat()).succeeds().stdout);
    let mut estimate = dry();
    assert!(!place.path(out).exists(), "a dry run leaves nothing behind");
    place.run(&typed).succeeds();
    let metrics = read_metrics(&place.path(out).join("metrics.jsonl")).unwrap();
    assert_eq!(number(&estimate["steps"]), metrics.len() as f64);
    let (disk, written) = (bytes(&estimate["disk"]), size(&place.path(out)) as f64);
    assert!((disk / written - 1.0).abs() < 0.2, "{disk} bytes estimated, {written} written: {estimate:?}");
    // Other work on the machine disturbs single measurements of either kind.
    let median = |run: &str| {
        let metrics = read_metrics(&place.path(run).join("metrics.jsonl")).unwrap();
        let mut seconds: Vec<f64> = metrics[1..].iter().map(|step| step.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    };
    let near = |estimate: &BTreeMap<String, String>, real: f64| {
        (0.5..=2.0).contains(&(number(&estimate["a step"]) / real))
    };
    let mut real = median(out);
    for attempt in 0..4 {
        if !near(&estimate, real) {
            estimate = dry();
            let again = format!("{out}-{attempt}");
            place.run(&[command, &["--out", &again], &COMMON].concat()).succeeds();
            real = median(&again);
        }
    }
    assert!(near(&estimate, real), "{real} s a step; {estimate:?}");
    estimate
}

#[test]
fn pretraining_is_estimated() {
    let place = Place::with_gliomas();
    let command =
        ["pretrain", "--data", "cache", "--set", "model.preset=tiny", "--set", "train.batch_size=2"];
    let told = compare(&place, &command, "run");
    assert_eq!(told["cases"], "6 (flair 6, t1c 5)");
    assert_eq!(told["steps"], "24");
    assert!(bytes(&told["memory"]) > 1e6 && bytes(&told["cache"]) > 1e4, "{told:?}");
    // What is done already is not counted; the folder stays as it is.
    let before = fs::read(place.path("run/metrics.jsonl")).unwrap();
    let longer = [&command[..], &["--out", "short"], &COMMON].concat();
    place.run(&[&longer[..], &["--set", "train.max_steps=10"]].concat()).succeeds();
    let resumed =
        place.run(&[&longer[..], &["--resume", "--dry-run", "--set", "train.max_steps=20"]].concat());
    resumed.succeeds().prints(&["10, after 10 that are done, of the 24 of the schedule"]);
    assert_eq!(fs::read(place.path("run/metrics.jsonl")).unwrap(), before);
    assert!(place.path("short/checkpoints/step-00000010.safetensors").exists());
}

#[test]
fn finetuning_is_estimated() {
    let place = Place::with_gliomas();
    let command =
        ["finetune", "segment", "--data", "cache", "--init", "none", "--set", "model.preset=tiny", "--set"];
    let more = ["train.batch_size=2", "--set", "train.accumulate=1", "--set", "validation.every_epochs=4"];
    let told = compare(&place, &[&command[..], &more].concat(), "segmenter");
    assert!(told["validation"].starts_with("2 times 1 case, "), "{told:?}");
    place
        .run(&["finetune", "segment", "--data", "cache", "--init", "absent", "--out", "x", "--dry-run"])
        .fails(2, &["absent"]);
}
