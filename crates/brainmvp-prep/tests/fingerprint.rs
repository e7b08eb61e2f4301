//! Images are known again by their fingerprints, and different patients are not taken for each other.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use brainmvp_cohort::Case;
use brainmvp_golden::test_data;
use brainmvp_phantom::{PhantomConfig, write_cohort};
use brainmvp_prep::fingerprint::{Fingerprint, Library};
use brainmvp_prep::{Intensity, Pipeline, PrepConfig, prepare_case};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Modality, Volume, file, nifti};
use half::f16;

const MODALITIES: [Modality; 3] = [Modality::Flair, Modality::T1, Modality::T2];

/// Six phantoms. Nothing is dropped at the end of a process: a folder for temporary files would stay behind.
fn phantoms() -> &'static [Case] {
    static PHANTOMS: OnceLock<Vec<Case>> = OnceLock::new();
    PHANTOMS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fingerprint");
        drop(std::fs::remove_dir_all(&folder));
        let config = PhantomConfig {
            cases: 6,
            size: 48,
            seed: 4,
            missing_rate: 0.0,
            modalities: MODALITIES.to_vec(),
            ..PhantomConfig::default()
        };
        write_cohort(&config, &folder, &|_| {}).unwrap().cases
    })
}

/// The prepared images of a case.
fn prepared(case: &Case, config: &PrepConfig) -> Vec<(Modality, Volume)> {
    prepare_case(case, None, &Pipeline::new(config).unwrap(), String::new()).unwrap().images
}

fn fingerprints(images: &[(Modality, Volume)]) -> BTreeMap<Modality, Fingerprint> {
    images.iter().map(|(modality, image)| (*modality, Fingerprint::of(image).unwrap())).collect()
}

fn reference() -> &'static Vec<BTreeMap<Modality, Fingerprint>> {
    static REFERENCE: OnceLock<Vec<BTreeMap<Modality, Fingerprint>>> = OnceLock::new();
    let config = PrepConfig { spacing_mm: [4.0; 3], ..PrepConfig::default() };
    let of = |case: &Case| {
        let contents = prepare_case(case, None, &Pipeline::new(&config).unwrap(), String::new()).unwrap();
        assert_eq!(contents.metadata.fingerprints, fingerprints(&contents.images), "kept with the case");
        contents.metadata.fingerprints
    };
    REFERENCE.get_or_init(|| phantoms().iter().map(of).collect())
}

/// Every image is found among all of its modality, and none but it.
#[track_caller]
fn assert_found(images: impl Fn(usize) -> BTreeMap<Modality, Fingerprint>) {
    let reference = reference();
    for modality in MODALITIES {
        let mut library = Library::default();
        for images in reference {
            library.add(&images[&modality]);
        }
        for case in 0..reference.len() {
            let image = &images(case)[&modality];
            let found = library.find(image);
            let entries: Vec<usize> = found.iter().map(|found| found.entry).collect();
            let similarity = image.similarity(&reference[case][&modality]);
            assert_eq!(entries, [case], "{modality} {similarity}: {found:?}");
        }
    }
}

/// As [`assert_found`], of images changed in their files and prepared anew.
#[track_caller]
fn assert_found_from_files(config: &PrepConfig, change: impl Fn(Volume) -> Volume) {
    let folder = tempfile::tempdir().unwrap();
    assert_found(|number| {
        let mut case = phantoms()[number].clone();
        (case.label, case.brain_mask) = (None, None);
        for (modality, path) in &mut case.images {
            let image = change(nifti::read(path).unwrap());
            *path = folder.path().join(format!("{number}-{modality}.nii.gz"));
            nifti::write(path, &image, nifti::WriteOptions::default()).unwrap();
        }
        fingerprints(&prepared(&case, config))
    });
}

/// The image turned about each axis by some degrees, shifted, and on an upright grid of another spacing.
fn moved(image: &Volume, degrees: [f64; 3], shift_mm: [f64; 3], spacing_mm: [f64; 3]) -> Volume {
    let [x, y, z] = degrees.map(f64::to_radians);
    let turn = nalgebra::Rotation3::from_euler_angles(x, y, z).into_inner();
    let rows = std::array::from_fn(|r| [turn[(r, 0)], turn[(r, 1)], turn[(r, 2)], shift_mm[r]]);
    let grid = Grid::new(image.shape(), Affine::from_rows(rows).after(&image.grid().affine));
    let image = Volume::new(grid, image.voxels().to_vec());
    let corner = |corner: usize| {
        let last = image.shape().map(|n| (n - 1) as f64);
        grid.affine
            .to_world(std::array::from_fn(|axis| if corner >> axis & 1 == 1 { last[axis] } else { 0.0 }))
    };
    let low: [f64; 3] = std::array::from_fn(|i| (0..8).map(|c| corner(c)[i]).fold(f64::INFINITY, f64::min));
    let high: [f64; 3] =
        std::array::from_fn(|i| (0..8).map(|c| corner(c)[i]).fold(f64::NEG_INFINITY, f64::max));
    let shape = std::array::from_fn(|i| ((high[i] - low[i]) / spacing_mm[i]).ceil() as usize + 1);
    let upright = Grid::new(shape, Affine::from_spacing(spacing_mm, low));
    onto_grid(&image, &upright, Interpolation::Trilinear, 0.0)
}

