//! Whole studies on a few phantoms: what they leave, and that stopping and sharing them changes nothing.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use brainmvp_study::arms::Arm;
use brainmvp_study::config::StudyConfig;
use brainmvp_study::folder::State;
use brainmvp_study::plan::Plan;
use brainmvp_study::report::write_report;
use brainmvp_study::status::{Counts, Status};
use brainmvp_study::studies::{Studies, StudyFile};
use brainmvp_study::systems::System;
use brainmvp_study::{How, Study, Watcher};
use brainmvp_train::log::metrics::StepMetrics;

/// The smallest networks, two steps each.
const SMALL: &str = r#"
scale = "tiny"

[phantoms]
cases = 10
size = 32
modalities = ["flair", "t1"]
missing_rate = 0.0
lesions = { healthy = 0, glioma = 1, metastases = 0, stroke = 0, schwannoma = 0 }

[split]
test = 0.4
validation = 0.0

[compute]
pretrain_voxels = 32768
finetune_steps = 2

[preprocess]
spacing_mm = 6

[pretrain]
patch.size = 16
train.batch_size = 2
train.accumulate = 1

[finetune]
patch = { size = 16, resize = 16 }
train.batch_size = 2
train.accumulate = 1
data.validation_share = 0.0

[tasks.segmentation]
task.kind = "segment"
"#;

/// A watcher that stops after some steps, and remembers what failed.
struct Stopper<'a> {
    steps: AtomicUsize,
    stop: &'a AtomicBool,
    failed: Mutex<Vec<String>>,
}

impl Watcher for Stopper<'_> {
    fn prepared(&self, _: usize, _: usize) {}

    fn warn(&self, text: &str) {
        panic!("{text}");
    }

    fn begins(&self, _: &str, _: usize, _: usize) {}

    fn step(&self, _: &StepMetrics, _: u64) {
        if self.steps.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn failed(&self, part: &str, reason: &str) {
        self.failed.lock().unwrap().push(format!("{part}: {reason}"));
    }

    fn done(&self, _: &str) {}
}

fn studies(before: &str, after: &str, folder: &Path) -> Vec<Study> {
    let file = StudyFile::parse(&format!("{before}\n{SMALL}\n{after}"), folder).unwrap();
    Studies::new(file, &folder.join("work")).unwrap().all
}

fn study(before: &str, after: &str, folder: &Path) -> Study {
    studies(before, after, folder).remove(0)
}

/// The folders of the pre-trainings of a work folder, by method, network and settings.
fn pretrainings(work: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(work.join("pretraining")).unwrap();
    let mut found: Vec<PathBuf> = folders.map(|folder| folder.unwrap().path()).collect();
    found.sort();
    found
}

/// Carries a share out for so many steps; whether it came to the end, and what failed.
fn carry_out(study: &Study, shard: &str, steps: usize, retry: bool) -> (bool, Vec<String>) {
    let stop = AtomicBool::new(false);
    let stopper = Stopper { steps: AtomicUsize::new(steps), stop: &stop, failed: Mutex::default() };
    let how = How { shard: shard.parse().unwrap(), retry, device: "cpu", memory_bytes: 1 << 30, stop: &stop };
    let came_to_end = study.run(&how, &stopper).unwrap();
    (came_to_end, stopper.failed.into_inner().unwrap())
}

fn status_of(study: &Study) -> Status {
    Status::of(study, &study.progress().unwrap()).unwrap()
}

fn read(study: &Study, file: &str) -> String {
    std::fs::read_to_string(study.folder().join(file)).unwrap()
}

/// The smoke study has every system, and the examples of the documentation are read.
#[test]
fn studies_of_the_repository_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let smoke = StudyConfig::parse(&read("configs/study-smoke.toml"), Path::new("")).unwrap();
    let names: Vec<String> = Arm::of(&smoke).unwrap().into_iter().map(|arm| arm.name).collect();
    assert_eq!(names, System::all().into_iter().map(|system| system.name).collect::<Vec<_>>());
    for file in ["study-lgg", "study-lgg-sizing"] {
        let file = StudyFile::parse(&read(&format!("configs/{file}.toml")), Path::new("")).unwrap();
        assert!(file.0.iter().all(|part| !Plan::of(part).unwrap().cells.is_empty()));
    }
    let page = read("docs/studies.md");
    let blocks: Vec<&str> =
        page.split("```toml").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [whole, arms, parts] = blocks[..] else { panic!("three examples") };
    let file = StudyFile::parse(parts, Path::new("")).unwrap();
    assert_eq!(file.0.iter().map(|part| part.seeds.len()).collect::<Vec<_>>(), [3, 3]);
    let config = StudyConfig::parse(whole, Path::new("")).unwrap();
    assert_eq!(Arm::of(&config).unwrap().len(), 2);
    let systems = "systems = [\"scratch-unet3d\", \"brainmvp-unet3d\"]";
    assert!(whole.contains(systems));
    let config = StudyConfig::parse(&format!("{}{arms}", whole.replace(systems, "")), Path::new("")).unwrap();
    assert_eq!(Arm::of(&config).unwrap().len(), 3);
}

