//! Times one volume from its file to [0, 1], step by step and as a whole: a raw clinical one (0.9 x 0.9 x
//! 5.5 mm, oblique) and a registered one (240 x 240 x 155 at 1 mm). The skull stays on in these; the last two
//! benchmarks find the brain and the bias field in the raw one. `cargo bench -p brainmvp-prep`.

#![allow(clippy::expect_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_golden::test_data;
use brainmvp_prep::bias::find_bias_field;
use brainmvp_prep::brain::{BrainPrior, find_brain};
use brainmvp_prep::{CaseVolumes, Pipeline, PrepConfig, SkullStrip, percentiles};
use brainmvp_volume::{Modality, nifti};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

const FILES: [(&str, &str); 3] = [
    ("raw", "tcga-fg-6692/raw/t1c.nii.gz"),
    ("registered", "brats-gli-00001/t1c.nii.gz"),
    ("diffusion", "isles22-0009/dwi.nii.gz"),
];

fn read(path: &Path) -> CaseVolumes {
    let image = nifti::read(path).expect("a readable file");
    CaseVolumes::new(BTreeMap::from([(Modality::T1c, image)]), None, None)
}

fn prepare(criterion: &mut Criterion) {
    for (name, file) in FILES {
        let Some(path) = test_data(file) else { continue };
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        let config = PrepConfig { skull_strip: SkullStrip::None, ..PrepConfig::default() };
        let pipeline = Pipeline::new(&config).expect("a valid configuration");
        group.bench_function("whole", |b| {
            b.iter(|| {
                let mut case = read(&path);
                pipeline.run(&mut case).expect("a case that can be prepared");
                case
            });
        });
        group.bench_function("read", |b| b.iter(|| read(&path)));
        let mut case = read(&path);
        for step in &config.steps {
            let alone = PrepConfig { steps: vec![step.clone()], ..config.clone() };
            let alone = Pipeline::new(&alone).expect("a valid configuration");
            group.bench_function(step.as_str(), |b| {
                b.iter_batched(
                    || case.clone(),
                    |mut case| {
                        alone.run(&mut case).expect("a case that can be prepared");
                        case
                    },
                    BatchSize::PerIteration,
                );
            });
            alone.run(&mut case).expect("a case that can be prepared");
            if step == "crop" {
                let voxels = case.images[&Modality::T1c].voxels();
                group.bench_function("percentiles", |b| b.iter(|| percentiles(voxels, config.percentiles)));
            }
        }
        group.finish();
    }
}

/// What takes seconds where the rest takes milliseconds.
fn heads(criterion: &mut Criterion) {
    let Some(path) = test_data(FILES[0].1) else { return };
    let image = nifti::read(&path).expect("a readable file");
    let prior = BrainPrior::built_in();
    let mut group = criterion.benchmark_group("heads");
    group.sample_size(10);
    group.bench_function("find_brain", |b| b.iter(|| find_brain(&[&image], &prior).expect("a brain")));
    let brain = find_brain(&[&image], &prior).expect("a brain").mask;
    let inside = |voxel: usize| brain.voxels()[voxel] > 0;
    group.bench_function("find_bias_field", |b| b.iter(|| find_bias_field(&image, inside).expect("a field")));
    group.finish();
}

criterion_group!(benches, prepare, heads);
criterion_main!(benches);
