//! Whole pre-training runs on a small phantom cohort: what they leave, and that stopping them changes nothing.

#![allow(clippy::unwrap_used)] // that is how a test fails
#![allow(clippy::print_stdout)] // which method is tested

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use brainmvp_kernels::ops::expand_onto;
use brainmvp_phantom::{PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::Ranks;
use brainmvp_train::batches::open_cases;
use brainmvp_train::checkpoint::Checkpoint;
use brainmvp_train::finetune::finetune;
use brainmvp_train::log::metrics::{StepMetrics, read_metrics};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::pretrained::Pretrained;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::saved::{Format, SavedNetwork};
use brainmvp_train::template_quality::{Beside, compare};
use brainmvp_train::templates::RunTemplates;
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_volume::Modality;
use burn::tensor::{Device, Tensor, TensorData};

mod small;

use small::Small;

/// A cache of four prepared phantoms, one with a single modality, made once for all tests.
fn cache() -> PathBuf {
    static CACHE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let folder = CACHE.get_or_init(|| {
        // Nothing is dropped at the end of a process: a folder for temporary files would stay behind.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pretrain");
        drop(std::fs::remove_dir_all(&folder));
        let config =
            PhantomConfig { cases: 4, size: 32, seed: 3, missing_rate: 0.3, ..PhantomConfig::default() };
        let mut cohort = write_cohort(&config, &folder.join("raw"), &|_| {}).unwrap();
        let first = cohort.cases[0].images.iter().next().map(|(m, p)| (*m, p.clone())).unwrap();
        cohort.cases[0].images = [first].into();
        let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
        let stop = AtomicBool::new(false);
        let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
        preprocess(&cohort, &folder.join("cache"), &prep, &options, &|_| {}).unwrap();
        folder
    });
    folder.join("cache")
}

/// Stops a run after a given number of steps.
struct StopAfter<'a> {
    steps: u64,
    done: AtomicU64,
    stop: &'a AtomicBool,
}

impl Observer for StopAfter<'_> {
    fn step(&self, metrics: &StepMetrics, _last: u64) {
        assert!(metrics.loss.is_finite());
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn warn(&self, text: &str) {
        panic!("{text}");
    }
}

fn run(out: &Path, existing: Existing, steps: u64, settings: &[&str]) -> brainmvp_train::Result<Ended> {
    let tiny = ["model.preset=tiny", "patch.size=16", "train.epochs=6", "model.uniformer.drop_path=0.1"];
    run_with(out, existing, steps, &[&tiny, settings].concat())
}

/// A run that says which network it is of.
fn run_with(out: &Path, existing: Existing, steps: u64, settings: &[&str]) -> brainmvp_train::Result<Ended> {
    let request = request(out, existing, &[&["checkpoint.every_steps=4"], settings].concat());
    let stop = AtomicBool::new(false);
    pretrain(&request, &stop, &StopAfter { steps, done: AtomicU64::new(0), stop: &stop })
}

fn request(out: &Path, existing: Existing, settings: &[&str]) -> RunRequest {
    let all = ["train.batch_size=2", "log.pictures_every_steps=5"].iter().chain(settings);
    RunRequest {
        data: cache(),
        out: out.to_owned(),
        config: None,
        settings: all.map(ToString::to_string).collect(),
        existing,
        device: "cpu".into(),
        ranks: Ranks::alone(),
    }
}

/// The metrics without what depends on when and how fast a run ran.
fn lasting(out: &Path) -> Vec<StepMetrics> {
    let metrics = read_metrics(&out.join("metrics.jsonl")).unwrap();
    metrics
        .into_iter()
        .map(|m| StepMetrics { seconds: 0.0, samples_per_s: 0.0, wait_share: 0.0, ..m })
        .collect()
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    for settings in [
        &["train.accumulate=1"][..],
        &["train.accumulate=2", "optimizer.clip_norm=0.5", "train.epochs=12"],
        &[
            "method.negatives=queue",
            "method.queue_length=5",
            "method.contrast_from_epoch=1",
            "method.draw=modality",
        ],
        &[
            "method.templates.source=mean",
            "method.tasks=['cross', 'contrast']",
            "method.contrast_from_epoch=1",
        ],
        &["method.templates.parametrisation=pyramid"],
    ] {
        let run = |out: &Path, existing, steps| run(out, existing, steps, settings);
        resumes(folder.path(), run, &[3, 4], 12);
    }
}

