//! Whole runs over small cohorts: resuming, quarantine, stopping, the facts that a case keeps.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet, Split};
use brainmvp_prep::cache::{Cache, CaseEntry, Manifest, PreparedCase};
use brainmvp_prep::{
    AtlasSpace, ContentFile, CropKind, Error, Outcome, Pipeline, PrepConfig, Progress, RegisterKind,
    RunOptions, Shard, SkullStrip, Space, StoredType, Summary, larger_than, preprocess, preprocess_shard,
};
use brainmvp_registration::StandardSpace;
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::{Affine, Grid, Modality, Volume};

static NEVER: AtomicBool = AtomicBool::new(false);

/// A ball of tissue off the centre, in air.
fn ball(shape: [usize; 3], affine: Affine, brightness: f32) -> Volume {
    let grid = Grid::new(shape, affine);
    let value = |offset: usize| {
        let voxel = grid.voxel(offset);
        let distance: f64 = (0..3).map(|i| (voxel[i] as f64 / shape[i] as f64 - 0.45).powi(2)).sum();
        if distance < 0.08 { brightness * (1.0 + voxel[0] as f32) } else { 0.0 }
    };
    Volume::new(grid, (0..grid.len()).map(value).collect())
}

fn save(path: &Path, volume: &Volume) {
    nifti::write(path, volume, WriteOptions::default()).unwrap();
}

/// `count` cases of two modalities, LAS at 2 mm and RAS at 1.5 mm, with label and mask.
fn cohort(dir: &Path, count: usize) -> Cohort {
    let las = Affine::from_rows([[-2.0, 0.0, 0.0, 20.0], [0.0, 2.0, 0.0, -20.0], [0.0, 0.0, 2.0, 0.0]]);
    let ras = Affine::from_spacing([1.5; 3], [-18.0, -20.0, 0.0]);
    let mut cohort = Cohort { name: "test".to_owned(), ..Cohort::default() };
    cohort.data_sets.insert("balls".to_owned(), DataSet::default());
    for i in 0..count {
        let mut case = Case::new(CaseId::new(format!("case-{i}")).unwrap(), format!("subject-{i}"), "balls");
        let (flair, adc) = (dir.join(format!("{i}-flair.nii.gz")), dir.join(format!("{i}-adc.nii")));
        let (dwi, label) = (dir.join(format!("{i}-dwi.nii.gz")), dir.join(format!("{i}-label.nii.gz")));
        let image = ball([20, 21, 17], las, 1.0 + i as f32);
        save(&dwi, &image);
        save(&adc, &ball([20, 21, 17], las, 0.5));
        save(&flair, &ball([26, 27, 22], ras, 2.0));
        nifti::write_labels(&label, &image.map(|v| u16::from(v > 20.0)), "test").unwrap();
        case.images.extend([(Modality::Flair, flair), (Modality::Adc, adc), (Modality::Dwi, dwi)]);
        case.label = Some(label);
        case.class = Some("round".to_owned());
        cohort.cases.push(case);
    }
    cohort
}

fn options(memory_bytes: u64) -> RunOptions<'static> {
    RunOptions { memory_bytes, force: false, stop: &NEVER }
}

fn run(cohort: &Cohort, out: &Path, config: &PrepConfig) -> Summary {
    preprocess(cohort, out, config, &options(1 << 20), &|_| {}).unwrap()
}

fn hashes(out: &Path) -> BTreeMap<String, String> {
    let cache = Cache::open(out).unwrap();
    cache.cases().iter().map(|entry| (entry.case.id.to_string(), entry.file_hash.clone())).collect()
}

