//! Runs of several ranks come to the same as runs of one: every method, every task.
//!
//! The ranks are threads; `crates/brainmvp/tests/mpi.rs` has processes.

#![allow(clippy::unwrap_used)] // that is how a test fails
#![allow(clippy::print_stdout)] // what is run, and how far it is off

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::checkpoint::Checkpoint;
use brainmvp_train::finetune::finetune;
use brainmvp_train::log::metrics::read_metrics;
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{Existing, RunFolder, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_train::{Ranks, Result};

mod small;

use small::Small;

/// A cache of eight prepared phantoms with gliomas, some without some modalities, made once for all tests.
fn cache() -> PathBuf {
    static CACHE: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let folder = CACHE.get_or_init(|| {
        // Nothing is dropped at the end of a process: a folder for temporary files would stay behind.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ranks");
        drop(std::fs::remove_dir_all(&folder));
        let config = PhantomConfig {
            cases: 8,
            size: 32,
            seed: 5,
            missing_rate: 0.2,
            lesions: DiseaseMix::only(Disease::Glioma),
            ..PhantomConfig::default()
        };
        let cohort = write_cohort(&config, &folder.join("raw"), &|_| {}).unwrap();
        let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
        let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
        preprocess(&cohort, &folder.join("cache"), &prep, &options, &|_| {}).unwrap();
        folder
    });
    folder.join("cache")
}

struct Silent;

impl Observer for Silent {
    fn warn(&self, _text: &str) {}
}

type Train = fn(&RunRequest, &AtomicBool, &dyn Observer) -> Result<Ended>;

/// A run by so many ranks.
fn run(train: Train, out: &Path, count: usize, existing: Existing, settings: &[String]) {
    let stop = AtomicBool::new(false);
    let of = |ranks: Ranks| {
        let request = RunRequest {
            data: cache(),
            out: out.to_owned(),
            config: None,
            settings: settings.to_vec(),
            existing,
            device: "cpu".into(),
            ranks,
        };
        assert_eq!(train(&request, &stop, &Silent).unwrap(), Ended::Finished);
    };
    if count == 1 {
        return of(Ranks::alone());
    }
    std::thread::scope(|scope| {
        for ranks in brainmvp_ranks::threads(count) {
            scope.spawn(|| of(ranks));
        }
    });
}

/// How far two runs are apart: the largest relative difference of the losses of a step; and of all weights together.
fn apart(one: &Path, other: &Path) -> [f64; 2] {
    let losses = [one, other].map(|run| read_metrics(&run.join("metrics.jsonl")).unwrap());
    assert_eq!(losses[0].len(), losses[1].len());
    let pairs = losses[0].iter().zip(&losses[1]);
    let of_losses = pairs.map(|(a, b)| (a.loss - b.loss).abs() / a.loss.abs()).fold(0.0, f64::max);
    let [mut one, mut other] = [one, other].map(|run| {
        let folder = RunFolder::open(run).unwrap();
        let newest = folder.checkpoints().unwrap().pop().unwrap();
        Checkpoint::open(&folder.checkpoint(newest)).unwrap()
    });
    let (mut off, mut size) = (0.0, 0.0);
    for name in one.names().into_iter().filter(|name| name.starts_with("model.")) {
        let [(_, a), (_, b)] = [&mut one, &mut other].map(|checkpoint| checkpoint.tensor(&name).unwrap());
        off += a.iter().zip(&b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        size += a.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>();
    }
    [of_losses, (off / size).sqrt()]
}

/// What is trained through many norms and activations with a kink: which side of 0 a number is on may depend on its rounding,
/// and after some steps runs differ by more than that. So do runs of one rank that take the samples of a batch in another order.
const ROUNDING_GROWS: [&str; 4] = ["m3ae", "models-genesis", "transvw", "task.kind=segment"];

/// Two runs that must be one, by one rank and by two.
fn compare(name: &str, train: Train, settings: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let [alone, two] = [1, 2].map(|count| {
        let out = folder.path().join(count.to_string());
        run(train, &out, count, Existing::Refuse, settings);
        out
    });
    let [losses, weights] = apart(&alone, &two);
    let is_long = settings.iter().any(|setting| setting == &steps(LONG));
    let limit = match (ROUNDING_GROWS.contains(&name), is_long) {
        (true, true) => 1e-3,
        (true, false) => 1e-4,
        (false, _) => 1e-5,
    };
    println!("{name}: losses apart by {losses:.1e}, weights by {weights:.1e}");
    assert!(losses < limit && weights < limit, "{name}: {losses} {weights}");
}

/// Where a gradient is nothing but rounding, as that of a bias before a norm, `AdamW` makes as large a step of it as of any
/// other, unless its epsilon is larger.
const EPSILON: &str = "optimizer.epsilon=1e-3";

/// Steps of a long run.
const LONG: usize = 20;

fn steps(count: usize) -> String {
    format!("train.steps={count}")
}

/// What all of these runs have.
fn common(count: usize) -> Vec<String> {
    let all = [EPSILON, "train.batch_size=4", "log.pictures_every_steps=0", "optimizer.clip_norm=1"];
    all.into_iter().map(str::to_owned).chain([steps(count)]).collect()
}

fn pretrain_every_method(count: usize) {
    for Small { name, patch, settings } in small::methods() {
        println!("patches of {patch} voxels");
        compare(name, pretrain, &[settings, common(count)].concat());
    }
    // A step of several batches, whose samples must all know each other.
    let moco = small::methods().into_iter().find(|small| small.name == "moco-v3").unwrap();
    let more = ["train.batch_size=2", "train.accumulate=2"].map(str::to_owned).to_vec();
    compare("moco-v3 in batches", pretrain, &[moco.settings, common(count), more].concat());
}

fn finetune_every_task(count: usize) {
    for task in ["task.kind=segment", "task.kind=classify", "task.kind=regress"] {
        let own = [
            task,
            "model.preset=tiny",
            "patch.size=16",
            "patch.resize=[24, 24, 16]",
            "mixing.with=mean",
            "mixing.mask.block=4",
            "train.accumulate=2",
            "validation.every_epochs=2",
            "data.validation_share=0.25",
        ];
        let target = (task == "task.kind=regress").then(|| "task.target=brain_ml".to_owned());
        let own = own.into_iter().map(str::to_owned).chain(target).collect();
        compare(task, finetune, &[common(count), own].concat());
    }
}

#[test]
fn every_method_is_pretrained_alike() {
    pretrain_every_method(2);
}

#[test]
fn every_task_is_finetuned_alike() {
    finetune_every_task(4);
}

#[test]
#[ignore = "takes minutes; scripts/ranks.sh"]
fn many_steps_are_alike() {
    pretrain_every_method(LONG);
    finetune_every_task(LONG);
}

/// Norms of each rank's own samples are another training, but all ranks have the same weights and running statistics; a
/// checkpoint is only written if they have.
#[test]
fn norms_may_be_those_of_a_share() {
    let folder = tempfile::tempdir().unwrap();
    let brainmvp = small::methods().swap_remove(0).settings;
    let own = |sync: bool| [&brainmvp[..], &common(4), &[format!("train.sync_batch_norm={sync}")]].concat();
    let [shared, alone] = [true, false].map(|sync| {
        let out = folder.path().join(sync.to_string());
        run(pretrain, &out, 2, Existing::Refuse, &own(sync));
        out
    });
    let [losses, _] = apart(&shared, &alone);
    assert!(losses > 1e-4, "{losses}");
}

/// A run goes on with another number of ranks, without losing or repeating a case.
#[test]
fn the_number_of_ranks_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut settings = small::methods().swap_remove(0).settings;
    settings.extend(common(12));
    run(pretrain, &folder.path().join("alone"), 1, Existing::Refuse, &settings);
    for (count, steps, existing) in
        [(2, 4, Existing::Refuse), (4, 8, Existing::Resume), (1, 0, Existing::Resume)]
    {
        let settings = [&settings[..], &[format!("train.max_steps={steps}")]].concat();
        run(pretrain, &out, count, existing, &settings);
    }
    let [losses, weights] = apart(&folder.path().join("alone"), &out);
    assert!(losses < 1e-5 && weights < 1e-5, "{losses} {weights}");
}