/// A run of `last` steps, and one that is stopped after each of these numbers of steps, leave the same.
fn resumes(
    folder: &Path,
    run: impl Fn(&Path, Existing, u64) -> brainmvp_train::Result<Ended>,
    stops: &[u64],
    last: u64,
) {
    let (whole, parts) = (folder.join("whole"), folder.join("parts"));
    assert_eq!(run(&whole, Existing::Refuse, 99).unwrap(), Ended::Finished);
    let mut existing = Existing::Refuse;
    for steps in stops {
        assert_eq!(run(&parts, existing, *steps).unwrap(), Ended::Stopped);
        existing = Existing::Resume;
    }
    let checkpoint = RunFolder::open(&parts).unwrap().checkpoints().unwrap().pop().unwrap();
    assert_eq!(checkpoint, stops.iter().sum::<u64>());
    // Lines after the last checkpoint, and a torn one, as a killed process leaves them.
    let torn = std::fs::read_to_string(parts.join("metrics.jsonl")).unwrap() + "{\"step\":8,\"ep";
    std::fs::write(parts.join("metrics.jsonl"), torn).unwrap();
    assert_eq!(run(&parts, Existing::Resume, 99).unwrap(), Ended::Finished);
    assert_eq!(lasting(&whole), lasting(&parts));
    assert_eq!(lasting(&whole).len() as u64, last);
    let checkpoint = format!("checkpoints/step-{last:08}.safetensors");
    for file in [checkpoint.as_str(), "checkpoints/best.safetensors", "config.toml"] {
        let [a, b] = [&whole, &parts].map(|run| std::fs::read(run.join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    std::fs::remove_dir_all(&whole).unwrap();
    std::fs::remove_dir_all(&parts).unwrap();
}

/// What a run says.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Observer for Listener {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    /// Its cases are those of the pre-training.
    fn warn(&self, _text: &str) {}
}

/// Whichever method it is: its runs can be stopped and continued, what is kept of them is written and read, and
/// fine-tuning begins with it.
#[test]
fn every_method_is_resumed_exported_and_fine_tuned() {
    let folder = tempfile::tempdir().unwrap();
    for Small { name, patch, settings } in small::methods() {
        println!("{name}");
        let mut settings = settings;
        settings.push("train.max_steps=4".to_owned());
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let run = |out: &Path, existing, steps| run_with(out, existing, steps, &settings);
        resumes(folder.path(), run, &[1, 2], 4);

        let out = folder.path().join(name);
        run(&out, Existing::Refuse, 2).unwrap();
        let saved = SavedNetwork::open(&out).unwrap();
        let weights = folder.path().join("weights.safetensors");
        saved.write(&weights, Format::Safetensors).unwrap();
        assert_eq!(SavedNetwork::open(&weights).unwrap().weights, saved.weights);
        for source in [&out, &weights] {
            let source = format!("init.source='{}'", source.display());
            let patch = format!("patch.size={patch}");
            let settings = [source.as_str(), patch.as_str(), "train.max_steps=1", "data.validation_share=0"];
            let listener = Listener::default();
            let downstream = folder.path().join("downstream");
            let request = request(&downstream, Existing::Refuse, &settings);
            finetune(&request, &AtomicBool::new(false), &listener).unwrap();
            let told = listener.0.into_inner().unwrap().join("\n");
            assert!(told.contains("tensors are from"), "{told}");
            std::fs::remove_dir_all(&downstream).unwrap();
        }
    }
}

/// A method whose steps are whole: in how many batches a step is computed changes nothing but rounding, and an
/// interruption nothing at all.
#[test]
fn a_whole_step_is_the_same_in_any_batches() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, existing, steps, batches: &[&str]| {
        let all = [
            "method.name=moco-v3",
            "method.hidden=16",
            "method.width=8",
            "model.preset=unetr-tiny",
            "patch.size=32",
            "train.epochs=4",
            "optimizer.schedule.warmup_steps=0",
        ];
        let out = folder.path().join(name);
        let ended = run_with(&out, existing, steps, &[&all[..], batches].concat()).unwrap();
        (ended, lasting(&out))
    };
    let one = ["train.batch_size=4", "train.accumulate=1"];
    let four = ["train.batch_size=1", "train.accumulate=4"];
    let (_, whole) = run("whole", Existing::Refuse, 99, &one);
    let (_, parts) = run("parts", Existing::Refuse, 99, &four);
    assert_eq!((whole.len(), parts.len()), (4, 4));
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!((whole.loss - parts.loss).abs() < 2e-3 * whole.loss, "{} {}", whole.loss, parts.loss);
    }
    assert!((whole[0].loss - parts[0].loss).abs() < 1e-5, "{} {}", whole[0].loss, parts[0].loss);
    assert_eq!(run("again", Existing::Refuse, 2, &four).0, Ended::Stopped);
    assert_eq!(run("again", Existing::Resume, 99, &four), (Ended::Finished, parts));
    let [a, b] = ["parts", "again"].map(|name| {
        std::fs::read(folder.path().join(name).join("checkpoints/step-00000004.safetensors")).unwrap()
    });
    assert!(a == b, "the checkpoints differ");
}

