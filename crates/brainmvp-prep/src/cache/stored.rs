//! The bytes of a prepared case, in its file or in memory.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

use safetensors::Dtype;
use safetensors::tensor::Metadata as Header;

/// None of our headers is nearly this large.
const LARGEST_HEADER: u64 = 64 << 20;

/// Where a tensor is in a file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) dtype: Dtype,
    pub(super) bytes: Range<usize>,
}

/// Where bytes are read from.
#[derive(Debug)]
pub(super) enum Bytes {
    /// A file that is opened for every read: thousands of cases would otherwise take as many open files, and a file that is
    /// deleted or shortened is an error of the read, where a mapped one would end the program.
    File(Version),
    /// Those of a case without a file.
    Held(Vec<u8>),
}

/// By which it is told whether a file is still the one that was opened first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    length: u64,
    modified: Option<SystemTime>,
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok() }
    }
}

/// Reads the header of a safetensors file. Returns it, where the tensors begin, and where they can be read.
pub(super) fn open(path: &Path) -> io::Result<(Header, usize, Bytes)> {
    let mut file = File::open(path)?;
    let version = Version::of(&file.metadata()?);
    let (header, start) = header(&mut file, version.length)?;
    Ok((header, start, Bytes::File(version)))
}

/// The same for a file that is held in memory.
pub(super) fn hold(bytes: Vec<u8>) -> io::Result<(Header, usize, Bytes)> {
    let (header, start) = header(&mut bytes.as_slice(), bytes.len() as u64)?;
    Ok((header, start, Bytes::Held(bytes)))
}

fn header(from: &mut impl io::Read, length: u64) -> io::Result<(Header, usize)> {
    let damaged = |reason: String| io::Error::new(io::ErrorKind::InvalidData, format!("damaged: {reason}"));
    let mut size = [0; 8];
    from.read_exact(&mut size).map_err(|_| damaged("it is too short".to_owned()))?;
    let size = u64::from_le_bytes(size);
    if size > LARGEST_HEADER || size > length - 8 {
        return Err(damaged("its header does not fit the file".to_owned()));
    }
    let mut text = vec![0; size as usize];
    from.read_exact(&mut text)?;
    let header: Header = serde_json::from_slice(&text).map_err(|e| damaged(format!("its header: {e}")))?;
    let start = 8 + size;
    if start.checked_add(header.data_len() as u64) != Some(length) {
        return Err(damaged("it is shorter or longer than its header says".to_owned()));
    }
    Ok((header, start as usize))
}

impl Bytes {
    /// A view of them for one or several reads.
    pub(super) fn reader<'a>(&'a self, path: &Path) -> io::Result<Reader<'a>> {
        let version = match self {
            Self::File(version) => version,
            Self::Held(bytes) => return Ok(Reader::Held(bytes)),
        };
        let file = File::open(path)?;
        if Version::of(&file.metadata()?) != *version {
            return Err(io::Error::other("the file has changed since it was opened first"));
        }
        Ok(Reader::File(file))
    }
}

/// Reads bytes at any place.
pub(super) enum Reader<'a> {
    File(File),
    Held(&'a [u8]),
}

impl Reader<'_> {
    /// The numbers of a tensor at these places.
    pub(super) fn numbers<T: bytemuck::Pod>(
        &mut self,
        stored: &Stored,
        places: Range<usize>,
        into: &mut Vec<T>,
    ) -> io::Result<()> {
        into.resize(places.len(), T::zeroed());
        let at = stored.bytes.start + places.start * size_of::<T>();
        let out: &mut [u8] = bytemuck::cast_slice_mut(into);
        match self {
            Self::File(file) => {
                file.seek(SeekFrom::Start(at as u64))?;
                file.read_exact(out)
            }
            Self::Held(bytes) => {
                let found = bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(found);
                Ok(())
            }
        }
    }
}
