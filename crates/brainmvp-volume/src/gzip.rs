//! Bytes of files that may be gzipped, whatever their names say, without trusting any size that they declare.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

use crate::{AtPath as _, Error, FileError, Result};

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// No deflate stream grows by more than this factor (258 bytes of output take at least two bits).
const MAX_RATIO: u64 = 1032;

/// How many bytes past those asked for a stream is read, to verify its checksum.
const MAX_EXCESS: u64 = 64 << 20;

/// Compression level for writing: higher levels take much longer and hardly shrink the files.
const LEVEL: i32 = 6;

/// A file, seen as the bytes that it holds once unpacked.
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    stored_bytes: u64,
    is_gzip: bool,
}

/// A range of bytes, together with everything that had to be unpacked before it.
pub(crate) struct Section {
    bytes: Vec<u8>,
    skip: usize,
}

impl Section {
    /// The bytes asked for.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.skip..]
    }
}

impl Source {
    /// Opens a file and looks at its first bytes: content decides, not the name.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let wrap = |source| FileError::new(path, source);
        // Checked before opening: opening a pipe would wait for someone to write to it.
        let metadata = std::fs::metadata(path).map_err(wrap)?;
        if !metadata.is_file() {
            return Err(Error::unsupported(path, "not a regular file"));
        }
        let mut file = File::open(path).map_err(wrap)?;
        let mut first = Vec::with_capacity(2);
        file.by_ref().take(2).read_to_end(&mut first).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), file, stored_bytes: metadata.len(), is_gzip: first == MAGIC })
    }

    /// Up to `count` of the first bytes; fewer where the file ends before.
    pub(crate) fn start(&mut self, count: usize) -> Result<Vec<u8>> {
        self.rewind()?;
        let mut bytes = Vec::new();
        let read = if self.is_gzip {
            MultiGzDecoder::new(io::BufReader::with_capacity(4096, &self.file))
                .take(count as u64)
                .read_to_end(&mut bytes)
        } else {
            (&self.file).take(count as u64).read_to_end(&mut bytes)
        };
        match read {
            Ok(_) => Ok(bytes),
            Err(source) => Err(self.broken(source, count as u64, bytes.len() as u64)),
        }
    }

    /// The bytes `skip..skip + count`, all of them.
    ///
    /// Memory is taken only for what the file can hold: its own length, or what deflate can unpack from it.
    pub(crate) fn section(mut self, skip: u64, count: usize) -> Result<Section> {
        let end = skip.checked_add(count as u64).filter(|end| usize::try_from(*end).is_ok());
        let end =
            end.ok_or_else(|| Error::malformed(&self.path, "the header declares an impossible size"))?;
        let capacity =
            if self.is_gzip { self.stored_bytes.saturating_mul(MAX_RATIO) } else { self.stored_bytes };
        if end > capacity {
            return Err(Error::malformed(
                &self.path,
                format!(
                    "truncated, or its header is wrong: it declares {end} bytes, the file can hold at most {capacity}"
                ),
            ));
        }
        if self.is_gzip { self.unpack(skip as usize, end as usize) } else { self.plain(skip, count) }
    }

    /// The first `count` bytes of the gzip stream that begins at `skip`, after a header that is not packed.
    pub(crate) fn packed_section(mut self, skip: u64, count: usize) -> Result<Section> {
        if self.is_gzip {
            return Err(Error::unsupported(&self.path, "packed twice; unpack it once"));
        }
        let capacity = self.stored_bytes.saturating_sub(skip).saturating_mul(MAX_RATIO);
        if count as u64 > capacity {
            return Err(Error::malformed(
                &self.path,
                format!(
                    "truncated, or its header is wrong: it declares {count} bytes, the file can hold at most {capacity}"
                ),
            ));
        }
        let mut packed = Vec::new();
        self.file.seek(SeekFrom::Start(skip)).at(&self.path)?;
        (&self.file).read_to_end(&mut packed).at(&self.path)?;
        self.is_gzip = true;
        Ok(Section { bytes: self.unpacked(&packed, count)?, skip: 0 })
    }

    fn plain(&mut self, skip: u64, count: usize) -> Result<Section> {
        self.file.seek(SeekFrom::Start(skip)).at(&self.path)?;
        let mut bytes = Vec::with_capacity(count);
        let read = (&self.file).take(count as u64).read_to_end(&mut bytes);
        match read {
            Ok(n) if n == count => Ok(Section { bytes, skip: 0 }),
            Ok(n) => Err(self.broken(io::ErrorKind::UnexpectedEof.into(), count as u64, n as u64)),
            Err(source) => Err(FileError::new(&self.path, source).into()),
        }
    }

    /// The whole buffer at once where the file is one gzip member of just the expected size; else as a stream.
    fn unpack(&mut self, skip: usize, end: usize) -> Result<Section> {
        let mut packed = Vec::new();
        self.rewind()?;
        (&self.file).read_to_end(&mut packed).at(&self.path)?;
        Ok(Section { bytes: self.unpacked(&packed, end)?, skip })
    }

    fn unpacked(&self, packed: &[u8], end: usize) -> Result<Vec<u8>> {
        // Zeroed memory that is never touched costs nothing, so a header that lies costs nothing either.
        let mut bytes = vec![0; end];
        match Decompressor::new().gzip_decompress(packed, &mut bytes) {
            Ok(length) if length == end => Ok(bytes),
            _ => self.unpack_stream(packed, end),
        }
    }

    /// For several members, bytes after the voxels, or a broken stream whose fault must be reported.
    fn unpack_stream(&self, packed: &[u8], end: usize) -> Result<Vec<u8>> {
        let mut stream = MultiGzDecoder::new(packed);
        let mut bytes = Vec::new();
        let read = stream.by_ref().take(end as u64).read_to_end(&mut bytes);
        if bytes.len() < end {
            let source = read.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            return Err(self.broken(source, end as u64, bytes.len() as u64));
        }
        // The checksum is at the very end of a member.
        match io::copy(&mut stream.take(MAX_EXCESS), &mut io::sink()) {
            Ok(MAX_EXCESS) => Err(Error::malformed(
                &self.path,
                format!("goes on for more than {MAX_EXCESS} bytes after its voxels: its header is wrong"),
            )),
            Ok(_) => Ok(bytes),
            Err(source) => Err(self.broken(source, end as u64, bytes.len() as u64)),
        }
    }

    fn rewind(&mut self) -> Result<()> {
        Ok(self.file.seek(SeekFrom::Start(0)).map(|_| ()).at(&self.path)?)
    }

    fn broken(&self, source: io::Error, expected: u64, found: u64) -> Error {
        let packed = if self.is_gzip { " of gzip content" } else { "" };
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Error::malformed(
                &self.path,
                format!("truncated: {found} of {expected} bytes{packed}; copy or download it again"),
            ),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => Error::malformed(
                &self.path,
                format!(
                    "corrupt gzip content after {found} of {expected} bytes ({source}); copy or download it again"
                ),
            ),
            _ => FileError::new(&self.path, source).into(),
        }
    }
}

/// The bytes as one gzip member, the same on every run.
pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(LEVEL).map_err(|_| io::Error::other("unknown compression level"))?;
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let length = compressor.gzip_compress(bytes, &mut packed).map_err(io::Error::other)?;
    packed.truncate(length);
    Ok(packed)
}
