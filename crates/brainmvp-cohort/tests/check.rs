//! Every planted fault is found, and nothing else is.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use brainmvp_cohort::check::{CheckOptions, Kind, Report, Severity, check};
use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_cohort::{Case, CaseId, Cohort, DataSet};
use brainmvp_golden::test_data;
use brainmvp_volume::nifti::{WriteOptions, write};
use brainmvp_volume::{Affine, Grid, Modality, Volume};

/// A cohort under construction: cases of 8 x 8 x 8 voxels, all without faults until a test breaks one.
struct Bench {
    folder: tempfile::TempDir,
    cohort: Cohort,
}

fn grid() -> Grid {
    Grid::new([8, 8, 8], Affine::from_spacing([1.0; 3], [-4.0; 3]))
}

fn image(seed: usize) -> Volume {
    Volume::new(grid(), (0..512).map(|i| ((i * 7 + seed * 31) % 97) as f32).collect())
}

fn map(value: f32) -> Volume {
    Volume::new(grid(), (0..512).map(|i| if i % 8 > 3 { value } else { 0.0 }).collect())
}

fn placed(volume: Volume, affine: Affine) -> Volume {
    Volume::new(Grid::new(volume.shape(), affine), volume.into_voxels())
}

impl Bench {
    fn new() -> Self {
        let binary = DataSet { label_scheme: Some("binary".parse().unwrap()) };
        let cohort =
            Cohort { name: "bench".into(), data_sets: [("set".into(), binary)].into(), ..Cohort::default() };
        let mut bench = Self { folder: tempfile::tempdir().unwrap(), cohort };
        for id in ["a", "b"] {
            let mut case = Case::new(CaseId::new(id).unwrap(), id, "set");
            let seed = bench.cohort.cases.len() * 10;
            case.images.insert(Modality::T1, bench.file(&format!("{id}_t1.nii.gz"), &image(seed)));
            case.images.insert(Modality::T2, bench.file(&format!("{id}_t2.nii.gz"), &image(seed + 1)));
            case.label = Some(bench.file(&format!("{id}_seg.nii.gz"), &map(1.0)));
            case.brain_mask = Some(bench.file(&format!("{id}_mask.nii.gz"), &map(1.0)));
            bench.cohort.cases.push(case);
        }
        bench
    }

    fn file(&self, name: &str, volume: &Volume) -> PathBuf {
        let path = self.folder.path().join(name);
        write(&path, volume, WriteOptions::default()).unwrap();
        path
    }

    fn check(&self) -> Report {
        check(&self.cohort, &CheckOptions::default(), &|_, _| ())
    }

    /// The report when a file of case `b` is replaced: exactly this must be found, in that case.
    fn expect(&self, name: &str, volume: &Volume, kinds: &[Kind]) -> Report {
        self.file(name, volume);
        self.expect_now(kinds)
    }

    fn expect_now(&self, kinds: &[Kind]) -> Report {
        let report = self.check();
        let found: Vec<_> = report.problems.iter().map(|p| (p.case.as_str(), p.kind)).collect();
        assert_eq!(
            found,
            kinds.iter().map(|kind| ("b", *kind)).collect::<Vec<_>>(),
            "{:#?}",
            report.problems
        );
        let quarantined = kinds.iter().any(|kind| kind.severity() == Severity::Problem);
        assert_eq!(
            report.quarantined.keys().map(CaseId::as_str).collect::<Vec<_>>(),
            if quarantined { vec!["b"] } else { vec![] }
        );
        report
    }
}

#[test]
fn a_sound_cohort_is_clean() {
    let bench = Bench::new();
    let calls = AtomicUsize::new(0);
    let report = check(&bench.cohort, &CheckOptions::default(), &|_, total| {
        assert_eq!(total, 8);
        calls.fetch_add(1, Ordering::Relaxed);
    });
    assert!(report.is_clean() && report.problems.is_empty(), "{:#?}", report.problems);
    assert_eq!((report.cases, report.files, calls.into_inner()), (2, 8, 8));
    assert_eq!(report.modalities, [(Modality::T1, 2), (Modality::T2, 2)].into());
    assert_eq!((report.grids.len(), report.grids[0].files, report.grids[0].spacing_mm), (1, 8, [1.0; 3]));
    assert_eq!(report.label_values["set"], [(1, 2)].into());
}

#[test]
fn broken_files() {
    let bench = Bench::new();
    let path = bench.folder.path().join("b_t1.nii.gz");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let report = bench.expect_now(&[Kind::Unreadable]);
    assert!(report.quarantined.values().next().unwrap()[0].starts_with("t1: truncated"), "{report:?}");
    let problem = &report.problems[0];
    assert_eq!((problem.file.as_deref(), problem.image.as_deref()), (Some(path.as_path()), Some("t1")));
    assert!(!problem.message.contains("t1"), "the file has its own field: {}", problem.message);
    std::fs::remove_file(&path).unwrap();
    bench.expect_now(&[Kind::Unreadable]);
    std::fs::write(&path, "not a volume").unwrap();
    bench.expect_now(&[Kind::Unreadable]);
}

