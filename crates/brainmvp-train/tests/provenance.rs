//! Which checkpoint of a run is used, and what goes along with it.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};

use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::{Intensity, PrepConfig, Preparation, RunOptions, preprocess};
use brainmvp_train::Ranks;
use brainmvp_train::about::Kind;
use brainmvp_train::checkpoint::Checkpoint;
use brainmvp_train::finetune::{Model, finetune};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::pretrained::Pretrained;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::saved::{Format, LearntTemplates, SavedNetwork};
use brainmvp_train::source::{CheckpointChoice, Source};
use brainmvp_train::templates::RunTemplates;
use brainmvp_train::trainer::Observer;
use brainmvp_volume::Modality;
use burn::tensor::Device;

/// Keeps what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        self.note(text);
    }
}

fn preparation() -> PrepConfig {
    PrepConfig { spacing_mm: [6.0; 3], intensity: Intensity::ZScore, ..PrepConfig::default() }
}

fn request(data: &Path, out: &Path, settings: &[&str]) -> RunRequest {
    RunRequest {
        data: data.to_owned(),
        out: out.to_owned(),
        config: None,
        settings: settings.iter().map(ToString::to_string).collect(),
        existing: Existing::Refuse,
        device: "cpu".into(),
        ranks: Ranks::alone(),
    }
}

/// A cache, and a pre-training of six steps on it with all of its checkpoints, whose best is step 2. Made once for all
/// tests.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Nothing is dropped at the end of a process: a folder for temporary files would stay behind.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("provenance");
        drop(std::fs::remove_dir_all(&folder));
        let config = PhantomConfig {
            cases: 4,
            size: 32,
            seed: 7,
            missing_rate: 0.0,
            modalities: vec![Modality::Flair, Modality::T1],
            lesions: DiseaseMix::only(Disease::Glioma),
            ..PhantomConfig::default()
        };
        let cohort = write_cohort(&config, &folder.join("raw"), &|_| {}).unwrap();
        let (stop, cache) = (AtomicBool::new(false), folder.join("cache"));
        let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
        preprocess(&cohort, &cache, &preparation(), &options, &|_| {}).unwrap();
        let settings = [
            "model.preset=tiny",
            "patch.size=16",
            "train.batch_size=2",
            "train.max_steps=6",
            "checkpoint.every_steps=2",
            "checkpoint.keep_last=9",
            "optimizer.schedule.learning_rate=1e-2",
        ];
        let out = folder.join("run");
        pretrain(&request(&cache, &out, &settings), &stop, &Told::default()).unwrap();
        let run = RunFolder::open(&out).unwrap();
        assert_eq!(run.checkpoints().unwrap(), [2, 4, 6]);
        std::fs::copy(run.checkpoint(2), run.best()).unwrap();
        folder
    })
}

fn run() -> PathBuf {
    folder().join("run")
}

fn choose(choice: CheckpointChoice) -> Source {
    Source { path: run(), checkpoint: Some(choice) }
}

/// Values of a parameter as a checkpoint file has them.
fn stored(path: &Path, name: &str) -> Vec<f32> {
    Checkpoint::open(path).unwrap().tensor(&format!("model.{name}")).unwrap().1
}

