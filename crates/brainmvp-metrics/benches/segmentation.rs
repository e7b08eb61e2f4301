//! Times the scoring of a brain tumour with three nested regions at 240 x 240 x 155: HD95 alone, and all metrics;
//! with the usual small errors, with far false positives, and with a prediction elsewhere. `cargo bench -p
//! brainmvp-metrics`.

#![allow(clippy::expect_used, missing_docs)]

use brainmvp_metrics::{Metric, Region, SegmentationConfig};
use brainmvp_volume::{Affine, Grid, LabelMap};
use criterion::{Criterion, criterion_group, criterion_main};

const SHAPE: [usize; 3] = [240, 240, 155];

/// A lobed tumour around `centre` with oedema (2), enhancing tumour (4) and a necrotic core (1). `phase` moves the lobes.
fn tumour(centre: [f64; 3], phase: f64) -> LabelMap {
    let grid = Grid::new(SHAPE, Affine::from_spacing([1.0; 3], [0.0; 3]));
    let mut labels = LabelMap::filled(grid, 0);
    for offset in 0..grid.len() {
        let voxel = grid.voxel(offset);
        let [x, y, z]: [f64; 3] = std::array::from_fn(|axis| voxel[axis] as f64 - centre[axis]);
        let distance = (x * x + y * y + z * z).sqrt();
        if distance > 60.0 {
            continue;
        }
        let (azimuth, height) = (y.atan2(x), z / distance.max(1.0));
        let lobes =
            1.0 + 0.25 * (3.0 * azimuth + phase).sin() + 0.15 * (7.0 * height + 5.0 * azimuth - phase).sin();
        labels.voxels_mut()[offset] = match distance / lobes {
            d if d < 14.0 => 1,
            d if d < 21.0 => 4,
            d if d < 36.0 => 2,
            _ => 0,
        };
    }
    labels
}

fn score(criterion: &mut Criterion) {
    let names = [("ET", vec![4]), ("TC", vec![1, 4]), ("WT", vec![1, 2, 4])];
    let regions = names.map(|(name, labels)| Region::new(name, labels).expect("a region"));
    let truth = tumour([100.0, 130.0, 80.0], 0.0);
    let near = tumour([101.0, 129.5, 80.5], 0.3);
    let mut stray = near.clone();
    for (i, voxel) in stray.voxels_mut().iter_mut().enumerate().filter(|(i, _)| i % 9973 == 0) {
        *voxel = [1, 2, 4][i % 3];
    }
    let elsewhere = tumour([160.0, 100.0, 90.0], 0.3);
    let all = SegmentationConfig::default();
    let hd95 = SegmentationConfig { metrics: Metric::named("hd95_mm").into_iter().collect(), ..all.clone() };
    for (name, prediction) in [("near", near), ("stray", stray), ("elsewhere", elsewhere)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for (metrics, config) in [("HD95", &hd95), ("all metrics", &all)] {
            group.bench_function(metrics, |b| {
                b.iter(|| config.evaluate(&prediction, &truth, &regions).expect("scores"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, score);
criterion_main!(benches);
