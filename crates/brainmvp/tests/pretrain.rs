//! Pre-training through the program: a run that is killed again and again ends as one that was not; the demo; mistakes.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

fn brainmvp(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brainmvp"));
    command.args(arguments).args(["--threads", "2"]).current_dir(folder).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    brainmvp(arguments, folder).output().unwrap()
}

fn succeed(arguments: &[&str], folder: &Path) -> String {
    let output = run(arguments, folder);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A folder with a small cache in it.
fn with_cache() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeed(&["phantom", "--out", "phantoms", "--cases", "4", "--size", "32", "--seed", "5"], folder.path());
    succeed(&["preprocess", "phantoms/cohort.json", "--out", "cache", "--spacing", "6"], folder.path());
    folder
}

const SETTINGS: [&str; 12] = [
    "--set",
    "model.preset=tiny",
    "--set",
    "patch.size=16",
    "--set",
    "train.batch_size=2",
    "--set",
    "train.max_steps=60",
    "--set",
    "checkpoint.every_steps=7",
    "--set",
    "method.contrast_from_epoch=3",
];

fn pretrain<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec!["pretrain", "--data", "cache", "--out", out];
    arguments.extend(SETTINGS);
    arguments.extend(more);
    arguments
}

/// The lines of metrics.jsonl without what time makes of them.
fn lasting(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| line.split(",\"seconds\"").next().unwrap().to_owned()).collect()
}

/// Step of the newest checkpoint; 0 where there is none.
fn newest(run: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return 0 };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let steps =
        names.filter_map(|name| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok());
    steps.max().unwrap_or(0)
}

