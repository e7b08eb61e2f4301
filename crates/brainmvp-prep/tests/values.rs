//! The grey values of a file, whatever their offset, scale, sign and type, become the same prepared case: 0 outside the
//! brain, and the same crop.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet};
use brainmvp_phantom::{Head, PhantomConfig, draw_subject};
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{Intensity, PrepConfig, RunOptions, SkullStrip, StoredType, preprocess};
use brainmvp_volume::Modality::{Flair, T1};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume};
use proptest::prelude::*;

/// A phantom's T1 and FLAIR with whole numbers of at least 1 in the brain, and its mask.
fn phantom(head: Head) -> ([Volume; 2], LabelMap) {
    let modalities = vec![T1, Flair];
    let config = PhantomConfig { size: 40, head, modalities, missing_rate: 0.0, ..PhantomConfig::default() };
    let drawn = draw_subject(&config, 3).render();
    let whole = |v: f32| if v == 0.0 { 0.0 } else { v.round().max(1.0) };
    ([drawn.images[&T1].map(whole), drawn.images[&Flair].map(whole)], drawn.brain_mask)
}

fn stripped() -> &'static [Volume; 2] {
    static IMAGES: OnceLock<[Volume; 2]> = OnceLock::new();
    IMAGES.get_or_init(|| phantom(Head::Stripped).0)
}

/// A prepared case: shape, crop, the voxels of T1 and FLAIR.
#[derive(Debug, Clone, PartialEq)]
struct Prepared {
    shape: [usize; 3],
    crop_offset: [usize; 3],
    images: [Vec<f32>; 2],
}

fn prepared(
    images: &[Volume; 2],
    mask: Option<&LabelMap>,
    datatype: Datatype,
    config: &PrepConfig,
) -> Prepared {
    let dir = tempfile::tempdir().unwrap();
    let mut case = Case::new(CaseId::new("case").unwrap(), "subject", "set");
    for (modality, image) in [T1, Flair].into_iter().zip(images) {
        let path = dir.path().join(format!("{modality}.nii"));
        nifti::write(&path, image, WriteOptions { datatype, ..WriteOptions::default() }).unwrap();
        case.images.insert(modality, path);
    }
    if let Some(mask) = mask {
        case.brain_mask = Some(dir.path().join("mask.nii"));
        nifti::write_labels(&dir.path().join("mask.nii"), mask, "test").unwrap();
    }
    let cohort = Cohort {
        name: "test".to_owned(),
        data_sets: [("set".to_owned(), DataSet::default())].into(),
        cases: vec![case],
    };
    open(&cohort, &dir.path().join("cache"), config)
}

fn open(cohort: &Cohort, out: &Path, config: &PrepConfig) -> Prepared {
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    let summary = preprocess(cohort, out, config, &options, &|_| {}).unwrap();
    assert_eq!(summary.quarantined, []);
    let cache = Cache::open(out).unwrap();
    let case = cache.open_case(&cache.cases()[0]).unwrap();
    let read = |modality| {
        let mut voxels = vec![0.0; case.shape().iter().product()];
        case.read_patch(modality, [0; 3], case.shape(), &mut voxels).unwrap();
        voxels
    };
    Prepared {
        shape: case.shape(),
        crop_offset: case.metadata().crop_offset,
        images: [read(T1), read(Flair)],
    }
}

fn config(intensity: Intensity) -> PrepConfig {
    PrepConfig { spacing_mm: [5.0; 3], dtype: StoredType::F32, intensity, ..PrepConfig::default() }
}

fn each(images: &[Volume; 2], f: impl Fn(&Volume) -> Volume) -> [Volume; 2] {
    [f(&images[0]), f(&images[1])]
}

/// Scores of the brain, and `fill` around it.
fn scores(image: &Volume, sign: f32, fill: f32) -> Volume {
    let tissue: Vec<f32> = image.voxels().iter().copied().filter(|v| *v > 0.0).collect();
    let mean = tissue.iter().sum::<f32>() / tissue.len() as f32;
    let deviation = (tissue.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / tissue.len() as f32).sqrt();
    image.map(|v| if v > 0.0 { sign * (v - mean) / deviation } else { fill })
}

