//! The cache: reading returns what was written, and damage is an error.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_cohort::CaseId;
use brainmvp_prep::cache::{
    CASE_VERSION, Cache, CaseContents, CaseEntry, CaseFacts, CaseMetadata, GridRecord, Manifest,
    PreparedCase, QuarantinedCase, write_case,
};
use brainmvp_prep::{Error, PrepConfig, Space, StoredType};
use brainmvp_registration::StandardSpace;
use brainmvp_volume::{Affine, Grid, Modality, Volume};
use half::f16;
use proptest::prelude::*;

const SHAPE: [usize; 3] = [7, 5, 4];

/// A case with two images, of which about half the voxels are foreground.
fn contents(shape: [usize; 3], largest_label: u16) -> CaseContents {
    let grid = Grid::new(shape, Affine::from_spacing([1.0, 2.0, 3.0], [-4.0, 5.5, 6.0]));
    let image = |factor: usize| {
        let value = move |i: usize| if i * factor % 5 < 2 { 0.0 } else { (i * factor % 97) as f32 / 97.0 };
        Volume::new(grid, (0..grid.len()).map(value).collect())
    };
    let record = GridRecord::from(&grid);
    let case = CaseFacts {
        id: CaseId::new("case 1").unwrap(),
        subject: "s1".to_owned(),
        data_set: "phantom".to_owned(),
        site: None,
        class: Some("HGG".to_owned()),
        numbers: BTreeMap::new(),
        split: None,
    };
    let metadata = CaseMetadata {
        version: CASE_VERSION,
        id: case.id.clone(),
        grid: record,
        uncropped: record,
        original: record,
        space: Space::Standard(StandardSpace::Sri24),
        crop_offset: [0; 3],
        provenance: Vec::new(),
        label_values: (1..=largest_label).collect(),
        fingerprints: BTreeMap::new(),
        content_hash: "abc".to_owned(),
    };
    let label = Volume::new(grid, (0..grid.len()).map(|i| (i as u16).min(largest_label)).collect());
    let brain_mask = Some(Volume::new(grid, (0..grid.len()).map(|i| u8::from(i % 3 > 0)).collect()));
    let images = vec![(Modality::T2, image(13)), (Modality::Flair, image(31))];
    CaseContents { case, metadata, images, label: Some(label), brain_mask }
}

fn written(dir: &Path, contents: &CaseContents, dtype: StoredType) -> (CaseEntry, PreparedCase) {
    let entry = write_case(dir, contents, dtype).unwrap();
    let mut manifest = Manifest::new(PrepConfig::default());
    manifest.cases.push(entry.clone());
    manifest.save(dir).unwrap();
    let cache = Cache::open(dir).unwrap();
    assert_eq!(cache.cases(), std::slice::from_ref(&entry));
    let case = cache.open_case(&entry).unwrap();
    (entry, case)
}

fn whole(case: &PreparedCase, modality: Modality) -> Vec<f32> {
    let mut out = vec![0.0; case.shape().iter().product()];
    case.read_patch(modality, [0; 3], case.shape(), &mut out).unwrap();
    out
}

#[test]
fn round_trip() {
    for dtype in [StoredType::F16, StoredType::F32] {
        let dir = tempfile::tempdir().unwrap();
        let contents = contents(SHAPE, 300);
        let (entry, case) = written(dir.path(), &contents, dtype);
        assert_eq!(case.metadata(), &contents.metadata);
        assert_eq!(case.modalities().collect::<Vec<_>>(), [Modality::Flair, Modality::T2]);
        assert_eq!(entry.modalities, [Modality::Flair, Modality::T2]);
        for (modality, image) in &contents.images {
            for (read, original) in whole(&case, *modality).iter().zip(image.voxels()) {
                let expected =
                    if dtype == StoredType::F16 { f16::from_f32(*original).to_f32() } else { *original };
                assert_eq!(*read, expected);
            }
        }
        let bytes = std::fs::read(dir.path().join("case 1.safetensors")).unwrap();
        assert_eq!(entry.file_hash, blake3::hash(&bytes).to_hex().as_str());
        let again = tempfile::tempdir().unwrap();
        assert_eq!(write_case(again.path(), &contents, dtype).unwrap().file_hash, entry.file_hash);
    }
}

#[test]
fn labels_keep_their_values_in_either_width() {
    for largest in [4, 300] {
        let dir = tempfile::tempdir().unwrap();
        let contents = contents([9, 8, 7], largest);
        let (_, case) = written(dir.path(), &contents, StoredType::F16);
        let mut labels = vec![0; 9 * 8 * 7];
        case.read_label_patch([0; 3], [9, 8, 7], &mut labels).unwrap();
        assert_eq!(labels, contents.label.unwrap().voxels());
        let mut mask = vec![0; 9 * 8 * 7];
        case.read_brain_mask_patch([0; 3], [9, 8, 7], &mut mask).unwrap();
        assert_eq!(mask, contents.brain_mask.unwrap().voxels());
    }
}

