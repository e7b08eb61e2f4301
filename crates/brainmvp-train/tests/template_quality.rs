//! What is said of templates that are known: a mean image, a single case, noise.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::templates::template_start;
use brainmvp_phantom::{PhantomConfig, write_cohort};
use brainmvp_prep::{PrepConfig, RunOptions, preprocess};
use brainmvp_train::batches::{CaseSource, open_cases};
use brainmvp_train::template_quality::{Beside, TemplateQuality, compare, write_qualities};
use brainmvp_train::templates::{RunTemplates, TemplateGrid};
use brainmvp_train::trainer::Observer;
use brainmvp_volume::Modality;

struct Silent;

impl Observer for Silent {
    fn warn(&self, text: &str) {
        panic!("{text}");
    }
}

fn phantoms(folder: &Path, cases: usize, seed: u64) -> Vec<CaseSource> {
    let config = PhantomConfig { cases, size: 32, seed, missing_rate: 0.0, ..PhantomConfig::default() };
    let raw = folder.join(format!("raw-{seed}"));
    let cohort = write_cohort(&config, &raw, &|_| {}).unwrap();
    let prep = PrepConfig { spacing_mm: [6.0; 3], ..PrepConfig::default() };
    let stop = AtomicBool::new(false);
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
    let cache = folder.join(format!("cache-{seed}"));
    preprocess(&cohort, &cache, &prep, &options, &|_| {}).unwrap();
    open_cases(&cache, &Silent).unwrap()
}

/// The T2 image of a case on its registered grid.
fn image(case: &CaseSource) -> Vec<f32> {
    let shape = case.registered_shape();
    let start = template_start(case, [0; 3], shape).map(|place| -place);
    case.patch(Modality::T2, start, shape).unwrap()
}

/// A run's templates of one modality.
fn templates(case: &CaseSource, volume: Vec<f32>) -> RunTemplates {
    let grid = case.registered_grid();
    let grid = TemplateGrid { shape: grid.shape, affine: grid.affine };
    RunTemplates {
        origin: String::new(),
        grid,
        is_placed: true,
        volumes: [(Modality::T2, volume)].into(),
        updates: BTreeMap::new(),
    }
}

fn quality(
    volume: &[f32],
    cases: &[CaseSource],
    held_out: &[CaseSource],
    runs: &[RunTemplates],
) -> TemplateQuality {
    let beside = Beside { cases, held_out, runs };
    let (mut qualities, _) = compare(&templates(&cases[0], volume.to_vec()), &beside).unwrap();
    assert_eq!(qualities.len(), 1);
    qualities.remove(0)
}

#[test]
fn a_mean_image_is_told_from_a_copy_of_a_case() {
    let folder = tempfile::tempdir().unwrap();
    let (cases, held_out) = (phantoms(folder.path(), 4, 3), phantoms(folder.path(), 2, 4));
    let images: Vec<Vec<f32>> = cases.iter().map(image).collect();
    let mean: Vec<f32> = (0..images[0].len())
        .map(|voxel| images.iter().map(|image| image[voxel]).sum::<f32>() / images.len() as f32)
        .collect();

    let of_mean = quality(&mean, &cases, &held_out, &[templates(&cases[0], mean.clone())]);
    assert!((of_mean.mean.correlation - 1.0).abs() < 1e-6 && (of_mean.mean.ssim - 1.0).abs() < 1e-4);
    assert!(of_mean.mean.difference < 1e-6 && of_mean.mean.blank_difference > 0.1, "{of_mean:?}");
    assert!(!of_mean.is_near_a_case(), "{of_mean:?}");
    let other = of_mean.held_out.as_ref().unwrap();
    assert!(
        other.cases == 2 && other.correlation < of_mean.mean.correlation && other.ssim < of_mean.mean.ssim
    );
    assert!((of_mean.agreement.unwrap() - 1.0).abs() < 1e-6);

    // A copy of one case, darker and of less contrast, is found out and named.
    let copied: Vec<f32> = images[2].iter().map(|value| 0.1 + 0.4 * value).collect();
    let of_copy = quality(&copied, &cases, &held_out, &[]);
    assert_eq!(of_copy.nearest.case, cases[2].id());
    assert!((of_copy.nearest.correlation - 1.0).abs() < 1e-5 && of_copy.shows_a_case());
    assert!(of_copy.nearest_held_out.as_ref().unwrap().correlation < of_copy.nearest.correlation);
    assert!(of_copy.nearest.typical < of_copy.nearest.correlation && of_copy.agreement.is_none());

    // A case that was not seen, but is as like as the nearest, says that it is chance.
    let chance = quality(&copied, &cases, &cases[2..], &[]);
    assert!(chance.is_near_a_case() && !chance.shows_a_case());

    // The only case there is, is not hidden by a mean.
    let alone = quality(&copied, &cases[2..3], &[], &[]);
    assert!(alone.nearest.others.is_none() && alone.shows_a_case());

    let blank = quality(&vec![0.5; mean.len()], &cases, &[], &[templates(&cases[0], mean)]);
    assert_eq!((blank.mean.correlation, blank.agreement), (0.0, Some(0.0)));
    let path = folder.path().join("templates.json");
    write_qualities(&path, &[of_mean]).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&written["ssim"]["size_voxels"], &written["templates"][0]["modality"]),
        (&11.into(), &"t2".into())
    );
}

#[test]
fn templates_of_another_size_and_modalities_that_no_case_has() {
    let folder = tempfile::tempdir().unwrap();
    let cases = phantoms(folder.path(), 1, 5);
    let template = templates(&cases[0], image(&cases[0]));
    let other = RunTemplates {
        grid: TemplateGrid { shape: [1; 3], ..template.grid },
        ..templates(&cases[0], vec![0.0])
    };
    let beside = Beside { cases: &cases, held_out: &[], runs: &[other] };
    let error = compare(&template, &beside).err().unwrap().to_string();
    assert!(error.contains("[1, 1, 1]"), "{error}");
    // Voxel by voxel, only what has one spacing can be compared.
    let wider =
        TemplateGrid { affine: template.grid.affine.map(|row| row.map(|x| 2.0 * x)), ..template.grid };
    let wider = RunTemplates { grid: wider, ..templates(&cases[0], image(&cases[0])) };
    let beside = Beside { cases: &[], held_out: &cases, runs: &[] };
    let error = compare(&wider, &beside).err().unwrap().to_string();
    assert!(error.contains(cases[0].id()) && error.contains("12.00 x 12.00 x 12.00 mm"), "{error}");
    let (qualities, _) = compare(&template, &Beside { cases: &[], held_out: &[], runs: &[] }).unwrap();
    assert!(qualities.is_empty());
}