/// The correlation of two images over the voxels where both are above 0.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let pairs: Vec<_> = a.iter().zip(b).filter(|(a, b)| **a > 0.0 && **b > 0.0).collect();
    let count = pairs.len() as f64;
    let [x, y] = [0, 1].map(|i| {
        let of = |pair: &(&f32, &f32)| f64::from(if i == 0 { *pair.0 } else { *pair.1 });
        pairs.iter().map(of).sum::<f64>() / count
    });
    let [mut xx, mut yy, mut xy] = [0.0; 3];
    for (a, b) in pairs {
        let (a, b) = (f64::from(*a) - x, f64::from(*b) - y);
        (xx, yy, xy) = (xx + a * a, yy + b * b, xy + a * b);
    }
    xy / (xx * yy).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn neither_offset_nor_scale_nor_type_matters(
        offset in prop_oneof![Just(-1024.0_f32), -2000.0_f32..2000.0],
        scale in prop_oneof![Just(1.0_f32), 0.01_f32..20.0],
        datatype in prop::sample::select(vec![Datatype::F32, Datatype::F64, Datatype::I16, Datatype::I32]),
        intensity in prop::sample::select(vec![Intensity::Percentile, Intensity::ZScore]),
    ) {
        // Integers are written with the slope and intercept that they need.
        let changed = each(stripped(), |image| image.map(|v| scale * v + offset));
        let config = config(intensity);
        let expected = prepared(stripped(), None, Datatype::F32, &config);
        let found = prepared(&changed, None, datatype, &config);
        prop_assert_eq!((found.shape, found.crop_offset), (expected.shape, expected.crop_offset));
        for (found, expected) in found.images.iter().zip(&expected.images) {
            let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            prop_assert!(furthest < 4e-3, "{furthest}");
            prop_assert!(found.iter().zip(expected).all(|(a, b)| (*a == 0.0) == (*b == 0.0)));
        }
    }
}