#[test]
fn a_case_keeps_its_facts() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let config = PrepConfig { dtype: StoredType::F32, ..PrepConfig::default() };
    let summary = run(&cohort(dir.path(), 2), &out, &config);
    assert_eq!((summary.prepared, summary.skipped, summary.quarantined.len()), (2, 0, 0));

    let cache = Cache::open(&out).unwrap();
    assert_eq!(cache.manifest().preparation.config, config);
    let entry = &cache.cases()[1];
    let case = cache.open_case(entry).unwrap();
    let facts = case.metadata();
    assert_eq!((entry.case.id.as_str(), entry.case.class.as_deref()), ("case-1", Some("round")));
    assert_eq!(entry.modalities, [Modality::Flair, Modality::Dwi, Modality::Adc]);
    // Two images lie on the 2 mm grid, so it is the reference: 39 x 41 x 33 voxels at 1 mm, before the crop.
    assert_eq!(facts.original.shape, [20, 21, 17]);
    assert_eq!(facts.original.affine[0], [-2.0, 0.0, 0.0, 20.0]);
    assert_eq!(facts.uncropped.shape, [39, 41, 33]);
    for axis in 0..3 {
        assert_eq!(facts.crop_offset[axis], (facts.uncropped.shape[axis] - facts.grid.shape[axis]) / 2);
    }
    assert!(facts.grid.shape < facts.uncropped.shape);
    let names: Vec<_> = facts.provenance.iter().map(|record| record.step.as_str()).collect();
    assert_eq!(
        names,
        [
            "read",
            "background",
            "register",
            "reorient",
            "common_grid",
            "resample",
            "skull_strip",
            "brain_mask",
            "bias_field",
            "crop",
            "normalize"
        ]
    );
    let did = |step: &str| &facts.provenance.iter().find(|record| record.step == step).unwrap().did;
    assert_eq!(did("reorient")["dwi"], "LAS");
    assert_eq!(did("common_grid")["reference"], "dwi");
    assert_eq!(did("resample")["images"]["flair"], "onto reference");

    let shape = case.shape();
    let mut image = vec![0.0; shape.iter().product()];
    for modality in case.modalities() {
        case.read_patch(modality, [0; 3], shape, &mut image).unwrap();
        let (low, high) = image.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        assert_eq!((low, high), (0.0, 1.0), "{modality}");
    }
    let mut labels = vec![0; image.len()];
    case.read_label_patch([0; 3], shape, &mut labels).unwrap();
    assert!(labels.contains(&1) && labels.iter().all(|l| *l <= 1));
}

/// A manifest without what differs from run to run.
fn timeless(out: &Path) -> serde_json::Value {
    let mut manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    for entry in manifest["cases"].as_array_mut().unwrap() {
        entry["seconds"] = 0.0.into();
    }
    manifest
}

