//! Runs as they are seen: in the list of `runs`, and in the terminal while they train.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Ended, Place};

const SMALL: [&str; 6] =
    ["--set", "model.preset=tiny", "--set", "patch.size=16", "--set", "train.batch_size=2"];

fn pretrain(out: &str, settings: &[&str]) -> Vec<String> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let line = ["pretrain", "--data", "cache", "--out", out].into_iter().chain(SMALL).chain(settings);
    line.map(str::to_owned).collect()
}

fn run(place: &Place, line: &[String]) -> Ended {
    place.run(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The list, by name.
fn listed(place: &Place, folder: &str) -> BTreeMap<String, Value> {
    place.run(&["runs", folder, "--json", "runs.json"]).succeeds();
    let all = place.json("runs.json").as_array().unwrap().clone();
    all.into_iter().map(|run| (run["name"].as_str().unwrap().to_owned(), run)).collect()
}

#[test]
fn runs_are_listed_with_how_they_ended_and_their_best() {
    let place = Place::with_gliomas();
    place.run(&["runs"]).succeeds().notes(&["no runs here"]);
    let line = pretrain("project/run", &["train.max_steps=5", "checkpoint.every_steps=2"]);
    run(&place, &line).succeeds();
    let mut finetune =
        ["finetune", "segment", "--data", "cache", "--init", "none", "--out", "project/deep/er"]
            .map(str::to_owned)
            .to_vec();
    finetune.extend(SMALL.map(str::to_owned));
    finetune.extend(["--set", "patch.resize=16", "--set", "train.accumulate=1"].map(str::to_owned));
    finetune.extend(["--set", "train.max_steps=6", "--set", "validation.every_epochs=1"].map(str::to_owned));
    run(&place, &finetune).succeeds();
    let wild = ["train.max_steps=40", "optimizer.schedule.learning_rate=1e30"];
    assert_eq!(run(&place, &pretrain("project/wild", &wild)).code, 1);
    run(&place, &pretrain("project/broken", &["train.max_steps=1"])).succeeds();
    fs::remove_file(place.path("project/broken/config.toml")).unwrap();

    let runs = listed(&place, "project");
    assert_eq!(runs.keys().collect::<Vec<_>>(), ["broken", "deep/er", "run", "wild"]);
    let run = &runs["run"];
    let facts = ["kind", "network", "state", "step", "steps"].map(|key| run[key].to_string());
    assert_eq!(facts, ["\"brainmvp\"", "\"tiny\"", "\"done\"", "5", "5"]);
    assert_eq!(run["best"]["metric"], "mean loss");
    assert!([2, 4].contains(&run["best"]["step"].as_u64().unwrap()), "{run}");
    let record = fs::read_to_string(place.path("project/run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(record.lines().last().unwrap()).unwrap();
    assert_eq!(run["loss"], last["loss"]);
    assert!(run["bytes"].as_u64().unwrap() > 1000 && run["silent_seconds"].as_u64().unwrap() < 3600);

    // The best is the one that the run has kept, and not the last.
    let deep = &runs["deep/er"];
    let record = fs::read_to_string(place.path("project/deep/er/validation.jsonl")).unwrap();
    let mut validations = record.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let best = validations.rfind(|validation| validation["best"] == true).unwrap();
    assert_eq!((&deep["kind"], &deep["best"]["metric"]), (&"segment".into(), &"dice".into()));
    assert_eq!((&deep["best"]["value"], &deep["best"]["step"]), (&best["scores"]["dice"], &best["step"]));

    assert_eq!(runs["wild"]["state"], "failed");
    assert!(runs["wild"]["reason"].as_str().unwrap().contains("not finite"), "{}", runs["wild"]);
    assert_eq!(runs["broken"]["state"], "unreadable");
    let told = place.run(&["runs", "project", "--sort", "name"]).succeeds();
    let told = told.notes(&["warning: project/broken/config.toml", "wild failed: ", "not finite"]);
    let names = told.stdout.lines().map(|line| line.split_whitespace().next().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["name", "broken", "deep/er", "run", "wild"]);
    place.run(&["runs", "nowhere"]).fails(2, &["nowhere", "no such folder"]);
    place.run(&["runs", "phantom/cohort.json"]).fails(2, &["is a file"]);
    place.run(&["runs", "--sort", "beauty"]).fails(2, &["beauty"]);
}

/// Waits until something is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(2), "waited for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_is_running_until_it_is_stopped_and_silent_if_it_was_killed() {
    let place = Place::with_gliomas();
    let start = |out: &str| {
        let mut process = Process::new(assert_cmd::cargo::cargo_bin!("brainmvp"));
        process.current_dir(place.path(".")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = process.args(pretrain(out, &["train.max_steps=1000000"])).spawn().unwrap();
        let record = place.path(format!("{out}/metrics.jsonl"));
        wait_until("a step", || fs::metadata(&record).is_ok_and(|record| record.len() > 0));
        child
    };
    let mut stopped = start("stopped");
    assert_eq!(listed(&place, ".")["stopped"]["state"], "running");
    // Looking does not keep it from going on.
    assert!(Process::new("kill").args(["-INT", &stopped.id().to_string()]).status().unwrap().success());
    assert_eq!(stopped.wait().unwrap().code(), Some(1));
    assert_eq!(listed(&place, ".")["stopped"]["state"], "stopped");

    let mut killed = start("killed");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let then = std::time::SystemTime::now() - Duration::from_hours(1);
    for entry in fs::read_dir(place.path("killed")).unwrap().map(|entry| entry.unwrap().path()) {
        fs::File::open(entry).unwrap().set_modified(then).unwrap();
    }
    assert_eq!(listed(&place, ".")["killed"]["state"], "silent");
}

/// What a command prints to a terminal of 60 columns; `None` where there is no `script` to make one.
fn on_a_terminal(place: &Place, line: &[String], environment: &str) -> Option<String> {
    let program = assert_cmd::cargo::cargo_bin!("brainmvp");
    let (program, line) = (program.display(), line.join(" "));
    let command = format!("stty cols 60 rows 20; exec env {environment} {program} {line}");
    let mut script = Process::new("script");
    script.current_dir(place.path(".")).args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
    match script.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            eprintln!("skipped: no terminal can be made ({error})");
            None
        }
    }
}

#[test]
fn a_terminal_shows_a_view_that_is_gone_in_the_end_and_others_lines() {
    let place = Place::with_gliomas();
    let settings = ["train.max_steps=8"];
    let Some(shown) = on_a_terminal(&place, &pretrain("run", &settings), "TERM=xterm NO_COLOR=1") else {
        return;
    };
    let escapes = regex::Regex::new("\x1b\\[([0-9;]*)([A-Za-z])").unwrap();
    let styled = escapes.captures_iter(&shown).any(|escape| &escape[2] == "m");
    assert!(!styled, "{shown:?}");
    let text = escapes.replace_all(&shown, "");
    assert!(text.contains("pretrain 1/8 steps") && text.contains("mean of the last 1 "), "{text}");
    assert!(text.contains("learning rate ") && text.contains('▁'), "{text}");
    let drawn = text.split(['\r', '\n']).filter(|line| line.starts_with("loss ") || line.contains('['));
    assert!(drawn.map(|line| line.chars().count()).all(|columns| columns <= 60), "{text}");
    // After the last line of the view has been erased, only a line is left.
    let end = &shown[shown.rfind("\x1b[").unwrap()..];
    let end = escapes.replace_all(end, "");
    assert!(end.contains("pretrain 8/8 steps in ") && end.contains("next: brainmvp templates"), "{shown:?}");
    assert!(!end.contains('▁'), "{end}");

    for (out, environment) in [("dumb", "TERM=dumb"), ("unset", "-u TERM")] {
        let shown = on_a_terminal(&place, &pretrain(out, &settings), environment).unwrap();
        assert!(!shown.contains('\x1b') && shown.contains("pretrain 8/8 steps in "), "{shown:?}");
    }
    let quiet = [&pretrain("quiet", &settings)[..], &["--quiet".to_owned()]].concat();
    assert_eq!(on_a_terminal(&place, &quiet, "TERM=xterm").unwrap(), "");
}
