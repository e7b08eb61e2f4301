//! A file as it is stored: plain, or gzipped (`.dcm.gz`), whatever its name says.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// More than any file of one image has. Several are unpacked at a time, whatever they hold.
const LARGEST_BYTES: u64 = 1 << 30;

/// The bytes of a file, unpacked.
pub(crate) enum Stored {
    OnDisk(BufReader<File>),
    Unpacked(Cursor<Vec<u8>>),
}

impl Stored {
    /// Opens a file. Only gzipped files are read at once, and of those that are not DICOM no more than their beginning.
    ///
    /// # Errors
    /// If it cannot be read, or is damaged or very large when it is unpacked.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut start = Vec::new();
        file.by_ref().take(GZIP.len() as u64).read_to_end(&mut start)?;
        file.rewind()?;
        if start != GZIP {
            return Ok(Self::OnDisk(file));
        }
        let mut stream = MultiGzDecoder::new(file).take(LARGEST_BYTES);
        let mut bytes = Vec::new();
        // What is damaged here already is a file of another kind.
        let start = stream.by_ref().take(MARK_END).read_to_end(&mut bytes);
        if start.is_ok() && bytes.ends_with(MARK) {
            stream.read_to_end(&mut bytes)?;
        }
        if stream.limit() == 0 {
            return Err(io::Error::other(format!("more than {} MB when unpacked", LARGEST_BYTES >> 20)));
        }
        Ok(Self::Unpacked(Cursor::new(bytes)))
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match self {
            Self::OnDisk(file) => file.get_ref().metadata().map(|metadata| metadata.len()),
            Self::Unpacked(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }

    /// Whether the file says that it is DICOM.
    pub(crate) fn has_mark(&mut self) -> bool {
        let mut mark = [0; MARK.len()];
        let start = SeekFrom::Start(MARK_END - MARK.len() as u64);
        self.seek(start).is_ok() && self.read_exact(&mut mark).is_ok() && mark == *MARK
    }
}

/// What every DICOM file has after its preamble.
const MARK: &[u8; 4] = b"DICM";
const MARK_END: u64 = 132;

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::OnDisk(file) => file.read(buffer),
            Self::Unpacked(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Stored {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::OnDisk(file) => file.seek(to),
            Self::Unpacked(bytes) => bytes.seek(to),
        }
    }
}