#[test]
fn shares_side_by_side_make_the_manifest_of_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let mut cohort = cohort(dir.path(), 7);
    std::fs::write(&cohort.cases[4].images[&Modality::Adc], "no image").unwrap();
    cohort.cases.sort_by(|a, b| a.id.cmp(&b.id));
    let config = PrepConfig::default();
    let (whole, shared) = (dir.path().join("whole"), dir.path().join("shared"));
    run(&cohort, &whole, &config);
    let share = &|index: usize, count: usize| {
        let shard = Shard::new(index, count).unwrap();
        preprocess_shard(&cohort, shard, &shared, &config, &options(1 << 20), &|_| {}).unwrap()
    };
    for count in [3, 2] {
        let summaries: Vec<Summary> = std::thread::scope(|scope| {
            let runs: Vec<_> = (1..=count).map(|index| scope.spawn(move || share(index, count))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert_eq!(timeless(&shared), timeless(&whole), "{count} shares");
        let sum = |field: fn(&Summary) -> usize| summaries.iter().map(field).sum::<usize>();
        let expected = if count == 3 { (6, 0, 1) } else { (0, 6, 1) };
        assert_eq!((sum(|s| s.prepared), sum(|s| s.skipped), sum(|s| s.quarantined.len())), expected);
    }
    // Again as a whole: nothing to do. A cohort that lost a case: its entry goes, whichever share notes it.
    assert_eq!(run(&cohort, &shared, &config).skipped, 6);
    let lost = cohort.cases.remove(0);
    preprocess_shard(&cohort, Shard::new(2, 2).unwrap(), &shared, &config, &options(1), &|_| {}).unwrap();
    assert!(Cache::open(&shared).unwrap().cases().iter().all(|entry| entry.case.id != lost.id));
}

#[test]
fn a_second_run_skips_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let mut cohort = cohort(dir.path(), 4);
    let config = PrepConfig::default();
    assert_eq!(run(&cohort, &out, &config).prepared, 4);
    let (before, manifest) = (hashes(&out), std::fs::read(out.join("manifest.json")).unwrap());
    let again = run(&cohort, &out, &config);
    assert_eq!((again.prepared, again.skipped), (0, 4));
    assert_eq!(std::fs::read(out.join("manifest.json")).unwrap(), manifest);

    // An input that changed, a damaged file, a lost file: those cases alone are prepared again.
    let dwi = cohort.cases[0].images[&Modality::Dwi].clone();
    let image = nifti::read(&dwi).unwrap();
    save(&dwi, &image.map(|v| v * v));
    let damaged = out.join("case-1.safetensors");
    let mut bytes = std::fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    std::fs::remove_file(out.join("case-2.safetensors")).unwrap();
    let again = run(&cohort, &out, &config);
    assert_eq!((again.prepared, again.skipped), (3, 1));
    let after = hashes(&out);
    assert_ne!(after["case-0"], before["case-0"]);
    assert_eq!((&after["case-1"], &after["case-2"]), (&before["case-1"], &before["case-2"]));
    // What the cohort says of a case is brought up to date; its volumes stay.
    cohort.cases[3].site = Some("elsewhere".to_owned());
    cohort.cases[3].split = Some(Split::Test);
    cohort.cases[3].class = None;
    let again = run(&cohort, &out, &config);
    assert_eq!((again.prepared, again.skipped), (0, 4));
    assert_eq!(hashes(&out), after);
    let cache = Cache::open(&out).unwrap();
    let facts = &cache.cases()[3].case;
    assert_eq!(
        (facts.site.as_deref(), facts.split, facts.class.as_deref()),
        (Some("elsewhere"), Some(Split::Test), None)
    );
    cache.open_case(&cache.cases()[3]).unwrap();

    let other = PrepConfig { crop: CropKind::BoundingBox, ..config.clone() };
    assert_eq!(run(&cohort, &out, &other).prepared, 4);
    let force = RunOptions { force: true, ..options(u64::MAX) };
    assert_eq!(preprocess(&cohort, &out, &other, &force, &|_| {}).unwrap().prepared, 4);

    cohort.cases.remove(0);
    run(&cohort, &out, &other);
    assert_eq!(Cache::open(&out).unwrap().cases().len(), 3);
}

#[test]
fn bad_cases_are_named_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let mut cohort = cohort(dir.path(), 6);
    let config = PrepConfig::default();
    let path = |case: usize, modality| cohort.cases[case].images[&modality].clone();
    let good = std::fs::read(path(0, Modality::Dwi)).unwrap();
    std::fs::write(path(0, Modality::Dwi), &good[..good.len() / 2]).unwrap();
    std::fs::write(path(1, Modality::Flair), b"no image").unwrap();
    std::fs::remove_file(path(2, Modality::Adc)).unwrap();
    let image = nifti::read(&path(3, Modality::Adc)).unwrap();
    save(&path(3, Modality::Adc), &image.map(|_| 7.0));
    save(&path(4, Modality::Adc), &image.map(|v| if v > 0.0 { f32::NAN } else { v }));

    let reports = Mutex::new(Vec::new());
    let note = |p: Progress<'_>| {
        reports.lock().unwrap().push((p.id.clone(), p.outcome.clone(), p.finished, p.total));
    };
    let summary = preprocess(&cohort, &out, &config, &options(1), &note).unwrap();
    assert_eq!((summary.prepared, summary.quarantined.len()), (1, 5));
    let expected = [
        "dwi: truncated",
        "flair: not a NIfTI file",
        "adc: No such file",
        "adc: all voxels are 7",
        "NaN or infinite",
    ];
    let cache = Cache::open(&out).unwrap();
    assert_eq!(cache.manifest().quarantined, summary.quarantined);
    for (case, expected) in summary.quarantined.iter().zip(expected) {
        assert!(case.reason.contains(expected), "{}: {}", case.id, case.reason);
    }
    let reports = reports.into_inner().unwrap();
    assert_eq!(
        reports.iter().map(|r| (r.2, r.3)).collect::<Vec<_>>(),
        (1..=6).map(|i| (i, 6)).collect::<Vec<_>>()
    );
    assert_eq!(reports.iter().filter(|r| matches!(r.1, Outcome::Quarantined { .. })).count(), 5);

    // Mended, a case leaves the quarantine; broken, a prepared one enters it.
    std::fs::write(path(0, Modality::Dwi), &good).unwrap();
    cohort.cases[5].label = Some(dir.path().join("no-such-label.nii.gz"));
    let summary = run(&cohort, &out, &config);
    assert_eq!((summary.prepared, summary.quarantined.len()), (1, 5));
    assert_eq!(Cache::open(&out).unwrap().cases()[0].case.id.as_str(), "case-0");
}

