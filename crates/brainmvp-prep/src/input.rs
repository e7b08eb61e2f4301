//! The files of a case: their hash, the memory they need, their volumes.

use std::collections::BTreeSet;

use brainmvp_cohort::check::{CheckOptions, Facts, Kind, Problem, Severity, findings};
use brainmvp_cohort::{Case, LabelScheme};
use brainmvp_volume::resample::grid_at_spacing;
use brainmvp_volume::{Role, file, orientation};
use rayon::prelude::*;
use serde_json::json;

use crate::cache::{GridRecord, StepRecord};
use crate::files::{hash_file, parts};
use crate::{CaseVolumes, ContentFile, Error, Pipeline, PrepConfig, RegisterKind, Result, brain};

/// BLAKE3, hex, of all that decides what the volumes of a case become: the bytes of its files, the configuration and the
/// version of the pipeline. What else the cohort says of a case (split, class, site) changes no voxel.
pub(crate) fn content_hash(case: &Case, config: &PrepConfig) -> Result<String> {
    let files: Vec<_> = case.files().collect();
    let hashes: Vec<_> =
        files.into_par_iter().map(|(role, path)| hash_file(path).map(|h| (role, h))).collect();
    let files = hashes.into_iter().map(|result| {
        let (role, hash) = result?;
        Ok((role.name(), hash.to_hex().to_string()))
    });
    let files = files.collect::<Result<Vec<_>>>()?;
    let all = json!({
        "pipeline": Pipeline::VERSION,
        "config": PrepConfig { atlas: None, ..config.clone() },
        "files": files,
        "atlas": config.atlas.as_ref().map(ContentFile::hash),
    });
    Ok(blake3::hash(all.to_string().as_bytes()).to_hex().to_string())
}

/// Bytes that finding a brain takes for each voxel of its working grid, besides the images. Measured: 55.
const SEARCH_BYTES: u64 = 60;

/// An upper estimate of the memory that preparing a case takes, from the headers of its files.
///
/// While files are read: each unpacked, as `f32` and reoriented. While they are resampled: each `f32` before and
/// after, and an intermediate. While the brain is searched for: each `f32`, those on the working grid and what the search
/// needs there, and the mask. While they are written: each `f32`, encoded, and in the bytes of the file.
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
    let grids: Vec<_> = headers.iter().map(|(header, _)| header.grid).chain(atlas).collect();
    let largest = |spacing_mm: [f64; 3]| {
        grids.iter().map(|grid| voxels(grid_at_spacing(grid, spacing_mm).shape)).max().unwrap_or(0)
    };
    let target = largest(pipeline.config().spacing_mm).saturating_mul(VOXEL_BYTES);
    let (mut reading, mut resampling, mut writing) = (0_u64, 0_u64, 0_u64);
    for (header, packed_bytes) in &headers {
        let source = voxels(header.grid.shape).saturating_mul(VOXEL_BYTES);
        let unpacked = packed_bytes.saturating_add(header.voxel_bytes as u64);
        reading = reading.saturating_add(unpacked).saturating_add(source.saturating_mul(2));
        resampling = resampling.saturating_add(source).saturating_add(target.saturating_mul(2));
        writing = writing.saturating_add(target.saturating_mul(3));
    }
    let most = reading.max(resampling).max(writing);
    if case.brain_mask.is_some() || !pipeline.may_search_brain() {
        return Ok(most);
    }
    let count = headers.len() as u64;
    let working = largest([brain::WORKING_MM; 3]).saturating_mul(SEARCH_BYTES + 2 * VOXEL_BYTES * count);
    // After the search, the mask and the interpolated share of brain that it is made from.
    let searching = target.saturating_mul(count).saturating_add(working.max(target.saturating_mul(2)));
    Ok(most.max(searching))
}

/// A case as its files have it.
pub(crate) struct Input {
    pub(crate) volumes: CaseVolumes,
    /// Grid and orientation of each file, and what is worth a warning.
    pub(crate) record: StepRecord,
    /// The values of the label map besides background.
    pub(crate) label_values: BTreeSet<u16>,
}

/// Reads all volumes of a case.
///
/// # Errors
/// [`Error::Unfit`] for everything that `check` calls a problem of the case, but images that do not overlap if they are
/// going to be registered; and where a file cannot be read.
pub(crate) fn read(case: &Case, scheme: Option<&LabelScheme>, register: RegisterKind) -> Result<Input> {
    let files: Vec<_> = case.files().collect();
    let read = files.into_par_iter().map(|(role, path)| Ok((role, path, Facts::read(role, path)?)));
    let mut volumes = CaseVolumes::new(std::collections::BTreeMap::new(), None, None);
    let (mut did, mut facts, mut maps) = (serde_json::Map::new(), Vec::new(), Vec::new());
    for result in read.collect::<Vec<Result<_>>>() {
        let (role, path, (fact, volume)) = result?;
        let record = json!({
            "grid": GridRecord::from(volume.grid()),
            "orientation": orientation::code(&volume.grid().affine),
        });
        did.insert(role.name().to_owned(), record);
        match role {
            Role::Image(modality) => drop(volumes.images.insert(modality, volume)),
            _ => maps.push((role, path, volume)),
        }
        facts.push((role, path, fact));
    }
    let found = findings(case, &facts, scheme, &CheckOptions::default());
    let excused = |problem: &Problem| problem.kind == Kind::NoOverlap && register != RegisterKind::None;
    let of = |severity| found.iter().filter(move |p| p.severity == severity && !excused(p));
    let problems: Vec<_> = of(Severity::Problem).map(Problem::reason).collect();
    if !problems.is_empty() {
        return Err(Error::Unfit { reason: problems.join("; ") });
    }
    for (role, path, volume) in maps {
        let labels = Some(file::as_labels(&volume, path)?);
        match role {
            Role::BrainMask => volumes.brain_mask = labels,
            _ => volumes.label = labels,
        }
    }
    let warnings: Vec<_> = of(Severity::Warning).map(Problem::reason).collect();
    if !warnings.is_empty() {
        did.insert("warning".to_owned(), warnings.join("; ").into());
    }
    let labels = facts.iter().filter(|(role, ..)| *role == Role::Label);
    let label_values = labels.flat_map(|(_, _, facts)| facts.label_values()).collect();
    Ok(Input { volumes, record: StepRecord { step: "read".to_owned(), did: did.into() }, label_values })
}