#[test]
fn broken_voxels() {
    let bench = Bench::new();
    let mut volume = image(5);
    volume.voxels_mut()[100] = f32::NAN;
    volume.voxels_mut()[101] = f32::INFINITY;
    let report = bench.expect("b_t2.nii.gz", &volume, &[Kind::NotFinite]);
    assert_eq!(report.problems[0].message, "2 of 512 voxels are NaN or infinite");
    bench.expect("b_t2.nii.gz", &Volume::filled(grid(), 3.0), &[Kind::Constant]);
    bench.expect("b_t2.nii.gz", &Volume::filled(grid(), 0.0), &[Kind::Constant]);
    bench.expect("b_t2.nii.gz", &map(1.0), &[Kind::Binary]);
}

#[test]
fn wrong_places() {
    let bench = Bench::new();
    let far = Affine::from_spacing([1.0; 3], [200.0; 3]);
    bench.expect("b_t2.nii.gz", &placed(image(5), far), &[Kind::NoOverlap]);
    // Slightly displaced, or with another resolution: preprocessing resamples.
    let near = Affine::from_spacing([1.0; 3], [-4.0, -4.0, -3.5]);
    bench.expect("b_t2.nii.gz", &placed(image(5), near), &[Kind::GridsDiffer]);
    let noise = Affine::from_spacing([1.00001; 3], [-4.0, -4.0, -4.00005]);
    bench.expect("b_t2.nii.gz", &placed(image(5), noise), &[]);
    let huge = Affine::from_spacing([1.0, 1.0, 25.0], [-4.0; 3]);
    bench.expect("b_t2.nii.gz", &placed(image(5), huge), &[Kind::Spacing, Kind::GridsDiffer]);
    let sheared = Affine::from_rows([[1.0, 0.2, 0.0, -4.0], [0.0, 1.0, 0.0, -4.0], [0.0, 0.0, 1.0, -4.0]]);
    bench.expect("b_t2.nii.gz", &placed(image(5), sheared), &[Kind::Shear, Kind::GridsDiffer]);
    let flipped = Affine::from_rows([[-1.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0, -4.0], [0.0, 0.0, 1.0, -4.0]]);
    bench.expect("b_t2.nii.gz", &placed(image(5), flipped), &[]);
    let single = Grid::new([8, 8, 1], grid().affine);
    let slice = Volume::new(single, (0..64).map(|i| (i % 31) as f32).collect());
    bench.expect("b_t2.nii.gz", &slice, &[Kind::Flat, Kind::GridsDiffer]);
    let whale = Grid::new([50; 3], Affine::from_spacing([14.0; 3], [-350.0; 3]));
    let whale = Volume::new(whale, (0..125_000).map(|i| (i % 97) as f32).collect());
    bench.expect("b_t2.nii.gz", &whale, &[Kind::FieldOfView, Kind::GridsDiffer]);
}