#[test]
fn a_run_can_be_made_longer() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    run(&whole, Existing::Refuse, 99, &["train.max_steps=6"]).unwrap();
    run(&parts, Existing::Refuse, 99, &["train.max_steps=5"]).unwrap();
    run(&parts, Existing::Resume, 99, &["train.max_steps=6"]).unwrap();
    assert_eq!(lasting(&whole), lasting(&parts));
    let error = run(&parts, Existing::Resume, 99, &["train.batch_size=1"]).unwrap_err().to_string();
    assert!(error.contains("another configuration"), "{error}");
    let error = run(&parts, Existing::Refuse, 99, &[]).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
}

#[test]
fn templates_form_and_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    run(&out, Existing::Refuse, 99, &["method.templates.learning_rate_factor=100"]).unwrap();
    let templates = RunTemplates::load(&out).unwrap();
    let paths = templates.write(&folder.path().join("templates")).unwrap();
    assert!(!paths.is_empty());
    for path in paths {
        let volume = brainmvp_volume::nifti::read(&path).unwrap();
        let first = volume.voxels()[0];
        assert!(volume.voxels().iter().any(|&v| v != first), "a template is blank");
        assert!((volume.grid().affine.spacing_mm()[0] - 6.0).abs() < 1e-4);
    }
    let cases =
        open_cases(&cache(), &StopAfter { steps: 0, done: AtomicU64::new(0), stop: &AtomicBool::new(false) });
    let beside = Beside { cases: &cases.unwrap(), held_out: &[], runs: &[] };
    let (qualities, _) = compare(&templates, &beside).unwrap();
    let nearer =
        qualities.iter().filter(|quality| quality.mean.difference < quality.mean.blank_difference).count();
    assert!(2 * nearer > qualities.len(), "{qualities:?}");
    // A row for each of the cases' modalities: the three planes of the mean image and of the template.
    let [x, y, z] = templates.grid.shape;
    let [width, height] = picture_size(&out, b"templates");
    assert!(width >= 2 * (2 * x + y) && height >= qualities.len() * y.max(z), "{width} x {height}");
}

/// The size in pixels of the first picture of a tag in the events of a run.
fn picture_size(run: &Path, tag: &[u8]) -> [usize; 2] {
    let mut files = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let events = files.find(|path| path.to_string_lossy().contains("tfevents")).unwrap();
    let bytes = std::fs::read(events).unwrap();
    let after = |from: usize, what: &[u8]| {
        let place = bytes[from..].windows(what.len()).position(|window| window == what);
        from + place.unwrap_or_else(|| panic!("no {}", what.escape_ascii())) + what.len()
    };
    // A PNG begins with its width and height.
    let header = after(after(0, tag), b"IHDR");
    [0, 4].map(|at| u32::from_be_bytes(bytes[header + at..][..4].try_into().unwrap()) as usize)
}

/// Whoever reads a run gets whole volumes, however its templates were parametrised.
#[test]
fn a_pyramid_leaves_the_run_as_a_volume() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = [
        "method.templates.parametrisation=pyramid",
        "method.templates.pyramid.levels=3",
        "train.max_steps=6",
    ];
    run(&out, Existing::Refuse, 99, &settings).unwrap();
    let path = RunFolder::open(&out).unwrap().checkpoint(6);
    // The sum of the levels, by the interpolation of the program that trained them.
    let mut checkpoint = Checkpoint::open(&path).unwrap();
    let mut level = |name: String| {
        let (shape, values) = checkpoint.tensor(&name).unwrap();
        Tensor::<3>::from_data(TensorData::new(values, shape), &Device::flex())
    };
    let mut expected = Vec::new();
    for modality in Modality::ALL {
        let place = modality.index();
        let coarser = [1, 0].map(|number| level(format!("model.templates.coarser.{number}.{place}")));
        let finest = level(format!("model.templates.volumes.{place}"));
        let [coarsest, middle] = coarser;
        let sum = expand_onto(finest.clone(), expand_onto(middle, coarsest));
        assert_eq!(sum.dims(), finest.dims());
        expected.push(sum.into_data().try_into_vec::<f32>().unwrap());
    }
    let saved = SavedNetwork::open(&path).unwrap();
    assert!(saved.weights.keys().all(|name| !name.contains("templates")));
    assert_eq!(saved.templates.as_ref().unwrap().volumes, expected);
    assert!(expected.iter().any(|volume| volume.iter().any(|value| *value != 0.0)));
    let file = folder.path().join("weights.safetensors");
    saved.write(&file, Format::Safetensors).unwrap();
    let frozen = SavedNetwork::open(&file).unwrap().templates.unwrap().frozen();
    assert_eq!(frozen, saved.templates.unwrap().frozen());
    for (modality, shown) in RunTemplates::load(&out).unwrap().volumes {
        assert_eq!(frozen.get(modality), Some(&*shown), "{modality}");
    }
}

