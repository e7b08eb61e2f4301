//! What goes wrong around a run of weeks: files that go, checkpoints that are damaged, a second process.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::Ranks;
use brainmvp_train::finetune::finetune;
use brainmvp_train::log::metrics::{StepMetrics, read_metrics};
use brainmvp_train::memory::{self, Gauge};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_volume::Modality;

/// Six prepared phantoms in a folder.
fn cache(folder: &Path) -> PathBuf {
    let config = PhantomConfig {
        cases: 6,
        size: 32,
        seed: 7,
        modalities: vec![Modality::Flair, Modality::T1],
        lesions: DiseaseMix::only(Disease::Glioma),
        ..PhantomConfig::default()
    };
    let cohort = write_cohort(&config, &folder.join("raw"), &|_| {}).unwrap();
    let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    preprocess(&cohort, &folder.join("cache"), &prep, &options, &|_| {}).unwrap();
    folder.join("cache")
}

fn request(data: &Path, out: &Path, existing: Existing, settings: &[&str]) -> RunRequest {
    let all = ["model.preset=tiny", "patch.size=16", "train.batch_size=2", "train.accumulate=1"];
    RunRequest {
        data: data.to_owned(),
        out: out.to_owned(),
        config: None,
        settings: all.iter().chain(settings).map(ToString::to_string).collect(),
        existing,
        device: "cpu".into(),
        ranks: Ranks::alone(),
    }
}

/// Does something after a step, and keeps the warnings.
struct After<F> {
    step: u64,
    then: F,
    warned: Mutex<Vec<String>>,
}

impl<F: Fn()> After<F> {
    fn new(step: u64, then: F) -> Self {
        Self { step, then, warned: Mutex::default() }
    }

    fn warned(&self) -> String {
        self.warned.lock().unwrap().join("\n")
    }
}

impl<F: Fn()> Observer for After<F> {
    fn step(&self, metrics: &StepMetrics, _last: u64) {
        if metrics.step == self.step {
            (self.then)();
        }
    }

    fn warn(&self, text: &str) {
        self.warned.lock().unwrap().push(text.to_owned());
    }
}

/// The files of the cases, and their names.
fn files(cache: &Path) -> Vec<(PathBuf, String)> {
    let paths = std::fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let named = paths.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    let mut files: Vec<_> = named
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (path, name)
        })
        .collect();
    files.sort();
    files
}

fn shorten(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

#[test]
fn cases_that_are_lost_during_a_run_are_named_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let data = cache(folder.path());
    let files = files(&data);
    let [(first, removed), (second, shortened)] = [&files[0], &files[3]];
    for by in ["method.draw=case", "method.draw=modality"] {
        let kept = [first, second].map(|path| std::fs::read(path).unwrap());
        let watcher = After::new(6, || {
            std::fs::remove_file(first).unwrap();
            shorten(second);
        });
        let out = folder.path().join(by);
        let request = request(&data, &out, Existing::Refuse, &["train.steps=40", "train.workers=1", by]);
        assert_eq!(pretrain(&request, &AtomicBool::new(false), &watcher).unwrap(), Ended::Finished);
        let warned = watcher.warned();
        for name in [removed, shortened] {
            assert_eq!(
                warned.matches(&format!("case '{name}' can no longer be read")).count(),
                1,
                "{warned}"
            );
        }
        let metrics = read_metrics(&out.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.len(), 40);
        assert!(metrics.iter().all(|step| step.loss.is_finite()));
        let lost: BTreeSet<&str> =
            metrics.iter().flat_map(|step| &step.lost).map(|lost| lost.case.as_str()).collect();
        assert_eq!(lost, [removed.as_str(), shortened].into());
        [first, second].iter().zip(kept).for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    }
}

#[test]
fn a_run_ends_if_no_case_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let data = cache(folder.path());
    let files = files(&data);
    let watcher = After::new(3, || files.iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap()));
    let request = request(&data, &folder.path().join("run"), Existing::Refuse, &["train.steps=60"]);
    let error = pretrain(&request, &AtomicBool::new(false), &watcher).unwrap_err().to_string();
    assert!(error.contains(".safetensors"), "{error}");
}

