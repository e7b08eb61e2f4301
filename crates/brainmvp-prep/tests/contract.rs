//! `check` calls a case a problem if, and only if, the preparation leaves it out, and for the same reason.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::check::{CheckOptions, Severity, check};
use brainmvp_cohort::{Case, CaseId, Cohort, DataSet};
use brainmvp_prep::{PrepConfig, RegisterKind, RunOptions, preprocess};
use brainmvp_volume::Modality::{Flair, T1};
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::{Affine, Grid, Volume};

/// A case of T1, FLAIR, label map and brain mask, all sound until something is done to it.
struct Bench {
    folder: tempfile::TempDir,
    case: Case,
    scheme: Option<&'static str>,
}

fn grid() -> Grid {
    Grid::new([20, 21, 17], Affine::from_spacing([2.0; 3], [-20.0, -21.0, -17.0]))
}

/// Tissue in a ball, in air of 0.
fn image(grid: Grid, seed: usize) -> Volume {
    let value = |offset: usize| {
        let voxel = grid.voxel(offset);
        let far: f64 = (0..3).map(|i| (voxel[i] as f64 / grid.shape[i] as f64 - 0.5).powi(2)).sum();
        if far < 0.12 { 50.0 + ((offset * 7 + seed * 31) % 97) as f32 } else { 0.0 }
    };
    Volume::new(grid, (0..grid.len()).map(value).collect())
}

/// `value` in the ball.
fn map(grid: Grid, value: f32) -> Volume {
    image(grid, 0).map(|v| if v > 0.0 { value } else { 0.0 })
}

fn moved(grid: Grid, mm: f64) -> Grid {
    Grid::new(grid.shape, Affine::from_spacing([2.0; 3], [mm; 3]))
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut case = Case::new(CaseId::new("case").unwrap(), "subject", "set");
        let path = |name: &str| folder.path().join(format!("{name}.nii"));
        case.images.extend([(T1, path("t1")), (Flair, path("flair"))]);
        (case.label, case.brain_mask) = (Some(path("label")), Some(path("mask")));
        let bench = Self { folder, case, scheme: Some("binary") };
        bench.put("t1", &image(grid(), 1));
        bench.put("flair", &image(grid(), 2));
        bench.put("label", &map(grid(), 1.0));
        bench.put("mask", &map(grid(), 1.0));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.nii"))
    }

    fn put(&self, name: &str, volume: &Volume) {
        nifti::write(&self.path(name), volume, WriteOptions::default()).unwrap();
    }

    /// The file's bytes, changed.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn cohort(&self) -> Cohort {
        let label_scheme = self.scheme.map(|scheme| scheme.parse().unwrap());
        Cohort {
            name: "bench".to_owned(),
            data_sets: [("set".to_owned(), DataSet { label_scheme })].into(),
            cases: vec![self.case.clone()],
        }
    }
}

fn left_out(cohort: &Cohort, out: &Path, config: &PrepConfig) -> (Option<String>, Vec<String>) {
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    let summary = preprocess(cohort, out, config, &options, &|_| {}).unwrap();
    let warnings = summary.warnings.into_iter().map(|(_, warning)| warning);
    // The ball is smaller than a brain.
    let warnings = warnings.filter(|warning| !warning.starts_with("the brain mask has")).collect();
    (summary.quarantined.into_iter().next().map(|case| case.reason), warnings)
}

type Change = fn(&mut Bench);

