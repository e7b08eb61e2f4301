//! Writes volumes to files.

use std::io::Write;
use std::path::Path;

use super::layout::{DESCRIP_LEN, Fields, Layout, NIFTI_1, NIFTI_2, SIZE_OF_HDR};
use super::placement;
use super::read::stored;
use super::{Datatype, Geometry};
use crate::{AtPath as _, Error, Grid, LabelMap, Result, Volume, gzip, write_atomically};

/// `NIFTI_XFORM_SCANNER_ANAT`: RAS+ of the scanner.
const SCANNER_CODE: f64 = 1.0;

/// `NIFTI_UNITS_MM`.
const UNITS_MM: f64 = 2.0;

/// How a volume is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WriteOptions {
    /// Voxel type. Integer types hold whole numbers of their range exactly; other values are scaled linearly
    /// onto the range.
    pub datatype: Datatype,
    /// Free text, cut to 79 bytes.
    pub description: String,
    /// The placement fields of another file on the same grid; otherwise the affine of the grid as sform, and as qform
    /// where a quaternion can express it.
    pub geometry: Option<Geometry>,
}

/// Writes an image, completely or not at all. NIfTI-1, or NIfTI-2 where an axis is longer than 32767.
///
/// The name decides the form: `.nii`, `.hdr` or `.img` (both files of the pair), each with `.gz` if it is to be
/// compressed.
///
/// # Errors
/// Where the name ends in anything else, the disk refuses or is full, or NaN or infinity would have to become an integer.
pub fn write(path: &Path, volume: &Volume<f32>, options: WriteOptions) -> Result<()> {
    let form = Form::of(path)?;
    let scaling = scaling_for(volume.voxels(), options.datatype).ok_or_else(|| {
        Error::unsupported(
            path,
            format!("NaN or infinity cannot be stored as {:?}; use F32", options.datatype),
        )
    })?;
    let (slope, inter) = scaling;
    let values = volume.voxels().iter().map(|value| (f64::from(*value) - inter) / slope);
    store(path, form, volume.grid(), &options, (values, scaling))
}

/// Voxels that are not passed on, and the value that they get.
#[derive(Debug, Clone, PartialEq)]
pub struct Erased {
    /// Whether each voxel is erased, in the order of the volume.
    pub voxels: Vec<bool>,
    /// The value, after scaling.
    pub value: f32,
}

impl Erased {
    /// Erases them in a volume.
    pub fn apply(&self, volume: &mut Volume<f32>) {
        let voxels = volume.voxels_mut().iter_mut().zip(&self.voxels);
        voxels.filter(|(_, erased)| **erased).for_each(|(voxel, _)| *voxel = self.value);
    }
}

/// Copies an image: its voxels, their type, scaling and place as they are stored. Free text, extensions and all else that the header may
/// hold stays behind, since it may name people. All voxels but the erased ones have the same bits.
///
/// # Errors
/// Where the image cannot be read as by [`super::read`], or written as by [`write`](fn@write).
pub fn copy(from: &Path, to: &Path, erased: Option<&Erased>) -> Result<()> {
    let form = Form::of(to)?;
    let (header, mut voxels) = stored(from)?;
    if let Some(erased) = erased {
        let (slope, inter) = header.scaling.unwrap_or((1.0, 0.0));
        let mut value = Vec::new();
        header.datatype.encode([(f64::from(erased.value) - inter) / slope].into_iter(), &mut value);
        let places = voxels.chunks_exact_mut(value.len()).zip(&erased.voxels);
        places.filter(|(_, erased)| **erased).for_each(|(voxel, _)| voxel.copy_from_slice(&value));
    }
    let options = WriteOptions {
        datatype: header.datatype,
        geometry: Some(header.geometry.clone()),
        ..WriteOptions::default()
    };
    let head = header_bytes(&header.grid, &options, header.scaling.unwrap_or((1.0, 0.0)), form.pair);
    put_all(to, form, head, &voxels)
}

