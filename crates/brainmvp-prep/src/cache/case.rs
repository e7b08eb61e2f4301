//! One prepared case, mapped into memory or held there.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use brainmvp_volume::Modality;
use half::f16;
use half::slice::HalfFloatSliceExt;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::metadata::{CASE_VERSION, CaseMetadata, modalities_among, tensor};
use super::write::encoded;
use super::{CaseContents, CaseEntry, GridRecord, refuse_other_version};
use crate::{Error, Result, StoredType};

/// A case of a cache. Its file is mapped, not read: a patch costs the pages that it touches. A case that is in no cache
/// holds the same bytes in memory.
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

// Tensors are little-endian in the file and are used in place.
const _: () = assert!(cfg!(target_endian = "little"), "the cache needs a little-endian machine");

/// The content of a file.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    /// The content and its length; whole words, so that every type of number is aligned.
    Held(Vec<u64>, usize),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(words, length) => &bytemuck::cast_slice(words)[..*length],
        }
    }
}

/// The position of a tensor in the file.
#[derive(Debug, Clone)]
struct Stored {
    dtype: Dtype,
    bytes: Range<usize>,
}

impl PreparedCase {
    /// Maps the file of a case and checks its header: version, shapes, number types, lengths.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, [`Error::Cache`] if it is damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
        // SAFETY: a mapped file must not shrink or change while it is mapped. The files of a cache are only ever
        // replaced by renaming a complete new file over them, which leaves the mapped one as it was.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(&path, source))?;
        Self::new(path, Bytes::Mapped(map))
    }

    /// A case that is not stored, with the entry that it would have in a manifest. Its voxels are rounded as those of a
    /// stored one.
    ///
    /// # Errors
    /// As [`super::write_case`].
    pub fn in_memory(contents: &CaseContents, dtype: StoredType) -> Result<(CaseEntry, Self)> {
        let path = PathBuf::from(contents.metadata.id.as_str());
        let (bytes, entry) = encoded(&path, contents, dtype)?;
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
        Ok((entry, Self::new(path, Bytes::Held(words, bytes.len()))?))
    }

    fn new(path: PathBuf, bytes: Bytes) -> Result<Self> {
        let damaged = |reason: String| Error::cache(&path, reason);

        let (header, info) =
            SafeTensors::read_metadata(bytes.as_slice()).map_err(|e| damaged(format!("damaged: {e}")))?;
        let data_start = header + size_of::<u64>();
        let text = info.metadata().as_ref().and_then(|m| m.get(tensor::METADATA_KEY));
        let text = text.ok_or_else(|| damaged("not a prepared case".to_owned()))?;
        refuse_other_version(&path, text.as_bytes(), CASE_VERSION)?;
        let metadata: CaseMetadata =
            serde_json::from_str(text).map_err(|e| damaged(format!("unreadable metadata: {e}")))?;
        let tensors = info.tensors();
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
        let case = Self { path, bytes, metadata, images, label, brain_mask, foreground_rows };
        case.check_alignment()?;
        Ok(case)
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
    /// [`Error::Request`] if the case lacks the modality, the box leaves the volume or `out` is not its size.
    pub fn read_patch(
        &self,
        modality: Modality,
        offset: [usize; 3],
        size: [usize; 3],
        out: &mut [f32],
    ) -> Result<()> {
        let found = self.images.iter().find(|(m, _)| *m == modality);
        let (_, stored) = found.ok_or_else(|| Error::request(&self.path, format!("has no {modality}")))?;
        let rows = self.rows(offset, size, out)?;
        if stored.dtype == Dtype::F16 {
            let voxels: &[f16] = self.view(stored)?;
            rows.for_each(|(from, to)| voxels[from].convert_to_f32_slice(to));
        } else {
            let voxels: &[f32] = self.view(stored)?;
            rows.for_each(|(from, to)| to.copy_from_slice(&voxels[from]));
        }
        Ok(())
    }

    /// Reads a box of the label map as [`PreparedCase::read_patch`] does of an image.
    ///
    /// # Errors
    /// [`Error::Request`] if there is no label, the box leaves the volume or `out` is not its size.
    pub fn read_label_patch(&self, offset: [usize; 3], size: [usize; 3], out: &mut [u16]) -> Result<()> {
        let stored = self.label.as_ref().ok_or_else(|| Error::request(&self.path, "has no label"))?;
        let rows = self.rows(offset, size, out)?;
        if stored.dtype == Dtype::U8 {
            let voxels: &[u8] = self.view(stored)?;
            rows.for_each(|(from, to)| {
                to.iter_mut().zip(&voxels[from]).for_each(|(t, f)| *t = u16::from(*f));
            });
        } else {
            let voxels: &[u16] = self.view(stored)?;
            rows.for_each(|(from, to)| to.copy_from_slice(&voxels[from]));
        }
        Ok(())
    }

    /// Reads a box of the brain mask (1 inside) as [`PreparedCase::read_patch`] does of an image.
    ///
    /// # Errors
    /// [`Error::Request`] if there is no mask, the box leaves the volume or `out` is not its size.
    pub fn read_brain_mask_patch(&self, offset: [usize; 3], size: [usize; 3], out: &mut [u8]) -> Result<()> {
        let stored =
            self.brain_mask.as_ref().ok_or_else(|| Error::request(&self.path, "has no brain mask"))?;
        let voxels: &[u8] = self.view(stored)?;
        self.rows(offset, size, out)?.for_each(|(from, to)| to.copy_from_slice(&voxels[from]));
        Ok(())
    }

    /// How many voxels are foreground (above 0 in any image).
    ///
    /// # Errors
    /// [`Error::Cache`] if the file is damaged.
    pub fn foreground_voxels(&self) -> Result<u64> {
        let rows: &[u32] = self.view(&self.foreground_rows)?;
        Ok(rows.last().copied().map_or(0, u64::from))
    }

    /// The `nth` foreground voxel `[x, y, z]` in memory order, found without a scan of the volume: with `nth` uniform
    /// below [`PreparedCase::foreground_voxels`] every foreground voxel is equally likely.
    ///
    /// # Errors
    /// [`Error::Request`] if there are fewer, [`Error::Cache`] if the file is damaged.
    pub fn foreground_voxel(&self, nth: u64) -> Result<[usize; 3]> {
        let rows: &[u32] = self.view(&self.foreground_rows)?;
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
        let within = foreground.iter().enumerate().filter(|(_, f)| **f).nth((nth - before) as usize);
        let (x, _) =
            within.ok_or_else(|| Error::cache(&self.path, "the foreground index does not fit the images"))?;
        Ok([x, offset[1], offset[2]])
    }

    /// The rows of a box: the position of each in a stored volume, and in `out`.
    fn rows<'a, T>(
        &self,
        offset: [usize; 3],
        size: [usize; 3],
        out: &'a mut [T],
    ) -> Result<impl Iterator<Item = (Range<usize>, &'a mut [T])>> {
        let shape = self.shape();
        let inside =
            (0..3).all(|i| size[i] > 0 && offset[i].checked_add(size[i]).is_some_and(|end| end <= shape[i]));
        // The box is inside a volume whose size was checked, so its own size cannot overflow.
        if !inside || out.len() != size[0] * size[1] * size[2] {
            let reason = format!("box {size:?} at {offset:?} into {} places, of {shape:?} voxels", out.len());
            return Err(Error::request(&self.path, reason));
        }
        Ok(out.chunks_exact_mut(size[0]).enumerate().map(move |(row, to)| {
            let (y, z) = (offset[1] + row % size[1], offset[2] + row / size[1]);
            let start = (z * shape[1] + y) * shape[0] + offset[0];
            (start..start + size[0], to)
        }))
    }

    fn view<T: bytemuck::AnyBitPattern>(&self, stored: &Stored) -> Result<&[T]> {
        bytemuck::try_cast_slice(&self.bytes.as_slice()[stored.bytes.clone()])
            .map_err(|e| Error::cache(&self.path, format!("a tensor cannot be mapped: {e}")))
    }

    fn check_alignment(&self) -> Result<()> {
        let all =
            self.images.iter().map(|(_, stored)| stored).chain(&self.label).chain([&self.foreground_rows]);
        for stored in all {
            match stored.dtype {
                Dtype::F16 | Dtype::U16 => drop(self.view::<u16>(stored)?),
                Dtype::F32 | Dtype::U32 => drop(self.view::<u32>(stored)?),
                _ => {}
            }
        }
        Ok(())
    }
}