#[test]
fn mean_images_take_the_place_of_learnt_templates() {
    let folder = tempfile::tempdir().unwrap();
    for tasks in ["['cross']", "['cross', 'distill']"] {
        let out = folder.path().join(tasks);
        let tasks = format!("method.tasks={tasks}");
        run(&out, Existing::Refuse, 99, &["method.templates.source=mean", "train.max_steps=3", &tasks])
            .unwrap();
        let watcher = StopAfter { steps: 0, done: AtomicU64::new(0), stop: &AtomicBool::new(false) };
        let cases = open_cases(&cache(), &watcher).unwrap();
        let templates = RunTemplates::load(&out).unwrap();
        assert!(templates.volumes.len() >= 6 && templates.updates.is_empty());
        let beside = Beside { cases: &cases, held_out: &[], runs: &[] };
        for likeness in compare(&templates, &beside).unwrap().0.into_iter().map(|quality| quality.mean) {
            assert!(likeness.difference < 1e-6 && likeness.correlation > 0.999_999, "{likeness:?}");
        }
        let downstream = Pretrained::open(&out).unwrap().templates.unwrap();
        for (modality, volume) in &templates.volumes {
            assert_eq!(downstream.frozen.get(*modality), Some(volume.as_slice()), "{modality}");
        }
    }
}

#[test]
fn without_distillation_no_template_is_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let tasks = ["method.tasks=['cross', 'contrast']", "method.contrast_from_epoch=0", "train.max_steps=3"];
    run(&out, Existing::Refuse, 99, &tasks).unwrap();
    assert!(RunTemplates::load(&out).unwrap().volumes.is_empty());
    let metrics = lasting(&out);
    let terms: Vec<&str> = metrics[0].losses.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(terms, ["loss_cross", "loss_contrast"]);
    assert!(metrics.iter().all(|step| step.counts.is_empty()));
}

#[test]
fn by_modality_every_template_is_moved_equally_often() {
    let folder = tempfile::tempdir().unwrap();
    let moved = |name: &str, draw: &str| {
        let out = folder.path().join(name);
        let draw = format!("method.draw={draw}");
        run(&out, Existing::Refuse, 99, &["train.batch_size=1", "train.epochs=4", &draw]).unwrap();
        let updates = RunTemplates::load(&out).unwrap().updates;
        let named = updates.iter().map(|(modality, count)| (format!("template updates {modality}"), *count));
        assert_eq!(lasting(&out).pop().unwrap().counts, named.collect());
        updates.into_values().collect::<Vec<_>>()
    };
    // 16 steps of one case each, over 8 modalities.
    assert_eq!(moved("balanced", "modality"), [2; 8]);
    assert_ne!(moved("by case", "case"), [2; 8]);
}

#[test]
fn the_literal_presets_train() {
    let folder = tempfile::tempdir().unwrap();
    for preset in ["paper", "released"] {
        let preset = format!("method.preset={preset}");
        let settings = [&preset, "train.max_steps=3", "train.accumulate=2", "method.contrast_from_epoch=1"];
        run(&folder.path().join(&preset), Existing::Refuse, 99, &settings).unwrap();
        let losses: Vec<f64> = lasting(&folder.path().join(&preset)).iter().map(|step| step.loss).collect();
        assert!(losses.len() == 3 && losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_with_the_cases_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let error = run(&out, Existing::Refuse, 99, &["optimizer.schedule.learning_rate=1e30"]).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("not finite") && message.contains("phantom"), "{message}");
    // Weights that are not numbers never become a checkpoint, and never replace one.
    let out = folder.path().join("poisoned");
    run(
        &out,
        Existing::Refuse,
        99,
        &["train.max_steps=2", "checkpoint.every_steps=1", "checkpoint.keep_last=1"],
    )
    .unwrap();
    let settings =
        ["optimizer.schedule.learning_rate=1e39", "checkpoint.every_steps=1", "checkpoint.keep_last=1"];
    let out = folder.path().join("poisoned from the start");
    let message = run(&out, Existing::Refuse, 99, &settings).unwrap_err().to_string();
    assert!(message.contains("step 1: the weights") && message.contains("the start"), "{message}");
    assert!(RunFolder::open(&out).unwrap().checkpoints().unwrap().is_empty());
}