/// A volume as the content of a `.nii` file, one number a voxel with the affine of its grid: for a reader that is given
/// no file.
pub fn encode<T: Copy + Into<f64>>(volume: &Volume<T>, datatype: Datatype, description: &str) -> Vec<u8> {
    let options = WriteOptions { datatype, description: description.to_owned(), geometry: None };
    let mut bytes = header_bytes(volume.grid(), &options, (1.0, 0.0), false);
    datatype.encode(volume.voxels().iter().map(|value| (*value).into()), &mut bytes);
    bytes
}

/// Writes a label map as the smallest unsigned type that holds it; otherwise as [`write`](fn@write).
///
/// # Errors
/// As [`write`](fn@write).
pub fn write_labels(path: &Path, labels: &LabelMap, description: &str) -> Result<()> {
    put_labels(path, labels, description, None)
}

/// [`write_labels`], placed as another file of the same grid is, where there is one.
///
/// # Errors
/// As [`write`](fn@write).
pub fn write_labels_in(
    path: &Path,
    labels: &LabelMap,
    description: &str,
    geometry: Option<&Geometry>,
) -> Result<()> {
    put_labels(path, labels, description, geometry.cloned())
}

fn put_labels(path: &Path, labels: &LabelMap, description: &str, geometry: Option<Geometry>) -> Result<()> {
    let form = Form::of(path)?;
    let wide = labels.voxels().iter().any(|label| *label > u16::from(u8::MAX));
    let datatype = if wide { Datatype::U16 } else { Datatype::U8 };
    let options = WriteOptions { datatype, description: description.to_owned(), geometry };
    let values = labels.voxels().iter().map(|label| f64::from(*label));
    store(path, form, labels.grid(), &options, (values, (1.0, 0.0)))
}

/// The files to write.
#[derive(Clone, Copy)]
struct Form {
    pair: bool,
    packed: bool,
}

impl Form {
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let (plain, packed) = name.strip_suffix(".gz").map_or((name.as_str(), false), |plain| (plain, true));
        match plain.rsplit_once('.') {
            Some((_, "nii")) => Ok(Self { pair: false, packed }),
            Some((_, "hdr" | "img")) => Ok(Self { pair: true, packed }),
            _ => Err(Error::unsupported(path, "a NIfTI file is written as .nii or .nii.gz (or .hdr, .img)")),
        }
    }
}

/// `(slope, inter)` with which the type holds the values; `None` if it cannot.
fn scaling_for(voxels: &[f32], datatype: Datatype) -> Option<(f64, f64)> {
    let Some((lowest, highest)) = datatype.integer_range() else { return Some((1.0, 0.0)) };
    let (mut min, mut max, mut whole) = (f64::INFINITY, f64::NEG_INFINITY, true);
    for value in voxels {
        if !value.is_finite() {
            return None;
        }
        let value = f64::from(*value);
        min = min.min(value);
        max = max.max(value);
        whole &= value.fract() == 0.0;
    }
    if voxels.is_empty() || (whole && min >= lowest && max <= highest) {
        return Some((1.0, 0.0));
    }
    // The header of NIfTI-1 stores the scaling as f32, so that is what the voxels must be divided by.
    let slope = f64::from(((max - min) / (highest - lowest)) as f32);
    if slope == 0.0 {
        // All values are the same, or nearly so.
        return Some((1.0, min));
    }
    let inter = f64::from((min - lowest * slope) as f32);
    Some((slope, inter))
}

/// Encoded voxels, with the `(slope, inter)` that decodes them.
type Stored<I> = (I, (f64, f64));

fn store<I: ExactSizeIterator<Item = f64>>(
    path: &Path,
    form: Form,
    grid: &Grid,
    options: &WriteOptions,
    (values, scaling): Stored<I>,
) -> Result<()> {
    let mut bytes = Vec::new();
    options.datatype.encode(values, &mut bytes);
    put_all(path, form, header_bytes(grid, options, scaling, form.pair), &bytes)
}