#[test]
fn nan_around_the_brain_is_as_0() {
    let config = config(Intensity::Percentile);
    let expected = prepared(stripped(), None, Datatype::F32, &config);
    for change in [|v: f32| v, |v: f32| 0.01 * v - 5.0] {
        let around = |image: &Volume| image.map(|v| if v == 0.0 { f32::NAN } else { change(v) });
        let found = prepared(&each(stripped(), around), None, Datatype::F32, &config);
        assert_eq!((found.shape, found.crop_offset), (expected.shape, expected.crop_offset));
        for (found, expected) in found.images.iter().zip(&expected.images) {
            assert!(found.iter().zip(expected).all(|(a, b)| (*a == 0.0) == (*b == 0.0)));
            // Where NaN took the place of 0, how far the darkest tissue was above it is not known any more.
            let alike = correlation(found, expected);
            assert!(alike > 0.99 && (change(1.0) < 0.0 || found == expected), "correlation {alike}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn noise_around_a_brain_of_any_offset_and_type_is_0(
        offset in prop_oneof![Just(0.0_f32), Just(1000.0), -2000.0_f32..2000.0],
        sign in prop_oneof![Just(1.0_f32), Just(-1.0)],
        scale in 0.1_f32..20.0,
        share in 0.002_f32..0.02,
        datatype in prop::sample::select(vec![Datatype::F32, Datatype::I16]),
    ) {
        // On the phantom's own grid, as below. Its brain stem ends at the bottom: air is added there.
        let config = PrepConfig { spacing_mm: [4.8; 3], ..config(Intensity::Percentile) };
        let stripped = each(stripped(), with_air_below);
        let expected = prepared(&stripped, None, Datatype::F32, &config);
        let noisy = |image: &Volume| {
            let bright = image.voxels().iter().copied().fold(0.0, f32::max);
            let noise = |v: usize| share * bright * normal(v);
            let value = |(v, value): (usize, &f32)| {
                let lifted = if *value > 0.0 { value + 0.3 * bright } else { 0.0 };
                scale * (sign * (lifted + noise(v)) + offset)
            };
            Volume::new(*image.grid(), image.voxels().iter().enumerate().map(value).collect())
        };
        let found = prepared(&each(&stripped, noisy), None, datatype, &config);
        prop_assert_eq!((found.shape, found.crop_offset), (expected.shape, expected.crop_offset));
        for (found, expected) in found.images.iter().zip(&expected.images) {
            let border = found.iter().zip(expected).filter(|(a, b)| (**a > 0.0) != (**b > 0.0)).count();
            // Voxels of the darkest grey value.
            prop_assert!(border <= found.len() / 100, "{border} of {}", found.len());
            let alike = correlation(found, expected) * f64::from(sign);
            prop_assert!(alike > 0.9, "correlation {alike}");
        }
    }
}

/// Two more slices at the bottom.
fn with_air_below(image: &Volume) -> Volume {
    let Grid { shape: [nx, ny, nz], affine } = *image.grid();
    let mut rows = affine.rows();
    rows.iter_mut().zip(affine.to_world([0.0, 0.0, -2.0])).for_each(|(row, mm)| row[3] = mm);
    let mut voxels = vec![0.0; 2 * nx * ny];
    voxels.extend(image.voxels());
    Volume::new(Grid::new([nx, ny, nz + 2], Affine::from_rows(rows)), voxels)
}

/// Values of mean 0 and deviation 1, about normal: the sum of twelve uniform ones.
fn normal(seed: usize) -> f32 {
    let uniform = |i: usize| {
        let mixed = ((seed * 12 + i) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed >> 40) as f32 / (1 << 24) as f32
    };
    (0..12).map(uniform).sum::<f32>() - 6.0
}

#[test]
fn scores_of_the_brain_keep_their_contrast_and_their_border() {
    // On the phantom's own grid: interpolation would darken the border of either.
    let config = PrepConfig { spacing_mm: [4.8; 3], ..config(Intensity::Percentile) };
    let expected = prepared(stripped(), None, Datatype::F32, &config);
    for (sign, fill, datatype) in [
        (1.0, 0.0, Datatype::F32),
        (1.0, 0.0, Datatype::I16),
        (-1.0, 0.0, Datatype::F32),
        (1.0, -0.37, Datatype::F64),
        (1.0, -10.0, Datatype::F32),
    ] {
        let changed = each(stripped(), |image| scores(image, sign, fill));
        let found = prepared(&changed, None, datatype, &config);
        let told = format!("scores times {sign} in {fill} as {datatype:?}");
        assert_eq!((found.shape, found.crop_offset), (expected.shape, expected.crop_offset), "{told}");
        for (found, expected) in found.images.iter().zip(&expected.images) {
            let border = found.iter().zip(expected).filter(|(a, b)| (**a > 0.0) != (**b > 0.0)).count();
            assert_eq!(border, 0, "{told}");
            let alike = correlation(found, expected) * f64::from(sign);
            // Either end is clipped at its 99th percentile.
            assert!(alike > 0.9, "{told}: correlation {alike}");
        }
    }
}

#[test]
fn a_head_around_any_level_is_masked_to_0() {
    let (images, mask) = phantom(Head::Whole);
    let config = PrepConfig { skull_strip: SkullStrip::Mask, ..config(Intensity::Percentile) };
    let expected = prepared(&images, Some(&mask), Datatype::F32, &config);
    let around = |level: f32| each(&images, |image| image.map(|v| v + level));
    for image in
        [around(-1024.0), around(1000.0), around(4000.0), each(&images, |image| scores(image, 1.0, -1.5))]
    {
        let found = prepared(&image, Some(&mask), Datatype::F32, &config);
        assert_eq!((found.shape, found.crop_offset), (expected.shape, expected.crop_offset));
        for (found, expected) in found.images.iter().zip(&expected.images) {
            assert!(found.iter().zip(expected).all(|(a, b)| *b > 0.0 || *a < 0.02));
            assert!(correlation(found, expected) > 0.99);
        }
    }
}
