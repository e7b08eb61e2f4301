//! Measuring, at the smallest sizes.

use crate::program::Place;

const SMALL: [&str; 4] = ["--size", "16", "--repetitions", "2"];

#[test]
fn a_step() {
    let place = Place::new();
    place
        .run(&[&["bench", "step", "--json", "made/step.json", "--threads", "2"], &SMALL[..]].concat())
        .succeeds()
        .prints(&["threads 2", "pre-training step: cases 1, two 16^3 views", "s/step", "brainmvp"])
        .notes(&["measuring pre-training step: uniformer-small, brainmvp, fp32"]);
    let found = place.json("made/step.json");
    let seconds = found["seconds_per_step"].as_f64().unwrap();
    assert!(seconds > 0.0 && found["fastest_seconds_per_step"].as_f64().unwrap() <= seconds, "{found}");
    if cfg!(target_os = "linux") {
        // The weights, their gradients and moments alone take 0.38 GB.
        let memory = found["peak_memory_gb"].as_f64().unwrap();
        assert!((0.38..3.0).contains(&memory), "{found}");
    }
    assert_eq!((&found["precision"], &found["threads"]), (&"fp32".into(), &2.into()));
    // Where the processor has bf16, it is measured too.
    let bf16 = &found["bf16"];
    assert!(bf16.is_null() || bf16["seconds_per_step"].as_f64().unwrap() > 0.0, "{found}");
    let only = ["bench", "step", "--precision", "bf16", "--json", "bf16.json"];
    let ended = place.run(&[&only, &SMALL[..]].concat());
    if bf16.is_null() {
        ended.fails(2, &["--precision bf16", "no bfloat16"]);
    } else {
        ended.succeeds();
        let only = place.json("bf16.json");
        assert!(only["precision"] == "bf16" && only.get("bf16").is_none(), "{only}");
        std::fs::remove_file(place.path("bf16.json")).unwrap();
    }
    assert_eq!(found["version"], env!("CARGO_PKG_VERSION"));
    assert!(!found["cpu"].as_str().unwrap().is_empty() && found.get("peers").is_none(), "{found}");
    let left: Vec<_> = std::fs::read_dir(place.path(".")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn everything() {
    let place = Place::new();
    place.run(&[&["bench", "--json", "all.json"], &SMALL[..]].concat()).succeeds().prints(&[
        "GFLOP/s",
        "attention 8 tokens, 5 heads",
        "pre-training step: cases 1",
        "fine-tuning step: cases 1",
        "inference: windows of 16^3",
        "preprocessing, clinical series: one volume, 42 x 37 x 4 voxels of 5.40 x 5.40 x 33.00 mm",
    ]);
    let found = place.json("all.json");
    for (work, key) in
        [("step", "seconds_per_step"), ("finetune", "seconds_per_step"), ("inference", "seconds_per_window")]
    {
        assert!(found[work][key].as_f64().unwrap() > 0.0, "{found}");
    }
    for part in ["clinical", "registered"] {
        assert!(found["preprocess"][part]["seconds_per_volume"].as_f64().unwrap() > 0.0, "{found}");
    }
    let operations = found["kernels"]["operations"].as_array().unwrap();
    let names: Vec<_> = operations.iter().map(|operation| operation["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"depthwise 5^3 at 8^3 x 64"), "{names:?}");
    for operation in operations {
        for pass in ["forward", "backward"] {
            assert!(operation[pass]["gflops"].as_f64().unwrap() > 0.0, "{operation}");
        }
    }
}

/// Each network in a process of its own; a peer with other parameters is no peer.
#[cfg(unix)]
#[test]
fn several_networks_are_one_table() {
    let place = Place::new();
    let script = "case \"$*\" in
  *--version*) echo '{\"version\": \"9.8.7\", \"models\": {\"inference\": [\"unet3d-tiny\"]}}';;
  *) echo '{\"seconds\": [3.0], \"peak_memory_bytes\": 7000000000, \"parameters\": 12}';;
esac";
    let python = stand_in(&place, "python", script);
    let measured = ["bench", "inference", "--model", "tiny,unet3d-tiny", "--json", "made.json"];
    place
        .run(&[&measured[..], &["--precision", "fp32", "--peers", &python], &SMALL[..]].concat())
        .succeeds()
        .prints(&["network", "parameters", "unet3d-tiny", "skipped"])
        .notes(&[
            "tiny, PyTorch 9.8.7, plain, fp32: skipped: there is no such network",
            "12 parameters, ours",
        ]);
    let found = place.json("made.json");
    for (model, outcome) in [("tiny", "skipped"), ("unet3d-tiny", "error")] {
        let found = &found[model];
        assert!(found["seconds_per_window"].as_f64().unwrap() > 0.0, "{found}");
        assert!(found["parameters"].as_u64().unwrap() > 100_000 && found["model"] == model, "{found}");
        assert!(found["peers"]["pytorch_fp32"][outcome].is_string(), "{found}");
    }
}

#[test]
fn peers_that_cannot_work() {
    let place = Place::new();
    let run = |peer: &str| place.run(&[&["bench", "step", "--peers", peer], &SMALL[..]].concat());
    run("absent/python").fails(2, &["--peers absent/python", "No such file"]).notes(&["hint: give the path"]);
    run("/").fails(2, &["--peers /"]);
    place.run(&["bench", "kernels", "--peers", "python3"]).fails(2, &["no peer"]);
}

/// A stand-in for Python, as a script of the shell; it gets the name of the work's script first.
#[cfg(unix)]
fn stand_in(place: &Place, name: &str, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    place.write(name, &format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.path(name).to_str().unwrap().to_owned()
}

#[cfg(unix)]
#[test]
fn a_missing_package_is_named() {
    let place = Place::new();
    let python = stand_in(&place, "python", "echo 'missing package: torch; pip install torch' >&2; exit 1");
    let ended = place.run(&["bench", "step", "--peers", &python]).fails(2, &["missing package: torch"]);
    ended.notes(&["-m pip install torch"]);
}

#[cfg(unix)]
#[test]
fn a_peer_that_fails_is_named_and_the_rest_goes_on() {
    let place = Place::new();
    let script = "case \"$*\" in
  *--version*) echo '{\"version\": \"9.8.7+cpu\"}';;
  *best*) kill -9 $$;;
  *) echo '{\"seconds\": [3.0, 4.0], \"peak_memory_bytes\": 7000000000}';;
esac";
    let python = stand_in(&place, "python", script);
    place
        .run(&[&["bench", "step", "--json", "step.json", "--peers", &python], &SMALL[..]].concat())
        .succeeds()
        .prints(&["PyTorch 9.8.7, plain", "3.500", "7.00 GB", "failed"])
        .notes(&["warning: uniformer-small, PyTorch 9.8.7, channels last, fused, fp32: ended by signal: 9"]);
    let found = place.json("step.json");
    let (seconds, peers) = (found["seconds_per_step"].as_f64().unwrap(), &found["peers"]);
    let ratio = peers["pytorch_fp32"]["time_ratio"].as_f64().unwrap();
    assert!((ratio * seconds / 3.5 - 1.0).abs() < 2e-3, "{found}");
    assert!(peers["pytorch_fp32_best"]["error"].as_str().unwrap().contains("signal: 9"), "{found}");
    assert_eq!(peers["pytorch_bf16"]["seconds_per_step"], 3.5);
}

