//! Several processes, started by `mpirun`, train as one does. Needs the feature `mpi` and Open MPI; `.ci/run` runs it.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::Path;
use std::process::{Command, Output};

use brainmvp::train::checkpoint::Checkpoint;
use brainmvp::train::log::metrics::{StepMetrics, read_metrics};

const PROGRAM: &str = env!("CARGO_BIN_EXE_brainmvp");

fn brainmvp(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(PROGRAM).current_dir(folder).args(arguments).output().unwrap()
}

/// By so many processes of one thread each.
fn together(folder: &Path, count: usize, arguments: &[&str]) -> Output {
    let count = count.to_string();
    let mut command = Command::new("mpirun");
    // A container's user is often root, and has fewer cores than there are processes.
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", &count, PROGRAM, "--threads", "1"]);
    command.args(arguments).current_dir(folder).output().unwrap()
}

fn succeeded(output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    told
}

/// A folder with six prepared phantoms.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    succeeded(brainmvp(at, &["phantom", "--out", "raw", "--cases", "6", "--size", "32", "--seed", "7"]));
    succeeded(brainmvp(at, &["index", "raw", "--out", "cohort.json"]));
    succeeded(brainmvp(at, &["preprocess", "cohort.json", "--out", "cache", "--spacing", "6"]));
    folder
}

const PRETRAIN: [&str; 15] = [
    "pretrain",
    "--data",
    "cache",
    "--set",
    "model.preset=tiny",
    "--set",
    "patch.size=16",
    "--set",
    "train.batch_size=4",
    "--set",
    "train.steps=20",
    "--set",
    "checkpoint.every_steps=5",
    "--set",
    "checkpoint.keep_last=9",
];

fn metrics(run: &Path) -> Vec<StepMetrics> {
    read_metrics(&run.join("metrics.jsonl")).unwrap()
}

/// The largest difference of the losses of two runs, relative to the loss.
fn difference(one: &Path, other: &Path) -> f64 {
    let (one, other) = (metrics(one), metrics(other));
    assert_eq!(one.len(), 20);
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(&other);
    pairs.map(|(a, b)| (a.loss - b.loss).abs() / a.loss.abs()).fold(0.0, f64::max)
}

#[test]
fn processes_train_as_one() {
    let folder = prepared();
    let at = folder.path();
    let run = |out: &str, count: usize, more: &[&str]| {
        let arguments = [&PRETRAIN[..], &["--out", out], more].concat();
        succeeded(if count == 1 { brainmvp(at, &arguments) } else { together(at, count, &arguments) })
    };
    run("alone", 1, &[]);
    let told = run("two", 2, &[]);
    assert_eq!(told.matches("2 processes train together").count(), 1, "{told}");
    assert!(difference(&at.join("alone"), &at.join("two")) < 1e-4);

    // Stopped and gone on with by another number of processes.
    run("changing", 2, &["--set", "train.max_steps=5"]);
    run("changing", 4, &["--resume", "--set", "train.max_steps=10"]);
    run("changing", 1, &["--resume", "--set", "train.max_steps=15"]);
    run("changing", 2, &["--resume", "--set", "train.max_steps=0"]);
    assert!(difference(&at.join("alone"), &at.join("changing")) < 1e-4);
}

#[test]
fn what_cannot_be_shared_is_refused_once() {
    let folder = prepared();
    let arguments = [&PRETRAIN[..], &["--out", "run"]].concat();
    let output = together(folder.path(), 3, &arguments);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert_eq!(told.matches("cannot share train.batch_size = 4 evenly").count(), 1, "{told}");
}

/// A process that is killed ends the others; the checkpoint before is good.
#[test]
fn a_process_that_dies_leaves_a_good_checkpoint() {
    let folder = prepared();
    let at = folder.path();
    let arguments =
        [&PRETRAIN[..], &["--out", "run", "--set", "train.steps=100000", "--set", "checkpoint.keep_last=2"]]
            .concat();
    let mut launcher = Command::new("mpirun");
    launcher
        .args(["--allow-run-as-root", "--oversubscribe", "-n", "2", PROGRAM, "--threads", "1"])
        .args(&arguments);
    let mut launcher = launcher.current_dir(at).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let run = at.join("run");
    let has_come = |step: usize| {
        std::fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|t| t.lines().count() > step)
    };
    while !has_come(12) {
        assert!(launcher.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The younger of its children has the higher rank.
    let children =
        Command::new("pgrep").args(["-P", &launcher.id().to_string(), "-n", "brainmvp"]).output().unwrap();
    let child = String::from_utf8_lossy(&children.stdout).trim().to_owned();
    assert!(Command::new("kill").args(["-9", &child]).status().unwrap().success());
    let ended = launcher.wait_with_output().unwrap();
    assert!(!ended.status.success());
    let told = String::from_utf8_lossy(&ended.stderr);
    assert!(told.contains("signal 9"), "{told}");
    let newest = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.filter(|path| path.to_string_lossy().contains("step-")).max().unwrap();
    assert!(Checkpoint::open(&newest).unwrap().state().step >= 10);
}