#[test]
fn stopping_and_sharing_change_no_result() {
    let before = "kind = 'comparison'\nseeds = [1, 2]\nfractions = [0.5, 1.0]\n\
                  systems = ['scratch-uniformer-small', 'brainmvp-uniformer-small']";
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let [whole, parts, shared] = [0, 1, 2].map(|i| study(before, "", folders[i].path()));
    assert_eq!(carry_out(&whole, "1/1", usize::MAX, false), (true, Vec::new()));
    let mut rounds = 0;
    while !carry_out(&parts, "1/1", 3, false).0 {
        rounds += 1;
        assert!(rounds < 40, "each round goes on");
    }
    assert!(rounds > 4);
    assert!(carry_out(&shared, "2/2", usize::MAX, false).0);
    let status = status_of(&shared);
    assert!(status.cells.done > 0 && status.cells.left > 0 && status.seconds_left.unwrap() > 0.0);
    assert!(carry_out(&shared, "1/2", usize::MAX, false).0);
    for study in [&whole, &parts, &shared] {
        let tables = write_report(study).unwrap();
        assert_eq!(tables.len(), 3, "one for each share of the labels, and one over them");
        let status = status_of(study);
        assert_eq!(status.cells, Counts { done: 8, ..Counts::default() });
        assert_eq!(status.pretrainings.done, 2);
        assert_eq!(status.seconds_left, Some(0.0));
    }
    let results = read(&whole, "results.csv");
    // 8 cells, 4 test cases, 3 regions, 2 metrics.
    assert_eq!(results.lines().count(), 1 + 8 * 4 * 3 * 2);
    assert!(results.starts_with("task,arm,method,network,labels,fold,seed,"));
    let same = |file: &str| {
        let expected = read(&whole, file);
        assert!(!expected.is_empty());
        for other in [&parts, &shared] {
            assert_eq!(read(other, file), expected, "{file}");
        }
    };
    same("results.csv");
    same("tables/segmentation-by-labels.md");
    same("tables/segmentation-labels-1.tex");
    same("curves/segmentation.svg");
    // The label maps are kept, and the best, median and worst drawn.
    let kept = "cells/segmentation/brainmvp-uniformer-small/labels-1/seed-1/predictions";
    assert_eq!(std::fs::read_dir(whole.folder().join(kept)).unwrap().count(), 4);
    let picture = std::fs::read(whole.folder().join("pictures/segmentation-labels-1.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 2000);
    // Equal work: BrainMVP trains on two views of each sample.
    let cells = whole.progress().unwrap();
    let of_method = cells.iter().find_map(|cell| cell.result.as_ref()?.pretraining).unwrap();
    assert_eq!((of_method.steps, of_method.views, of_method.voxels), (2, 8, 32768));
    assert!(cells.iter().all(|cell| cell.result.as_ref().unwrap().finetune_steps == 2));
}

#[test]
fn what_fails_is_shown_and_may_be_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let arms = "[[arms]]\nname = 'scratch'\nnetwork = 'tiny'\n\
                [[arms]]\nname = 'imported'\ntitle = 'Imported weights'\nweights = 'weights.safetensors'\n";
    let before = "kind = 'comparison'\nreference = 'scratch'";
    let asked = study(before, arms, folder.path());
    let (came_to_end, failed) = carry_out(&asked, "1/1", usize::MAX, false);
    assert!(came_to_end);
    assert_eq!(failed.len(), 1);
    assert!(failed[0].contains("imported") && failed[0].contains("weights.safetensors"), "{}", failed[0]);
    let tables = write_report(&asked).unwrap();
    let line = |name: &str| tables[0].lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("Imported weights").contains("failed") && line("Imported weights").contains("0 of 1"));
    assert!(line("| scratch").contains("1 of 1"));
    let status = status_of(&asked);
    assert_eq!((status.cells.done, status.cells.failed), (1, 1));
    assert!(status.markdown().contains("failed: cells/segmentation/imported/labels-1/seed-0: "));
    assert!(carry_out(&asked, "1/1", usize::MAX, false).1.is_empty(), "it is not tried again unasked");
    assert_eq!(carry_out(&asked, "1/1", usize::MAX, true).1.len(), 1);

    // A pre-trained network from elsewhere mends it.
    let other = tempfile::tempdir().unwrap();
    let pretrained = study("kind = 'comparison'\nsystems = ['brainmvp-uniformer-small']", "", other.path());
    assert!(carry_out(&pretrained, "1/1", usize::MAX, false).0);
    let run = pretrainings(&other.path().join("work")).remove(0).join("seed-0/run");
    let saved = brainmvp_train::saved::SavedNetwork::open(run.as_path()).unwrap();
    let weights = folder.path().join("weights.safetensors");
    saved.write(&weights, brainmvp_train::saved::Format::Safetensors).unwrap();
    assert!(carry_out(&asked, "1/1", usize::MAX, true).1.is_empty());
    assert_eq!(status_of(&asked).cells.done, 2);

    // Results of other settings are not taken for these.
    let changed = arms.replace("'tiny'", "'tiny'\nfinetune.train.batch_size = 1");
    let changed = study(before, &changed, folder.path());
    let (_, failed) = carry_out(&changed, "1/1", usize::MAX, false);
    assert!(failed.iter().any(|reason| reason.contains("other settings")), "{failed:?}");
    let tables = write_report(&changed).unwrap();
    assert!(
        tables[0].lines().any(|line| line.contains("| scratch") && line.contains("failed")),
        "{}",
        tables[0]
    );
    // Asked again, they are what they were; a work folder is the same by any path.
    let moved = folder.path().join("elsewhere");
    std::fs::rename(folder.path().join("work"), &moved).unwrap();
    let text = format!("{before}\n{SMALL}\n{arms}");
    let of = |text: &str, place: &Path| {
        Studies::new(StudyFile::parse(text, folder.path()).unwrap(), place).unwrap().all.remove(0)
    };
    let again = of(&text, &moved);
    assert_eq!(carry_out(&again, "1/1", usize::MAX, false), (true, Vec::new()));
    assert_eq!(status_of(&again).cells.done, 2);
    std::fs::rename(&moved, folder.path().join("work")).unwrap();
    let other_cases = of(&text.replace("cases = 10", "cases = 11"), &folder.path().join("work"));
    let (_, failed) = carry_out(&other_cases, "1/1", usize::MAX, false);
    assert!(failed.len() == 2 && failed[0].contains("other settings"), "{failed:?}");
}

