//! The files of a case: their hash, the memory they need, their volumes.

use brainmvp_cohort::Case;
use brainmvp_cohort::check::misplaced;
use brainmvp_volume::resample::grid_at_spacing;
use brainmvp_volume::{LabelMap, Role, Volume, file, orientation};
use rayon::prelude::*;
use serde_json::json;

use crate::cache::{CaseFacts, GridRecord, StepRecord};
use crate::files::{hash_file, parts};
use crate::{CaseVolumes, ContentFile, Error, Pipeline, PrepConfig, Result};

/// BLAKE3, hex, of all that decides what a case becomes: the bytes of its files, what the cohort says of it, the
/// configuration and the version of the pipeline.
pub(crate) fn content_hash(case: &Case, config: &PrepConfig) -> Result<String> {
    let files: Vec<_> = case.files().collect();
    let hashes: Vec<_> =
        files.into_par_iter().map(|(role, path)| hash_file(path).map(|h| (role, h))).collect();
    let files = hashes.into_iter().map(|result| {
        let (role, hash) = result?;
        Ok((role_name(role), hash.to_hex().to_string()))
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let all = json!({
        "pipeline": Pipeline::VERSION,
        "config": PrepConfig { atlas: None, ..config.clone() },
        "case": CaseFacts::from(case),
        "files": files,
        "atlas": config.atlas.as_ref().map(ContentFile::hash),
    });
    Ok(blake3::hash(all.to_string().as_bytes()).to_hex().to_string())
}

/// An upper estimate of the memory that preparing a case takes, from the headers of its files.
///
/// While files are read: each unpacked, as `f32` and reoriented. While they are resampled: each `f32` before and
/// after, and an intermediate. While they are written: each `f32`, encoded, and in the bytes of the file.
pub(crate) fn estimate_bytes(case: &Case, pipeline: &Pipeline) -> Result<u64> {
    const VOXEL_BYTES: u64 = size_of::<f32>() as u64;
    let mut headers = Vec::new();
    for (_, path) in case.files() {
        let packed_bytes =
            parts(path).iter().filter_map(|part| part.metadata().ok()).map(|m| m.len()).sum::<u64>();
        headers.push((file::read_header(path)?, packed_bytes));
    }
    let voxels = |shape: [usize; 3]| shape.iter().fold(1_u64, |n, &s| n.saturating_mul(s as u64));
    let atlas = pipeline.atlas().map(|atlas| atlas.grid);
    let grids = headers.iter().map(|(header, _)| header.grid).chain(atlas);
    let target = grids.map(|grid| voxels(grid_at_spacing(&grid, pipeline.config().spacing_mm).shape)).max();
    let target = target.unwrap_or(0).saturating_mul(VOXEL_BYTES);
    let (mut reading, mut resampling, mut writing) = (0_u64, 0_u64, 0_u64);
    for (header, packed_bytes) in &headers {
        let source = voxels(header.grid.shape).saturating_mul(VOXEL_BYTES);
        let unpacked = packed_bytes.saturating_add(header.voxel_bytes as u64);
        reading = reading.saturating_add(unpacked).saturating_add(source.saturating_mul(2));
        resampling = resampling.saturating_add(source).saturating_add(target.saturating_mul(2));
        writing = writing.saturating_add(target.saturating_mul(3));
    }
    Ok(reading.max(resampling).max(writing))
}

/// Reads all volumes of a case; the record contains each file's name, grid and orientation.
pub(crate) fn read_volumes(case: &Case) -> Result<(CaseVolumes, StepRecord)> {
    enum Read {
        Image(Volume),
        Labels(LabelMap),
    }
    let files: Vec<_> = case.files().collect();
    let read = files.into_par_iter().map(|(role, path)| {
        let volume = match role {
            Role::Image(_) => Read::Image(file::read(path)?),
            _ => Read::Labels(file::read_labels(path)?),
        };
        Ok((role, path, volume))
    });
    let mut volumes = CaseVolumes::new(std::collections::BTreeMap::new(), None, None);
    let mut files = serde_json::Map::new();
    for result in read.collect::<Vec<Result<_>>>() {
        let (role, path, volume) = result?;
        let grid = match &volume {
            Read::Image(image) => *image.grid(),
            Read::Labels(labels) => *labels.grid(),
        };
        match (role, volume) {
            (Role::Image(modality), Read::Image(image)) => drop(volumes.images.insert(modality, image)),
            (Role::BrainMask, Read::Labels(mask)) => volumes.brain_mask = Some(mask),
            (_, Read::Labels(labels)) => volumes.label = Some(labels),
            (_, Read::Image(_)) => {}
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let fact = json!({
            "file": name,
            "grid": GridRecord::from(&grid),
            "orientation": orientation::code(&grid.affine),
        });
        files.insert(role_name(role).to_owned(), fact);
    }
    refuse_misplaced(case, &volumes)?;
    Ok((volumes, StepRecord { step: "read".to_owned(), did: files.into() }))
}

/// Labels in another place than the images would be cut off silently.
fn refuse_misplaced(case: &Case, volumes: &CaseVolumes) -> Result<()> {
    let grids: Vec<_> = volumes.images.values().map(|image| *image.grid()).collect();
    for (path, map) in [(&case.label, &volumes.label), (&case.brain_mask, &volumes.brain_mask)] {
        let fault = map.as_ref().and_then(|map| misplaced(map, &grids));
        if let (Some(path), Some(reason)) = (path, fault) {
            return Err(Error::Misplaced { path: path.clone(), reason });
        }
    }
    Ok(())
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Image(modality) => modality.name(),
        Role::Label => "label",
        Role::BrainMask => "brain_mask",
        Role::Ignored => "ignored",
    }
}
