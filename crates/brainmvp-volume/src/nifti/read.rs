//! Reads volumes from files.

use std::path::{Path, PathBuf};

use super::header::{Header, LONGEST, Storage};
use crate::file::as_labels;
use crate::gzip::Source;
use crate::{Error, LabelMap, Result, Volume};

/// Reads an image; `f32` voxels after scaling, NaN and infinity as they are in the file.
///
/// `path` may be a `.nii` file or either file of a `.hdr`/`.img` pair; content tells whether it is gzipped.
///
/// # Errors
/// Where the file cannot be read, breaks the format, is truncated or corrupt, or does not hold one real-valued
/// volume (a time series, colours, complex numbers).
pub fn read(path: &Path) -> Result<Volume<f32>> {
    let (header, file, source) = open(path)?;
    let count = header.voxel_bytes();
    let section = match header.storage {
        Storage::Single => source.section(header.voxel_offset, count)?,
        Storage::Pair => {
            let image = partner(&file, Part::Image)?;
            Source::open(&image)?.section(header.voxel_offset, count)?
        }
    };
    let voxels = header.datatype.decode(section.as_bytes(), header.big_endian, header.scaling);
    Ok(Volume::new(header.grid, voxels))
}

/// Reads a label map.
///
/// # Errors
/// As [`read`], and where a voxel is further than 0.001 from a whole number from 0 to 65535.
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    as_labels(&read(path)?, path)
}

/// Reads the header alone, which costs a few hundred bytes of the file.
///
/// # Errors
/// Those of [`read`] that the header shows.
pub fn read_header(path: &Path) -> Result<Header> {
    Ok(open(path)?.0)
}

/// The header of an image and its voxels as they are stored, the lowest byte of each first.
pub(super) fn stored(path: &Path) -> Result<(Header, Vec<u8>)> {
    let (header, file, source) = open(path)?;
    let count = header.voxel_bytes();
    let section = match header.storage {
        Storage::Single => source.section(header.voxel_offset, count)?,
        Storage::Pair => Source::open(&partner(&file, Part::Image)?)?.section(header.voxel_offset, count)?,
    };
    let mut bytes = section.as_bytes().to_vec();
    if header.big_endian {
        bytes.chunks_exact_mut(header.datatype.size()).for_each(<[u8]>::reverse);
    }
    Ok((header, bytes))
}

/// The header, the path of the file that holds it, and that file.
fn open(path: &Path) -> Result<(Header, PathBuf, Source)> {
    let file = if ending(path).is_some_and(|ending| ending.part == Part::Image) {
        partner(path, Part::Header)?
    } else {
        path.to_owned()
    };
    let mut source = Source::open(&file)?;
    let header = Header::parse(&source.start(LONGEST)?, &file)?;
    Ok((header, file, source))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Image,
}

/// The end of the name of one file of a pair.
struct Ending {
    part: Part,
    name: &'static str,
    partners: [&'static str; 4],
}

/// Partners are looked for with the same compression first, and in the same upper or lower case.
const ENDINGS: [Ending; 8] = [
    Ending { part: Part::Header, name: ".hdr", partners: [".img", ".img.gz", ".IMG", ".IMG.gz"] },
    Ending { part: Part::Header, name: ".hdr.gz", partners: [".img.gz", ".img", ".IMG.gz", ".IMG"] },
    Ending { part: Part::Header, name: ".HDR", partners: [".IMG", ".IMG.GZ", ".IMG.gz", ".img"] },
    Ending { part: Part::Header, name: ".HDR.GZ", partners: [".IMG.GZ", ".IMG", ".IMG.gz", ".img.gz"] },
    Ending { part: Part::Image, name: ".img", partners: [".hdr", ".hdr.gz", ".HDR", ".HDR.gz"] },
    Ending { part: Part::Image, name: ".img.gz", partners: [".hdr.gz", ".hdr", ".HDR.gz", ".HDR"] },
    Ending { part: Part::Image, name: ".IMG", partners: [".HDR", ".HDR.GZ", ".HDR.gz", ".hdr"] },
    Ending { part: Part::Image, name: ".IMG.GZ", partners: [".HDR.GZ", ".HDR", ".HDR.gz", ".hdr.gz"] },
];

fn ending(path: &Path) -> Option<&'static Ending> {
    let name = path.file_name()?.as_encoded_bytes();
    ENDINGS.iter().find(|ending| name.ends_with(ending.name.as_bytes()))
}

/// The other file of a pair.
fn partner(path: &Path, wanted: Part) -> Result<PathBuf> {
    let missing = |reason: String| Err(Error::malformed(path, reason));
    let what = if wanted == Part::Image { "voxels (.img)" } else { "header (.hdr)" };
    let Some(ending) = ending(path).filter(|ending| ending.part != wanted) else {
        return missing(format!("its {what} are in another file, but its name does not end in .hdr"));
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(ending.name).unwrap_or_default();
    let candidates = ending.partners.map(|partner| path.with_file_name(format!("{stem}{partner}")));
    match candidates.into_iter().find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found),
        None => missing(format!("its {what} must be next to it, named {stem}{}", ending.partners[0])),
    }
}