/// What cannot work is told before anything is computed.
#[test]
fn mistakes_of_arms_are_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |after: &str| {
        let text = format!("kind = 'comparison'\n{SMALL}\n{after}");
        let file = StudyFile::parse(&text, Path::new("")).unwrap();
        Studies::new(file, &folder.path().join("work")).map(|_| ()).unwrap_err().to_string()
    };
    let arm = "[[arms]]\nname = 'a'\nmethod = 'brainmvp'\n";
    let said = refused(&format!("{arm}pretrain.method.temperature = -1.0"));
    assert!(said.contains("arm a: pre-training") && said.contains("temperature"), "{said}");
    let said = refused(&format!("{arm}[tasks.odd]\ntask.kind = 'fly'"));
    assert!(said.contains("task odd") && said.contains("fly"), "{said}");
    assert!(!folder.path().join("work").exists());
}

#[test]
fn every_fold_is_the_test_set_once() {
    let folder = tempfile::tempdir().unwrap();
    let after = "[tasks.grade]\ntask.kind = 'classify'\n";
    let before = "kind = 'comparison'\nfolds = 3\nsystems = ['brainmvp-uniformer-small']";
    let asked = study(before, after, folder.path());
    let (came_to_end, failed) = carry_out(&asked, "1/1", usize::MAX, false);
    assert!(came_to_end && failed.is_empty(), "{failed:?}");
    let tables = write_report(&asked).unwrap();
    assert!(tables.iter().all(|table| table.contains("10 test cases")), "{tables:?}");
    let results = read(&asked, "results.csv");
    for case in 1..=10 {
        let rows = results.lines().filter(|row| row.contains(&format!("phantom-{case:04}")));
        assert_eq!(rows.count(), 3 * 2 + 2 * 2, "each region and metric once, each class once");
    }
    // What is tested on was not seen in pre-training either.
    let seen = pretrainings(asked.folder()).remove(0).join("fold-0/seed-0/run/seen.json");
    let seen = std::fs::read_to_string(seen).unwrap();
    let of_fold = |row: &&str| row.starts_with("segmentation,") && row.contains(",1,0,0,");
    let mut tested = results.lines().filter(of_fold).map(|row| row.split(',').nth(9).unwrap()).peekable();
    assert!(tested.peek().is_some());
    assert!(tested.all(|case| !seen.contains(case)));
}

