//! Reorientation and resampling against MONAI 1.6.1.
//!
//! The numbers are those of [`golden_data`], the files those of [`test_data`] and beside the numbers.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test may panic, and a skipped one says so"
)]

use brainmvp_golden::{golden_data, test_data};
use brainmvp_volume::resample::{Interpolation, to_spacing};
use brainmvp_volume::{Affine, Volume, nifti, orientation};
use safetensors::SafeTensors;
use serde_json::Value;

/// Share of voxels within 1e-3 of the value range, and the tolerance of affines.
const SHARE: f64 = 0.999;
const AFFINE_TOLERANCE: f64 = 1e-4;

fn check_place(name: &str, volume: &Volume, expected: &Value) {
    let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
    assert_eq!(volume.shape()[..], shape[..], "{name}: shape");
    let rows: Vec<[f64; 4]> = serde_json::from_value(expected["affine"].clone()).unwrap();
    let affine = Affine::from_rows([rows[0], rows[1], rows[2]]);
    assert!(
        volume.grid().affine.close_to(&affine, AFFINE_TOLERANCE),
        "{name}: affine {:?}, expected {rows:?}",
        volume.grid().affine.rows()
    );
    let mean = volume.voxels().iter().map(|v| f64::from(*v)).sum::<f64>() / volume.grid().len() as f64;
    let expected_mean = expected["mean"].as_f64().unwrap();
    assert!(
        (mean - expected_mean).abs() < 1e-4 * expected_mean.abs(),
        "{name}: mean {mean}, expected {expected_mean}"
    );
}

/// Compares every sixth voxel (every voxel of the synthetic volume); the tensor has the axes x, y, z, z fastest.
fn check_voxels(name: &str, volume: &Volume, tensors: &SafeTensors<'_>) {
    let tensor = tensors.tensor(name).unwrap();
    let expected: Vec<f32> = tensor.data().as_chunks().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
    let step = if volume.shape() == tensor.shape() { 1 } else { 6 };
    let along = |axis: usize| (0..volume.shape()[axis]).step_by(step);
    let found: Vec<f32> = along(0)
        .flat_map(|x| along(1).flat_map(move |y| along(2).map(move |z| [x, y, z])))
        .map(|v| volume.at(v))
        .collect();
    assert_eq!(found.len(), expected.len(), "{name}: number of voxels");
    let range = expected.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    let tolerance = 1e-3 * (range.1 - range.0);
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let close = found.iter().zip(&expected).filter(|(a, b)| (**a - **b).abs() <= tolerance).count();
    let share = close as f64 / found.len() as f64;
    eprintln!("{name}: share {share}, worst difference {worst} of a range of {}", range.1 - range.0);
    assert!(share >= SHARE, "{name}: only {share} of the voxels agree");
}

#[test]
fn orient_and_space_equal_monai() {
    let Some(golden) = golden_data("") else { return };
    let json = std::fs::read(golden.join("preprocess.json")).unwrap();
    let cases: serde_json::Map<String, Value> = serde_json::from_slice(&json).unwrap();
    let bytes = std::fs::read(golden.join("preprocess.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    for (name, case) in &cases {
        let file = case["file"].as_str().unwrap();
        let beside = Some(golden.join(file)).filter(|path| path.is_file());
        let Some(path) = beside.or_else(|| test_data(file)) else { continue };
        let loaded = nifti::read(&path).unwrap();
        check_place(&format!("{name}.load"), &loaded, &case["load"]);
        let oriented = orientation::to_ras(loaded);
        assert_eq!(orientation::code(&oriented.grid().affine), "RAS");
        check_place(&format!("{name}.orient"), &oriented, &case["orient"]);
        let spaced = to_spacing(&oriented, [1.0; 3], Interpolation::Trilinear);
        let name = format!("{name}.space");
        check_place(&name, &spaced, &case["space"]);
        check_voxels(&name, &spaced, &tensors);
    }
}