/// The image with its axes stored in the order y, z, x and some of them reversed; as its affine says, or not.
fn stored_otherwise(image: &Volume, told: bool) -> Volume {
    let [nx, _, nz] = image.shape();
    let rows = [[0.0, 0.0, -1.0, nx as f64 - 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, nz as f64 - 1.0]];
    let [sx, sy, sz] = image.grid().affine.spacing_mm();
    let affine = if told {
        image.grid().affine.after(&Affine::from_rows(rows))
    } else {
        Affine::from_spacing([sy, sz, sx], [0.0; 3])
    };
    let grid = Grid::new([image.shape()[1], nz, nx], affine);
    let voxel = |at| {
        let [y, z, x] = grid.voxel(at);
        image.at([nx - 1 - x, y, nz - 1 - z])
    };
    Volume::new(grid, (0..grid.len()).map(voxel).collect())
}

#[test]
fn however_it_is_stored() {
    let config = PrepConfig { spacing_mm: [4.0; 3], ..PrepConfig::default() };
    assert_found_from_files(&config, |image| stored_otherwise(&image, true));
    // Where the file lies about its axes, as an array saved without its affine does, the image is even mirrored.
    assert_found_from_files(&config, |image| stored_otherwise(&image, false));
}

#[test]
fn whatever_its_place_and_grid() {
    let config = PrepConfig { spacing_mm: [3.0; 3], ..PrepConfig::default() };
    assert_found_from_files(&config, |image| moved(&image, [0.0; 3], [12.0, -8.0, 4.0], [4.0; 3]));
    assert_found_from_files(&config, |image| {
        moved(&image, [5.0, -6.0, 4.0], [3.0, 9.0, -7.0], [4.0, 4.5, 3.5])
    });
}

#[test]
fn whatever_its_scale_of_grey() {
    let config = PrepConfig { spacing_mm: [5.0; 3], percentiles: [5.0, 95.0], ..PrepConfig::default() };
    assert_found_from_files(&config, |image| image.map(|value| 0.03 * value));
    let scores = PrepConfig { intensity: Intensity::ZScore, ..config };
    assert_found_from_files(&scores, |image| image);
    assert_found(|case| {
        let halved = |image: Volume| image.map(|value| f16::from_f32(0.5 * value.powf(0.8)).to_f32());
        let images =
            prepared(&phantoms()[case], &PrepConfig { spacing_mm: [4.0; 3], ..PrepConfig::default() });
        fingerprints(
            &images.into_iter().map(|(modality, image)| (modality, halved(image))).collect::<Vec<_>>(),
        )
    });
}

#[test]
fn text_is_small_and_keeps_all() {
    for fingerprint in reference().iter().flat_map(BTreeMap::values) {
        let text = serde_json::to_string(fingerprint).unwrap();
        assert!(text.len() < 4096, "{} bytes", text.len());
        assert_eq!(&serde_json::from_str::<Fingerprint>(&text).unwrap(), fingerprint);
        for damaged in [&text[2..], &text[..text.len() - 2], "", "~", "???", "jjjjjjjj"] {
            let damaged = damaged.trim_matches('"');
            assert!(Fingerprint::try_from(damaged.to_owned()).is_err());
        }
    }
}

#[test]
fn too_little_has_no_fingerprint() {
    let grid = Grid::new([20; 3], Affine::from_spacing([8.0; 3], [0.0; 3]));
    assert_eq!(Fingerprint::of(&Volume::filled(grid, 0.0)), None);
    let mut point = Volume::filled(grid, 0.0);
    point.voxels_mut()[4210] = 1.0;
    assert_eq!(Fingerprint::of(&point), None);
    // Grey without any structure is like nothing else, itself included.
    if let Some(flat) = Fingerprint::of(&Volume::filled(grid, 1.0)) {
        assert!(flat.similarity(&flat) < Fingerprint::SAME_IMAGE);
    }
}

/// Nearly every image of real patients, its skull on, is found after it was moved, and hardly any other patient with it. Those
/// of a group of numbers seem to be one person.
fn assert_patients_differ(images: Vec<PathBuf>, groups: &[&[usize]]) {
    let mut library = Library::default();
    let read: Vec<Volume> = images.iter().map(|path| file::read(path).unwrap()).collect();
    for image in &read {
        library.add(&Fingerprint::of(image).unwrap());
    }
    let (mut missed, mut mistaken) = (Vec::new(), Vec::new());
    for (number, image) in read.iter().enumerate() {
        let other = moved(image, [3.0, -4.0, 5.0], [6.0, -3.0, 8.0], [2.5; 3]);
        let found = library.find(&Fingerprint::of(&other).unwrap());
        let person = groups.iter().find(|group| group.contains(&number)).copied().unwrap_or_default();
        let is_other = |entry: usize| entry != number && !person.contains(&entry);
        missed.extend((!found.iter().any(|found| found.entry == number)).then_some(number));
        mistaken.extend(
            found.iter().filter(|found| is_other(found.entry)).map(|found| (number, found.similarity)),
        );
    }
    assert!(missed.len() * 10 <= read.len(), "missed: {missed:?} of {}", read.len());
    assert!(mistaken.len() * 5 <= read.len(), "mistaken for others: {mistaken:?}");
    assert!(mistaken.iter().all(|(_, similarity)| *similarity < 0.95), "mistaken for others: {mistaken:?}");
}

#[test]
fn real_patients_differ() {
    if let Some(folder) = test_data("nichart") {
        for (kind, ending) in [("t1", "T1"), ("flair", "FL")] {
            assert_patients_differ(
                (1..=23).map(|n| folder.join(kind).join(format!("Subj{n}_{ending}.nii.gz"))).collect(),
                // Of one sex, of rising ages, and alike in both modalities.
                &[&[7, 8, 9], &[14, 15]],
            );
        }
    }
    if let Some(folder) = test_data("tcga-lgg") {
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let flair = names.iter().map(|name| folder.join(name).join(format!("{name}_flair.nii.gz")));
        assert_patients_differ(flair.filter(|path| path.is_file()).step_by(3).collect(), &[]);
    }
}
