//! Whole fine-tuning runs on a small phantom cohort: what they leave, and that stopping them changes nothing.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use brainmvp_cohort::Cohort;
use brainmvp_cohort::phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_infer::Mirror;
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::batches::CaseSource;
use brainmvp_train::checkpoint::Checkpoint;
use brainmvp_train::finetune::{Model, Prediction, Predictor, TaskNetwork, finetune};
use brainmvp_train::log::metrics::{StepMetrics, ValidationMetrics, read_lines, read_metrics};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::source::{CheckpointChoice, Source};
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_volume::{Modality, nifti};
use burn::tensor::Device;

/// A cache of prepared phantoms with gliomas, some without some modalities, and a short pre-training on it, made once for
/// all tests.
fn folder() -> &'static Path {
    static FOLDER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    FOLDER.get_or_init(|| {
        // Nothing is dropped at the end of a process: a folder for temporary files would stay behind.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("finetune");
        drop(std::fs::remove_dir_all(&folder));
        phantoms(&folder, |_| {});
        let stop = AtomicBool::new(false);
        let settings = ["model.preset=tiny", "patch.size=16", "train.batch_size=2", "train.max_steps=4"];
        let request = RunRequest {
            data: folder.join("cache"),
            out: folder.join("pretrained"),
            config: None,
            settings: settings.map(str::to_owned).to_vec(),
            existing: Existing::Refuse,
            device: "cpu".into(),
        };
        pretrain(&request, &stop, &Watcher::new(u64::MAX, &stop)).unwrap();
        folder
    })
}

/// Prepared phantoms in `folder/cache`, after a change to their cohort.
fn phantoms(folder: &Path, change: impl FnOnce(&mut Cohort)) {
    let config = PhantomConfig {
        cases: 8,
        size: 32,
        seed: 5,
        missing_rate: 0.2,
        modalities: vec![Modality::Flair, Modality::T1, Modality::T1c],
        lesions: DiseaseMix::only(Disease::Glioma),
        ..PhantomConfig::default()
    };
    let mut cohort = write_cohort(&config, &folder.join("raw"), &|_| {}).unwrap();
    change(&mut cohort);
    let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    preprocess(&cohort, &folder.join("cache"), &prep, &options, &|_| {}).unwrap();
}

/// Stops a run after a given number of steps and keeps what it is told.
struct Watcher<'a> {
    steps: u64,
    done: AtomicU64,
    stop: &'a AtomicBool,
    told: Mutex<Vec<String>>,
}

impl<'a> Watcher<'a> {
    fn new(steps: u64, stop: &'a AtomicBool) -> Self {
        Self { steps, done: AtomicU64::new(0), stop, told: Mutex::default() }
    }
}

impl Observer for Watcher<'_> {
    fn step(&self, metrics: &StepMetrics, _last: u64) {
        assert!(metrics.loss.is_finite());
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.steps {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn note(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        self.told.lock().unwrap().push(format!("warning: {text}"));
    }
}

/// How a run went.
struct Went {
    ended: brainmvp_train::Result<Ended>,
    told: String,
}

fn run_on(data: PathBuf, out: &Path, existing: Existing, steps: u64, settings: &[&str]) -> Went {
    let mut all = vec![
        "model.preset=tiny",
        "patch.size=16",
        "patch.resize=[24, 24, 16]",
        "mixing.mask.block=4",
        "train.batch_size=2",
        "train.accumulate=1",
        "train.epochs=4",
        "validation.every_epochs=1",
        "checkpoint.every_steps=4",
        "log.pictures_every_steps=5",
    ];
    if settings.iter().any(|setting| setting.starts_with("init.source")) {
        all.remove(0);
    }
    all.extend(settings);
    let request = RunRequest {
        data,
        out: out.to_owned(),
        config: None,
        settings: all.iter().map(ToString::to_string).collect(),
        existing,
        device: "cpu".into(),
    };
    let stop = AtomicBool::new(false);
    let watcher = Watcher::new(steps, &stop);
    let ended = finetune(&request, &stop, &watcher);
    Went { ended, told: watcher.told.into_inner().unwrap().join("\n") }
}

fn run(out: &Path, existing: Existing, steps: u64, settings: &[&str]) -> Went {
    run_on(folder().join("cache"), out, existing, steps, settings)
}

fn from_pretraining() -> String {
    format!("init.source='{}'", folder().join("pretrained").display())
}

/// The records without what depends on how fast a run ran.
fn lasting(out: &Path) -> (Vec<StepMetrics>, Vec<ValidationMetrics>) {
    let steps = read_metrics(&out.join("metrics.jsonl")).unwrap();
    let steps =
        steps.into_iter().map(|m| StepMetrics { seconds: 0.0, samples_per_s: 0.0, wait_share: 0.0, ..m });
    let validations = read_lines::<ValidationMetrics>(&out.join("validation.jsonl")).unwrap();
    (steps.collect(), validations.into_iter().map(|v| ValidationMetrics { seconds: 0.0, ..v }).collect())
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    let place = tempfile::tempdir().unwrap();
    let init = from_pretraining();
    let (whole, parts) = (place.path().join("whole"), place.path().join("parts"));
    for settings in [
        &["task.kind=segment", init.as_str()][..],
        &["task.kind=classify", "train.accumulate=2", "train.epochs=8", &init],
        &["task.kind=regress", "task.target=brain_ml", &init],
    ] {
        let went = run(&whole, Existing::Refuse, 99, settings);
        assert_eq!(went.ended.unwrap(), Ended::Finished, "{}", went.told);
        assert_eq!(run(&parts, Existing::Refuse, 3, settings).ended.unwrap(), Ended::Stopped);
        assert_eq!(run(&parts, Existing::Resume, 4, settings).ended.unwrap(), Ended::Stopped);
        // As after a kill: what was validated after the last checkpoint is validated again.
        let torn = std::fs::read_to_string(parts.join("validation.jsonl")).unwrap() + "{\"step\":8,\"ep";
        std::fs::write(parts.join("validation.jsonl"), torn).unwrap();
        assert_eq!(run(&parts, Existing::Resume, 99, settings).ended.unwrap(), Ended::Finished);
        assert_eq!(lasting(&whole), lasting(&parts));
        let last = *RunFolder::open(&whole).unwrap().checkpoints().unwrap().last().unwrap();
        let newest = format!("checkpoints/step-{last:08}.safetensors");
        for file in [&newest, "checkpoints/best.safetensors", "config.toml", "templates.safetensors"] {
            let [a, b] = [&whole, &parts].map(|run| std::fs::read(run.join(file)).unwrap());
            assert!(a == b, "{file} differs");
        }
        std::fs::remove_dir_all(&whole).unwrap();
        std::fs::remove_dir_all(&parts).unwrap();
    }
}

#[test]
fn a_segmentation_learns_and_can_be_used() {
    let place = tempfile::tempdir().unwrap();
    let run_folder = place.path().join("run");
    let settings = ["train.epochs=40", "optimizer.schedule.learning_rate=3e-3", "validation.every_epochs=10"];
    let went = run(&run_folder, Existing::Refuse, u64::MAX, &settings);
    assert_eq!(went.ended.unwrap(), Ended::Finished);
    assert!(went.told.contains("training cases lack"), "{}", went.told);
    let (steps, validations) = lasting(&run_folder);
    let mean = |steps: &[StepMetrics]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    let tenth = steps.len() / 10;
    assert!(mean(&steps[steps.len() - tenth..]) < 0.8 * mean(&steps[..tenth]));
    let names: Vec<&str> = validations[0].scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["dice", "dice ET", "dice TC", "dice WT"]);
    assert_eq!(validations.len(), 4);
    let model = Model::open(&run_folder, &Device::flex()).unwrap();
    assert!(matches!(model.network, TaskNetwork::Segment(_)));
    assert_eq!(model.preparation.config.spacing_mm, [6.0; 3]);
    let best = validations.iter().rev().find(|validation| validation.best).unwrap();
    assert_eq!(model.step, best.step);
}

