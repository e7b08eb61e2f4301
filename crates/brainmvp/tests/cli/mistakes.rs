//! Wrong input on purpose.

use std::fs;

use crate::program::Place;

#[test]
fn mistyped_command_lines() {
    let place = Place::new();
    for (arguments, words) in [
        (&["indx"][..], &["unrecognized", "indx"][..]),
        (&["index", "."], &["--out"]),
        (&["index", ".", "--outt", "x"], &["--outt"]),
        (&["index", ".", "--out", "c.json", "--layout", "nosuch"], &["bids", "--layout", "plain"]),
        (&["index", ".", "--out", "c.json", "--alias", "x"], &["WORD=MODALITY"]),
        (&["index", ".", "--out", "c.json", "--alias", "x=t9"], &["t9", "flair"]),
        (&["index", ".", "--out", "c.json", "--pattern", "("], &["unclosed"]),
        (&["index", ".", "--out", "c.json", "--label-scheme", "brats"], &["brats", "brats_2023"]),
        (&["phantom", "--out", "p", "--cases", "0"], &["--cases", "0"]),
        (&["phantom", "--out", "p", "--size", "8"], &["size", "16 to 512"]),
        (&["phantom", "--out", "p", "--missing-rate", "2"], &["--missing-rate", "0 to 1"]),
        (&["phantom", "--out", "p", "--lesions", "flu"], &["flu", "glioma"]),
        (&["list", "--threads", "0"], &["--threads"]),
        (&["bench", "speed"], &["speed", "kernels, step, finetune, inference, preprocess, all"]),
        (&["bench", "--size", "20"], &["--size", "multiple of 16"]),
        (&["bench", "--repetitions", "0"], &["--repetitions"]),
        (&["bench", "step", "--model", "unet"], &["unet", "swin-unetr", "all"]),
        (
            &["bench", "finetune", "--size", "48", "--model", "tiny,swin-unetr"],
            &["--size 48", "multiples of 32"],
        ),
        (&["bench", "kernels", "--model", "unetr"], &["--model", "step, finetune and inference"]),
        (&["list", "nothing"], &["nothing", "layouts"]),
    ] {
        place.run(arguments).fails(2, words);
    }
    assert_eq!(fs::read_dir(place.path(".")).unwrap().count(), 0, "a mistake leaves nothing behind");
    // No command at all is answered by the help.
    let ended = place.run(&[]);
    assert_eq!(ended.code, 2);
    ended.notes(&["Commands:", "preprocess"]);
}

#[test]
fn values_that_make_no_sense() {
    let place = Place::with_phantom(1);
    for (option, value, word) in [
        ("--percentiles", "99,1", "low < high"),
        ("--percentiles", "5", "two numbers"),
        ("--spacing", "0", "spacing_mm"),
        ("--spacing", "1,2", "three"),
        ("--memory", "4X", "4G"),
        ("--steps", "crop,fly", "unknown step 'fly'"),
        ("--preset", "mine", "released"),
    ] {
        let arguments = ["preprocess", "phantom/cohort.json", "--out", "cache", option, value];
        place.run(&arguments).fails(2, &[word]);
    }
    assert!(!place.path("cache").exists());
}

#[test]
fn folders_without_images() {
    let place = Place::new();
    place.run(&["index", "absent", "--out", "c.json"]).fails(2, &["absent", "No such file"]);
    fs::create_dir(place.path("empty")).unwrap();
    place.run(&["index", "empty", "--out", "c.json"]).fails(2, &["empty", "no layout fits"]);
    place.write("empty/t9.nii.gz", "");
    place.run(&["index", "empty", "--out", "c.json"]).fails(2, &["empty", "no case found"]);
    assert!(!place.path("c.json").exists());
}

#[test]
fn what_is_no_cohort() {
    let place = Place::with_phantom(1);
    for command in [&["check"][..], &["preprocess", "--out", "cache"]] {
        let run = |cohort: &str| place.run(&[command, &[cohort]].concat());
        run("absent.json").fails(2, &["absent.json", "No such file"]).notes(&["hint: `brainmvp index"]);
        run("phantom").fails(2, &["is a folder"]).notes(&["did you mean phantom/cohort.json?"]);
        for (content, word) in [
            ("{\"format\": ", "not JSON"),
            ("[]", "not a cohort file"),
            ("{\"format\": \"brainmvp-cohort\", \"version\": 99}", "version 99"),
            (
                "{\"format\": \"brainmvp-cohort\", \"version\": 1, \"name\": \"\", \"data_sets\": {}, \"cases\": []}",
                "no cases",
            ),
        ] {
            place.write("odd.json", content);
            run("odd.json").fails(2, &["odd.json", word]);
        }
        fs::write(place.path("odd.json"), [0xff, 0xfe, 0x00]).unwrap();
        run("odd.json").fails(2, &["odd.json"]);
    }
    assert!(!place.path("cache").exists());
}

#[test]
fn a_bad_case_is_named_and_the_others_go_on() {
    let place = Place::with_phantom(3);
    let file = "phantom/phantom-0002/phantom-0002_mask.nii.gz";
    let whole = fs::read(place.path(file)).unwrap();
    fs::write(place.path(file), &whole[..whole.len() / 2]).unwrap();
    place
        .run(&["check", "phantom/cohort.json", "--json", "report.json"])
        .fails(2, &["1 of 3 cases"])
        .prints(&["problem: phantom-0002", file, "truncated"]);
    assert!(place.json("report.json")["quarantined"]["phantom-0002"].is_array());
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
    place
        .run(&preprocess)
        .succeeds()
        .prints(&["2 cases prepared", "1 left out"])
        .notes(&["warning: case 'phantom-0002' is left out: brain_mask: truncated"]);
    let quiet = place.run(&[&preprocess[..], &["--quiet"]].concat()).succeeds();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.lines().count()), ("", 1), "{quiet:?}");
    // Mended, it is prepared with the next run.
    fs::write(place.path(file), whole).unwrap();
    place.run(&preprocess).succeeds().prints(&["1 case prepared", "2 already there", "0 left out"]);
}

