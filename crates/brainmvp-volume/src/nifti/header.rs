//! A validated header.

use std::path::Path;

use super::layout::{Fields, Layout, NIFTI_1, NIFTI_2, SIZE_OF_HDR};
use super::placement::{self, Placement};
use super::{Datatype, Geometry};
use crate::{Affine, Error, Grid, Result};

/// As many bytes as a header of either version needs.
pub(super) const LONGEST: usize = NIFTI_2.size;

/// A whole head at 0.25 mm has fewer voxels; a header that asks for more than this is refused, so that a small
/// packed file cannot unpack into all memory.
pub(crate) const MAX_VOXELS: usize = 1 << 29;

/// Where the voxels that belong to a header are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// One file with header and voxels (`.nii`).
    Single,
    /// A `.hdr` file whose voxels are in an `.img` file.
    Pair,
}

/// The unit of the affine in the file. A [`Grid`] is always in mm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpatialUnits {
    /// Not given; taken as millimetres.
    Unknown,
    /// Metres.
    Metre,
    /// Millimetres.
    Millimetre,
    /// Micrometres.
    Micrometre,
}

impl SpatialUnits {
    fn from_code(code: i64) -> Self {
        match code & 7 {
            1 => Self::Metre,
            2 => Self::Millimetre,
            3 => Self::Micrometre,
            _ => Self::Unknown,
        }
    }

    /// Millimetres of one unit.
    pub fn mm(self) -> f64 {
        match self {
            Self::Metre => 1000.0,
            Self::Millimetre | Self::Unknown => 1.0,
            Self::Micrometre => 0.001,
        }
    }
}

/// The contents of a header of a single 3-D volume.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// Shape, and place in RAS+ mm.
    pub grid: Grid,
    /// Which of the standard's methods gave the affine.
    pub placement: Placement,
    /// The affine of the qform, if there is one beside the sform that was taken.
    pub passed_over: Option<Affine>,
    /// The file's own placement fields, to be repeated in another file on the same grid.
    pub geometry: Geometry,
    /// The unit of lengths in the file.
    pub units: SpatialUnits,
    /// Voxel type in the file.
    pub datatype: Datatype,
    /// `(slope, inter)` of stored to true values; `None` if the header gives none (slope 0 or not finite).
    pub scaling: Option<(f64, f64)>,
    /// One file or two.
    pub storage: Storage,
    /// 1 or 2: NIfTI-1 or NIfTI-2.
    pub version: u8,
    /// Byte order of header and voxels.
    pub big_endian: bool,
    /// First byte of the voxels in their file.
    pub voxel_offset: u64,
    /// Free text.
    pub description: String,
}

impl Header {
    /// Voxels along x, y and z.
    pub fn shape(&self) -> [usize; 3] {
        self.grid.shape
    }

    /// Bytes of all voxels in the file, unpacked. Does not overflow: the shape is bounded when read.
    pub fn voxel_bytes(&self) -> usize {
        self.grid.len() * self.datatype.size()
    }

    /// Reads the first bytes of a file.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let (fields, layout, version) = identify(bytes, path)?;
        let storage = storage_of(&fields, layout, path)?;
        let datatype = Datatype::from_code(fields.integer(layout.datatype, 0)).map_err(|name| {
            let code = fields.integer(layout.datatype, 0);
            Error::unsupported(
                path,
                format!("contains {name} (datatype {code}); give an image of real values"),
            )
        })?;
        let shape = shape_of(&fields, layout, path)?;
        let units = SpatialUnits::from_code(fields.integer(layout.xyzt_units, 0));
        let placed = placement::from_header(&fields, layout, units.mm());
        let text = bytes.get(layout.descrip..layout.descrip + super::layout::DESCRIP_LEN).unwrap_or_default();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Self {
            grid: Grid::new(shape, placed.affine),
            placement: placed.placement,
            passed_over: placed.passed_over,
            geometry: Geometry::of(&fields, layout, version),
            units,
            datatype,
            scaling: scaling_of(&fields, layout, path)?,
            storage,
            version,
            big_endian: fields.big_endian,
            voxel_offset: voxel_offset_of(&fields, layout, storage, path)?,
            description: String::from_utf8_lossy(text).trim().to_owned(),
        })
    }
}