#[test]
fn fine_tuning_starts_from_the_end_of_a_pre_training() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("segmenter");
    let source = format!("init.source='{}'", run().display());
    // A learning rate that leaves every parameter as it was.
    let settings = [
        &source,
        "init.first_layer=repeat",
        "task.modalities=['flair']",
        "patch.size=16",
        "mixing.mask.block=4",
        "train.batch_size=2",
        "train.max_steps=1",
        "data.validation_share=0",
        "optimizer.schedule.learning_rate=1e-30",
    ];
    let told = Told::default();
    finetune(&request(&folder().join("cache"), &out, &settings), &AtomicBool::new(false), &told).unwrap();
    let told = told.0.into_inner().unwrap().join("\n");
    assert!(told.contains("step-00000006.safetensors, step 6 of"), "{told}");
    assert!(told.contains("(the last of 3 checkpoints)"), "{told}");

    let (pretrained, tuned) = (RunFolder::open(&run()).unwrap(), RunFolder::open(&out).unwrap());
    let names = Checkpoint::open(&tuned.checkpoint(1)).unwrap().names();
    let parameters = names.iter().filter_map(|name| name.strip_prefix("model."));
    let parameters = parameters.filter(|name| name.starts_with("encoder.") && !name.contains("running"));
    let mut differ = 0;
    for name in parameters {
        let [tuned, last, best] = [tuned.checkpoint(1), pretrained.checkpoint(6), pretrained.best()]
            .map(|path| stored(&path, name));
        let apart = tuned.iter().zip(&last).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(apart < 1e-12, "{name} is not that of the last step: {apart}");
        differ += usize::from(last != best);
    }
    assert!(differ > 10, "{differ} tensors tell the last step from the best");

    // The templates too, and they are those that are shown.
    let last = Pretrained::open(choose(CheckpointChoice::Step(6))).unwrap().templates.unwrap().frozen;
    let best = Pretrained::open(choose(CheckpointChoice::Best)).unwrap().templates.unwrap().frozen;
    let used = Model::open(&out, &Device::flex()).unwrap().inputs.templates.unwrap();
    let shown = RunTemplates::load(&run()).unwrap();
    assert_eq!(used, last.only(&[Modality::Flair]));
    assert_ne!(used, best.only(&[Modality::Flair]));
    assert_eq!(shown.volumes[&Modality::Flair], used.get(Modality::Flair).unwrap());
    assert_eq!(shown.volumes[&Modality::T1], last.get(Modality::T1).unwrap());
    assert!(shown.origin.contains("step 6 of"), "{}", shown.origin);

    // And the run says what it started from.
    let about = SavedNetwork::open(&out).unwrap().about;
    let parent = about.parent.unwrap();
    assert_eq!((parent.step, parent.data), (Some(6), SavedNetwork::open(&run()).unwrap().about.data));
}

#[test]
fn another_checkpoint_can_be_chosen() {
    let step = |choice| SavedNetwork::open(choose(choice)).map(|saved| (saved.step.unwrap(), saved.origin));
    for (choice, expected, why) in [
        (CheckpointChoice::Best, 2, "(the lowest mean loss)"),
        (CheckpointChoice::Last, 6, "(the last of 3 checkpoints)"),
        (CheckpointChoice::Step(4), 4, "(of 3 checkpoints)"),
    ] {
        let (step, origin) = step(choice).unwrap();
        assert!(step == expected && origin.ends_with(why), "{origin}");
    }
    let message = step(CheckpointChoice::Step(5)).unwrap_err().to_string();
    assert!(message.contains("'step 5'; there are: 2, 4, 6, best (step 2)"), "{message}");
    let file =
        Source { path: run().join("checkpoints/best.safetensors"), checkpoint: Some(CheckpointChoice::Last) };
    let message = SavedNetwork::open(file).unwrap_err().to_string();
    assert!(message.contains("is a file") && message.contains("last"), "{message}");
}

#[test]
fn a_stopped_run_is_used_at_its_newest_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("checkpoints")).unwrap();
    let copy = |name: &str| std::fs::copy(run().join(name), place.path().join(name)).unwrap();
    copy("config.toml");
    let message = SavedNetwork::open(place.path()).unwrap_err().to_string();
    assert!(message.contains("no checkpoint yet"), "{message}");
    for name in ["best", "step-00000002", "step-00000004"] {
        copy(&format!("checkpoints/{name}.safetensors"));
    }
    assert_eq!(SavedNetwork::open(place.path()).unwrap().step, Some(4));
}

