//! The state of a run in one safetensors file: weights, buffers, templates, moments, and the step.
//!
//! Names are `model.<parameter>`, `moment1.<parameter>`, `moment2.<parameter>`, all fp32. The rest is JSON under the
//! metadata key `brainmvp`: the [`State`], which says by its [`About`] what the network is.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_nets::weights::{self, Named};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::Dtype;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::about::{About, Description};
use crate::optimizer::{Moments, NamedAdamW};
use crate::tensor_file::{self, TensorFile};
use crate::{Error, Result};

/// When checkpoints are written and how many are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; one more is written at the end, and when a run is stopped.
    pub every_steps: u64,
    /// How many of the newest checkpoints are kept, besides the best.
    pub keep_last: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: 500, keep_last: 2 }
    }
}

/// The progress of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// The number of steps of the schedule.
    pub total_steps: u64,
    /// The sum of the values by which checkpoints are compared, since the last regular one.
    pub loss_sum: f64,
    /// The number of these values.
    pub loss_count: u64,
    /// Their lowest mean between two regular checkpoints.
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
    /// What is trained.
    pub about: About,
}

impl State {
    /// The state of a run that has not started.
    pub fn new(total_steps: u64, about: About) -> Self {
        Self {
            step: 0,
            total_steps,
            loss_sum: 0.0,
            loss_count: 0,
            best_loss: None,
            validated: 0,
            best_score: None,
            stale: 0,
            updates: BTreeMap::new(),
            about,
        }
    }
}

/// Writes a checkpoint, completely or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save<M: Module>(path: &Path, model: &M, optimizer: Option<&NamedAdamW>, state: &State) -> Result<()> {
    let (text, tensors) = contents(path, model, optimizer, state)?;
    // Values are fetched one tensor at a time.
    tensor_file::write_sealed(path, text, described(&tensors), |place, file| {
        file.write_all(tensors[place].values.to_data().as_bytes())
    })
}

/// The size of the file that [`save`] would write, in bytes.
///
/// # Errors
/// If the state cannot be written.
pub(crate) fn size<M: Module>(model: &M, optimizer: Option<&NamedAdamW>, state: &State) -> Result<u64> {
    let (text, tensors) = contents(Path::new("checkpoint"), model, optimizer, state)?;
    tensor_file::size(text, described(&tensors))
}

/// The text and the tensors of a checkpoint.
fn contents<M: Module>(
    path: &Path,
    model: &M,
    optimizer: Option<&NamedAdamW>,
    state: &State,
) -> Result<(String, Vec<Named>)> {
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
    let text = Description::Checkpoint(Box::new(state)).to_text();
    let text = text.map_err(|reason| Error::checkpoint(path, reason))?;
    Ok((text, tensors))
}

fn described(tensors: &[Named]) -> Vec<(String, Dtype, Vec<usize>)> {
    tensors.iter().map(|named| (named.path.clone(), Dtype::F32, named.shape.clone())).collect()
}

/// A checkpoint opened for reading.
pub struct Checkpoint {
    file: TensorFile,
    state: State,
}

impl Checkpoint {
    /// Reads the header, and checks that the file is as it was written.
    ///
    /// # Errors
    /// If the file cannot be read, is not a checkpoint, or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = TensorFile::open(path)?;
        file.check_seal()?;
        Self::of(file)
    }

    /// A file whose header has been read.
    fn of(file: TensorFile) -> Result<Self> {
        let path = file.path();
        let wrong = |reason: String| Error::checkpoint(path, reason);
        let foreign = || wrong("a safetensors file, but not a checkpoint of this program".to_owned());
        match Description::parse(file.text().ok_or_else(foreign)?).map_err(wrong)? {
            Description::Checkpoint(state) => Ok(Self::new(file, *state)),
            Description::Weights(_) => Err(foreign()),
        }
    }

    /// A file whose description has been read.
    pub(crate) fn new(file: TensorFile, state: State) -> Self {
        Self { file, state }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        self.file.tensors().map(|(name, _)| name).collect()
    }

    /// Whether there is a tensor of this name.
    pub fn holds(&self, name: &str) -> bool {
        self.file.info(name).is_some()
    }

    /// The progress of the run.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Loads the weights, buffers and templates into a module of the same shape.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the file cannot be read.
    pub fn load_model<M: Module>(&mut self, model: M) -> Result<M> {
        weights::load(model, |entry| {
            let (shape, values) = self.tensor(&format!("model.{}", entry.path))?;
            if shape != entry.shape {
                let reason = format!(
                    "{} has shape {shape:?}, but this run's configuration needs {:?}",
                    entry.path, entry.shape
                );
                return Err(Error::checkpoint(self.path(), reason));
            }
            Ok(Some(TensorData::new(values, shape)))
        })
    }

    /// Loads the moments into an optimiser.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load_moments(&mut self, optimizer: &mut NamedAdamW, device: &Device) -> Result<()> {
        optimizer.moments.clear();
        for (name, updates) in self.state.updates.clone() {
            let mut moment = |kind: &str| -> Result<Tensor<1>> {
                let (shape, values) = self.tensor(&format!("{kind}.{name}"))?;
                let parameter = self.file.info(&format!("model.{name}"));
                if shape.len() != 1 || parameter.map(|info| info.shape.iter().product()) != Some(values.len())
                {
                    let reason = format!("{kind} of {name} does not fit its parameter");
                    return Err(Error::checkpoint(self.path(), reason));
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
        self.file.floats(name)
    }
}