/// What is done to the sound case, and a word of the reason for which it is left out.
const BAD: [(&str, Change, &str); 24] = [
    ("no image", |b| b.case.images.clear(), "no image"),
    ("a missing file", |b| std::fs::remove_file(b.path("t1")).unwrap(), "t1: "),
    ("a missing label map", |b| std::fs::remove_file(b.path("label")).unwrap(), "label: "),
    ("a truncated file", |b| b.edit("flair", |bytes| bytes.truncate(2000)), "flair: "),
    ("no volume", |b| b.edit("mask", |bytes| *bytes = b"mask".to_vec()), "mask: "),
    ("several volumes", |b| b.edit("t1", |bytes| (bytes[40], bytes[48]) = (4, 2)), "volumes"),
    (
        "a single slice",
        |b| {
            let flat = Grid::new([20, 21, 1], grid().affine);
            b.put("label", &map(flat, 1.0));
            b.put("mask", &map(flat, 1.0));
            b.put("t1", &image(flat, 1));
            b.put("flair", &image(flat, 2));
        },
        "flat",
    ),
    ("thick slices", |b| b.put("flair", &image(scaled([1.0, 1.0, 25.0]), 2)), "25.0000 mm"),
    ("voxels of nothing", |b| b.put("flair", &image(scaled([0.01, 0.01, 0.01]), 2)), "0.0100 mm"),
    (
        "a giant",
        |b| b.put("flair", &image(Grid::new([60; 3], Affine::from_spacing([12.0; 3], [-360.0; 3])), 2)),
        "more than any head",
    ),
    ("NaN", |b| b.put("t1", &image(grid(), 1).map(|v| if v == 60.0 { f32::NAN } else { v })), "NaN"),
    (
        "infinity",
        |b| b.put("t1", &image(grid(), 1).map(|v| if v == 60.0 { f32::INFINITY } else { v })),
        "NaN",
    ),
    ("one value", |b| b.put("t1", &Volume::filled(grid(), 7.0)), "all voxels are 7"),
    ("nothing", |b| b.put("t1", &Volume::filled(grid(), 0.0)), "all voxels are 0"),
    ("a mask as an image", |b| b.put("t1", &map(grid(), 1.0)), "a mask, not an image"),
    ("a scaled mask as an image", |b| b.put("t1", &map(grid(), 0.7)), "a mask, not an image"),
    ("one image twice", |b| b.put("flair", &image(grid(), 1)), "the same voxels"),
    ("images apart", |b| b.put("flair", &image(moved(grid(), 300.0), 2)), "field of view"),
    ("a label map apart", |b| b.put("label", &map(moved(grid(), 300.0), 1.0)), "mm away"),
    ("a mask apart", |b| b.put("mask", &map(moved(grid(), 300.0), 1.0)), "mm away"),
    ("half labels", |b| b.put("label", &map(grid(), 0.5)), "label"),
    ("a foreign label", |b| b.put("label", &map(grid(), 3.0)), "outside the scheme"),
    ("a mask of regions", |b| b.put("mask", &image(grid(), 1)), "values besides 0"),
    ("an empty mask", |b| b.put("mask", &map(grid(), 0.0)), "mask is empty"),
];