#[test]
fn a_regression_learns_and_says_numbers_in_their_unit() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("cache");
    // One case has no number, which is another one than 0.
    phantoms(place.path(), |cohort| {
        cohort.cases[3].numbers.remove("brain_ml");
    });
    let out = place.path().join("run");
    // Without chance in what is seen, and without a norm over a batch, a few cases are learnt by heart.
    let settings = [
        "task.kind=regress",
        "task.target=brain_ml",
        "model.preset=unet3d-tiny",
        "patch.resize=16",
        "mixing.with=none",
        "augmentation={ mirror = 0.0, shift = 0.0, scale = 0.0 }",
        "train.batch_size=6",
        "train.epochs=90",
        "validation.every_epochs=45",
        "optimizer.schedule.learning_rate=3e-3",
    ];
    let went = run_on(data.clone(), &out, Existing::Refuse, u64::MAX, &settings);
    assert_eq!(went.ended.unwrap(), Ended::Finished);
    assert!(went.told.contains("1 of 8 cases have no number 'brain_ml'"), "{}", went.told);
    assert!(went.told.contains("brain_ml: mean "), "{}", went.told);
    let (steps, validations) = lasting(&out);
    let mean = |steps: &[StepMetrics]| steps.iter().map(|step| step.loss).sum::<f64>() / steps.len() as f64;
    let fifth = steps.len() / 5;
    assert!(mean(&steps[steps.len() - fifth..]) < 0.3 * mean(&steps[..fifth]), "{steps:?}");
    let names: Vec<&str> = validations[0].scores.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["minus mae", "mae", "rmse"]);
    let last = Source { path: out, checkpoint: Some(CheckpointChoice::Last) };
    let model = Model::open(last, &Device::flex()).unwrap();
    let scale = model.config.task.regress.scale.unwrap();
    let predictor = Predictor {
        windows: model.config.inference.clone(),
        model,
        mirror: Mirror::default(),
        device: Device::flex(),
    };
    let cache = Cache::open(&data).unwrap();
    let mut errors = Vec::new();
    for entry in cache.cases() {
        let case = CaseSource::new(entry, cache.open_case(entry).unwrap());
        let Prediction::Regress(said) = predictor.predict(&case, |_, _| Ok(())).unwrap() else { panic!() };
        errors.extend(entry.case.numbers.get("brain_ml").map(|truth| (said - truth).abs()));
    }
    errors.sort_by(f64::total_cmp);
    assert_eq!(errors.len(), 7);
    // Most of the cases were trained on.
    assert!(errors[3] < 0.5 * scale.deviation && scale.mean > 1000.0, "{errors:?} of {scale:?}");
    let none = run_on(cache, &place.path().join("other"), Existing::Refuse, 1, &settings);
    assert!(none.ended.is_ok(), "a region of the scheme's values need not be in any case: {}", none.told);
}
