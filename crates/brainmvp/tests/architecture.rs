//! Holds the edges of ARCHITECTURE.md: which crate may use which, and which may use Burn.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may use of the workspace, and whether it may use Burn.
const ALLOWED: [(&str, &[&str], bool); 21] = [
    ("volume", &[], false),
    ("cohort", &["volume"], false),
    ("phantom", &["volume", "cohort"], false),
    ("registration", &["volume"], false),
    ("dicom", &["volume", "cohort"], false),
    ("prep", &["volume", "cohort", "phantom", "registration"], false),
    ("quality", &["volume", "cohort", "registration", "prep"], false),
    ("ranks", &[], false),
    ("mpi", &["ranks"], false),
    ("kernels", &["ranks"], true),
    ("nets", &["ranks", "kernels"], true),
    ("objectives", &["volume", "ranks", "kernels", "nets"], true),
    ("infer", &["volume", "nets"], true),
    (
        "train",
        &[
            "volume",
            "cohort",
            "registration",
            "prep",
            "ranks",
            "kernels",
            "nets",
            "objectives",
            "infer",
            "metrics",
        ],
        true,
    ),
    ("metrics", &["volume"], false),
    (
        "study",
        &["volume", "cohort", "phantom", "prep", "nets", "objectives", "infer", "metrics", "train"],
        false,
    ),
    ("probe", &[], false),
    ("view", &["volume", "cohort", "prep", "metrics"], false),
    (
        "bench",
        &["volume", "cohort", "phantom", "prep", "ranks", "kernels", "nets", "objectives", "train"],
        true,
    ),
    ("golden", &[], false),
    ("fuzz", &[], false),
];

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut found = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let normal = package["dependencies"].as_array().unwrap().iter().filter(|d| d["kind"].is_null());
        let names: BTreeSet<&str> = normal.map(|d| d["name"].as_str().unwrap()).collect();
        found.insert(package["name"].as_str().unwrap(), names);
    }
    for (name, allowed, burn) in ALLOWED {
        let dependencies = &found[format!("brainmvp-{name}").as_str()];
        for dependency in dependencies {
            if let Some(inner) = dependency.strip_prefix("brainmvp-") {
                assert!(allowed.contains(&inner), "{name} must not use {inner}");
            }
            assert!(burn || !dependency.starts_with("burn"), "{name} must not use {dependency}");
        }
    }
    assert_eq!(found.len(), ALLOWED.len() + 1, "a new crate needs its row here");
}

/// Each GPU feature that there is is built by `.ci/run`, is a device of its name, and README.md names no other.
#[test]
fn features_that_are_offered_are_built() {
    let read = |file: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../").to_owned() + file;
        std::fs::read_to_string(path).unwrap()
    };
    let manifest: toml::Table = read("crates/brainmvp/Cargo.toml").parse().unwrap();
    let features = manifest["features"].as_table().unwrap();
    let by_default: Vec<&str> =
        features["default"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let is_offered = |name: &&str| *name != "default" && !by_default.contains(name);
    let mut offered: BTreeSet<&str> = features.keys().map(String::as_str).filter(is_offered).collect();
    let script = read(".ci/run");
    assert!(offered.remove("mpi") && script.contains("--features mpi"), "several processes are tried too");
    assert!(script.contains("--no-default-features"), "the program without {by_default:?} is built too");
    let built = script.lines().find_map(|line| line.strip_prefix("features=")).unwrap();
    assert_eq!(built.split(',').collect::<BTreeSet<_>>(), offered);
    let devices = brainmvp::train::device::DEVICES.iter().filter_map(|(_, feature)| *feature);
    assert_eq!(devices.collect::<BTreeSet<_>>(), offered);
    let readme = read("README.md");
    let named = |option: &str| {
        let after = readme.split(option).skip(1);
        let words =
            after.map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| !word.is_empty()));
        words.map(Option::unwrap).collect::<BTreeSet<_>>()
    };
    for option in ["--features", "--device"] {
        let named = named(option);
        assert!(named.is_subset(&offered), "{option} {named:?}, but there is {offered:?}");
    }
}
