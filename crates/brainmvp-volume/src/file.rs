//! Reads volumes from files of any supported format: NIfTI, FreeSurfer's MGH, NRRD.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::gzip::Source;
use crate::{Error, Grid, LabelMap, Result, Volume, mgh, nifti, nrrd};

/// The file name endings of volumes, in lower case; a longer ending stands before the one that it ends in. For a pair,
/// the header's.
pub const ENDINGS: [&str; 9] =
    [".nii.gz", ".nii", ".hdr.gz", ".hdr", ".mgh.gz", ".mgz", ".mgh", ".nrrd", ".nhdr"];

/// How far a label may be from a whole number: enough for rounding in a scaling, too little for interpolated labels.
const LABEL_TOLERANCE: f32 = 1e-3;

/// What a file says about its volume before any voxel is read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FileHeader {
    /// Shape, and place in RAS+ mm.
    pub grid: Grid,
    /// Bytes of all voxels, unpacked.
    pub voxel_bytes: usize,
    /// Whether the file says where its axes point; if not, the grid is the default of its format.
    pub is_placed: bool,
    /// The header of a NIfTI file.
    pub nifti: Option<Box<nifti::Header>>,
}

impl FileHeader {
    /// The file's own placement fields, to be repeated in a NIfTI file on the same grid; `None` for other formats.
    pub fn geometry(&self) -> Option<&nifti::Geometry> {
        self.nifti.as_ref().map(|header| &header.geometry)
    }
}

/// The name of a file without folder and ending; `None` if it is not a volume file.
pub fn stem(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    ENDINGS.iter().find_map(|ending| {
        let stem = name.get(..name.len().checked_sub(ending.len())?)?;
        (!stem.is_empty() && name[stem.len()..].eq_ignore_ascii_case(ending)).then_some(stem)
    })
}

/// The other file that a volume's header refers to for its voxels (`.nhdr`); `None` for all other formats, whose files have
/// them inside or, as pairs, under the same name.
///
/// # Errors
/// If the header cannot be read.
pub fn voxel_file(path: &Path) -> Result<Option<PathBuf>> {
    match Format::of(path)? {
        Format::Nrrd => nrrd::voxel_file(path),
        Format::Nifti | Format::Mgh => Ok(None),
    }
}

/// Reads an image; `f32` voxels after scaling, NaN and infinity as they are in the file. Content tells the format, and
/// whether it is gzipped.
///
/// # Errors
/// Where the file cannot be read, breaks its format, is truncated or corrupt, or does not hold one real-valued volume
/// whose place is known.
pub fn read(path: &Path) -> Result<Volume> {
    match Format::of(path)? {
        Format::Nifti => nifti::read(path),
        Format::Mgh => mgh::read(path),
        Format::Nrrd => nrrd::read(path),
    }
}

/// Reads a label map.
///
/// # Errors
/// As [`read`], and where a voxel is further than 0.001 from a whole number from 0 to 65535.
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    as_labels(&read(path)?, path)
}

/// Reads the header alone.
///
/// # Errors
/// Those of [`read`] that the header shows.
pub fn read_header(path: &Path) -> Result<FileHeader> {
    match Format::of(path)? {
        Format::Nifti => {
            let header = nifti::read_header(path)?;
            let (grid, voxel_bytes) = (header.grid, header.voxel_bytes());
            let is_placed = header.placement != nifti::Placement::Spacing;
            Ok(FileHeader { grid, voxel_bytes, is_placed, nifti: Some(Box::new(header)) })
        }
        Format::Mgh => mgh::read_header(path),
        Format::Nrrd => {
            let (grid, voxel_bytes) = nrrd::read_header(path)?;
            Ok(FileHeader { grid, voxel_bytes, is_placed: true, nifti: None })
        }
    }
}

/// Converts an image whose values are labels; the error names `path` where they are not.
///
/// # Errors
/// Where a voxel is further than 0.001 from a whole number from 0 to 65535.
pub fn as_labels(volume: &Volume, path: &Path) -> Result<LabelMap> {
    let is_label = |value: f32| {
        let label = value.round();
        (value - label).abs() <= LABEL_TOLERANCE && (0.0..=f32::from(u16::MAX)).contains(&label)
    };
    if let Some(offset) = volume.voxels().par_iter().position_first(|value| !is_label(*value)) {
        let [x, y, z] = volume.grid().voxel(offset);
        let value = volume.voxels()[offset];
        return Err(Error::unsupported(
            path,
            format!(
                "not a label map: voxel ({x}, {y}, {z}) is {value}; labels are whole numbers from 0 to 65535"
            ),
        ));
    }
    let labels = volume.voxels().par_iter().map(|value| value.round() as u16).collect();
    Ok(LabelMap::new(*volume.grid(), labels))
}

enum Format {
    Nifti,
    Mgh,
    Nrrd,
}

impl Format {
    /// The format, by the first bytes. Everything else goes to the NIfTI reader, which says what is wrong with it; so
    /// does the voxel file of a pair, which may begin with anything.
    fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if [".img", ".img.gz"].iter().any(|ending| name.ends_with(ending)) {
            return Ok(Self::Nifti);
        }
        let start = Source::open(path)?.start(4)?;
        Ok(if start == mgh::START {
            Self::Mgh
        } else if start.starts_with(nrrd::MAGIC) {
            Self::Nrrd
        } else {
            Self::Nifti
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_volumes() {
        for (name, expected) in [
            ("a.nii.gz", Some("a")),
            ("a/T1.MGZ", Some("T1")),
            ("aseg.mgh.gz", Some("aseg")),
            ("x.y.nrrd", Some("x.y")),
            (".nii.gz", None),
            ("a.img", None),
            ("é.gz", None),
            ("nii", None),
        ] {
            assert_eq!(stem(Path::new(name)), expected, "{name}");
        }
    }
}