#[test]
fn wrong_labels() {
    let bench = Bench::new();
    let report = bench.expect("b_seg.nii.gz", &map(4.0), &[Kind::LabelValue]);
    assert!(
        report.problems[0].message.contains("values 4 are outside the scheme binary (0 1)"),
        "{report:?}"
    );
    bench.expect("b_seg.nii.gz", &map(0.5), &[Kind::LabelNotIntegral]);
    bench.expect("b_seg.nii.gz", &map(0.0), &[Kind::LabelEmpty]);
    // The header was lost: the same shape on the other side of the world's origin.
    let lost = Affine::from_rows([[-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    bench.expect("b_seg.nii.gz", &placed(map(1.0), lost), &[Kind::LabelPlacement]);
    // The same box of voxels, stored from right to left, or with its axes in another order.
    let flipped = Affine::from_rows([[-1.0, 0.0, 0.0, 3.0], [0.0, 1.0, 0.0, -4.0], [0.0, 0.0, 1.0, -4.0]]);
    let report = bench.expect("b_seg.nii.gz", &placed(map(1.0), flipped), &[Kind::LabelOrder]);
    assert!(report.problems[0].message.contains("stored as LAS, the images as RAS"), "{report:?}");
    let turned = Affine::from_rows([[0.0, 1.0, 0.0, -4.0], [0.0, 0.0, -1.0, 3.0], [1.0, 0.0, 0.0, -4.0]]);
    bench.expect("b_seg.nii.gz", &placed(map(1.0), turned), &[Kind::LabelOrder]);
    // A grid of its own is no fault if it covers the images, but is one if labels lie outside.
    let half = Grid::new([4, 8, 8], Affine::from_spacing([1.0; 3], [-4.0; 3]));
    let other = |grid: Grid| Volume::new(grid, (0..256).map(|i| f32::from(i % 2 == 0)).collect());
    bench.expect("b_seg.nii.gz", &other(half), &[Kind::LabelGrid]);
    let outside = Grid::new([4, 8, 8], Affine::from_spacing([1.0; 3], [50.0; 3]));
    bench.expect("b_seg.nii.gz", &other(outside), &[Kind::LabelPlacement]);
}

#[test]
fn wrong_masks() {
    let bench = Bench::new();
    bench.expect("b_mask.nii.gz", &map(0.0), &[Kind::MaskEmpty]);
    bench.expect("b_mask.nii.gz", &map(255.0), &[]);
    bench.expect("b_mask.nii.gz", &map(0.25), &[Kind::MaskNotBinary]);
    bench.expect("b_mask.nii.gz", &image(3), &[Kind::MaskNotBinary]);
}

#[test]
fn copies_whatever_their_packing() {
    let mut bench = Bench::new();
    // Of its own case, it is no image of that modality; of another case, it may be the same person.
    bench.expect("b_t2.nii.gz", &image(10), &[Kind::Duplicate]);
    bench.expect("b_t2.nii.gz", &image(0), &[Kind::CopyOfOther]);
    bench.file("b_t2.nii.gz", &image(11));
    let path = bench.file("b_plain.nii", &image(0));
    bench.cohort.cases[1].images.insert(Modality::T2, path);
    let report = bench.expect_now(&[Kind::CopyOfOther]);
    assert!(report.problems[0].message.contains("t1 of case 'a'"), "{report:?}");
}

#[test]
fn missing_modalities_and_schemes() {
    let mut bench = Bench::new();
    bench.cohort.cases[1].images.remove(&Modality::T2);
    bench.expect_now(&[Kind::MissingModality]);
    let options = CheckOptions { required: vec![Modality::T2], ..CheckOptions::default() };
    let report = check(&bench.cohort, &options, &|_, _| ());
    assert_eq!(report.problems[0].kind, Kind::MissingRequired);
    bench.cohort.data_sets.insert("set".into(), DataSet::default());
    let report = bench.check();
    let undeclared = report.problems.iter().find(|p| p.kind == Kind::LabelUndeclared).unwrap();
    assert!(undeclared.message.contains("values found: 0 1"), "{undeclared}");
}

#[test]
fn the_report_is_stable_and_comes_back() {
    let bench = Bench::new();
    bench.file("b_seg.nii.gz", &map(7.0));
    let report = bench.check();
    let file = bench.folder.path().join("report.json");
    report.save(&file).unwrap();
    // The paths of files stay here.
    let mut without_files = report.clone();
    without_files.problems.iter_mut().for_each(|problem| problem.file = None);
    assert_eq!(Report::load(&file).unwrap(), without_files);
    let text = std::fs::read_to_string(&file).unwrap();
    let golden = r#"{
  "cohort": "bench",
  "cases": 2,
  "files": 8,
  "quarantined": {
    "b": [
      "label: label values 7 are outside the scheme binary (0 1)"
    ]
  },
  "problems": [
    {
      "case": "b",
      "image": "label",
      "kind": "label_value",
      "severity": "problem",
      "message": "label values 7 are outside the scheme binary (0 1)"
    }
  ],
  "modalities": {
    "t1": 2,
    "t2": 2
  },
"#;
    assert!(text.starts_with(golden), "{text}");
    for _ in 0..3 {
        assert_eq!(bench.check(), report);
    }
}

fn kinds(report: &Report, severity: Severity) -> Vec<Kind> {
    report.of(severity).map(|problem| problem.kind).collect()
}

#[test]
fn real_cases() {
    let Some(data) = test_data("") else { return };
    let open = |folder: &str, labels: &str| {
        let options = IndexOptions { label_scheme: Some(labels.parse().unwrap()), ..IndexOptions::default() };
        index(&data.join(folder), "auto", &options).unwrap().cohort
    };
    let check = |cohort: &Cohort| check(cohort, &CheckOptions::default(), &|_, _| ());
    // DWI and ADC on one grid, FLAIR on another: legal.
    let report = check(&open("isles22-0009", "binary"));
    assert!(report.is_clean(), "{:#?}", report.problems);
    assert!(kinds(&report, Severity::Note).contains(&Kind::GridsDiffer), "{:#?}", report.problems);
    let report = check(&open("tcga-fg-6692/reference/raw_bet", "binary"));
    assert!(report.is_clean(), "{:#?}", report.problems);

    let mut brats = open("brats-gli-00001", "brats_2023");
    let report = check(&brats);
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
    assert_eq!(report.label_values["brats-gli-00001"].keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    // The same labels with a lost affine, and under the labels of another year.
    brats.cases[0].label = Some(data.join("brats-gli-00001/seg-BraTS23_1_mapped.nii.gz"));
    assert!(kinds(&check(&brats), Severity::Problem).contains(&Kind::LabelPlacement));
    let report = check(&open("brats-gli-00001", "brats_legacy"));
    assert_eq!(kinds(&report, Severity::Problem), [Kind::LabelValue]);
}
