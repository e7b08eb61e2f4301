//! Finds and removes shading: applied to phantoms, and in a real head if its files are available.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used)]

use brainmvp_golden::test_data;
use brainmvp_phantom::{PhantomConfig, draw_subject};
use brainmvp_prep::bias::find_bias_field;
use brainmvp_prep::{CaseVolumes, Intensity, Pipeline, PrepConfig};
use brainmvp_volume::Modality::{Flair, T1, T2};
use brainmvp_volume::{Volume, nifti};

/// A field that rises by `percent` from one corner to the other, bent.
fn shaded(image: &Volume, percent: f64) -> (Volume, Vec<f64>) {
    let grid = *image.grid();
    let field: Vec<f64> = (0..grid.len())
        .map(|v| {
            let voxel = grid.voxel(v);
            let at: [f64; 3] = std::array::from_fn(|i| voxel[i] as f64 / grid.shape[i] as f64 - 0.5);
            1.0 + percent / 100.0 * (0.6 * at[0] + at[1] * at[1] - 0.8 * at[2] + at[0] * at[2])
        })
        .collect();
    let voxels = image.voxels().iter().zip(&field).map(|(v, f)| v * *f as f32).collect();
    (Volume::new(grid, voxels), field)
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn what_is_laid_over_a_phantom_is_found() {
    let modalities = vec![T1, T2, Flair];
    let config = PhantomConfig { size: 64, modalities, missing_rate: 0.0, ..PhantomConfig::default() };
    let case = draw_subject(&config, 0).render();
    for (modality, image) in &case.images {
        let inside = |v: usize| case.brain_mask.voxels()[v] > 0;
        // A phantom has shading of its own: only the added one is known.
        let (worse, known) = shaded(image, 40.0);
        let own = find_bias_field(image, inside).unwrap().on_grid(image.grid());
        let found = find_bias_field(&worse, inside).unwrap().on_grid(image.grid());
        let brain: Vec<usize> = (0..known.len()).filter(|v| inside(*v)).collect();
        let laid: Vec<f64> = brain.iter().map(|v| known[*v].ln()).collect();
        let left: Vec<f64> = brain
            .iter()
            .map(|v| (f64::from(found.voxels()[*v]) / f64::from(own.voxels()[*v])).ln() - known[*v].ln())
            .collect();
        let (before, after) = (deviation(&laid), deviation(&left));
        println!("{modality}: {after:.4} of {before:.4} is left");
        assert!(after < 0.35 * before, "{modality}: {after} of {before} is left");
    }
}

#[test]
fn the_steps_do_what_they_are_told() {
    let config =
        PhantomConfig { size: 48, modalities: vec![T1], missing_rate: 0.0, ..PhantomConfig::default() };
    let rendered = draw_subject(&config, 0).render();
    let run = |bias_field: bool, intensity: Intensity| {
        let mut case = CaseVolumes::new(rendered.images.clone(), None, Some(rendered.brain_mask.clone()));
        let steps = ["brain_mask", "bias_field", "normalize"].map(str::to_owned).to_vec();
        let config = PrepConfig { steps, bias_field, intensity, ..PrepConfig::default() };
        let records = Pipeline::new(&config).unwrap().run(&mut case).unwrap();
        (case.images.remove(&T1).unwrap(), records)
    };
    let (plain, records) = run(false, Intensity::Percentile);
    assert!(records[1].did.is_null());
    let (even, records) = run(true, Intensity::Percentile);
    assert!(records[1].did["t1"]["highest_gain"].as_f64().unwrap() > 1.0);
    assert!(plain != even && even.voxels().iter().all(|v| (0.0..=1.0).contains(v)));
    let (scores, _) = run(false, Intensity::ZScore);
    let brain: Vec<f64> = scores
        .voxels()
        .iter()
        .zip(rendered.brain_mask.voxels())
        .filter(|(_, inside)| **inside > 0)
        .map(|(v, _)| (f64::from(*v) - 0.5) * 8.0)
        .collect();
    let mean = brain.iter().sum::<f64>() / brain.len() as f64;
    assert!(mean.abs() < 0.05 && (deviation(&brain) - 1.0).abs() < 0.05, "{mean}");
    assert!(scores.voxels().iter().zip(rendered.brain_mask.voxels()).all(|(v, m)| *m > 0 || *v == 0.0));
}

#[test]
fn white_matter_of_a_real_head_gets_more_even() {
    let files = ["MNI152_T1_2mm.nii.gz", "MNI152_T1_2mm_Brain_FAST_seg.nii.gz"];
    let [Some(image), Some(tissue)] = files.map(|name| test_data(&format!("templates/{name}"))) else {
        return;
    };
    let image = nifti::read(&image).unwrap();
    let tissue = nifti::read_labels(&tissue).unwrap();
    let inside = |v: usize| tissue.voxels()[v] > 0;
    let variation = |image: &Volume| {
        let white: Vec<f64> = (0..tissue.voxels().len())
            .filter(|v| tissue.voxels()[*v] == 3)
            .map(|v| f64::from(image.voxels()[v]))
            .collect();
        deviation(&white) * white.len() as f64 / white.iter().sum::<f64>()
    };
    let (mut worse, _) = shaded(&image, 40.0);
    let (plain, before) = (variation(&image), variation(&worse));
    let started = std::time::Instant::now();
    let field = find_bias_field(&worse, inside).unwrap();
    field.correct(&mut worse);
    let seconds = started.elapsed().as_secs_f64();
    let after = variation(&worse);
    println!(
        "variation of white matter: {plain:.4} as published, {before:.4} shaded, {after:.4} corrected in {seconds:.2} s"
    );
    assert!(after < plain + 0.25 * (before - plain), "{plain} {before} {after}");
}
