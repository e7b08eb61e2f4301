//! Tensors by name in one safetensors file, with a JSON text. They are written and read one at a time, so that the
//! contents of a file are never in memory twice.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use brainmvp_volume::FileError;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::{Error, Result};

/// The name of the JSON text.
const TEXT: &str = "brainmvp";

/// None of our headers is nearly this large.
const LARGEST_HEADER: u64 = 64 << 20;

/// The name of the last tensor of a sealed file: the BLAKE3 hash of all bytes before it.
const SEAL: &str = "seal";

/// A tensor to be written: its name, type and shape.
pub(crate) type Described = (String, Dtype, Vec<usize>);

/// Writes a file, completely or not at all. `write` writes the bytes of each tensor, by its index among those described.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(
    path: &Path,
    text: String,
    tensors: Vec<Described>,
    mut write: impl FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let count = tensors.len();
    let (header, _) = header(path, text, tensors)?;
    brainmvp_volume::write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        (0..count).try_for_each(|place| write(place, file))
    })?;
    Ok(())
}

/// [`write`]s a file whose last tensor is a hash of all the rest, so that damage to it is found.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write_sealed(
    path: &Path,
    text: String,
    mut tensors: Vec<Described>,
    mut write: impl FnMut(usize, &mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let count = tensors.len();
    tensors.push(seal());
    let (header, _) = header(path, text, tensors)?;
    brainmvp_volume::write_atomically(path, |file| {
        let mut hashed = Hashed { file, hasher: blake3::Hasher::new() };
        hashed.write_all(&(header.len() as u64).to_le_bytes())?;
        hashed.write_all(&header)?;
        (0..count).try_for_each(|place| write(place, &mut hashed))?;
        let Hashed { file, hasher } = hashed;
        file.write_all(hasher.finalize().as_bytes())
    })?;
    Ok(())
}

fn seal() -> Described {
    (SEAL.to_owned(), Dtype::U8, vec![blake3::OUT_LEN])
}

/// Hashes what is written to a file.
struct Hashed<W> {
    file: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// The size of the file that [`write_sealed`] makes, in bytes.
pub(crate) fn size(text: String, mut tensors: Vec<Described>) -> Result<u64> {
    tensors.push(seal());
    let (header, data) = header(Path::new("checkpoint"), text, tensors)?;
    Ok((size_of::<u64>() + header.len() + data) as u64)
}

/// The header of a file, and the size of its tensors.
fn header(path: &Path, text: String, tensors: Vec<Described>) -> Result<(Vec<u8>, usize)> {
    let failed = |e: &dyn std::fmt::Display| Error::checkpoint(path, e.to_string());
    let mut end = 0;
    let infos = tensors.into_iter().map(|(name, dtype, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        (name, TensorInfo { dtype, shape, data_offsets: (start, end) })
    });
    let infos = infos.collect();
    let metadata = Metadata::new(Some([(TEXT.to_owned(), text)].into()), infos);
    let mut header = serde_json::to_vec(&metadata.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok((header, end))
}

/// A file opened for reading.
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes start.
    start: u64,
    metadata: Metadata,
}

impl TensorFile {
    /// Reads the header.
    ///
    /// # Errors
    /// If the file cannot be read, is not a safetensors file, or is shorter than its header says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |e| FileError::new(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        let no_tensors =
            || Error::checkpoint(path, "not a safetensors file: its header does not fit the file");
        if length < 8 {
            return Err(no_tensors());
        }
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST_HEADER || size > length - 8 {
            return Err(no_tensors());
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(io)?;
        // The library's own header reader needs the tensors in memory too.
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| Error::checkpoint(path, format!("not a safetensors file: its header: {e}")))?;
        let start = 8 + size;
        if start.checked_add(metadata.data_len() as u64) != Some(length) {
            return Err(Error::checkpoint(path, "the file is truncated, or has more than its header says"));
        }
        Ok(Self { path: path.to_owned(), file, start, metadata })
    }

    /// Compares the file with its seal, if it has one.
    ///
    /// # Errors
    /// If its bytes are not those that were written, or cannot be read.
    pub(crate) fn check_seal(&mut self) -> Result<()> {
        let Some(TensorInfo { data_offsets: (first, _), .. }) = self.metadata.info(SEAL) else {
            return Ok(());
        };
        let io = |e| FileError::new(&self.path, e);
        let before = self.start + *first as u64;
        self.file.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader((&self.file).take(before)).map_err(io)?;
        let (_, _, seal) = self.bytes(SEAL)?;
        if seal.as_slice() == hasher.finalize().as_bytes() {
            return Ok(());
        }
        Err(Error::checkpoint(&self.path, "the file is damaged: its bytes are not those that were written"))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The JSON text, if this program wrote the file.
    pub(crate) fn text(&self) -> Option<&str> {
        self.metadata.metadata().as_ref()?.get(TEXT).map(String::as_str)
    }

    /// The names, types and shapes of the tensors.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (String, &TensorInfo)> {
        self.metadata.tensors().into_iter()
    }

    /// The type and shape of a tensor.
    pub(crate) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Type, shape and bytes of a tensor.
    ///
    /// # Errors
    /// If there is none of this name, or the file cannot be read.
    pub(crate) fn bytes(&mut self, name: &str) -> Result<(Dtype, Vec<usize>, Vec<u8>)> {
        let Some(TensorInfo { dtype, shape, data_offsets: (first, last) }) = self.metadata.info(name) else {
            return Err(Error::checkpoint(&self.path, format!("it has no tensor '{name}'")));
        };
        let io = |e| FileError::new(&self.path, e);
        let mut bytes = vec![0; last - first];
        self.file.seek(SeekFrom::Start(self.start + *first as u64)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        Ok((*dtype, shape.clone(), bytes))
    }

    /// Shape and values of an fp32 tensor.
    ///
    /// # Errors
    /// If there is none of this name, it is not fp32, or the file cannot be read.
    pub(crate) fn floats(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        if !matches!(self.info(name), Some(TensorInfo { dtype: Dtype::F32, .. })) {
            return Err(Error::checkpoint(&self.path, format!("it has no fp32 tensor '{name}'")));
        }
        let (_, shape, bytes) = self.bytes(name)?;
        let (floats, _) = bytes.as_chunks::<4>();
        Ok((shape, floats.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }
}
