//! Whole fine-tuning runs on a small phantom cohort: what they leave, and that stopping them changes nothing.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use brainmvp_cohort::Cohort;
use brainmvp_infer::Mirror;
use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::Ranks;
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
            ranks: Ranks::alone(),
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
        ranks: Ranks::alone(),
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
    let none =
        run_on(data, &place.path().join("x"), Existing::Refuse, 1, &["task.kind=regress", "task.target=age"]);
    assert!(none.ended.unwrap_err().to_string().contains("none of the 8 prepared cases has a number 'age'"));
}

#[test]
fn what_pre_training_has_learnt_is_taken_over() {
    let place = tempfile::tempdir().unwrap();
    let init = from_pretraining();
    let went = run(&place.path().join("a"), Existing::Refuse, 1, &[&init]);
    assert!(went.ended.is_ok() && went.told.contains("tensors are from"), "{}", went.told);
    let single = run(&place.path().join("b"), Existing::Refuse, 1, &[&init, "task.modalities=['flair']"]);
    assert!(single.ended.is_ok(), "{}", single.told);
    let other = run(&place.path().join("c"), Existing::Refuse, 1, &[&init, "model.preset=unet3d"]);
    assert!(other.ended.unwrap_err().to_string().contains("another network"));
    let nothing = run(&place.path().join("d"), Existing::Refuse, 1, &["init.source='nowhere'"]);
    assert!(nothing.ended.unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn the_other_network_is_fine_tuned_too() {
    let place = tempfile::tempdir().unwrap();
    for kind in ["task.kind=segment", "task.kind=classify", "task.kind=regress"] {
        let settings = [kind, "task.target=lesion_ml", "model.preset=unet3d-tiny", "train.max_steps=2"];
        let out = place.path().join(kind);
        assert_eq!(run(&out, Existing::Refuse, 99, &settings).ended.unwrap(), Ended::Finished);
        assert!(Model::open(&out, &Device::flex()).is_ok());
    }
}

#[test]
fn a_run_whose_score_rises_no_more_ends() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("run");
    let settings = ["validation.patience=2", "optimizer.schedule.learning_rate=1e-12", "train.epochs=30"];
    let went = run(&out, Existing::Refuse, u64::MAX, &settings);
    assert_eq!(went.ended.unwrap(), Ended::Finished);
    assert!(went.told.contains("no better score for 2 validations"), "{}", went.told);
    let before = lasting(&out);
    let [.., a, b] = before.1.as_slice() else { panic!("{before:?}") };
    assert!(before.1.len() < 30 && !a.best && !b.best, "{before:?}");
    assert_eq!(run(&out, Existing::Resume, u64::MAX, &settings).ended.unwrap(), Ended::Finished);
    assert_eq!(lasting(&out), before, "it stays ended");
}

#[test]
fn missing_modalities_are_filled_or_dropped() {
    let place = tempfile::tempdir().unwrap();
    for (missing, channels) in [("template", 3), ("zero", 3), ("drop", 1)] {
        let out = place.path().join(missing);
        let setting = format!("task.missing={missing}");
        let went = run(&out, Existing::Refuse, 1, &[&setting]);
        assert!(went.ended.is_ok(), "{}", went.told);
        let model = Model::open(&out, &Device::flex()).unwrap();
        assert!(model.config.task.modalities.len() <= channels.max(2), "{:?}", model.config.task.modalities);
        assert_eq!(model.numbers.in_channels(), model.config.task.modalities.len());
    }
}

#[test]
fn a_step_of_four_batches_is_a_step_of_one() {
    let place = tempfile::tempdir().unwrap();
    // One class is three times as frequent as the other, so that their weights differ.
    phantoms(place.path(), |cohort| {
        for (number, case) in cohort.cases.iter_mut().enumerate() {
            case.class = Some(if number % 4 == 0 { "rare" } else { "frequent" }.to_owned());
        }
    });
    // This network has no norm over a batch, in which the cases of one see each other.
    let step = |name: &str, batches: &str, weights: &str| {
        let out = place.path().join(name);
        let settings = [
            "task.kind=classify",
            "model.preset=unet3d-tiny",
            "data.validation_share=0",
            "train.max_steps=1",
            weights,
        ];
        let mut settings = settings.to_vec();
        settings.extend(batches.split(' '));
        let went = run_on(place.path().join("cache"), &out, Existing::Refuse, 99, &settings);
        assert_eq!(went.ended.unwrap(), Ended::Finished, "{}", went.told);
        let loss = lasting(&out).0[0].loss;
        let mut checkpoint = Checkpoint::open(&RunFolder::open(&out).unwrap().checkpoint(1)).unwrap();
        let mut names = checkpoint.names();
        names.retain(|name| name.starts_with("moment1."));
        names.sort();
        // After one step the first moment is a tenth of the gradient.
        let gradient: Vec<f32> = names.iter().flat_map(|name| checkpoint.tensor(name).unwrap().1).collect();
        (loss, gradient.into_iter().map(|moment| 10.0 * moment).collect::<Vec<_>>())
    };
    let balanced = "task.class_weights=balanced";
    // The whole cohort in a step, so that both classes are in it.
    let whole = step("whole", "train.batch_size=8 train.accumulate=1", balanced);
    let parts = step("parts", "train.batch_size=2 train.accumulate=4", balanced);
    let equal = step("equal", "train.batch_size=8 train.accumulate=1", "task.class_weights=none");
    assert!((whole.0 - equal.0).abs() > 1e-3, "the weights change nothing: {} {}", whole.0, equal.0);
    assert!((whole.0 - parts.0).abs() < 1e-6, "{} {}", whole.0, parts.0);
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let apart = apart(&whole.1, &parts.1);
    assert!(apart < 1e-5, "{apart} apart in four batches");
}

#[test]
fn what_replaces_modalities_can_be_chosen() {
    let place = tempfile::tempdir().unwrap();
    let init = from_pretraining();
    let see = |with: &str, init: &str| {
        let out = place.path().join(format!("{with} {}", init.len()));
        let with = format!("mixing.with={with}");
        let mut settings = vec![with.as_str(), "data.validation_share=0"];
        settings.extend(Some(init).filter(|init| !init.is_empty()));
        let went = run(&out, Existing::Refuse, 1, &settings);
        assert!(went.ended.is_ok(), "{}", went.told);
        let agreed = lasting(&out).0[0].losses.iter().any(|(name, _)| name == "loss_agreement");
        (agreed, went.told.contains("each case is seen once"), out)
    };
    // Two copies, and whether a single one is told because it was not asked for.
    let seen = |(agreed, told, _)| (agreed, told);
    assert_eq!(seen(see("templates", &init)), (true, false));
    assert_eq!(seen(see("templates", "")), (false, true), "two copies would be the same");
    assert_eq!(seen(see("zero", "")), (true, false));
    for init in ["", init.as_str()] {
        assert_eq!(seen(see("none", init)), (false, false));
    }
    let (agreed, told, out) = see("mean", &init);
    assert_eq!((agreed, told), (true, false));
    mean_images_of_training_cases(&out.join("templates.safetensors"));
}

/// Holds stored templates against the mean of the prepared cases, which all lie on one grid before they are cropped.
fn mean_images_of_training_cases(templates: &Path) {
    let bytes = std::fs::read(templates).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let cache = Cache::open(folder().join("cache")).unwrap();
    for (name, tensor) in file.tensors() {
        let [nz, ny, nx] = tensor.shape().try_into().unwrap();
        let found: Vec<f32> =
            tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        let modality: Modality = name.parse().unwrap();
        let (mut sum, mut count) = (vec![0.0_f32; nx * ny * nz], 0.0);
        for entry in cache.cases() {
            let case = cache.open_case(entry).unwrap();
            if !case.modalities().any(|found| found == modality) {
                continue;
            }
            count += 1.0;
            let (shape, offset) = (case.shape(), case.metadata().crop_offset);
            assert_eq!(case.metadata().uncropped.shape, [nx, ny, nz]);
            let mut voxels = vec![0.0; shape.iter().product()];
            case.read_patch(modality, [0; 3], shape, &mut voxels).unwrap();
            for (at, value) in voxels.into_iter().enumerate() {
                let voxel = [at % shape[0], at / shape[0] % shape[1], at / (shape[0] * shape[1])];
                let [x, y, z]: [usize; 3] = std::array::from_fn(|axis| voxel[axis] + offset[axis]);
                sum[(z * ny + y) * nx + x] += value;
            }
        }
        for (mean, sum) in found.iter().zip(&sum) {
            assert!((mean - sum / count).abs() < 1e-5, "{name}: {mean}, expected {}", sum / count);
        }
    }
    assert_eq!(file.len(), 3);
}

#[test]
fn label_values_that_mean_nothing_are_named_before_training() {
    let place = tempfile::tempdir().unwrap();
    let raw = folder().join("raw");
    let mut cohort = brainmvp_cohort::Cohort::load(&raw.join("cohort.json")).unwrap();
    cohort.cases.truncate(3);
    let path = cohort.cases[0].label.clone().unwrap();
    let mut labels = nifti::read_labels(&path).unwrap();
    labels.voxels_mut().iter_mut().filter(|label| **label > 0).for_each(|label| *label = 9);
    let foreign = place.path().join("foreign.nii.gz");
    nifti::write_labels(&foreign, &labels, "").unwrap();
    cohort.cases[0].label = Some(foreign);
    let id = cohort.cases[0].id.to_string();
    let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
    let stop = AtomicBool::new(false);
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
    let cache = place.path().join("cache");
    // `preprocess` leaves such a case out if it knows the scheme: here it is declared afterwards.
    let scheme = cohort.data_sets.values_mut().find_map(|data_set| data_set.label_scheme.take()).unwrap();
    preprocess(&cohort, &cache, &prep, &options, &|_| {}).unwrap();
    let manifest = cache.join("manifest.json");
    let mut edited: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
    edited["label_schemes"][&cohort.cases[0].data_set] = serde_json::to_value(scheme).unwrap();
    std::fs::write(&manifest, edited.to_string()).unwrap();
    let went =
        run_on(cache.clone(), &place.path().join("run"), Existing::Refuse, 1, &["data.validation_share=0"]);
    assert!(went.ended.is_ok(), "{}", went.told);
    assert!(went.told.contains(&format!("warning: case '{id}' is left out")), "{}", went.told);
    assert!(went.told.contains("value 9"), "{}", went.told);
    let settings = ["task.regions=[{ name = 'odd', labels = [77] }]"];
    let none = run_on(cache, &place.path().join("other"), Existing::Refuse, 1, &settings);
    assert!(none.ended.is_ok(), "a region of the scheme's values need not be in any case: {}", none.told);
}
