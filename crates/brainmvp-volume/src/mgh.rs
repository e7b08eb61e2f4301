//! FreeSurfer's MGH files: `.mgh`, and gzipped `.mgz`.
//!
//! Source: the description of the format in FreeSurfer's wiki (MghFormat) and of its geometry (CoordinateSystems): big-endian
//! numbers, a header of 284 bytes, then the voxels, x fastest; tags after the voxels are ignored.

use std::path::Path;

use crate::file::FileHeader;
use crate::gzip::Source;
use crate::nifti::{Datatype, MAX_VOXELS};
use crate::{Affine, Error, Grid, Result, Volume};

/// The version number at the start of every file.
pub(crate) const START: [u8; 4] = [0, 0, 0, 1];

/// Where the voxels begin.
const VOXELS: usize = 284;
/// The bytes of the header up to its last number.
const HEADER: usize = 90;

struct Header {
    grid: Grid,
    datatype: Datatype,
    /// Whether the file says where its axes point.
    is_placed: bool,
}

/// Reads an image.
pub(crate) fn read(path: &Path) -> Result<Volume> {
    let (header, source) = open(path)?;
    let section = source.section(VOXELS as u64, header.voxel_bytes())?;
    Ok(Volume::new(header.grid, header.datatype.decode(section.as_bytes(), true, None)))
}

/// The grid, and the bytes of all voxels.
pub(crate) fn read_header(path: &Path) -> Result<FileHeader> {
    let (header, _) = open(path)?;
    let Header { grid, is_placed, .. } = header;
    Ok(FileHeader { grid, voxel_bytes: header.voxel_bytes(), is_placed, nifti: None })
}

fn open(path: &Path) -> Result<(Header, Source)> {
    let mut source = Source::open(path)?;
    Ok((Header::parse(&source.start(HEADER)?, path)?, source))
}

impl Header {
    fn voxel_bytes(&self) -> usize {
        self.grid.len() * self.datatype.size()
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let Some(bytes) = bytes.first_chunk::<HEADER>() else {
            let reason = format!("truncated within the header: {} of {VOXELS} bytes", bytes.len());
            return Err(Error::malformed(path, reason));
        };
        let integer = |at: usize| i32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let float = |at: usize| f64::from(f32::from_be_bytes(std::array::from_fn(|i| bytes[at + i])));
        let shape = shape_of([integer(4), integer(8), integer(12)], path)?;
        let frames = integer(16);
        if frames != 1 {
            let reason = format!("{frames} frames; one is needed: extract it to a file of its own");
            return Err(Error::unsupported(path, reason));
        }
        let datatype = match integer(20) {
            0 => Datatype::U8,
            1 => Datatype::I32,
            3 => Datatype::F32,
            4 => Datatype::I16,
            10 => Datatype::U16,
            other => {
                return Err(Error::unsupported(path, format!("voxels of MGH type {other} are not read")));
            }
        };
        let is_placed = i16::from_be_bytes([bytes[28], bytes[29]]) > 0;
        let affine = if is_placed {
            place(std::array::from_fn(|i| float(30 + 4 * i)), shape)
        } else {
            // The format's default for a file without a position: coronal slices of 1 mm around the origin.
            place([1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], shape)
        };
        if !affine.is_usable() {
            return Err(Error::malformed(path, "its voxel sizes and directions span no space"));
        }
        Ok(Self { grid: Grid::new(shape, affine), datatype, is_placed })
    }
}

fn shape_of(lengths: [i32; 3], path: &Path) -> Result<[usize; 3]> {
    let shape = lengths.map(|length| usize::try_from(length).unwrap_or(0));
    if shape.contains(&0) {
        return Err(Error::malformed(path, format!("{lengths:?} voxels; all must be positive")));
    }
    let voxels = shape.iter().try_fold(1_usize, |product, length| product.checked_mul(*length));
    if voxels.is_none_or(|voxels| voxels > MAX_VOXELS) {
        return Err(Error::unsupported(
            path,
            format!("{shape:?} voxels; more than {MAX_VOXELS} are not read"),
        ));
    }
    Ok(shape)
}

/// The affine from voxel sizes, the directions of the axes in RAS, and the position of the volume's centre: that of
/// voxel `length / 2`, which for an even length is just beyond the middle.
fn place(numbers: [f64; 15], shape: [usize; 3]) -> Affine {
    let step = |axis: usize, row: usize| numbers[axis] * numbers[3 + 3 * axis + row];
    Affine::from_rows(std::array::from_fn(|row| {
        let steps = [step(0, row), step(1, row), step(2, row)];
        let half: f64 = (0..3).map(|axis| steps[axis] * shape[axis] as f64 / 2.0).sum();
        [steps[0], steps[1], steps[2], numbers[12 + row] - half]
    }))
}