/// A word of what is told, and its severity.
type Told = Option<(Severity, &'static str)>;

/// What is done to the sound case, and a word of what is told, with its severity.
const GOOD: [(&str, Change, Told); 11] = [
    ("nothing", |_| {}, None),
    ("no label map or mask", |b| (b.case.label, b.case.brain_mask) = (None, None), None),
    ("an empty label map", |b| b.put("label", &map(grid(), 0.0)), Some((Severity::Note, "empty"))),
    (
        "many labels, without a scheme",
        |b| {
            b.scheme = None;
            let many = Volume::new(grid(), (0..grid().len()).map(|i| (i % 400) as f32).collect());
            b.put("label", &many);
        },
        Some((Severity::Note, "no label scheme")),
    ),
    ("a mask of 255", |b| b.put("mask", &map(grid(), 255.0)), None),
    (
        "a label map stored the other way round",
        |b| {
            let [x, y, z] = [-20.0 + 38.0, -21.0 + 40.0, -17.0];
            let lps = Affine::from_rows([[-2.0, 0.0, 0.0, x], [0.0, -2.0, 0.0, y], [0.0, 0.0, 2.0, z]]);
            b.put("label", &map(Grid::new(grid().shape, lps), 1.0));
        },
        Some((Severity::Note, "stored as LPS, the images as RAS")),
    ),
    (
        "a mirrored qform",
        // qfac, the first of pixdim.
        |b| b.edit("t1", |bytes| bytes[76..80].copy_from_slice(&(-1.0_f32).to_le_bytes())),
        Some((Severity::Warning, "mirror images")),
    ),
    (
        "a shifted qform",
        |b| b.edit("t1", |bytes| bytes[268..272].copy_from_slice(&10.0_f32.to_le_bytes())),
        Some((Severity::Note, "30.0 mm further away in the qform")),
    ),
    (
        "a turned qform",
        // quatern_b: a turn about x, here by 2 asin 0.25 = 28.96 degrees.
        |b| b.edit("t1", |bytes| bytes[256..260].copy_from_slice(&0.25_f32.to_le_bytes())),
        Some((Severity::Note, "turned against each other by 29.0 degrees")),
    ),
    (
        "a qform of other voxels",
        // The last of pixdim.
        |b| b.edit("t1", |bytes| bytes[88..92].copy_from_slice(&2.5_f32.to_le_bytes())),
        Some((
            Severity::Note,
            "voxels have 2.000 x 2.000 x 2.500 mm in the qform, but 2.000 x 2.000 x 2.000 mm",
        )),
    ),
    (
        "NaN outside",
        |b| b.put("t1", &image(grid(), 1).map(|v| if v == 0.0 { f32::NAN } else { v })),
        Some((Severity::Note, "NaN: taken as its background")),
    ),
];

fn scaled(spacing_mm: [f64; 3]) -> Grid {
    Grid::new(grid().shape, Affine::from_spacing(spacing_mm, [-20.0, -21.0, -17.0]))
}

#[test]
fn what_check_calls_a_problem_is_left_out() {
    for (name, change, word) in BAD {
        let mut bench = Bench::new();
        change(&mut bench);
        let cohort = bench.cohort();
        let report = check(&cohort, &CheckOptions::default(), &|_, _| ());
        let reasons = report.quarantined.values().next().cloned().unwrap_or_default();
        assert!(
            reasons.iter().any(|reason| reason.contains(word)),
            "{name}: check says {:#?}",
            report.problems
        );
        let (reason, _) = left_out(&cohort, &bench.path("cache"), &PrepConfig::default());
        let reason = reason.unwrap_or_else(|| panic!("{name}: it was prepared"));
        assert!(
            reasons.iter().any(|one| reason.contains(one.as_str())),
            "{name}: {reason}, but check: {reasons:?}"
        );
    }
}

#[test]
fn what_check_lets_pass_is_prepared() {
    for (name, change, told) in GOOD {
        let mut bench = Bench::new();
        change(&mut bench);
        let cohort = bench.cohort();
        let report = check(&cohort, &CheckOptions::default(), &|_, _| ());
        assert!(report.is_clean(), "{name}: {:#?}", report.problems);
        let (reason, warnings) = left_out(&cohort, &bench.path("cache"), &PrepConfig::default());
        assert_eq!(reason, None, "{name}");
        let Some((severity, word)) = told else {
            assert!(report.problems.is_empty() && warnings.is_empty(), "{name}: {:#?}", report.problems);
            continue;
        };
        assert!(
            report.of(severity).any(|problem| problem.message.contains(word)),
            "{name}: {:#?}",
            report.problems
        );
        let warned = warnings.iter().any(|warning| warning.contains(word));
        assert_eq!(warned, severity == Severity::Warning, "{name}: {warnings:?}");
    }
}

#[test]
fn images_apart_are_for_the_registration_to_judge() {
    let bench = Bench::new();
    bench.put("flair", &image(moved(grid(), 300.0), 2));
    let config = PrepConfig { register: RegisterKind::Rigid, ..PrepConfig::default() };
    let (reason, _) = left_out(&bench.cohort(), &bench.path("cache"), &config);
    assert!(reason.is_none_or(|reason| reason.contains("step 'register'")));
}
