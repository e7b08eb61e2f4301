//! From nothing to a cache.

use std::process::{Command as Process, Stdio};

use crate::program::Place;

#[test]
fn phantom_index_check_preprocess() {
    let place = Place::with_phantom(4);
    place
        .run(&["index", "phantom", "--out", "made/cohort.json"])
        .succeeds()
        .prints(&["layout plain", "4 cases of 1 data set", "flair", "brain mask", "made/cohort.json"])
        .notes(&["next: brainmvp check made/cohort.json"]);
    place.run(&["check", "made/cohort.json", "--json", "report.json"]).succeeds().prints(&[
        "4 cases",
        "no problems",
        "27 x 32 x 27 at 6 mm",
    ]);
    assert_eq!(place.json("report.json")["cases"], 4);
    place
        .run(&["preprocess", "made/cohort.json", "--out", "cache", "--spacing", "6", "--memory", "1G"])
        .succeeds()
        .prints(&["4 cases prepared", "0 left out"])
        .notes(&["preprocess 4/4 cases in "]);
    place
        .run(&["preprocess", "made/cohort.json", "--out", "cache", "--spacing", "6", "--memory", "10k"])
        .succeeds()
        .notes(&["4 cases need more memory than the 10.2 kB for all, up to"]);
    let manifest = place.json("cache/manifest.json");
    assert_eq!(manifest["cases"].as_array().unwrap().len(), 4);
    assert_eq!(manifest["preparation"]["config"]["spacing_mm"][0], 6.0);
}

#[test]
fn whole_heads_are_stripped() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "heads", "--cases", "1", "--size", "48", "--head", "whole"];
    place.run(&[&phantom[..], &["--modalities", "t1", "--lesions", "healthy"]].concat()).succeeds();
    let mut cohort = place.json("heads/cohort.json");
    cohort["cases"][0].as_object_mut().unwrap().remove("brain_mask");
    place.write("heads/no-mask.json", &cohort.to_string());
    let preprocess = ["preprocess", "heads/no-mask.json", "--out", "cache", "--spacing", "4"];
    place.run(&preprocess).succeeds().prints(&["1 case prepared", "0 left out"]);
    let voxels =
        |place: &Place| place.json("cache/manifest.json")["cases"][0]["foreground_voxels"].as_f64().unwrap();
    let stripped = voxels(&place);
    assert!((900.0..2200.0).contains(&(stripped * 0.064)), "{stripped} voxels of 4 mm");
    place.run(&[&preprocess[..], &["--skull-strip", "none"]].concat()).succeeds();
    assert!(voxels(&place) > 1.5 * stripped, "the head is left on");
    place
        .run(&[&preprocess[..], &["--skull-strip", "mask"]].concat())
        .notes(&["no brain mask"])
        .fails(2, &["no case could be prepared"]);
}

#[test]
fn shading_and_scale_are_options() {
    let place = Place::with_phantom(1);
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
    let options = ["--bias-field", "--intensity", "zscore"];
    place.run(&[&preprocess[..], &options[..]].concat()).succeeds().prints(&["1 case prepared"]);
    let config = &place.json("cache/manifest.json")["preparation"]["config"];
    assert_eq!((&config["bias_field"], &config["intensity"]), (&true.into(), &"zscore".into()));
    let options = ["--any-brain-size", "voxel sizes are nominal"];
    place.run(&[&preprocess[..], &options[..]].concat()).succeeds();
    let config = &place.json("cache/manifest.json")["preparation"]["config"];
    assert_eq!(config["any_brain_size"], "voxel sizes are nominal");
    place.run(&[&preprocess[..], &["--any-brain-size", " "]].concat()).fails(2, &["say why"]);
    place.run(&[&preprocess[..], &["--intensity", "loud"]].concat()).fails(2, &["loud"]);
}

#[test]
fn landmarks_are_learnt_and_used() {
    let place = Place::new();
    let options = ["--size", "32", "--missing-rate", "0", "--modalities", "t1,t2", "--quiet"];
    place.run(&[&["phantom", "--out", "phantom", "--cases", "6"], &options[..]].concat()).succeeds();
    let preprocess = ["preprocess", "phantom/cohort.json", "--spacing", "6"];
    let run = |more: &[&str]| place.run(&[&preprocess[..], more].concat());
    run(&["--out", "cache", "--intensity", "nyul"]).fails(2, &["needs landmarks"]);
    run(&["--out", "cache", "--landmarks", "landmarks.json"]).fails(2, &["landmarks.json"]);
    run(&["--out", "scores", "--intensity", "zscore"]).succeeds();
    place
        .run(&["landmarks", "scores", "--out", "landmarks.json"])
        .succeeds()
        .prints(&["t1 from 6, t2 from 6"]);
    run(&["--out", "cache", "--landmarks", "landmarks.json"]).succeeds().prints(&["6 cases prepared"]);
    let config = &place.json("cache/manifest.json")["preparation"]["config"];
    assert_eq!(config["intensity"], "nyul");
    assert_eq!(
        config["landmarks"],
        place.json("landmarks.json"),
        "what a case needs to be prepared likewise"
    );

    let mut other = place.json("landmarks.json");
    other["modalities"].as_object_mut().unwrap().remove("t2");
    place.write("other.json", &other.to_string());
    run(&["--out", "more", "--landmarks", "other.json"]).fails(2, &["no t2"]);
    place.write("other.json", "{}");
    run(&["--out", "more", "--landmarks", "other.json"]).fails(2, &["other.json", "not a file of landmarks"]);
}