#[test]
fn a_scheme_declared_later_is_held_against_prepared_cases() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let mut cohort = cohort(dir.path(), 2);
    let config = PrepConfig::default();
    assert_eq!(run(&cohort, &out, &config).prepared, 2);
    let scheme = |text: &str| DataSet { label_scheme: Some(text.parse().unwrap()) };
    cohort.data_sets.insert("balls".to_owned(), scheme("binary"));
    assert_eq!(run(&cohort, &out, &config).skipped, 2);
    let label = cohort.cases[1].label.clone().unwrap();
    let labels = nifti::read_labels(&label).unwrap().map(|v| 7 * v);
    nifti::write_labels(&label, &labels, "test").unwrap();
    let summary = run(&cohort, &out, &config);
    assert!(summary.quarantined[0].reason.contains("outside the scheme"), "{summary:?}");
    cohort.data_sets.insert("balls".to_owned(), DataSet::default());
    assert_eq!(run(&cohort, &out, &config).prepared, 1);
    cohort.data_sets.insert("balls".to_owned(), scheme("binary"));
    let summary = run(&cohort, &out, &config);
    assert_eq!((summary.prepared, summary.skipped), (0, 1));
    assert!(summary.quarantined[0].reason.contains("label values 7"), "{summary:?}");
}

#[test]
fn cases_that_exceed_the_memory_are_told_beforehand() {
    let dir = tempfile::tempdir().unwrap();
    let mut cohort = cohort(dir.path(), 3);
    cohort.cases[2].images.retain(|modality, _| *modality == Modality::Dwi);
    std::fs::write(&cohort.cases[0].images[&Modality::Adc], "no image").unwrap();
    let pipeline = Pipeline::new(&PrepConfig::default()).unwrap();
    let larger = |bytes| larger_than(bytes, &cohort, Shard::WHOLE, &pipeline);
    let all = larger(0);
    let names: Vec<_> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(names, ["case-1", "case-2"], "the largest first; what cannot be read is not estimated");
    assert!(all[0].1 > all[1].1);
    assert_eq!(larger(all[1].1).len(), 1);
    assert_eq!(larger(all[0].1), []);
}

#[test]
fn a_stopped_run_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let cohort = cohort(dir.path(), 8);
    let config = PrepConfig::default();
    let stop = AtomicBool::new(false);
    let stopping = RunOptions { memory_bytes: 1, force: false, stop: &stop };
    let summary = preprocess(&cohort, &out, &config, &stopping, &|p| {
        if p.finished == 2 {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    assert!(summary.prepared >= 2 && summary.not_begun > 0, "{summary:?}");
    assert_eq!(Cache::open(&out).unwrap().cases().len(), summary.prepared);
    let rest = run(&cohort, &out, &config);
    assert_eq!((rest.skipped, rest.prepared, rest.not_begun), (summary.prepared, summary.not_begun, 0));

    let once = dir.path().join("once");
    run(&cohort, &once, &config);
    assert_eq!(hashes(&once), hashes(&out));
}

#[test]
fn the_brain_mask_cuts_the_rest_away() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("cache");
    let mut cohort = cohort(dir.path(), 1);
    let image = nifti::read(&cohort.cases[0].images[&Modality::Dwi]).unwrap();
    let grid = *image.grid();
    let inside = |offset| u16::from(grid.voxel(offset).iter().all(|v| (5..9).contains(v)));
    let mask = Volume::new(grid, (0..grid.len()).map(inside).collect());
    let path = dir.path().join("mask.nii.gz");
    nifti::write_labels(&path, &mask, "test").unwrap();
    cohort.cases[0].brain_mask = Some(path);
    let label = dir.path().join("label.nii.gz");
    nifti::write_labels(&label, &image.map(|value| u16::from(value > 0.0)), "test").unwrap();
    cohort.cases[0].label = Some(label);
    let config = PrepConfig { crop: CropKind::BoundingBox, ..PrepConfig::default() };
    let summary = run(&cohort, &out, &config);
    let case = PreparedCase::open(out.join("case-0.safetensors")).unwrap();
    assert!(case.has_brain_mask());
    // The label is larger than this mask: said on the screen, and in the manifest.
    let (id, warning) = summary.warnings.iter().find(|(_, warning)| warning.contains("label 1")).unwrap();
    assert!(
        warning.contains(" % of label 1 (") && warning.contains("ml) lies outside the brain mask"),
        "{warning}"
    );
    let manifest = Manifest::load(&out).unwrap();
    assert!(manifest.case(id).unwrap().warnings.contains(warning));
    assert!(case.shape().iter().all(|s| (6..=9).contains(s)), "{:?}", case.shape());
}

#[test]
fn what_no_run_can_do_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let cohort = cohort(dir.path(), 1);
    let out = dir.path().join("cache");
    let attempt = |config: &PrepConfig| preprocess(&cohort, &out, config, &options(1), &|_| {}).unwrap_err();
    let default = PrepConfig::default;
    let steps = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let unknown = attempt(&PrepConfig { steps: steps(&["reorient", "polish"]), ..default() });
    assert!(unknown.to_string().contains("unknown step 'polish' (known: background register reorient"));
    let twice = attempt(&PrepConfig { steps: steps(&["crop", "crop"]), ..default() });
    assert!(twice.to_string().contains("twice"));
    assert!(
        attempt(&PrepConfig { spacing_mm: [1.0, f64::NAN, 1.0], ..default() })
            .to_string()
            .contains("spacing_mm")
    );
    assert!(
        attempt(&PrepConfig { percentiles: [99.0, 1.0], ..default() }).to_string().contains("percentiles")
    );

    // A folder whose manifest is not ours is left alone, unless force is used.
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("manifest.json"), "{\"theirs\": 1}").unwrap();
    assert!(matches!(attempt(&default()), Error::Request { .. }));
    let force = RunOptions { force: true, ..options(1) };
    assert_eq!(preprocess(&cohort, &out, &default(), &force, &|_| {}).unwrap().prepared, 1);
    // Volumes that end on different grids quarantine their case.
    let apart = preprocess(
        &cohort,
        &out,
        &PrepConfig { steps: steps(&["reorient"]), ..default() },
        &options(1),
        &|_| {},
    );
    assert!(apart.unwrap().quarantined[0].reason.contains("run 'common_grid' and 'resample' before"));
}

