//! A method that learns something of the cases before the first step: it can be stopped there, and what it has learnt is in
//! the checkpoints.

#![cfg(feature = "patented-methods")]
#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_phantom::{PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::Ranks;
use brainmvp_train::log::metrics::StepMetrics;
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};

const SETTINGS: [&str; 12] = [
    "method.name=transvw",
    "method.classes=4",
    "method.instances=2",
    "method.cube=12",
    "method.discovery.size=[16, 16, 16]",
    "method.discovery.steps=2",
    "model.preset=unet3d-b-tiny",
    "patch.size=16",
    "train.batch_size=2",
    "train.epochs=2",
    "checkpoint.every_steps=2",
    "log.pictures_every_steps=0",
];

/// Stops at a note that contains these words, or after a step.
struct StopAt<'a> {
    words: &'a str,
    step: u64,
    stop: &'a AtomicBool,
    notes: &'a Mutex<Vec<String>>,
}

impl Observer for StopAt<'_> {
    fn step(&self, metrics: &StepMetrics, _last: u64) {
        self.stop.fetch_or(metrics.step == self.step, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        self.stop.fetch_or(text.contains(self.words), Ordering::Relaxed);
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        panic!("{text}");
    }
}

/// A run that is stopped at these words or after this step, and what it noted.
fn run(cache: &Path, out: &Path, existing: Existing, words: &str, step: u64) -> (Ended, Vec<String>) {
    let request = RunRequest {
        data: cache.to_owned(),
        out: out.to_owned(),
        config: None,
        settings: SETTINGS.map(str::to_owned).into(),
        existing,
        device: "cpu".into(),
        ranks: Ranks::alone(),
    };
    let (stop, notes) = (AtomicBool::new(false), Mutex::default());
    let ended = pretrain(&request, &stop, &StopAt { words, step, stop: &stop, notes: &notes });
    (ended.unwrap(), notes.into_inner().unwrap())
}

#[test]
fn the_first_stage_can_be_stopped_and_is_not_repeated_after_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let config = PhantomConfig { cases: 4, size: 32, seed: 3, ..PhantomConfig::default() };
    let cohort = write_cohort(&config, &folder.path().join("raw"), &|_| {}).unwrap();
    let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
    let stop = AtomicBool::new(false);
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
    let cache = folder.path().join("cache");
    preprocess(&cohort, &cache, &prep, &options, &|_| {}).unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));

    let (ended, notes) = run(&cache, &whole, Existing::Refuse, "never", 99);
    assert_eq!(ended, Ended::Finished);
    let notes = notes.join("\n");
    for words in ["patents", "4 places were found", "auto-encoder: step 2 of 2", "features of case 4 of 4"] {
        assert!(notes.contains(words), "'{words}' is not in {notes}");
    }

    let (ended, notes) = run(&cache, &parts, Existing::Refuse, "auto-encoder", 99);
    assert_eq!(ended, Ended::Stopped);
    assert!(!notes.join("\n").contains("features of case 4"), "{notes:?}");
    assert_eq!(RunFolder::open(&parts).unwrap().checkpoints().unwrap(), [0; 0]);
    let (ended, notes) = run(&cache, &parts, Existing::Resume, "never", 3);
    assert_eq!(ended, Ended::Stopped);
    assert!(notes.join("\n").contains("4 places were found"), "{notes:?}");
    let (ended, notes) = run(&cache, &parts, Existing::Resume, "never", 99);
    assert_eq!(ended, Ended::Finished);
    assert!(!notes.join("\n").contains("places were found"), "{notes:?}");
    let last = "checkpoints/step-00000004.safetensors";
    let [a, b] = [&whole, &parts].map(|run| std::fs::read(run.join(last)).unwrap());
    assert!(a == b, "{last} differs");
}
