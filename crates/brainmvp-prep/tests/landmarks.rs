//! The standard scale, learnt from one half of a cohort and used on the other.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::{Cohort, Split};
use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{CropKind, Intensity, Landmarks, PrepConfig, Preparation, RunOptions, preprocess};
use brainmvp_volume::Modality::{self, Flair, T1};
use brainmvp_volume::nifti;

const CASES: usize = 12;

/// Brains that were each scanned with another receiver: a power of the signal, then a factor.
fn cohort(folder: &Path) -> Cohort {
    let config = PhantomConfig {
        cases: CASES,
        size: 32,
        sites: 1,
        missing_rate: 0.0,
        modalities: vec![T1, Flair],
        lesions: DiseaseMix::only(Disease::Healthy),
        ..PhantomConfig::default()
    };
    let mut cohort = write_cohort(&config, folder, &|_| {}).unwrap();
    for (index, case) in cohort.cases.iter_mut().enumerate() {
        case.split = Some(if index % 2 == 0 { Split::Training } else { Split::Test });
        for path in case.images.values() {
            let image = nifti::read(path).unwrap();
            let (power, factor) = (0.6 + 0.1 * (index % 9) as f32, 0.5 + 0.3 * index as f32);
            let received = image.map(|v| factor * 1000.0 * (v.max(0.0) / 1000.0).powf(power));
            nifti::write(path, &received, nifti::WriteOptions::default()).unwrap();
        }
    }
    cohort
}

fn prepared(cohort: &Cohort, folder: &Path, intensity: Intensity, landmarks: Option<Landmarks>) -> Cache {
    let config = PrepConfig {
        spacing_mm: [6.0; 3],
        crop: CropKind::None,
        intensity,
        landmarks,
        ..PrepConfig::default()
    };
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    let summary = preprocess(cohort, folder, &config, &options, &|_| {}).unwrap();
    assert_eq!(summary.quarantined, []);
    Cache::open(folder).unwrap()
}

/// How much the same quantile of the brain differs between test cases: the mean over quantiles of the standard deviation
/// over cases, as a share of the range from the lowest to the highest quantile.
fn spread(cache: &Cache, modality: Modality) -> f64 {
    const QUANTILES: [f64; 9] = [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85];
    let cases = cache.cases().iter().filter(|entry| entry.case.split == Some(Split::Test));
    let found: Vec<[f64; 9]> = cases
        .map(|entry| {
            let case = cache.open_case(entry).unwrap();
            let mut values = vec![0.0; case.shape().iter().product()];
            case.read_patch(modality, [0; 3], case.shape(), &mut values).unwrap();
            values.retain(|value| *value > 0.0);
            values.sort_by(f32::total_cmp);
            QUANTILES.map(|q| f64::from(values[(values.len() as f64 * q) as usize]))
        })
        .collect();
    let count = found.len() as f64;
    let mean = |q: usize| found.iter().map(|case| case[q]).sum::<f64>() / count;
    let deviation =
        |q: usize| (found.iter().map(|case| (case[q] - mean(q)).powi(2)).sum::<f64>() / count).sqrt();
    (0..9).map(deviation).sum::<f64>() / 9.0 / (mean(8) - mean(0))
}

#[test]
fn cases_that_were_not_learnt_from_become_alike() {
    let folder = tempfile::tempdir().unwrap();
    let cohort = cohort(&folder.path().join("phantom"));
    let scores = prepared(&cohort, &folder.path().join("scores"), Intensity::ZScore, None);
    let learnt = Landmarks::learn(&scores, &|_| {}).unwrap();
    assert!(learnt.left_out.is_empty() && learnt.too_few.is_empty(), "{learnt:?}");
    for modality in [T1, Flair] {
        assert_eq!(learnt.landmarks.of(modality).unwrap().images, CASES / 2, "test cases are left out");
    }
    let nyul =
        prepared(&cohort, &folder.path().join("nyul"), Intensity::Nyul, Some(learnt.landmarks.clone()));
    for modality in [T1, Flair] {
        let [before, after] = [&scores, &nyul].map(|cache| spread(cache, modality));
        println!("{modality}: spread {before:.4} by z-scores, {after:.4} by landmarks");
        assert!(after < 0.35 * before, "{modality}: {after} of {before}");
    }
    // Learning again from what was brought to the standard finds the standard, but for rounding and the few voxels that
    // are black then.
    let again = Landmarks::learn(&nyul, &|_| {}).unwrap().landmarks;
    for (modality, standard) in learnt.landmarks.iter() {
        for (a, b) in standard.landmarks.iter().zip(again.of(modality).unwrap().landmarks) {
            assert!((a - b).abs() < 0.01, "{modality}: {a} {b}");
        }
    }
}

#[test]
fn what_cannot_be_learnt_from_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut cohort = cohort(&folder.path().join("phantom"));
    let clipped = prepared(&cohort, &folder.path().join("clipped"), Intensity::Percentile, None);
    let error = Landmarks::learn(&clipped, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("clipped to white") && error.contains("zscore"), "{error}");

    // Flair in two of the training cases alone.
    for (index, case) in cohort.cases.iter_mut().enumerate().filter(|(index, _)| *index > 2) {
        assert!(case.images.remove(&Flair).is_some(), "{index}");
    }
    let scores = prepared(&cohort, &folder.path().join("scores"), Intensity::ZScore, None);
    let learnt = Landmarks::learn(&scores, &|_| {}).unwrap();
    assert_eq!(learnt.too_few.into_iter().collect::<Vec<_>>(), [(Flair, 2)]);
    let config = PrepConfig {
        intensity: Intensity::Nyul,
        landmarks: Some(learnt.landmarks),
        ..scores.manifest().preparation.config.clone()
    };
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    let summary = preprocess(&cohort, &folder.path().join("nyul"), &config, &options, &|_| {}).unwrap();
    assert_eq!((summary.prepared, summary.quarantined.len()), (CASES - 3, 3));
    assert!(summary.quarantined[0].reason.contains("flair: there are no landmarks"), "{summary:?}");

    // They are recorded whole, so that new cases need no other file.
    let recorded = serde_json::to_string(&Preparation::of(config.clone())).unwrap();
    let recorded: Preparation = serde_json::from_str(&recorded).unwrap();
    assert_eq!(
        (recorded.config.landmarks.as_ref(), recorded.files().count()),
        (config.landmarks.as_ref(), 0)
    );

    let missing = PrepConfig { intensity: Intensity::Nyul, ..PrepConfig::default() };
    assert!(missing.validate().unwrap_err().to_string().contains("needs landmarks"));
    let idle = PrepConfig { intensity: Intensity::ZScore, ..config };
    assert!(idle.validate().unwrap_err().to_string().contains("nyul"));
}