fn put_all(path: &Path, form: Form, header: Vec<u8>, voxels: &[u8]) -> Result<()> {
    if !form.pair {
        let mut bytes = header;
        bytes.extend_from_slice(voxels);
        return put(path, form, &bytes);
    }
    let (unpacked, end) = if form.packed { (path.with_extension(""), ".gz") } else { (path.to_owned(), "") };
    // The header last: without it there is no pair.
    put(&unpacked.with_extension(format!("img{end}")), form, voxels)?;
    put(&unpacked.with_extension(format!("hdr{end}")), form, &header)
}

fn put(path: &Path, form: Form, bytes: &[u8]) -> Result<()> {
    if !form.packed {
        return write_atomically(path, |file| file.write_all(bytes));
    }
    let packed = gzip::pack(bytes).at(path)?;
    write_atomically(path, |file| file.write_all(&packed))
}

/// A header with the four bytes that say that no extension follows.
fn header_bytes(grid: &Grid, options: &WriteOptions, (slope, inter): (f64, f64), pair: bool) -> Vec<u8> {
    let wide = grid.shape.iter().any(|length| *length > i16::MAX as usize);
    let second = options.geometry.as_ref().is_some_and(|geometry| geometry.version() == 2);
    let layout: &Layout = if wide || second { &NIFTI_2 } else { &NIFTI_1 };
    let mut header = Fields { bytes: vec![0; layout.size + 4], big_endian: false };
    let [x, y, z] = grid.shape.map(|length| length as f64);
    let magic = if pair { layout.magic_pair } else { layout.magic_single };
    header.bytes[layout.magic..layout.magic + magic.len()].copy_from_slice(magic);
    header.set(SIZE_OF_HDR, 0, &[layout.size as f64]);
    header.set(layout.dim, 0, &[3.0, x, y, z, 1.0, 1.0, 1.0, 1.0]);
    header.set(layout.datatype, 0, &[options.datatype.code() as f64]);
    header.set(layout.bitpix, 0, &[8.0 * options.datatype.size() as f64]);
    header.set(layout.vox_offset, 0, &[if pair { 0.0 } else { header.bytes.len() as f64 }]);
    header.set(layout.scl_slope, 0, &[slope]);
    header.set(layout.scl_inter, 0, &[inter]);
    header.set(layout.xyzt_units, 0, &[UNITS_MM]);
    let mut text = options.description.as_str();
    while text.len() >= DESCRIP_LEN {
        text = &text[..text.char_indices().next_back().map_or(0, |(last, _)| last)];
    }
    header.bytes[layout.descrip..layout.descrip + text.len()].copy_from_slice(text.as_bytes());
    match &options.geometry {
        Some(geometry) => geometry.put(&mut header, layout),
        None => place(&mut header, layout, grid),
    }
    header.bytes
}

/// The affine as sform, and as qform where a quaternion can express it.
fn place(header: &mut Fields<Vec<u8>>, layout: &Layout, grid: &Grid) {
    let [i, j, k] = grid.affine.spacing_mm();
    let qform = placement::to_qform(&grid.affine);
    let qfac = qform.as_ref().map_or(1.0, |qform| qform.qfac);
    header.set(layout.pixdim, 0, &[qfac, i, j, k, 1.0, 1.0, 1.0, 1.0]);
    header.set(layout.sform_code, 0, &[SCANNER_CODE]);
    header.set(layout.srow_x, 0, grid.affine.rows().as_flattened());
    if let Some(qform) = qform {
        header.set(layout.qform_code, 0, &[SCANNER_CODE]);
        header.set(layout.quatern_b, 0, &qform.bcd);
        header.set(layout.qoffset_x, 0, &grid.affine.origin_mm());
    }
}
