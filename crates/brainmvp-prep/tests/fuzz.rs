//! Damaged caches and settings: an error or other content, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_cohort::CaseId;
use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_prep::cache::{
    CASE_VERSION, Cache, CaseContents, CaseEntry, CaseFacts, CaseMetadata, GridRecord, Manifest,
    PreparedCase, write_case,
};
use brainmvp_prep::{Landmarks, PrepConfig, Space, StoredType};
use brainmvp_registration::StandardSpace;
use brainmvp_volume::{Affine, Grid, Modality, Volume};

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// A value of JSON takes many times the two bytes that it may have in the file.
const TEXT: Memory = Memory { fixed: 256 << 10, for_each_byte: 160 };

fn said<T>(outcome: brainmvp_prep::Result<T>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| error.to_string())
}

/// A case with two images, labels and a brain mask in a file of this folder.
fn written(folder: &Path, dtype: StoredType) -> CaseEntry {
    let grid = Grid::new([7, 5, 4], Affine::from_spacing([1.0, 2.0, 3.0], [-4.0, 5.5, 6.0]));
    let image =
        |factor: usize| Volume::new(grid, (0..grid.len()).map(|i| (i * factor % 5) as f32 / 5.0).collect());
    let record = GridRecord::from(&grid);
    let case = CaseFacts {
        id: CaseId::new("a").unwrap(),
        subject: "s1".to_owned(),
        data_set: "phantom".to_owned(),
        site: None,
        class: Some("HGG".to_owned()),
        numbers: BTreeMap::from([("age".to_owned(), 63.5)]),
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
        label_values: (1..=3).collect(),
        fingerprints: BTreeMap::new(),
        content_hash: "abc".to_owned(),
    };
    let label = Some(Volume::new(grid, (0..grid.len()).map(|i| (i % 4) as u16).collect()));
    let brain_mask = Some(Volume::new(grid, (0..grid.len()).map(|i| u8::from(i % 3 > 0)).collect()));
    let images = vec![(Modality::T2, image(13)), (Modality::Flair, image(31))];
    write_case(folder, &CaseContents { case, metadata, images, label, brain_mask }, dtype).unwrap()
}

/// Header and every voxel, as loaders read them.
fn read(path: &Path) -> brainmvp_prep::Result<()> {
    let case = PreparedCase::open(path)?;
    let shape = case.shape();
    let mut image = vec![0.0; shape.iter().product()];
    for modality in case.modalities().collect::<Vec<_>>() {
        case.read_patch(modality, [0; 3], shape, &mut image)?;
    }
    drop(case.read_label_patch([0; 3], shape, &mut vec![0; image.len()]));
    drop(case.read_brain_mask_patch([0; 3], shape, &mut vec![0; image.len()]));
    let foreground = case.foreground_voxels()?;
    for nth in [0, foreground / 2, foreground.saturating_sub(1), foreground] {
        drop(case.foreground_voxel(nth));
    }
    Ok(())
}

/// The header of a safetensors file, and what is needed to make one of it.
fn header_of(file: &[u8]) -> Seed {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let tensors = file[8 + length..].to_vec();
    Seed::new(&file[8..8 + length])
        .packed_by(move |header| [&(header.len() as u64).to_le_bytes()[..], &header, &tensors].concat())
}

/// A damaged file, or a damaged header whose length is right.
#[test]
fn prepared_cases() {
    let place = Place::new("a.safetensors");
    let mut seeds = Vec::new();
    for dtype in [StoredType::F16, StoredType::F32] {
        written(place.folder(), dtype);
        let file = std::fs::read(place.folder().join("a.safetensors")).unwrap();
        seeds.push(header_of(&file));
        seeds.push(Seed::new(file).with_numbers([(0, 8)]));
    }
    fuzz("prepared cases (.safetensors)", &seeds, TEXT, |bytes| said(read(place.holding(bytes))));
}

#[test]
fn manifests() {
    let place = Place::new("manifest.json");
    let mut manifest = Manifest::new(PrepConfig::default());
    manifest.cases.push(written(place.folder(), StoredType::F16));
    manifest.save(place.folder()).unwrap();
    let seed = Seed::new(std::fs::read(place.folder().join("manifest.json")).unwrap());
    fuzz("manifest of a cache (manifest.json)", &[seed], TEXT, |bytes| {
        place.holding(bytes);
        let cache = Cache::open(place.folder()).map_err(|error| error.to_string())?;
        cache.cases().iter().for_each(|entry| drop(cache.open_case(entry)));
        Ok(())
    });
}

#[test]
fn landmarks() {
    let landmarks = r#"{
  "format": "brainmvp-landmarks",
  "version": 1,
  "percentiles": [1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0],
  "modalities": {
    "t1": {"images": 5, "landmarks": [0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8]},
    "flair": {"images": 7, "landmarks": [0.1, 0.2, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8]}
  }
}
"#;
    let place = Place::new("landmarks.json");
    fuzz("landmarks (.json)", &[Seed::new(landmarks)], TEXT, |bytes| {
        said(Landmarks::load(place.holding(bytes)))
    });
}
