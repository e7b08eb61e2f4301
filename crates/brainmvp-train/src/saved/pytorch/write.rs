//! Writes a state dict as PyTorch's file, like `torch.save(state_dict, path)`.

use std::io::{self, Write};
use std::path::Path;

use brainmvp_nets::weights::StateDict;
use burn::tensor::{DType, TensorData};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::DESCRIPTION;
use crate::{Error, Result};

/// Where the bytes of each entry start in the file: at multiples of this, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;

/// The folder that all entries are in.
const ROOT: &str = "archive";

/// Writes fp32 and i64 tensors, completely or not at all.
///
/// # Errors
/// If the file cannot be written.
pub(in crate::saved) fn write(path: &Path, tensors: &StateDict, description: &str) -> Result<()> {
    let pickle = pickle(tensors).map_err(|reason| Error::checkpoint(path, reason))?;
    brainmvp_volume::write_atomically(path, |file| {
        let mut archive = ZipWriter::new(file);
        let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(u32::try_from(bytes.len()).is_err())
                .with_alignment(ALIGNMENT);
            archive.start_file(format!("{ROOT}/{name}"), options)?;
            archive.write_all(bytes)
        };
        entry("data.pkl", &pickle)?;
        entry(".format_version", b"1")?;
        entry(".storage_alignment", ALIGNMENT.to_string().as_bytes())?;
        entry("byteorder", if cfg!(target_endian = "big") { b"big" } else { b"little" })?;
        for (place, tensor) in tensors.values().enumerate() {
            entry(&format!("data/{place}"), tensor.as_bytes())?;
        }
        entry("version", b"3\n")?;
        entry(DESCRIPTION, description.as_bytes())?;
        archive.finish()?;
        Ok(())
    })?;
    Ok(())
}

/// The pickle of an `OrderedDict` of tensors, protocol 2: the tensor at place i has its bytes in `data/i`.
fn pickle(tensors: &StateDict) -> std::result::Result<Vec<u8>, String> {
    let mut pickle = Pickle(vec![0x80, 2]);
    pickle.ordered_dict();
    pickle.mark();
    for (place, (name, tensor)) in tensors.iter().enumerate() {
        pickle.text(name);
        pickle.tensor(place, tensor)?;
    }
    pickle.0.extend(b"u.");
    Ok(pickle.0)
}

/// Opcodes for Python's unpickler.
struct Pickle(Vec<u8>);

impl Pickle {
    /// `torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad, hooks)`.
    fn tensor(&mut self, place: usize, tensor: &TensorData) -> std::result::Result<(), String> {
        let storage = match tensor.dtype() {
            DType::F32 => "FloatStorage",
            DType::I64 => "LongStorage",
            other => return Err(format!("tensors of type {other:?} are not written")),
        };
        let shape = tensor.shape().to_vec();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.mark();
        self.mark();
        self.text("storage");
        self.global("torch", storage);
        self.text(&place.to_string());
        self.text("cpu");
        self.integer(shape.iter().product());
        self.0.extend(b"tQ");
        self.integer(0);
        self.integers(&shape);
        self.integers(&strides);
        self.0.push(0x89);
        self.ordered_dict();
        self.0.extend(b"tR");
        Ok(())
    }

    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.0.extend(b")R");
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn mark(&mut self) {
        self.0.push(b'(');
    }

    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
    }

    fn integers(&mut self, values: &[usize]) {
        self.mark();
        for value in values {
            self.integer(*value);
        }
        self.0.push(b't');
    }

    fn integer(&mut self, value: usize) {
        if let Ok(value) = i32::try_from(value) {
            self.0.push(b'J');
            self.0.extend(value.to_le_bytes());
        } else {
            self.0.extend([0x8A, 9]);
            self.0.extend((value as u64).to_le_bytes());
            self.0.push(0);
        }
    }
}