#[test]
fn a_fine_tuned_run_without_validation_is_used_as_it_ended() {
    let place = tempfile::tempdir().unwrap();
    let tune = |name: &str, share: &str| {
        let settings = [
            "model.preset=tiny",
            "patch.size=16",
            "mixing.mask.block=4",
            "train.batch_size=2",
            "train.epochs=4",
            "validation.every_epochs=1",
            "checkpoint.every_steps=2",
            share,
        ];
        let out = place.path().join(name);
        finetune(
            &request(&folder().join("cache"), &out, &settings),
            &AtomicBool::new(false),
            &Told::default(),
        )
        .unwrap();
        RunFolder::open(&out).unwrap()
    };
    let run = tune("without", "data.validation_share=0");
    assert!(run.best().is_file());
    let last = *run.checkpoints().unwrap().last().unwrap();
    let model = Model::open(run.path(), &Device::flex()).unwrap();
    assert!(model.step == last && model.origin.contains("the last of 2"), "{}", model.origin);
    let run = tune("with", "data.validation_share=0.25");
    let best = Checkpoint::open(&run.best()).unwrap().state().step;
    let model = Model::open(run.path(), &Device::flex()).unwrap();
    assert!(model.step == best && model.origin.ends_with("(the best validation)"), "{}", model.origin);
}

#[test]
fn a_checkpoint_says_what_it_is_wherever_it_lies() {
    let place = tempfile::tempdir().unwrap();
    let alone = place.path().join("somewhere.safetensors");
    std::fs::copy(RunFolder::open(&run()).unwrap().checkpoint(6), &alone).unwrap();
    let (saved, of_run) = (SavedNetwork::open(&alone).unwrap(), SavedNetwork::open(&run()).unwrap());
    assert_eq!((&saved.about, &saved.weights), (&of_run.about, &of_run.weights));
    assert!(matches!(saved.about.kind, Kind::PreTraining { patch: [16, 16, 16], .. }));
    assert_eq!(saved.about.preparation, Some(Preparation::of(preparation())));
    // So does what is exported of it, except how often each template was updated.
    let templates =
        of_run.templates.clone().map(|templates| LearntTemplates { updates: BTreeMap::new(), ..templates });
    for (format, name) in [(Format::Safetensors, "weights.safetensors"), (Format::Pytorch, "model.pt")] {
        let path = place.path().join(name);
        of_run.write(&path, format).unwrap();
        let back = SavedNetwork::open(&path).unwrap();
        assert_eq!((&back.about, back.step), (&of_run.about, Some(6)), "{name}");
        assert_eq!((&back.weights, &back.templates), (&of_run.weights, &templates), "{name}");
        assert!(back.origin.ends_with("step 6"), "{}", back.origin);
    }
}

#[test]
fn what_cannot_be_right_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("odd.safetensors");
    let bytes = std::fs::read(RunFolder::open(&run()).unwrap().checkpoint(6)).unwrap();
    for (ours, theirs, words) in [
        (
            r#"{\"version\":2"#,
            r#"{\"version\":1"#,
            "an earlier version of brainmvp; train or export it again",
        ),
        (r#"{\"version\":2"#, r#"{\"version\":3"#, "a later version"),
        (r#"\"patch\":[16,16,16]"#, r#"\"patch\":[16,17,16]"#, "multiple of 16"),
        (r#"\"depths\":[1,1,1,1]"#, r#"\"depths\":[1,1,1,9]"#, "tensors of its network are missing"),
        (r#"\"method\":\"brainmvp\""#, r#"\"method\":\"brainmvq\""#, "brainmvq"),
    ] {
        let at = bytes.windows(ours.len()).position(|part| part == ours.as_bytes());
        let at = at.unwrap_or_else(|| panic!("{ours}"));
        let mut changed = bytes.clone();
        changed[at..at + ours.len()].copy_from_slice(theirs.as_bytes());
        // The last tensor is the seal of all that is before it.
        let sealed = changed.len() - blake3::OUT_LEN;
        let seal = blake3::hash(&changed[..sealed]);
        changed[sealed..].copy_from_slice(seal.as_bytes());
        std::fs::write(&path, changed).unwrap();
        let message = SavedNetwork::open(&path).unwrap_err().to_string();
        assert!(message.contains("odd.safetensors") && message.contains(words), "{message}");
    }
}