#[test]
fn a_validation_case_that_is_lost_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = cache(folder.path());
    let files = files(&data);
    // All but one of the cases that are validated on are lost: which ones they are is not known here.
    let settings = ["task.kind=segment", "train.steps=12", "validation.every_epochs=1", "data.folds=2"];
    let watcher = After::new(2, || files[1..].iter().for_each(|(path, _)| shorten(path)));
    let request = request(&data, &folder.path().join("run"), Existing::Refuse, &settings);
    let ended = finetune(&request, &AtomicBool::new(false), &watcher);
    let warned = watcher.warned();
    assert!(warned.contains("validation case '"), "{ended:?}: {warned}");
    // The case that is left is either trained on or validated on.
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("no validation case") || error.contains(".safetensors"), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let data = cache(folder.path());
    let settings = ["train.steps=12", "checkpoint.every_steps=4", "log.pictures_every_steps=0"];
    let run = |out: &Path, existing, last: u64, warned: &mut String| {
        let last = format!("train.max_steps={last}");
        let request = request(&data, out, existing, &[&settings[..], &[last.as_str()]].concat());
        let watcher = After::new(0, || {});
        let ended = pretrain(&request, &AtomicBool::new(false), &watcher);
        *warned = watcher.warned();
        ended
    };
    let weights = |out: &Path| std::fs::read(out.join("checkpoints/step-00000012.safetensors")).unwrap();
    let mut warned = String::new();
    let whole = folder.path().join("whole");
    run(&whole, Existing::Refuse, 12, &mut warned).unwrap();

    let flip = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    for word in ["is truncated", "is damaged"] {
        let out = folder.path().join(word);
        run(&out, Existing::Refuse, 8, &mut warned).unwrap();
        let newest = out.join("checkpoints/step-00000008.safetensors");
        if word == "is damaged" {
            flip(&newest);
        } else {
            shorten(&newest);
        }
        run(&out, Existing::Resume, 12, &mut warned).unwrap();
        assert!(warned.contains("step-00000008") && warned.contains(word), "{warned}");
        assert_eq!(
            weights(&whole),
            weights(&out),
            "it goes on from the checkpoint before as if nothing had happened"
        );
        assert!(newest.with_extension("safetensors.damaged").is_file(), "what was damaged is kept");
    }
    // Without another one, a run is not begun anew behind the user's back.
    let out = folder.path().join("only");
    run(&out, Existing::Refuse, 4, &mut warned).unwrap();
    let only = out.join("checkpoints/step-00000004.safetensors");
    flip(&only);
    let error = run(&out, Existing::Resume, 12, &mut warned).unwrap_err().to_string();
    assert!(error.contains("is damaged") && only.is_file(), "{error}");
}

#[test]
fn a_second_process_is_told_who_is_first() {
    let folder = tempfile::tempdir().unwrap();
    let first = RunFolder::create(folder.path(), Existing::Refuse).unwrap();
    let second = RunFolder::create(folder.path(), Existing::Resume).err().unwrap().to_string();
    assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
    drop(first);
    RunFolder::create(folder.path(), Existing::Resume).unwrap();
}

#[test]
fn memory_is_measured_only_if_it_may_be_short() {
    let folder = tempfile::tempdir().unwrap();
    let data = cache(folder.path());
    let peak = std::cell::Cell::new(1_000_u64);
    let next = || Some(peak.replace(peak.get() + 100));
    let stop = AtomicBool::new(false);
    let out = folder.path().join("run");
    let mut measured = Vec::new();
    for free_bytes in [u64::MAX, 1] {
        let scratch = tempfile::tempdir().unwrap();
        let gauge = Gauge { scratch: scratch.path(), free_bytes, peak_bytes: &next, stop: &stop };
        let pre = request(&data, &out, Existing::Refuse, &["patch.size=32", "train.batch_size=64"]);
        measured.push(memory::of_pretraining(&pre, &gauge).unwrap());
        let scratch = tempfile::tempdir().unwrap();
        let gauge = Gauge { scratch: scratch.path(), ..gauge };
        let settings = ["task.kind=segment", "patch.size=32", "train.batch_size=64", "mixing.with=mean"];
        let fine = request(&data, &out, Existing::Refuse, &settings);
        measured.push(memory::of_finetuning(&fine, &gauge).unwrap());
    }
    assert_eq!(measured[..2], [None, None]);
    // Two samples of a patch of 16^3 more took 100 bytes more: 64 of 32^3 are 508 such samples more than 4.
    assert_eq!(measured[2..], [Some(1_100 + 254 * 100), Some(1_300 + 254 * 100)]);
    assert!(!out.exists());
}
