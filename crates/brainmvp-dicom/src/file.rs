//! The header of a DICOM file.

use std::io::{Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use brainmvp_volume::AtPath as _;
use dicom_dictionary_std::tags;
use dicom_object::{DefaultDicomObject, InMemDicomObject, OpenFileOptions};

use crate::acquisition::Acquisition;
use crate::attributes::{self, Scope};
use crate::frame::Frame;
use crate::pixels::PixelFormat;
use crate::stored::Stored;
use crate::{Error, Result, deflated, structure};

/// A file with images; its pixels are not loaded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImageFile {
    pub(crate) path: PathBuf,
    pub(crate) patient: String,
    pub(crate) study: String,
    pub(crate) series: String,
    pub(crate) instance: String,
    pub(crate) series_number: Option<i64>,
    pub(crate) acquisition: Acquisition,
    pub(crate) format: PixelFormat,
    pub(crate) frames: Vec<Frame>,
}

impl ImageFile {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Error::NoImage`] for other files, [`Error::Malformed`] for broken ones, [`Error::Unsupported`] for images of
    /// an unsupported kind.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut file = Stored::open(path).at(path)?;
        if !file.has_mark() {
            return Err(Error::NoImage { path: path.to_owned(), reason: "not a DICOM file" });
        }
        Self::of(&object(file, OpenFileOptions::new().read_until(tags::PIXEL_DATA), path)?, path)
    }

    fn of(object: &DefaultDicomObject, path: &Path) -> Result<Self> {
        let root: &InMemDicomObject = object;
        let Some(format) = PixelFormat::of(root, object.meta().transfer_syntax()) else {
            return Err(Error::NoImage { path: path.to_owned(), reason: "a DICOM file without an image" });
        };
        let format = format.map_err(|reason| Error::unsupported(path, reason))?;
        let text = |tag| attributes::text(root, tag).unwrap_or_default();
        let malformed = |reason| Error::malformed(path, reason);
        let count = attributes::stated_count(root, tags::NUMBER_OF_FRAMES, "NumberOfFrames");
        let count = count.map_err(malformed)?.unwrap_or(1).max(1);
        let groups = attributes::items(root, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).len();
        let image_type = attributes::words(root, tags::IMAGE_TYPE);
        if image_type.iter().any(|word| word == "MOSAIC") {
            return Err(Error::unsupported(
                path,
                "a Siemens mosaic, whose slice positions are in private data; convert it with dcm2niix",
            ));
        }
        if count > 1 && groups != count {
            return Err(Error::unsupported(
                path,
                format!("{count} frames, of which {groups} have a position; convert it with dcm2niix"),
            ));
        }
        let frames: std::result::Result<_, _> =
            (0..count).map(|index| Frame::of(Scope::new(root, index))).collect();
        Ok(Self {
            path: path.to_owned(),
            patient: text(tags::PATIENT_ID),
            study: text(tags::STUDY_INSTANCE_UID),
            series: text(tags::SERIES_INSTANCE_UID),
            instance: text(tags::SOP_INSTANCE_UID),
            series_number: attributes::number(root, tags::SERIES_NUMBER).map(|number| number as i64),
            acquisition: Acquisition::of(Scope::new(root, 0)),
            format,
            frames: frames.map_err(malformed)?,
        })
    }

    /// The whole file, pixels included.
    pub(crate) fn open(&self) -> Result<DefaultDicomObject> {
        let file = Stored::open(&self.path).at(&self.path)?;
        object(file, OpenFileOptions::new().read_to(tags::PIXEL_DATA), &self.path)
    }
}

/// A part of a file, whose lengths are checked each time: it may have changed.
fn object(mut file: Stored, part: OpenFileOptions, path: &Path) -> Result<DefaultDicomObject> {
    if let Some(bytes) = unpacked(&mut file, path)? {
        return checked(Cursor::new(&bytes), bytes.len() as u64, part, path);
    }
    let bytes = file.len().at(path)?;
    checked(file, bytes, part, path)
}

/// The bytes of a deflated file; `None` if it is not.
fn unpacked(file: &mut Stored, path: &Path) -> Result<Option<Vec<u8>>> {
    deflated::unpack(file).map_err(|e| {
        Error::malformed(path, format!("truncated or corrupt: its deflated content ends early ({e})"))
    })
}

/// Parses a file after checking its lengths.
fn checked(
    mut reader: impl Read + Seek,
    bytes: u64,
    options: OpenFileOptions,
    path: &Path,
) -> Result<DefaultDicomObject> {
    let end = structure::check(&mut reader, bytes).map_err(|reason| Error::malformed(path, reason))?;
    reader.rewind().at(path)?;
    // The parser reads the element after the pixels too, and takes its length for true.
    parse(reader.take(end), options, path)
}

fn parse(reader: impl Read, options: OpenFileOptions, path: &Path) -> Result<DefaultDicomObject> {
    use dicom_object::file::ReadPreamble;
    options.read_preamble(ReadPreamble::Always).from_reader(reader).map_err(|error| {
        let mut reason = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            reason = format!("{reason}: {inner}");
            cause = inner.source();
        }
        Error::malformed(path, reason)
    })
}
