//! A prepared case to its file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{LabelMap, Modality, Volume};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use safetensors::Dtype;

use super::manifest::file_name;
use super::metadata::{CaseMetadata, tensor};
use super::{CaseEntry, CaseFacts};
use crate::{Error, Result, StoredType};

/// A case to be stored. All volumes have the grid of `metadata`.
#[derive(Debug, Clone)]
pub struct CaseContents {
    /// What the cohort says of it, which goes into the manifest only.
    pub case: CaseFacts,
    /// The facts of the volumes.
    pub metadata: CaseMetadata,
    /// Its images, each modality once.
    pub images: Vec<(Modality, Volume)>,
    /// Its label map.
    pub label: Option<LabelMap>,
    /// Its brain mask, 1 inside.
    pub brain_mask: Option<Volume<u8>>,
}

/// A tensor ready to be written.
struct Encoded {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Writes a case into the cache folder `dir`, all or nothing, and returns its entry for the
/// [`Manifest`](super::Manifest) (with
/// `seconds` 0). The bytes depend on the volumes and their metadata alone.
///
/// # Errors
/// [`Error::Cache`] if there is no image, a volume is not on the grid of the metadata or a modality occurs twice;
/// [`Error::Volume`] if the file cannot be written.
pub fn write_case(dir: &Path, contents: &CaseContents, dtype: StoredType) -> Result<CaseEntry> {
    let path = dir.join(file_name(&contents.metadata.id));
    let (bytes, entry) = encoded(&path, contents, dtype)?;
    brainmvp_volume::write_atomically(&path, |file| file.write_all(&bytes))?;
    Ok(entry)
}

/// The content of the file of a case, and its entry. Errors name `path`.
pub(super) fn encoded(
    path: &Path,
    contents: &CaseContents,
    dtype: StoredType,
) -> Result<(Vec<u8>, CaseEntry)> {
    let metadata = &contents.metadata;
    check(path, contents)?;
    let tensors = encode(contents, dtype);
    let foreground_voxels = foreground_count(&tensors);
    let text = serde_json::to_string(metadata).map_err(|e| Error::cache(path, e.to_string()))?;
    let header = HashMap::from([(tensor::METADATA_KEY.to_owned(), text)]);
    let bytes = safetensors::serialize(tensors.iter().map(|(name, t)| (*name, t)), Some(header))
        .map_err(|e| Error::cache(path, e.to_string()))?;
    drop(tensors);
    let mut modalities: Vec<_> = contents.images.iter().map(|(modality, _)| *modality).collect();
    modalities.sort();
    let entry = CaseEntry {
        case: contents.case.clone(),
        file_hash: blake3::hash(&bytes).to_hex().to_string(),
        content_hash: metadata.content_hash.clone(),
        shape: metadata.grid.shape,
        space: metadata.space.clone(),
        modalities,
        has_label: contents.label.is_some(),
        label_values: metadata.label_values.clone(),
        foreground_voxels,
        warnings: metadata.warnings().map(str::to_owned).collect(),
        seconds: 0.0,
    };
    Ok((bytes, entry))
}

fn check(path: &Path, contents: &CaseContents) -> Result<()> {
    let shape = contents.metadata.grid.shape;
    let mut shapes: Vec<_> =
        contents.images.iter().map(|(modality, v)| (modality.name(), v.shape())).collect();
    shapes.extend(contents.label.as_ref().map(|v| (tensor::LABEL, v.shape())));
    shapes.extend(contents.brain_mask.as_ref().map(|v| (tensor::BRAIN_MASK, v.shape())));
    if let Some((name, found)) = shapes.iter().find(|(_, found)| *found != shape) {
        return Err(Error::cache(path, format!("'{name}' has {found:?} voxels, the case {shape:?}")));
    }
    shapes.sort_unstable();
    let twice = shapes.windows(2).any(|pair| pair[0].0 == pair[1].0);
    let voxels = shape.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
    if contents.images.is_empty() || twice || !voxels.is_some_and(|n| n > 0 && u32::try_from(n).is_ok()) {
        return Err(Error::cache(path, format!("no image, a modality twice, or a size of {shape:?} voxels")));
    }
    Ok(())
}

fn encode(contents: &CaseContents, dtype: StoredType) -> Vec<(&'static str, Encoded)> {
    let [nx, ny, nz] = contents.metadata.grid.shape;
    let shape = vec![nz, ny, nx];
    let mut foreground = vec![false; nx * ny * nz];
    let mut tensors: Vec<_> = Vec::new();
    for (modality, image) in &contents.images {
        let (dtype, bytes) = match dtype {
            StoredType::F16 => (Dtype::F16, encode_f16(image.voxels(), &mut foreground)),
            StoredType::F32 => (Dtype::F32, encode_f32(image.voxels(), &mut foreground)),
        };
        tensors.push((modality.name(), Encoded { dtype, shape: shape.clone(), bytes }));
    }
    if let Some(label) = &contents.label {
        let (dtype, bytes) = encode_label(label.voxels());
        tensors.push((tensor::LABEL, Encoded { dtype, shape: shape.clone(), bytes }));
    }
    if let Some(mask) = &contents.brain_mask {
        let bytes = mask.voxels().to_vec();
        tensors.push((tensor::BRAIN_MASK, Encoded { dtype: Dtype::U8, shape: shape.clone(), bytes }));
    }
    let mut count = 0_u32;
    let rows = foreground.chunks_exact(nx).flat_map(|row| {
        count += row.iter().filter(|f| **f).count() as u32;
        count.to_le_bytes()
    });
    let bytes = rows.collect();
    tensors.push((tensor::FOREGROUND_ROWS, Encoded { dtype: Dtype::U32, shape: vec![nz, ny], bytes }));
    tensors
}

/// Voxels that half precision rounds to 0 are not foreground, because the reader gets the stored value.
fn encode_f16(voxels: &[f32], foreground: &mut [bool]) -> Vec<u8> {
    const CHUNK: usize = 1 << 12;
    let mut bytes = vec![0; voxels.len() * size_of::<f16>()];
    let chunks = bytes.par_chunks_mut(CHUNK * size_of::<f16>()).zip(voxels.par_chunks(CHUNK));
    chunks.zip(foreground.par_chunks_mut(CHUNK)).for_each(|((to, from), foreground)| {
        let mut half = [f16::ZERO; CHUNK];
        let half = &mut half[..from.len()];
        half.convert_from_f32_slice(from);
        for ((to, value), foreground) in to.chunks_exact_mut(2).zip(half).zip(foreground) {
            to.copy_from_slice(&value.to_le_bytes());
            *foreground |= *value > f16::ZERO;
        }
    });
    bytes
}

fn encode_f32(voxels: &[f32], foreground: &mut [bool]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(voxels)];
    let places = bytes.chunks_exact_mut(4).zip(foreground);
    for ((to, foreground), value) in places.zip(voxels) {
        to.copy_from_slice(&value.to_le_bytes());
        *foreground |= *value > 0.0;
    }
    bytes
}

fn encode_label(labels: &[u16]) -> (Dtype, Vec<u8>) {
    if labels.iter().all(|l| u8::try_from(*l).is_ok()) {
        (Dtype::U8, labels.iter().map(|l| *l as u8).collect())
    } else {
        (Dtype::U16, labels.iter().flat_map(|l| l.to_le_bytes()).collect())
    }
}

fn foreground_count(tensors: &[(&'static str, Encoded)]) -> u64 {
    let rows = tensors.iter().find(|(name, _)| *name == tensor::FOREGROUND_ROWS);
    let last = rows.and_then(|(_, t)| t.bytes.last_chunk::<4>());
    last.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
}

impl safetensors::View for &Encoded {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