#[test]
fn foreground_voxels_are_found_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (entry, case) = written(dir.path(), &contents(SHAPE, 1), StoredType::F16);
    let (flair, t2) = (whole(&case, Modality::Flair), whole(&case, Modality::T2));
    let grid = Grid::from(case.grid());
    let expected: Vec<_> =
        (0..grid.len()).filter(|&i| flair[i] > 0.0 || t2[i] > 0.0).map(|i| grid.voxel(i)).collect();
    assert_eq!(case.foreground_voxels().unwrap(), expected.len() as u64);
    assert_eq!(entry.foreground_voxels, expected.len() as u64);
    let found: Vec<_> = (0..expected.len()).map(|nth| case.foreground_voxel(nth as u64).unwrap()).collect();
    assert_eq!(found, expected);
    assert!(matches!(case.foreground_voxel(expected.len() as u64), Err(Error::Request { .. })));
}

#[test]
fn impossible_requests_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (_, case) = written(dir.path(), &contents(SHAPE, 1), StoredType::F16);
    let ask = |modality, offset, size: [usize; 3], places| {
        case.read_patch(modality, offset, size, &mut vec![0.0; places]).unwrap_err().to_string()
    };
    assert!(ask(Modality::Adc, [0; 3], [1; 3], 1).contains("has no adc"));
    assert!(ask(Modality::T2, [7, 0, 0], [1; 3], 1).contains("[7, 5, 4] voxels"));
    assert!(ask(Modality::T2, [usize::MAX, 0, 0], [1; 3], 1).contains("[7, 5, 4] voxels"));
    assert!(ask(Modality::T2, [0; 3], [1; 3], 2).contains("2 places"));
    assert!(ask(Modality::T2, [0; 3], [0; 3], 0).contains("0 places"));
}

#[test]
fn damaged_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (entry, case) = written(dir.path(), &contents(SHAPE, 1), StoredType::F16);
    drop(case);
    let path = dir.path().join(entry.file_name());
    let good = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert!(PreparedCase::open(&path).is_err(), "{length} bytes");
    }
    // Every byte of the header spoilt in turn: an error, or a case that still answers without a panic.
    let header = 8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    for place in 0..header {
        let mut bad = good.clone();
        bad[place] ^= 0b101;
        std::fs::write(&path, &bad).unwrap();
        if let Ok(case) = PreparedCase::open(&path) {
            let _ = case.foreground_voxel(0);
            case.modalities().for_each(|m| drop(whole(&case, m)));
        }
    }
    // A foreground index that does not fit.
    let mut bad = good.clone();
    bad[header..header + 80].fill(0xFF);
    std::fs::write(&path, &bad).unwrap();
    let case = PreparedCase::open(&path).unwrap();
    assert!(matches!(case.foreground_voxel(1000), Err(Error::Cache { .. })));
}

#[test]
fn a_manifest_of_another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::new(PrepConfig::default());
    let id = CaseId::new("b").unwrap();
    manifest.quarantined.push(QuarantinedCase { id, reason: "x.nii: truncated".to_owned() });
    manifest.save(dir.path()).unwrap();
    assert_eq!(Cache::open(dir.path()).unwrap().manifest(), &manifest);
    manifest.version += 1;
    manifest.save(dir.path()).unwrap();
    assert!(Cache::open(dir.path()).unwrap_err().to_string().contains("version 4"));
    std::fs::write(dir.path().join("manifest.json"), "{").unwrap();
    assert!(matches!(Cache::open(dir.path()), Err(Error::Cache { .. })));
}

proptest! {
    #[test]
    fn a_patch_is_a_slice(
        shape in prop::array::uniform3(1_usize..9),
        a in prop::array::uniform3(0.0..1.0),
        b in prop::array::uniform3(0.0..1.0),
        single in any::<bool>(),
    ) {
        let offset: [usize; 3] = std::array::from_fn(|i| (a[i] * shape[i] as f64) as usize);
        let size: [usize; 3] = std::array::from_fn(|i| 1 + (b[i] * (shape[i] - offset[i]) as f64) as usize)
            .map(|s: usize| s.max(1));
        let size: [usize; 3] = std::array::from_fn(|i| size[i].min(shape[i] - offset[i]));
        let dir = tempfile::tempdir().unwrap();
        let dtype = if single { StoredType::F32 } else { StoredType::F16 };
        let (_, case) = written(dir.path(), &contents(shape, 1), dtype);
        let all = Volume::new(Grid::from(case.grid()), whole(&case, Modality::T2));
        let mut patch = vec![0.0; size.iter().product()];
        case.read_patch(Modality::T2, offset, size, &mut patch).unwrap();
        let patch = Volume::new(Grid::new(size, case_affine()), patch);
        for place in 0..patch.grid().len() {
            let voxel = patch.grid().voxel(place);
            prop_assert_eq!(patch.at(voxel), all.at(std::array::from_fn(|i| offset[i] + voxel[i])));
        }
    }
}

fn case_affine() -> Affine {
    Affine::from_spacing([1.0; 3], [0.0; 3])
}