#[test]
fn killing_a_run_changes_no_bit() {
    let folder = with_cache();
    succeed(&pretrain("whole", &[]), folder.path());
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    eprintln!("delays drawn with seed {seed}");
    let mut rng = seed;
    let mut continued = 0;
    for attempt in 0..8 {
        let mut command = brainmvp(&pretrain("parts", &["--resume"]), folder.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let before = newest(&folder.path().join("parts"));
        continued += u32::from(before > 0);
        // Every other time, the run is let come as far as another checkpoint, so that it moves on any machine.
        while attempt % 2 == 0 && child.try_wait().unwrap().is_none() {
            if newest(&folder.path().join("parts")) > before {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((rng >> 33) % 150));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(continued > 0, "no run was continued");
    succeed(&pretrain("parts", &["--resume"]), folder.path());
    let [whole, parts] = ["whole", "parts"].map(|run| folder.path().join(run));
    assert_eq!(lasting(&whole).len(), 60);
    assert_eq!(lasting(&whole), lasting(&parts));
    for file in ["step-00000060.safetensors", "best.safetensors"] {
        let [a, b] = [&whole, &parts].map(|run| std::fs::read(run.join("checkpoints").join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    let left: Vec<_> = std::fs::read_dir(parts.join("checkpoints")).unwrap().flatten().collect();
    assert_eq!(left.len(), 3, "two checkpoints and the best: {left:?}");
}

#[test]
fn templates_come_out_and_mistakes_are_told() {
    let folder = with_cache();
    let output = run(&pretrain("run", &["--resume", "--set", "train.max_steps=3"]), folder.path());
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing to resume"));
    let said = succeed(&["templates", "run", "--out", "templates", "--data", "cache"], folder.path());
    assert!(said.contains("written to templates") && folder.path().join("templates/templates.png").is_file());
    // Quality: beside another run, and other cases.
    succeed(&pretrain("other-seed", &["--set", "train.max_steps=3", "--set", "train.seed=1"]), folder.path());
    let compared = [
        "templates",
        "run",
        "--out",
        "templates",
        "--data",
        "cache",
        "--held-out",
        "cache",
        "--beside",
        "other-seed",
    ];
    let said = succeed(&compared, folder.path());
    for expected in ["correlation", "SSIM", "held out", "runs agree", "single case"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let text = std::fs::read_to_string(folder.path().join("templates/templates.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    let first = &written["templates"][0];
    assert_eq!(first["mean"]["correlation"], first["held_out"]["correlation"], "the same cases");
    assert_eq!(first["runs"][0], first["agreement"], "two runs are one pair");
    assert!(first["nearest"]["case"].as_str().unwrap().contains("phantom"), "{first}");
    let beside = run(&["templates", "run", "--out", "templates", "--beside", "other-seed"], folder.path());
    assert_eq!(beside.status.code(), Some(2), "a comparison needs --data");
    let quiet = run(&pretrain("quiet", &["--quiet", "--set", "train.max_steps=1"]), folder.path());
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty(), "{quiet:?}");

    let mistakes: [(&[&str], &str); 7] = [
        (&["--set", "train.max_stepz=3"], "max_stepz"),
        (&["--set", "patch.size=20"], "multiple of 16"),
        (&["--config", "nowhere.toml"], "nowhere.toml"),
        (&["--device", "abacus"], "choose from cpu"),
        (&["--device", "vulkan"], "vulkan"),
        (&["--data", "phantoms"], "phantoms"),
        (&["--out", "run"], "--resume"),
    ];
    for (arguments, expected) in mistakes {
        if arguments[1] == "vulkan" && cfg!(feature = "vulkan") {
            continue;
        }
        let mut all = vec!["pretrain"];
        for (flag, value) in [("--data", "cache"), ("--out", "other")] {
            if arguments[0] != flag {
                all.extend([flag, value]);
            }
        }
        all.extend(arguments);
        let output = run(&all, folder.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected) && said.lines().count() <= 2, "{arguments:?}: {said}");
    }
    assert!(!folder.path().join("other").exists(), "a mistake leaves nothing behind");
}

#[test]
fn persons_in_several_data_sets_are_no_negatives_of_themselves() {
    let folder = with_cache();
    let cohort = std::fs::read_to_string(folder.path().join("phantoms/cohort.json")).unwrap();
    let cohort: serde_json::Value = serde_json::from_str(&cohort).unwrap();
    let who =
        |case: &serde_json::Value| ["data_set", "subject"].map(|key| case[key].as_str().unwrap().to_owned());
    let everybody: Vec<[String; 2]> = cohort["cases"].as_array().unwrap().iter().map(who).collect();
    let table = |rows: &[[String; 2]]| {
        let rows = rows.iter().map(|[data_set, subject]| format!("{data_set},{subject},p1\n"));
        let text = "data_set,subject,person\n".to_owned() + &rows.collect::<String>();
        std::fs::write(folder.path().join("people.csv"), text).unwrap();
    };
    let contrast = |run: &str| -> Vec<f64> {
        let lines = lasting(&folder.path().join(run)).into_iter();
        let terms = lines.map(|line| line.split("\"loss_contrast\":").nth(1).unwrap().to_owned());
        terms.map(|rest| rest.split(',').next().unwrap().parse::<f64>().unwrap()).collect()
    };
    let few = ["--set", "train.max_steps=3", "--set", "method.contrast_from_epoch=0"];
    let all = [&few[..], &["--identities", "people.csv"]].concat();

    let stranger = ["elsewhere".to_owned(), "7".to_owned()];
    table(&[&everybody[..], std::slice::from_ref(&stranger)].concat());
    let output = run(&pretrain("one", &all), folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("no case matches these rows (1): 'elsewhere, 7'"),
        "{said}"
    );
    assert_eq!(contrast("one"), [0.0; 3], "there is one person and nobody else");
    succeed(&pretrain("four", &few), folder.path());
    assert!(contrast("four").iter().all(|term| *term > 0.1));

    // The run has its own copy, which a changed or lost table does not change.
    std::fs::remove_file(folder.path().join("people.csv")).unwrap();
    let longer = ["--resume", "--identities", "people.csv", "--set", "train.max_steps=5"];
    succeed(&pretrain("one", &[&longer[..], &few[2..]].concat()), folder.path());
    assert_eq!(contrast("one"), [0.0; 5]);

    table(&[stranger]);
    let output = run(&pretrain("none", &all), folder.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("no row matches a subject"), "{said}");
    assert!(!folder.path().join("none").exists(), "a mistake leaves nothing behind");
}

#[test]
fn the_demo_runs_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["demo", "--out", "demo", "--cases", "3", "--size", "48", "--steps"];
    let with_steps = |steps: &'static str| [&small[..], &[steps]].concat();
    let said = succeed(&with_steps("6"), folder.path());
    assert!(said.contains("similarity to the mean image") && said.contains("Dice"), "{said}");
    let fine_tuned = |name: &str| folder.path().join("demo/segmenter").join(name);
    let first = std::fs::read(fine_tuned("metrics.jsonl")).unwrap();
    let said = succeed(&with_steps("6"), folder.path());
    assert!(said.contains("0 predicted, 1 kept"), "what is done is not done again: {said}");
    assert_eq!(std::fs::read(fine_tuned("metrics.jsonl")).unwrap(), first);
    succeed(&with_steps("8"), folder.path());
    assert_eq!(lasting(&folder.path().join("demo/run")).len(), 8);
    assert_eq!(lasting(&folder.path().join("demo/segmenter")).len(), 8, "from the run as it is now");
    assert!(folder.path().join("demo/templates/templates.png").is_file());
    let report = std::fs::read_to_string(folder.path().join("demo/report.html")).unwrap();
    for section in [
        "Pre-training: run",
        "Fine-tuning, segment: segmenter",
        "Templates: templates",
        "Predictions: predictions",
    ] {
        assert!(report.contains(&format!("<h2>{section}</h2>")), "{section}");
    }
}
