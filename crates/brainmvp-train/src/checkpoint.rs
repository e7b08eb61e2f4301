//! The state of a run in one safetensors file: weights, buffers, templates, moments, and the step.
//!
//! Names are `model.<parameter>`, `moment1.<parameter>`, `moment2.<parameter>`, all fp32. The rest is JSON under the
//! metadata key `brainmvp`. Tensors are written and read one at a time: a checkpoint never stands in memory twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use brainmvp_nets::weights::{self, Named};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use crate::optimizer::{Moments, NamedAdamW};
use crate::{Error, Result};

/// When checkpoints are written and how many stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; one more is written at the end and on interruption.
    pub every_steps: u64,
    /// How many of the newest stay.
    pub keep_last: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: 500, keep_last: 2 }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of this format.
    pub version: u32,
    /// Steps done.
    pub step: u64,
    /// Steps after which the schedule ends.
    pub total_steps: u64,
    /// Sum of what checkpoints are compared by, since the last regular one.
    pub loss_sum: f64,
    /// How many they are.
    pub loss_count: u64,
    /// The lowest mean of it between two regular checkpoints.
    pub best_loss: Option<f64>,
    /// The last step that was validated.
    #[serde(default)]
    pub validated: u64,
    /// The highest score of a validation.
    #[serde(default)]
    pub best_score: Option<f64>,
    /// Validations since then.
    #[serde(default)]
    pub stale: u64,
    /// Updates of each parameter that has moments.
    pub updates: BTreeMap<String, usize>,
    /// What the method needs to be used later; free of tensors.
    pub facts: serde_json::Value,
}

impl State {
    /// The version that this program writes.
    pub const VERSION: u32 = 1;

    /// The state of a run that has done nothing.
    pub fn new(total_steps: u64, facts: serde_json::Value) -> Self {
        Self {
            version: Self::VERSION,
            step: 0,
            total_steps,
            loss_sum: 0.0,
            loss_count: 0,
            best_loss: None,
            validated: 0,
            best_score: None,
            stale: 0,
            updates: BTreeMap::new(),
            facts,
        }
    }
}

const METADATA_KEY: &str = "brainmvp";

/// Writes a checkpoint, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: Module>(path: &Path, model: &M, optimizer: Option<&NamedAdamW>, state: &State) -> Result<()> {
    let mut tensors = weights::handles(model);
    for named in &mut tensors {
        named.path = format!("model.{}", named.path);
    }
    let mut state = state.clone();
    state.updates.clear();
    for (name, moments) in optimizer.iter().flat_map(|optimizer| &optimizer.moments) {
        state.updates.insert(name.clone(), moments.updates);
        for (kind, values) in [("moment1", &moments.first), ("moment2", &moments.second)] {
            let shape = values.dims().to_vec();
            tensors.push(Named { path: format!("{kind}.{name}"), shape, values: values.clone() });
        }
    }
    let failed = |e: &dyn std::fmt::Display| Error::checkpoint(path, e.to_string());
    let text = serde_json::to_string(&state).map_err(|e| failed(&e))?;
    let mut end = 0;
    let infos = tensors.iter().map(|named| {
        let start = end;
        end += named.shape.iter().product::<usize>() * size_of::<f32>();
        (
            named.path.clone(),
            TensorInfo { dtype: Dtype::F32, shape: named.shape.clone(), data_offsets: (start, end) },
        )
    });
    let metadata = Metadata::new(Some([(METADATA_KEY.to_owned(), text)].into()), infos.collect());
    let mut header = serde_json::to_vec(&metadata.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    brainmvp_volume::write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        // Values are fetched one tensor at a time.
        tensors.iter().try_for_each(|named| file.write_all(named.values.to_data().as_bytes()))
    })?;
    Ok(())
}

/// A checkpoint opened for reading.
pub struct Checkpoint {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes start.
    start: u64,
    metadata: Metadata,
    state: State,
}

/// No header of ours comes near this size.
const LARGEST_HEADER: u64 = 64 << 20;

impl Checkpoint {
    /// Reads the header.
    ///
    /// # Errors
    /// If the file cannot be read, is not a checkpoint, or is shorter than its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(io)?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST_HEADER || size > length.saturating_sub(8) {
            return Err(Error::checkpoint(path, "not a checkpoint: its header does not fit the file"));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(io)?;
        // The library's own reader of headers wants the tensors in memory too.
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|e| Error::checkpoint(path, format!("its header: {e}")))?;
        let start = 8 + size;
        if start + metadata.data_len() as u64 != length {
            return Err(Error::checkpoint(
                path,
                "the file is truncated; delete it to go on from the one before",
            ));
        }
        let state =
            metadata.metadata().as_ref().and_then(|entries| entries.get(METADATA_KEY)).ok_or_else(|| {
                Error::checkpoint(path, "a safetensors file, but not a checkpoint of this program")
            })?;
        let state: State = serde_json::from_str(state)
            .map_err(|e| Error::checkpoint(path, format!("its state cannot be read: {e}")))?;
        if state.version != State::VERSION {
            let reason =
                format!("version {} of the format, this program reads {}", state.version, State::VERSION);
            return Err(Error::checkpoint(path, reason));
        }
        Ok(Self { path: path.to_owned(), file, start, metadata, state })
    }

    /// Where the run stood.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Puts the weights, buffers and templates into a module of the same shape.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the file cannot be read.
    pub fn load_model<M: Module>(&mut self, model: M) -> Result<M> {
        weights::load(model, |entry| {
            let (shape, values) = self.tensor(&format!("model.{}", entry.path))?;
            if shape != entry.shape {
                let reason = format!(
                    "{} has shape {shape:?}, this run's configuration asks for {:?}",
                    entry.path, entry.shape
                );
                return Err(Error::checkpoint(&self.path, reason));
            }
            Ok(Some(TensorData::new(values, shape)))
        })
    }

    /// Puts the moments into an optimiser.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_moments(&mut self, optimizer: &mut NamedAdamW, device: &Device) -> Result<()> {
        optimizer.moments.clear();
        for (name, updates) in self.state.updates.clone() {
            let mut moment = |kind: &str| -> Result<Tensor<1>> {
                let (shape, values) = self.tensor(&format!("{kind}.{name}"))?;
                let parameter = self.metadata.info(&format!("model.{name}"));
                if shape.len() != 1 || parameter.map(|info| info.shape.iter().product()) != Some(values.len())
                {
                    let reason = format!("{kind} of {name} does not fit its parameter");
                    return Err(Error::checkpoint(&self.path, reason));
                }
                Ok(Tensor::from_data(TensorData::new(values, shape), device))
            };
            let moments = Moments { updates, first: moment("moment1")?, second: moment("moment2")? };
            optimizer.moments.insert(name, moments);
        }
        Ok(())
    }

    /// Shape and values of one tensor.
    ///
    /// # Errors
    /// If there is none of this name, it is not fp32, or the file cannot be read.
    pub fn tensor(&mut self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let Some(TensorInfo { dtype: Dtype::F32, shape, data_offsets: (first, last) }) =
            self.metadata.info(name)
        else {
            return Err(Error::checkpoint(&self.path, format!("it has no fp32 tensor '{name}'")));
        };
        let mut bytes = vec![0; last - first];
        let io = |e| Error::io(&self.path, e);
        self.file.seek(SeekFrom::Start(self.start + *first as u64)).map_err(io)?;
        self.file.read_exact(&mut bytes).map_err(io)?;
        let (floats, _) = bytes.as_chunks::<4>();
        Ok((shape.clone(), floats.iter().map(|b| f32::from_le_bytes(*b)).collect()))
    }
}
