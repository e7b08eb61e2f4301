//! Every step against MONAI's results on four real files and a synthetic oblique one.
//!
//! The reference is that of [`golden_data`], the real files are those of [`test_data`]. Copies of the oblique file and every second voxel of its
//! results are in `tests/golden`, so a part of this test runs everywhere.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_golden::{golden_data, test_data};
use brainmvp_prep::{CaseVolumes, CropKind, Pipeline, PrepConfig};
use brainmvp_volume::{Affine, Modality, Volume, nifti};
use safetensors::SafeTensors;
use serde_json::Value;

/// Affines, in mm.
const AFFINE_TOLERANCE: f64 = 1e-4;
/// Voxels and statistics, in parts of the range of values.
const VALUE_TOLERANCE: f64 = 1e-3;
/// The part of the voxels that must hold it.
const VOXELS_WITHIN: f64 = 0.999;

/// The settings that the reference was computed with; single steps are run with them.
fn config(step: &str) -> PrepConfig {
    PrepConfig { steps: vec![step.to_owned()], crop: CropKind::BoundingBox, ..PrepConfig::default() }
}

struct Reference<'a> {
    facts: &'a Value,
    name: &'a str,
    tensors: &'a SafeTensors<'a>,
}

impl Reference<'_> {
    fn check(&self, stage: &str, volume: &Volume) {
        let at = format!("{} after {stage}", self.name);
        let facts = &self.facts[stage];
        let shape: [usize; 3] = serde_json::from_value(facts["shape"].clone()).unwrap();
        assert_eq!(volume.shape(), shape, "{at}: shape");
        let affine: [[f64; 4]; 4] = serde_json::from_value(facts["affine"].clone()).unwrap();
        let affine = Affine::from_rows([affine[0], affine[1], affine[2]]);
        let found = volume.grid().affine;
        assert!(found.close_to(&affine, AFFINE_TOLERANCE), "{at}: affine {found:?}, expected {affine:?}");

        let statistic = |name: &str| facts[name].as_f64().unwrap();
        let range = statistic("max") - statistic("min");
        let values = || volume.voxels().iter().map(|v| f64::from(*v));
        let mean = values().sum::<f64>() / volume.grid().len() as f64;
        let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / volume.grid().len() as f64;
        let found = [
            ("mean", mean),
            ("std", variance.sqrt()),
            ("min", values().fold(f64::INFINITY, f64::min)),
            ("max", values().fold(f64::NEG_INFINITY, f64::max)),
        ];
        for (name, found) in found {
            let off = (found - statistic(name)).abs() / range;
            assert!(off <= VALUE_TOLERANCE, "{at}: {name} {found}, expected {}", statistic(name));
        }
        if let Ok(tensor) = self.tensors.tensor(&format!("{}.{stage}", self.name)) {
            let expected: Vec<f32> =
                tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            let (within, largest) = compare(volume, tensor.shape(), &expected, range);
            println!(
                "{at}: {:.4} % of voxels within {VALUE_TOLERANCE}, largest difference {largest:.2e}",
                within * 100.0
            );
            assert!(within >= VOXELS_WITHIN, "{at}: only {within} of the voxels agree");
        }
    }
}

/// The part of the voxels that agree, and the largest difference in parts of `range`. The reference is `[X, Y, Z]`
/// row-major with every `stride`th voxel of each axis.
fn compare(volume: &Volume, shape: &[usize], expected: &[f32], range: f64) -> (f64, f64) {
    let stride =
        (1..10).find(|k| (0..3).all(|axis| volume.shape()[axis].div_ceil(*k) == shape[axis])).unwrap();
    let (mut within, mut largest) = (0, 0.0_f64);
    for (i, expected) in expected.iter().enumerate() {
        let voxel = [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]].map(|v| v * stride);
        let off = f64::from((volume.at(voxel) - expected).abs()) / range;
        within += usize::from(off <= VALUE_TOLERANCE);
        largest = largest.max(off);
    }
    (within as f64 / expected.len() as f64, largest)
}

fn check_file(path: &Path, reference: &Reference<'_>) {
    let modality = Modality::T1;
    let images = BTreeMap::from([(modality, nifti::read(path).unwrap())]);
    let mut case = CaseVolumes::new(images, None, None);
    reference.check("load", &case.images[&modality]);
    for (step, stage) in
        [("reorient", "orient"), ("resample", "space"), ("normalize", "scale"), ("crop", "crop")]
    {
        Pipeline::new(&config(step)).unwrap().run(&mut case).unwrap();
        reference.check(stage, &case.images[&modality]);
    }
}

fn check_all(golden: &Path, wanted: impl Fn(&str) -> bool) {
    let facts = std::fs::read(golden.join("preprocess.json")).unwrap();
    let facts: BTreeMap<String, Value> = serde_json::from_slice(&facts).unwrap();
    let bytes = std::fs::read(golden.join("preprocess.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut checked = 0;
    for (name, facts) in facts.iter().filter(|(name, _)| wanted(name)) {
        let file = facts["file"].as_str().unwrap();
        let beside = Some(golden.join(file)).filter(|path| path.is_file());
        let Some(path) = beside.or_else(|| test_data(file)) else { continue };
        check_file(&path, &Reference { facts, name, tensors: &tensors });
        checked += 1;
    }
    assert!(checked > 0, "nothing was checked");
}

#[test]
fn the_copies_in_the_repository() {
    let copies = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    check_all(&copies, |name| name == "oblique");
}

#[test]
fn all_reference_files() {
    let Some(golden) = golden_data("") else { return };
    check_all(&golden, |_| true);
}
