//! Whole runs over real cases: four registered modalities, three on two grids, four of another pipeline.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet};
use brainmvp_golden::test_data;
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_volume::Modality::{Adc, Dwi, Flair, T1, T1c, T2};
use brainmvp_volume::{Grid, Modality};

fn case(data: &Path, id: &str, files: &[(Modality, &str)], label: Option<&str>) -> Case {
    let mut case = Case::new(CaseId::new(id).unwrap(), id, "real");
    case.images = files.iter().map(|(modality, file)| (*modality, data.join(file))).collect();
    case.label = label.map(|file| data.join(file));
    case
}

fn cohort(data: &Path) -> Cohort {
    let brats = [
        (T1, "brats-gli-00001/t1n.nii.gz"),
        (T1c, "brats-gli-00001/t1c.nii.gz"),
        (T2, "brats-gli-00001/t2w.nii.gz"),
        (Flair, "brats-gli-00001/t2f.nii.gz"),
    ];
    let isles = [
        (Dwi, "isles22-0009/dwi.nii.gz"),
        (Adc, "isles22-0009/adc.nii.gz"),
        (Flair, "isles22-0009/flair.nii.gz"),
    ];
    let tcga = [
        (T1, "tcga-fg-6692/reference/raw_bet/OtherEXampleFromTCIA_t1_bet_raw.nii.gz"),
        (T1c, "tcga-fg-6692/reference/raw_bet/OtherEXampleFromTCIA_t1c_bet_raw.nii.gz"),
        (T2, "tcga-fg-6692/reference/raw_bet/OtherEXampleFromTCIA_t2_bet_raw.nii.gz"),
        (Flair, "tcga-fg-6692/reference/raw_bet/OtherEXampleFromTCIA_fla_bet_raw.nii.gz"),
    ];
    let mut cohort = Cohort { name: "real".to_owned(), ..Cohort::default() };
    cohort.data_sets.insert("real".to_owned(), DataSet::default());
    cohort.cases = vec![
        case(data, "brats", &brats, Some("brats-gli-00001/seg-BraTS23_1.nii.gz")),
        case(data, "isles", &isles, Some("isles22-0009/msk.nii.gz")),
        case(data, "tcga", &tcga, None),
    ];
    cohort
}

#[test]
fn real_cases_become_a_cache() {
    let needed = ["brats-gli-00001", "isles22-0009", "tcga-fg-6692/reference"];
    let (true, Some(data)) = (needed.iter().all(|name| test_data(name).is_some()), test_data("")) else {
        return;
    };
    let cohort = cohort(&data);
    let out = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
    let summary = preprocess(&cohort, out.path(), &PrepConfig::default(), &options, &|_| {}).unwrap();
    assert_eq!(summary.quarantined, []);
    let cache = Cache::open(out.path()).unwrap();
    for entry in cache.cases() {
        let case = cache.open_case(entry).unwrap();
        let facts = case.metadata();
        println!("{} {:?} in {:.3} s; {}", entry.case.id, entry.shape, entry.seconds, {
            let crop = facts.provenance.iter().find(|record| record.step == "crop").unwrap();
            &crop.did
        });
        // The middle of the cropped volume is that of the whole one.
        let middle = |grid: Grid| grid.affine.to_world(grid.shape.map(|n| (n - 1) as f64 / 2.0));
        let (cropped, whole) = (middle(Grid::from(&facts.grid)), middle(Grid::from(&facts.uncropped)));
        assert!((0..3).all(|axis| (cropped[axis] - whole[axis]).abs() < 1e-6), "{cropped:?} {whole:?}");
        let share = entry.foreground_voxels as f64 / entry.shape.iter().product::<usize>() as f64;
        assert!((0.2..0.9).contains(&share), "{}: {share} of the voxels are foreground", entry.case.id);
    }
    let entry = |id: &str| cache.cases().iter().find(|entry| entry.case.id.as_str() == id).unwrap();
    assert_eq!(entry("brats").modalities, [Flair, T1, T1c, T2]);
    assert_eq!(entry("isles").modalities, [Flair, Dwi, Adc]);
    assert!(entry("brats").has_label && entry("isles").has_label && !entry("tcga").has_label);
    for id in ["brats", "tcga"] {
        assert_eq!(cache.open_case(entry(id)).unwrap().metadata().uncropped.shape, [240, 240, 155]);
    }
    let again = preprocess(&cohort, out.path(), &PrepConfig::default(), &options, &|_| {}).unwrap();
    assert_eq!((again.prepared, again.skipped), (0, 3));
}