#[test]
fn nothing_but_bad_cases() {
    let place = Place::with_phantom(1);
    fs::remove_dir_all(place.path("phantom/phantom-0001")).unwrap();
    place.run(&["check", "phantom/cohort.json"]).fails(2, &["1 of 1 case"]).prints(&["No such file"]);
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache"])
        .fails(2, &["no case could be prepared"])
        .notes(&["phantom-0001", "No such file"]);
}

#[test]
fn outputs_that_cannot_be() {
    let place = Place::with_phantom(1);
    place.write("file", "");
    fs::create_dir(place.path("folder")).unwrap();
    for (arguments, word) in [
        (&["index", "phantom", "--out", "folder"][..], "is a folder"),
        (&["index", "phantom", "--out", "file/c.json"], "file"),
        (&["check", "phantom/cohort.json", "--json", "folder"], "is a folder"),
        (&["preprocess", "phantom/cohort.json", "--out", "file"], "is a file"),
        (&["preprocess", "phantom/cohort.json", "--out", "file/cache"], "file/cache"),
        (&["phantom", "--out", "file", "--cases", "1", "--size", "16"], "is a file"),
        (&["phantom", "--out", "file/p", "--cases", "1", "--size", "16"], "file/p"),
    ] {
        place.run(arguments).fails(2, &[word]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut process = std::process::Command::new(assert_cmd::cargo::cargo_bin!("brainmvp"));
    let output = process.arg("list").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "error: cannot write to standard output: No space left on device\n");
}

/// Gliomas of four modalities, all there.
fn gliomas(cases: &str) -> Place {
    let place = Place::new();
    let options = ["--size", "48", "--missing-rate", "0", "--modalities", "flair,t1,t1c,t2", "--quiet"];
    let lesions = ["--lesions", "glioma", "--cases", cases];
    place.run(&[&["phantom", "--out", "phantom"], &lesions[..], &options[..]].concat()).succeeds();
    place
}

fn phantom_file(case: usize, word: &str) -> String {
    format!("phantom/phantom-000{case}/phantom-000{case}_{word}.nii.gz")
}

#[test]
fn labels_that_lie_elsewhere() {
    use brainmvp_volume::{Affine, Grid, LabelMap, nifti};
    let place = gliomas("2");
    let seg = place.path(phantom_file(1, "seg"));
    let labels = nifti::read_labels(&seg).unwrap();
    // The affine was lost on the way through some program.
    let lost = Grid::new(labels.shape(), Affine::from_spacing([4.0; 3], [0.0; 3]));
    nifti::write_labels(&seg, &LabelMap::new(lost, labels.into_voxels()), "").unwrap();
    let fault = "has the shape of an image, but";
    place.run(&["check", "phantom/cohort.json"]).fails(2, &["1 of 2 cases"]).prints(&[
        "problem: phantom-0001",
        "phantom-0001_seg.nii.gz: has the shape of an image, but",
        "the affine is wrong",
    ]);
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache"])
        .succeeds()
        .prints(&["1 case prepared", "1 left out"])
        .notes(&[&format!("case 'phantom-0001' is left out: label: {fault}")]);
    let manifest = place.json("cache/manifest.json");
    assert!(
        manifest["quarantined"][0]["reason"].as_str().unwrap().starts_with(&format!("label: {fault}")),
        "{manifest}"
    );
    assert_eq!(manifest["cases"].as_array().unwrap().len(), 1);
}

#[test]
fn exchanged_images_are_suspected() {
    let place = gliomas("3");
    let exchange = |a: &str, b: &str| {
        fs::rename(place.path(a), place.path("kept")).unwrap();
        fs::rename(place.path(b), place.path(a)).unwrap();
        fs::rename(place.path("kept"), place.path(b)).unwrap();
    };
    let check = || place.run(&["check", "phantom/cohort.json", "--json", "report.json"]).succeeds();
    assert!(!check().stdout.contains("warning"), "nothing is exchanged yet");
    for (a, b) in [("t1", "t2"), ("t2", "flair"), ("t1c", "t2"), ("t1", "flair")] {
        let files = [phantom_file(2, a), phantom_file(2, b)];
        exchange(&files[0], &files[1]);
        let ended = check().prints(&[": may be ", "look at the images"]);
        let both = [format!("{a} may be {b}"), format!("{b} may be {a}")];
        assert!(both.iter().any(|words| ended.stdout.contains(words)), "{ended:?}");
        let warnings: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("warning: ")).collect();
        let one_of_them = |line: &&str| {
            files.iter().any(|file| line.starts_with(&format!("warning: phantom-0002: {file}: ")))
        };
        assert!(warnings.len() == 1 && warnings.iter().all(one_of_them), "{ended:?}");
        exchange(&files[0], &files[1]);
    }
    // Two patients' images of one modality.
    let (a, b) = (phantom_file(1, "flair"), phantom_file(3, "flair"));
    exchange(&a, &b);
    check().prints(&[&format!("{a}: may be of another patient"), &format!("{b}: may be of another patient")]);
    let report = place.json("report.json");
    let doubts: Vec<_> = report["problems"].as_array().unwrap().iter().map(|p| &p["kind"]).collect();
    assert_eq!(doubts, ["outline_differs"; 2], "{report}");
}