#[test]
fn a_second_run_keeps_what_is_there() {
    let place = Place::with_phantom(2);
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
    place.run(&preprocess).succeeds().prints(&["2 cases prepared"]);
    place.run(&preprocess).succeeds().prints(&["0 cases prepared", "2 already there"]);
    // A damaged file is made anew, the other one is kept.
    std::fs::write(place.path("cache/phantom-0001.safetensors"), "damaged").unwrap();
    place.run(&preprocess).succeeds().prints(&["1 case prepared", "1 already there"]);
    place.run(&[&preprocess[..], &["--force"]].concat()).succeeds().prints(&["2 cases prepared"]);
    let other = [&preprocess[..], &["--preset", "released", "--dtype", "f32", "--crop", "none"]].concat();
    place.run(&other).succeeds().prints(&["2 cases prepared"]).notes(&["made with other settings"]);
}

#[test]
fn the_same_seed_gives_the_same_files() {
    let place = Place::new();
    for (out, threads) in [("a", "1"), ("b", "2")] {
        let options =
            ["--cases", "2", "--size", "16", "--seed", "9", "--lesions", "glioma", "--threads", threads];
        place.run(&[&["phantom", "--out", out], &options[..]].concat()).succeeds();
    }
    for file in ["cohort.json", "phantom-0001/phantom-0001_seg.nii.gz"] {
        let read = |out: &str| std::fs::read(place.path(out).join(file)).unwrap();
        assert!(read("a") == read("b"), "{file} differs");
    }
}

#[test]
fn several_folders_make_one_cohort() {
    let place = Place::with_phantom(2);
    std::fs::create_dir(place.path("other")).unwrap();
    for case in ["phantom-0001", "extra"] {
        let folder = place.path("other").join(case);
        std::fs::create_dir(&folder).unwrap();
        let image = "phantom/phantom-0002/phantom-0002_flair.nii.gz";
        std::fs::copy(place.path(image), folder.join("flair.nii.gz")).unwrap();
    }
    place.run(&["index", "phantom", "other", "--out", "all.json"]).succeeds().prints(&[
        "4 cases of 2 data sets",
        "data set phantom  2",
        "data set other    2",
    ]);
    let cohort = place.json("all.json");
    let ids: Vec<_> = cohort["cases"].as_array().unwrap().iter().map(|case| &case["id"]).collect();
    assert_eq!(ids, ["extra", "other-phantom-0001", "phantom-0001", "phantom-0002"]);
    assert_eq!(cohort["name"], "all");
}

#[test]
fn what_the_user_says_wins() {
    let place = Place::with_phantom(2);
    place.write("table.csv", "id,class,site\nphantom-0001,odd,Basel\n");
    let said =
        ["--data-set", "mine", "--label-scheme", "brats_2023", "--name", "both", "--table", "table.csv"];
    let index = [&["index", "phantom", "--out", "c.json", "--exclude", "phantom-0002"], &said[..]].concat();
    place.run(&index).succeeds().prints(&["1 case of 1 data set"]);
    let cohort = place.json("c.json");
    assert_eq!(cohort["name"], "both");
    assert_eq!(cohort["data_sets"]["mine"]["label_scheme"], "brats_2023");
    assert_eq!((&cohort["cases"][0]["class"], &cohort["cases"][0]["site"]), (&"odd".into(), &"Basel".into()));
}

#[test]
fn quiet_prints_nothing_but_errors() {
    let place = Place::with_phantom(2);
    for command in [
        &["phantom", "--out", "p", "--cases", "1", "--size", "16"][..],
        &["index", "phantom", "--out", "c.json"],
        &["check", "phantom/cohort.json"],
        &["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"],
        &["list"],
    ] {
        let ended = place.run(&[command, &["--quiet"]].concat()).succeeds();
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""), "{command:?}");
    }
    place.run(&["-q", "check", "absent.json"]).fails(2, &["absent.json"]);
}

#[test]
fn every_command_helps_with_an_example() {
    let place = Place::new();
    let help = place.run(&["--help"]).succeeds().prints(&["Exit codes"]);
    let commands = help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
    // Names stand at the third column, what continues a description stands further right.
    let names = commands.take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<_> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"preprocess"), "{names:?}");
    for name in names.into_iter().filter(|name| *name != "help") {
        let example = format!("  brainmvp {name}");
        place.run(&[name, "--help"]).succeeds().prints(&["Examples:", &example, "--threads", "--quiet"]);
    }
}

#[test]
fn alternatives_are_listed() {
    let place = Place::new();
    place.run(&["list"]).succeeds().prints(&["plain", "t1c", "brats_2023", "common_grid", "hd95_mm"]);
    let labels = place.run(&["list", "labels"]).succeeds().prints(&["brats_2023"]);
    assert!(!labels.stdout.contains("common_grid"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let program = assert_cmd::cargo::cargo_bin!("brainmvp");
    for arguments in [&["list"][..], &["--help"], &["list", "--help"]] {
        let mut process = Process::new(program);
        process.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{arguments:?}");
    }
}