#[test]
fn parts_of_a_study_share_cases_and_pre_trainings() {
    let folder = tempfile::tempdir().unwrap();
    let parts = "[[parts]]\nname = 'ablation'\nkind = 'ablation'\n\
                 [[parts]]\nname = 'methods'\nkind = 'comparison'\nsystems = ['brainmvp-uniformer-small']\n\
                 [[parts]]\nname = 'folds'\nkind = 'comparison'\nsystems = ['scratch-uniformer-small']\n\
                 folds = 3\nonly_folds = [1]\n";
    let asked = studies("", parts, folder.path());
    for study in &asked {
        assert_eq!(carry_out(study, "1/1", usize::MAX, false), (true, Vec::new()));
    }
    let work = folder.path().join("work");
    let names: Vec<String> = pretrainings(&work)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 3, "the whole method is one of the parts: {names:?}");
    assert!(names.iter().all(|name| name.starts_with("brainmvp-tiny-")), "{names:?}");
    assert_eq!(std::fs::read_dir(work.join("cases")).unwrap().count(), 1);
    assert_eq!(asked[1].folder(), work.join("methods"));
    assert_eq!(write_report(&asked[1]).unwrap().len(), 1);
    // A cell that two parts ask for is done once.
    let log = read(&asked[1], "cells/segmentation/brainmvp-uniformer-small/labels-1/seed-0/log.txt");
    assert!(
        log.contains("the same as ablation/cells/segmentation/cmr+md+mcl+mixing/labels-1/seed-0"),
        "{log}"
    );
    // Ten subjects in three folds, one of which is tested.
    assert!(write_report(&asked[2]).unwrap()[0].contains("3 test cases"));
    let again = Studies::open(&work).unwrap().all;
    let status = |study: &Study| status_of(study).cells.done;
    assert_eq!(again.iter().map(status).collect::<Vec<_>>(), [6, 1, 1]);
}

#[test]
fn parts_of_the_method_and_subsets_of_modalities() {
    let folder = tempfile::tempdir().unwrap();
    let asked = study("kind = 'ablation'", "", folder.path());
    assert_eq!(carry_out(&asked, "1/1", usize::MAX, false), (true, Vec::new()));
    let table = write_report(&asked).unwrap().remove(0);
    assert!(table.contains("| Method | Network | CMR | MD | MCL | Mixing |"), "{table}");
    assert!(table.contains("| CMR + MD, mixing | UniFormer | ✓ | ✓ |  | ✓ |"), "{table}");
    assert_eq!(status_of(&asked).pretrainings.done, 3);

    let folder = tempfile::tempdir().unwrap();
    let asked = study("kind = 'subsets'", "", folder.path());
    assert_eq!(carry_out(&asked, "1/1", usize::MAX, false), (true, Vec::new()));
    let tables = write_report(&asked).unwrap();
    let table = &tables[0];
    for row in ["| ● | ○ |", "| ○ | ● |", "| ● | ● |"] {
        assert_eq!(table.matches(row).count(), 1, "{table}");
    }
    assert!(table.contains("Mixing with templates, filled with templates"));
    assert!(table.contains("Mixing with templates, filled with 0"));
    assert!(table.contains("Mixing with templates, filled with mean images"));
    assert!(table.contains("Mixing with mean images, filled with mean images"));
    assert!(!table.contains("Mixing with mean images, filled with templates"));
    let states = asked.progress().unwrap();
    assert!(states.iter().all(|cell| cell.state == State::Done));
    // Nothing is filled where nothing is missing.
    let all = |fill: &str| {
        let results = read(&asked, "results.csv");
        let of = results.lines().filter(|row| row.contains(&format!(",flair+t1,{fill},")));
        of.map(|row| row.replace(&format!(",{fill},"), "")).collect::<Vec<_>>()
    };
    assert!(!all("zero").is_empty());
    for fill in ["template", "mean"] {
        for row in all(fill) {
            assert!(all("zero").contains(&row), "{row}");
        }
    }
}