/// Version and byte order: the first field is the header's own size.
fn identify<'a>(bytes: &'a [u8], path: &Path) -> Result<(Fields<&'a [u8]>, &'static Layout, u8)> {
    for big_endian in [false, true] {
        let fields = Fields { bytes, big_endian };
        for (layout, version) in [(&NIFTI_1, 1), (&NIFTI_2, 2)] {
            if fields.integer(SIZE_OF_HDR, 0) == layout.size as i64 {
                if bytes.len() < layout.size {
                    let reason =
                        format!("truncated within the header: {} of {} bytes", bytes.len(), layout.size);
                    return Err(Error::malformed(path, reason));
                }
                return Ok((fields, layout, version));
            }
        }
    }
    let reason = if bytes.is_empty() {
        "the file is empty"
    } else {
        "not a NIfTI file: it does not begin with a header"
    };
    Err(Error::malformed(path, reason))
}

fn storage_of(fields: &Fields<&[u8]>, layout: &Layout, path: &Path) -> Result<Storage> {
    let magic = &fields.bytes[layout.magic..layout.magic + 4];
    if magic == &layout.magic_single[..4] {
        Ok(Storage::Single)
    } else if magic == &layout.magic_pair[..4] {
        Ok(Storage::Pair)
    } else if layout.size == NIFTI_1.size {
        let reason = "no NIfTI magic: an ANALYZE 7.5 file does not say left from right; convert it to NIfTI";
        Err(Error::unsupported(path, reason))
    } else {
        Err(Error::malformed(path, "a NIfTI-2 header without its magic"))
    }
}

fn shape_of(fields: &Fields<&[u8]>, layout: &Layout, path: &Path) -> Result<[usize; 3]> {
    let rank = fields.integer(layout.dim, 0);
    if !(1..=7).contains(&rank) {
        return Err(Error::malformed(path, format!("dim[0] is {rank}; an image has 1 to 7 dimensions")));
    }
    let mut dims = [1_usize; 7];
    for axis in 0..rank as usize {
        let length = fields.integer(layout.dim, axis + 1);
        dims[axis] = usize::try_from(length).ok().filter(|length| *length > 0).ok_or_else(|| {
            Error::malformed(path, format!("dim[{}] is {length}; it must be positive", axis + 1))
        })?;
    }
    let [x, y, z, trailing @ ..] = dims;
    let volumes = trailing.iter().fold(1_usize, |product, length| product.saturating_mul(*length));
    if volumes != 1 {
        return Err(Error::unsupported(
            path,
            format!(
                "{rank}-D with {volumes} volumes of {x}x{y}x{z}; one is needed: extract it to a file of its own"
            ),
        ));
    }
    let voxels = x.checked_mul(y).and_then(|area| area.checked_mul(z)).filter(|voxels| *voxels <= MAX_VOXELS);
    voxels.map(|_| [x, y, z]).ok_or_else(|| {
        Error::unsupported(path, format!("{x}x{y}x{z} voxels; more than {MAX_VOXELS} are not read"))
    })
}

fn scaling_of(fields: &Fields<&[u8]>, layout: &Layout, path: &Path) -> Result<Option<(f64, f64)>> {
    let (slope, inter) = (fields.float(layout.scl_slope, 0), fields.float(layout.scl_inter, 0));
    if slope == 0.0 || !slope.is_finite() || (slope == 1.0 && inter == 0.0) {
        return Ok(None);
    }
    if !inter.is_finite() {
        return Err(Error::malformed(path, format!("scl_inter is {inter} with the valid scl_slope {slope}")));
    }
    Ok(Some((slope, inter)))
}

/// A single file's voxels begin after the header and its extensions; 0 means directly after.
fn voxel_offset_of(fields: &Fields<&[u8]>, layout: &Layout, storage: Storage, path: &Path) -> Result<u64> {
    let offset = fields.float(layout.vox_offset, 0);
    // Four bytes after the header say whether extensions follow.
    let lowest = if storage == Storage::Single { layout.size as u64 + 4 } else { 0 };
    if offset == 0.0 {
        return Ok(lowest);
    }
    let whole = fields.integer(layout.vox_offset, 0);
    match u64::try_from(whole) {
        Ok(whole) if offset.is_finite() && whole >= lowest => Ok(whole),
        _ => Err(Error::malformed(path, format!("vox_offset is {offset}; it must be at least {lowest}"))),
    }
}
