//! Reads tensors from PyTorch's files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, FileError};
use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader, Tensor};
use zip::ZipArchive;

use super::DESCRIPTION;
use crate::saved::published::{Tensors, each};
use crate::{Error, Result};

/// None of our descriptions is nearly this large.
const LARGEST_DESCRIPTION: u64 = 1 << 20;

/// A file opened for reading. Tensors are named by their path through its dictionaries, joined by dots:
/// `state_dict.module.encoder.norm.weight`.
pub(in crate::saved) struct PytorchFile {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
    /// The file's description, if this program wrote it.
    description: Option<String>,
}

impl PytorchFile {
    /// Reads the contents, but no tensor's values.
    ///
    /// # Errors
    /// If the file is not one of PyTorch's, is damaged, or its tensors claim more than it can contain.
    pub(in crate::saved) fn open(path: &Path) -> Result<Self> {
        let length = std::fs::metadata(path).at(path)?.len();
        let reader = PytorchReader::new(path).map_err(|e| {
            Error::checkpoint(path, format!("not a PyTorch checkpoint that can be read: {e}"))
        })?;
        let tensors = reader.into_tensors();
        // Tensors may share their bytes, but not many times over: nnU-Net's have up to four names.
        let claimed =
            tensors.values().fold(0_u64, |sum, tensor| sum.saturating_add(tensor.byte_len() as u64));
        if claimed > length.saturating_mul(4) {
            let reason =
                format!("its tensors claim {claimed} bytes, but the file has {length}: damaged or malicious");
            return Err(Error::checkpoint(path, reason));
        }
        Ok(Self { path: path.to_owned(), tensors, description: description(path) })
    }

    /// The JSON text that this program adds to PyTorch's entries.
    pub(in crate::saved) fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }
}

impl Tensors for PytorchFile {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let floats = self.tensors.iter().filter(|(_, tensor)| {
            matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F32 | DType::F64)
        });
        floats.map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect()
    }

    fn floats(&mut self, name: &str) -> Result<Vec<f32>> {
        let failed = |e: &dyn std::fmt::Display| Error::checkpoint(&self.path, e.to_string());
        let tensor = self.tensors.get(name).ok_or_else(|| failed(&format!("it has no tensor '{name}'")))?;
        let bytes = tensor.read().map_err(|e| match e.raw_os_error() {
            Some(_) => FileError::new(&self.path, e).into(),
            None => failed(&e),
        })?;
        Ok(match tensor.dtype() {
            DType::F16 => each(&bytes, |b| f16::from_ne_bytes(b).to_f32()),
            DType::BF16 => each(&bytes, |b| bf16::from_ne_bytes(b).to_f32()),
            DType::F32 => each(&bytes, f32::from_ne_bytes),
            DType::F64 => each(&bytes, |b| f64::from_ne_bytes(b) as f32),
            other => return Err(failed(&format!("tensor '{name}' is of type {other:?}"))),
        })
    }
}

/// A description that cannot be read is not ours.
fn description(path: &Path) -> Option<String> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(path).ok()?)).ok()?;
    let name = {
        let mut names = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned()));
        names.find(|name| name.rsplit('/').next() == Some(DESCRIPTION))?
    };
    let mut text = String::new();
    archive.by_name(&name).ok()?.take(LARGEST_DESCRIPTION).read_to_string(&mut text).ok()?;
    Some(text)
}