/// A run that is killed while it waits for a peer has made its scratch folder, in the folder of its output.
#[cfg(unix)]
#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    use std::process::{Command, Stdio};
    let place = Place::new();
    // It waits as long as the script that it is given is there.
    let python = stand_in(&place, "python", "touch started; while [ -e \"$1\" ]; do sleep 0.05; done");
    let mut bench = Command::new(assert_cmd::cargo::cargo_bin!("brainmvp"));
    bench.args(["bench", "preprocess", "--json", "made/all.json", "--peers", &python]);
    bench.current_dir(place.path(".")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bench = bench.spawn().unwrap();
    let left = || {
        let entries = std::fs::read_dir(place.path("made")).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".brainmvp-scratch-")).collect::<Vec<_>>()
    };
    while !place.path("started").exists() {
        assert!(bench.try_wait().unwrap().is_none(), "it has ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bench.kill().unwrap();
    bench.wait().unwrap();
    assert_eq!(left().len(), 1);
    place
        .run(&["bench", "preprocess", "--json", "made/all.json", "--size", "16", "--repetitions", "1"])
        .succeeds();
    assert!(left().is_empty(), "{:?}", left());
}

#[test]
fn a_file_of_the_user_is_prepared() {
    let place = Place::new();
    place.run(&["phantom", "--out", "p", "--cases", "1", "--size", "32", "--modalities", "t1"]).succeeds();
    let file = "p/phantom-0001/phantom-0001_t1.nii.gz";
    let measured = ["bench", "preprocess", "--repetitions", "2", "--json", "made.json", "--file"];
    place
        .run(&[&measured, &[file][..]].concat())
        .succeeds()
        .prints(&["given file: one volume, 27 x 32 x 27 voxels of 6.00 x 6.00 x 6.00 mm"]);
    let found = place.json("made.json");
    assert!(found["given"]["seconds_per_volume"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["given"]["precision"] == "fp32" && found.get("clinical").is_none(), "{found}");
    place.run(&[&measured, &["absent.nii.gz"][..]].concat()).fails(2, &["absent.nii.gz"]);
    place.run(&["bench", "step", "--file", file]).fails(2, &["--file", "preprocess"]);
    place.run(&["bench", "preprocess", "--batch", "2"]).fails(2, &["one volume at a time"]);
}

/// The same voxels as MONAI's, where `$BRAINMVP_PEER_PYTHON` names a Python that has it.
#[test]
fn monai_does_the_same_work() {
    let Some(python) = std::env::var_os("BRAINMVP_PEER_PYTHON") else {
        eprintln!("skipped: set BRAINMVP_PEER_PYTHON to a Python with torch, monai and nibabel");
        return;
    };
    let place = Place::new();
    let python = python.to_str().unwrap();
    let arguments = ["bench", "preprocess", "--size", "48", "--repetitions", "2", "--json", "made.json"];
    place
        .run(&[&arguments, &["--peers", python][..]].concat())
        .succeeds()
        .prints(&["of the voxels of MONAI", "agree with ours within 0.001"]);
    for part in ["clinical", "registered"] {
        let peer = &place.json("made.json")[part]["peers"]["monai"];
        assert!(peer["voxels_alike"].as_f64().unwrap() > 0.999, "{part}: {peer}");
    }
}

/// The same networks, where `$BRAINMVP_PEER_PYTHON` names a Python with torch: the numbers of parameters are compared.
#[test]
fn pytorch_has_the_networks_of_the_paper() {
    let Some(python) = std::env::var_os("BRAINMVP_PEER_PYTHON") else {
        eprintln!("skipped: set BRAINMVP_PEER_PYTHON to a Python with torch");
        return;
    };
    let (place, python) = (Place::new(), python.to_str().unwrap());
    for (work, models, size) in [
        ("step", "unet3d", "32"),
        ("finetune", "unet3d,unetr", "32"),
        ("inference", "swin-unetr,unetr", "64"),
    ] {
        let measured = ["bench", work, "--model", models, "--size", size, "--repetitions", "1"];
        place
            .run(
                &[&measured, &["--precision", "fp32", "--json", "made.json", "--peers", python][..]].concat(),
            )
            .succeeds();
        let found = place.json("made.json");
        for model in models.split(',') {
            let found = if models.contains(',') { &found[model] } else { &found };
            for peer in ["pytorch_fp32", "pytorch_fp32_best"] {
                let time = &found["peers"][peer]["time_ratio"];
                assert!(time.as_f64().is_some_and(|ratio| ratio > 0.0), "{work}, {model}, {peer}: {found}");
            }
        }
    }
}

/// The real peer, where `$BRAINMVP_PEER_PYTHON` names a Python with torch. Of a single voxel in its deepest features PyTorch
/// takes no batch norm, so there are two cases.
#[test]
fn pytorch_does_the_same_work() {
    let Some(python) = std::env::var_os("BRAINMVP_PEER_PYTHON") else {
        eprintln!("skipped: set BRAINMVP_PEER_PYTHON to a Python with torch");
        return;
    };
    let place = Place::new();
    let python = python.to_str().unwrap();
    for (work, key) in
        [("step", "seconds_per_step"), ("finetune", "seconds_per_step"), ("inference", "seconds_per_window")]
    {
        place
            .run(
                &[&["bench", work, "--batch", "2", "--json", "made.json", "--peers", python], &SMALL[..]]
                    .concat(),
            )
            .succeeds()
            .prints(&["time / ours"]);
        for peer in ["pytorch_fp32", "pytorch_fp32_best", "pytorch_bf16"] {
            let found = &place.json("made.json")["peers"][peer];
            assert!(found[key].as_f64().unwrap() > 0.0, "{work}, {peer}: {found}");
            assert!(found["time_ratio"].as_f64().unwrap() > 0.0, "{work}, {peer}: {found}");
        }
    }
}
