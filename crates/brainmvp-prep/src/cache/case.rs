//! One prepared case, in its file or in memory.

use std::io;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, FileError, Modality};
use half::f16;
use half::slice::HalfFloatSliceExt;
use safetensors::Dtype;
use safetensors::tensor::Metadata as Header;

use super::metadata::{CASE_VERSION, CaseMetadata, modalities_among, tensor};
use super::stored::{self, Bytes, Stored};
use super::write::encoded;
use super::{CaseContents, CaseEntry, GridRecord, refuse_other_version};
use crate::{Error, Result, StoredType};

/// A case of a cache. A patch is read from its file when it is asked for, and costs the planes that it touches. A case that
/// is in no cache holds the same bytes in memory.
#[derive(Debug)]
pub struct PreparedCase {
    path: PathBuf,
    bytes: Bytes,
    metadata: CaseMetadata,
    images: Vec<(Modality, Stored)>,
    label: Option<Stored>,
    brain_mask: Option<Stored>,
    foreground_rows: Stored,
}

// Numbers are little-endian in the file and are used as they are.
const _: () = assert!(cfg!(target_endian = "little"), "the cache needs a little-endian machine");

impl PreparedCase {
    /// Reads the header of a case's file and checks it: version, shapes, number types, lengths.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be opened, [`Error::Cache`] if it is damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let opened = stored::open(&path).map_err(|e| unreadable(&path, e))?;
        Self::new(path, opened)
    }

    /// A case that is not stored, with the entry that it would have in a manifest. Its voxels are rounded as those of a
    /// stored one.
    ///
    /// # Errors
    /// As [`super::write_case`].
    pub fn in_memory(contents: &CaseContents, dtype: StoredType) -> Result<(CaseEntry, Self)> {
        let path = PathBuf::from(contents.metadata.id.as_str());
        let (bytes, entry) = encoded(&path, contents, dtype)?;
        let opened = stored::hold(bytes).map_err(|e| unreadable(&path, e))?;
        Ok((entry, Self::new(path, opened)?))
    }

    fn new(path: PathBuf, (header, data_start, bytes): (Header, usize, Bytes)) -> Result<Self> {
        let damaged = |reason: String| Error::cache(&path, reason);
        let text = header.metadata().as_ref().and_then(|m| m.get(tensor::METADATA_KEY));
        let text = text.ok_or_else(|| damaged("not a prepared case".to_owned()))?;
        refuse_other_version(&path, text.as_bytes(), CASE_VERSION)?;
        let metadata: CaseMetadata =
            serde_json::from_str(text).map_err(|e| damaged(format!("unreadable metadata: {e}")))?;
        let tensors = header.tensors();
        let find = |name: &str, dtypes: &[Dtype], shape: &[usize]| -> Result<Option<Stored>> {
            let Some(found) = tensors.get(name) else { return Ok(None) };
            if !dtypes.contains(&found.dtype) || found.shape != shape {
                let (dtype, found) = (found.dtype, &found.shape);
                return Err(damaged(format!(
                    "'{name}' is {dtype:?} {found:?}, expected {dtypes:?} {shape:?}"
                )));
            }
            let (start, end) = found.data_offsets;
            Ok(Some(Stored { dtype: found.dtype, bytes: data_start + start..data_start + end }))
        };
        let [nx, ny, nz] = metadata.grid.shape;
        let volume = [nz, ny, nx];
        let mut images = Vec::new();
        for modality in modalities_among(tensors.keys().map(String::as_str)) {
            images.extend(find(modality.name(), &[Dtype::F16, Dtype::F32], &volume)?.map(|s| (modality, s)));
        }
        if images.is_empty() || metadata.grid.shape.contains(&0) {
            return Err(damaged("no image, or an empty one".to_owned()));
        }
        let label = find(tensor::LABEL, &[Dtype::U8, Dtype::U16], &volume)?;
        let brain_mask = find(tensor::BRAIN_MASK, &[Dtype::U8], &volume)?;
        let foreground_rows = find(tensor::FOREGROUND_ROWS, &[Dtype::U32], &volume[..2])?
            .ok_or_else(|| damaged(format!("'{}' is missing", tensor::FOREGROUND_ROWS)))?;
        drop(tensors);
        Ok(Self { path, bytes, metadata, images, label, brain_mask, foreground_rows })
    }

    /// [`PreparedCase::open`], and a check against the manifest.
    pub(super) fn open_entry(dir: &Path, entry: &CaseEntry) -> Result<Self> {
        let case = Self::open(dir.join(entry.file_name()))?;
        let same = case.metadata.id == entry.case.id
            && case.metadata.content_hash == entry.content_hash
            && case.shape() == entry.shape
            && case.metadata.space == entry.space
            && case.modalities().eq(entry.modalities.iter().copied());
        if same {
            Ok(case)
        } else {
            Err(Error::cache(&case.path, "not the case that the manifest describes"))
        }
    }

    /// The file, or the name of a case without one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The facts of the case.
    pub fn metadata(&self) -> &CaseMetadata {
        &self.metadata
    }

    /// The grid of the stored volumes.
    pub fn grid(&self) -> &GridRecord {
        &self.metadata.grid
    }

    /// Voxels along x, y and z.
    pub fn shape(&self) -> [usize; 3] {
        self.metadata.grid.shape
    }

    /// The images that the case has, in the order of the templates.
    pub fn modalities(&self) -> impl ExactSizeIterator<Item = Modality> + '_ {
        self.images.iter().map(|(modality, _)| *modality)
    }

    /// Whether the case has a label map.
    pub fn has_label(&self) -> bool {
        self.label.is_some()
    }

    /// Whether the case has a brain mask.
    pub fn has_brain_mask(&self) -> bool {
        self.brain_mask.is_some()
    }

    /// Reads the box of `size` voxels from voxel `offset` (both `[x, y, z]`) of an image into `out`, `x` fastest.
    ///
    /// # Errors
    /// [`Error::Request`] if the case lacks the modality, the box leaves the volume or `out` is not its size; [`Error::File`] if
    /// the file is gone, has been changed or cannot be read.
    pub fn read_patch(
        &self,
        modality: Modality,
        offset: [usize; 3],
        size: [usize; 3],
        out: &mut [f32],
    ) -> Result<()> {
        let found = self.images.iter().find(|(m, _)| *m == modality);
        let (_, stored) = found.ok_or_else(|| Error::request(&self.path, format!("has no {modality}")))?;
        if stored.dtype == Dtype::F16 {
            self.planes(stored, offset, size, out, |from: &[f16], to| from.convert_to_f32_slice(to))
        } else {
            self.planes(stored, offset, size, out, |from: &[f32], to| to.copy_from_slice(from))
        }
    }

    /// Reads a box of the label map as [`PreparedCase::read_patch`] does of an image.
    ///
    /// # Errors
    /// [`Error::Request`] if there is no label, the box leaves the volume or `out` is not its size.
    pub fn read_label_patch(&self, offset: [usize; 3], size: [usize; 3], out: &mut [u16]) -> Result<()> {
        let stored = self.label.as_ref().ok_or_else(|| Error::request(&self.path, "has no label"))?;
        if stored.dtype == Dtype::U8 {
            self.planes(stored, offset, size, out, |from: &[u8], to| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = u16::from(*from));
            })
        } else {
            self.planes(stored, offset, size, out, |from: &[u16], to| to.copy_from_slice(from))
        }
    }

    /// Reads a box of the brain mask (1 inside) as [`PreparedCase::read_patch`] does of an image.
    ///
    /// # Errors
    /// [`Error::Request`] if there is no mask, the box leaves the volume or `out` is not its size.
    pub fn read_brain_mask_patch(&self, offset: [usize; 3], size: [usize; 3], out: &mut [u8]) -> Result<()> {
        let stored =
            self.brain_mask.as_ref().ok_or_else(|| Error::request(&self.path, "has no brain mask"))?;
        self.planes(stored, offset, size, out, |from: &[u8], to| to.copy_from_slice(from))
    }

    /// How many voxels are foreground (above 0 in any image).
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read.
    pub fn foreground_voxels(&self) -> Result<u64> {
        let rows = self.foreground_rows()?;
        Ok(rows.last().copied().map_or(0, u64::from))
    }

    /// The `nth` foreground voxel `[x, y, z]` in memory order, found without a scan of the volume: with `nth` uniform
    /// below [`PreparedCase::foreground_voxels`] every foreground voxel is equally likely.
    ///
    /// # Errors
    /// [`Error::Request`] if there are fewer, [`Error::Cache`] if the file is damaged, [`Error::File`] if it cannot be read.
    pub fn foreground_voxel(&self, nth: u64) -> Result<[usize; 3]> {
        let rows = self.foreground_rows()?;
        let row = rows.partition_point(|&until| u64::from(until) <= nth);
        if row == rows.len() {
            return Err(Error::request(&self.path, format!("has no foreground voxel {nth}")));
        }
        let before = if row == 0 { 0 } else { u64::from(rows[row - 1]) };
        let [nx, ny, _] = self.shape();
        let offset = [0, row % ny, row / ny];
        let (mut image, mut foreground) = (vec![0.0; nx], vec![false; nx]);
        for modality in self.modalities() {
            self.read_patch(modality, offset, [nx, 1, 1], &mut image)?;
            foreground.iter_mut().zip(&image).for_each(|(f, v)| *f |= *v > 0.0);
        }
        let within =
            foreground.iter().enumerate().filter(|(_, f)| **f).nth(nth.saturating_sub(before) as usize);
        let (x, _) =
            within.ok_or_else(|| Error::cache(&self.path, "the foreground index does not fit the images"))?;
        Ok([x, offset[1], offset[2]])
    }

    /// Foreground voxels up to the end of each row.
    fn foreground_rows(&self) -> Result<Vec<u32>> {
        let [_, ny, nz] = self.shape();
        let mut rows = Vec::new();
        let read = self.bytes.reader(&self.path);
        let read = read.and_then(|mut from| from.numbers(&self.foreground_rows, 0..ny * nz, &mut rows));
        read.at(&self.path)?;
        Ok(rows)
    }

    /// Reads a box of a stored volume plane by plane, each from its first voxel to its last, and hands its rows to `put`,
    /// with their places in `out`.
    fn planes<T: bytemuck::Pod, U>(
        &self,
        stored: &Stored,
        offset: [usize; 3],
        size: [usize; 3],
        out: &mut [U],
        put: impl Fn(&[T], &mut [U]),
    ) -> Result<()> {
        let [nx, ny, _] = self.shape();
        let inside = (0..3)
            .all(|i| size[i] > 0 && offset[i].checked_add(size[i]).is_some_and(|end| end <= self.shape()[i]));
        // The box is inside a volume whose size was checked, so its own size cannot overflow.
        if !inside || out.len() != size[0] * size[1] * size[2] {
            let (places, shape) = (out.len(), self.shape());
            let reason = format!("box {size:?} at {offset:?} into {places} places, of {shape:?} voxels");
            return Err(Error::request(&self.path, reason));
        }
        let io = |e| FileError::new(&self.path, e);
        let mut from = self.bytes.reader(&self.path).map_err(io)?;
        let mut plane: Vec<T> = Vec::new();
        for (z, to) in out.chunks_exact_mut(size[0] * size[1]).enumerate() {
            let first = ((offset[2] + z) * ny + offset[1]) * nx + offset[0];
            let last = first + (size[1] - 1) * nx + size[0];
            from.numbers(stored, first..last, &mut plane).map_err(io)?;
            for (row, to) in to.chunks_exact_mut(size[0]).enumerate() {
                put(&plane[row * nx..row * nx + size[0]], to);
            }
        }
        Ok(())
    }
}

/// A file that is damaged, or cannot be read.
fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData => Error::cache(path, error.to_string()),
        _ => FileError::new(path, error).into(),
    }
}