#[test]
fn a_configuration_is_a_file_without_surprises() {
    let text = serde_json::to_string(&PrepConfig::default()).unwrap();
    assert_eq!(serde_json::from_str::<PrepConfig>(&text).unwrap(), PrepConfig::default());
    assert_eq!(serde_json::from_str::<PrepConfig>("{}").unwrap(), PrepConfig::default());
    assert!(serde_json::from_str::<PrepConfig>("{\"spacing\": 1}").is_err());
}

#[test]
fn the_space_of_a_case_is_recorded() {
    let dir = tempfile::tempdir().unwrap();
    // FSL's grid of MNI152 at 2 mm, and the same turned out of its place.
    let rows = |x_mm| [[-2.0, 0.0, 0.0, x_mm], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0]];
    let mut cohort = Cohort { name: "test".to_owned(), ..Cohort::default() };
    cohort.data_sets.insert("balls".to_owned(), DataSet::default());
    for (name, x_mm) in [("moved", 70.0), ("standard", 90.0)] {
        let path = dir.path().join(format!("{name}.nii"));
        save(&path, &ball([91, 109, 91], Affine::from_rows(rows(x_mm)), 1.0));
        let mut case = Case::new(CaseId::new(name).unwrap(), name, "balls");
        case.images.insert(Modality::T1, path);
        cohort.cases.push(case);
    }
    let spaces = |cohort: &Cohort, out: &str, config: &PrepConfig| -> Vec<Space> {
        let out = dir.path().join(out);
        run(cohort, &out, config);
        let cache = Cache::open(&out).unwrap();
        let of_file = |entry: &CaseEntry| cache.open_case(entry).unwrap().metadata().space.clone();
        assert!(cache.cases().iter().all(|entry| entry.space == of_file(entry)));
        cache.cases().iter().map(|entry| entry.space.clone()).collect()
    };
    let config = PrepConfig { spacing_mm: [6.0; 3], skull_strip: SkullStrip::None, ..PrepConfig::default() };
    let (native, standard) = (Space::Native, Space::Standard(StandardSpace::Mni152));
    assert_eq!(spaces(&cohort, "as-they-are", &config), [native, standard]);
    // A file that is on the grid of the atlas is in its space.
    cohort.cases.truncate(1);
    let atlas = ContentFile::of(&dir.path().join("moved.nii")).unwrap();
    let hash = atlas.hash().to_owned();
    let config = PrepConfig { register: RegisterKind::Rigid, atlas: Some(atlas), ..config };
    let of_atlas = Space::Atlas(AtlasSpace { name: "moved.nii".to_owned(), hash, standard: None });
    assert_eq!(spaces(&cohort, "on-the-atlas", &config), [of_atlas]);
}
