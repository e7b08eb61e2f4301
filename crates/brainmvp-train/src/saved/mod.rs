//! A network as it is kept in a file, whoever wrote it: a run's checkpoint, a weights file, a PyTorch checkpoint.
//!
//! A weights file is a safetensors file of PyTorch's names and axes, so that a PyTorch program can read it too. What names
//! and shapes do not tell stands in its metadata under the key `brainmvp`, as JSON:
//!
//! ```text
//! {"weights": {"version": 1,
//!              "network": {"uniformer": {"in_channels": 1, "widths": [64, 128, 320, 512], ...}},
//!              "head": "reconstruction",
//!              "templates": {"range_floor": 1.0, "affine": [[1.0, 0.0, 0.0, -120.0], ...]}}}
//! ```
//!
//! `templates` is there with a tensor `rep_template`, `[S, X, Y, Z]`, one volume for each modality in the order of
//! [`Modality::ALL`], not normalised; `affine`, the first three rows of the affine to RAS+ mm, is null where it is not known.

mod checkpoint;
mod published;
mod pytorch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::{Completed, Head, StateDict, TEMPLATES, complete, templates_to_upstream};
use brainmvp_ssl::FrozenTemplates;
use brainmvp_volume::{Affine, Modality};
use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

use self::published::About;
pub(crate) use self::published::refuse_odd;
use self::pytorch::PytorchFile;
use crate::tensor_file::{self, TensorFile};
use crate::{Error, Result};

/// A network and its templates as they are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedNetwork {
    /// Which network.
    pub network: NetworkConfig,
    /// What is on its encoder.
    pub head: Head,
    /// fp32 parameters and buffers by our paths (`encoder.blocks1.0.norm1.weight`), in our axis order.
    pub weights: BTreeMap<String, TensorData>,
    /// The templates that were learnt with it.
    pub templates: Option<LearntTemplates>,
    /// What else was there, by its published name and in its axis order.
    pub unused: StateDict,
    /// Published names of what its head lacks.
    pub missing: Vec<String>,
    /// What the network's numbers could not be read off, and was assumed.
    pub assumed: Option<String>,
    /// Where it is from, to be shown.
    pub origin: String,
}

/// Templates as they were learnt: not normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct LearntTemplates {
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Where they lie, if that is known.
    pub affine: Option<Affine>,
    /// A range below this is not divided by. See [`brainmvp_ssl::templates::TemplateConfig::range_floor`].
    pub range_floor: f32,
    /// One for each modality in the order of [`Modality::ALL`], x fastest.
    pub volumes: Vec<Vec<f32>>,
}

impl LearntTemplates {
    /// The templates as they are used downstream.
    pub fn frozen(self) -> FrozenTemplates {
        let volumes = Modality::ALL.into_iter().zip(self.volumes);
        FrozenTemplates::new(self.size, self.affine, self.range_floor, volumes)
    }
}

impl SavedNetwork {
    /// Opens the folder of a run (its best checkpoint, else its newest), a checkpoint in such a folder, a safetensors
    /// file of published names, or a PyTorch file. A PyTorch file is data: no code in it is run.
    ///
    /// # Errors
    /// If the file is none of these, is damaged, is of no network that this program has, or holds values that are not
    /// finite.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return checkpoint::open_run(path);
        }
        let mut start = Vec::new();
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        file.take(9).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
        // Before the JSON of a safetensors file stands its length.
        if start.get(8) == Some(&b'{') {
            let file = TensorFile::open(path)?;
            return match file.text().map(|text| About::parse(path, text)).transpose()? {
                Some(None) => checkpoint::open(file),
                about => published::open(path, file, about.flatten()),
            };
        }
        let file = PytorchFile::open(path)?;
        let about = file.description().map(|text| About::parse(path, text)).transpose()?.flatten();
        published::open(path, file, about)
    }

    /// Writes a weights file or a PyTorch file, whole or not at all; returns the published names of what the published
    /// network has and this one has not: it is as at the start of a training.
    ///
    /// # Errors
    /// If the head is not whole, or the file cannot be written.
    pub fn write(&self, path: &Path, format: Format) -> Result<Vec<String>> {
        let completed = complete(&self.network, self.head, &self.weights, &self.unused);
        let Completed { mut tensors, filled } =
            completed.map_err(|source| Error::Weights { path: path.to_owned(), source })?;
        if let Some(templates) = &self.templates {
            let [x, y, z] = templates.size;
            let volumes = templates.volumes.iter().map(Vec::as_slice);
            let values = templates_to_upstream(volumes, templates.size);
            tensors.insert(TEMPLATES.to_owned(), TensorData::new(values, [templates.volumes.len(), x, y, z]));
        }
        let about = About::of(self).to_text(path)?;
        match format {
            Format::Pytorch => pytorch::write(path, &tensors, &about)?,
            Format::Safetensors => {
                let values: Vec<&TensorData> = tensors.values().collect();
                let described = tensors.iter().map(|(name, tensor)| {
                    let dtype = if tensor.dtype() == DType::I64 { Dtype::I64 } else { Dtype::F32 };
                    (name.clone(), dtype, tensor.shape().to_vec())
                });
                let write = |place: usize, file: &mut dyn Write| file.write_all(values[place].as_bytes());
                tensor_file::write(path, about, described.collect(), write)?;
            }
        }
        Ok(filled)
    }
}

/// How a network is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A weights file: see [the module](self).
    Safetensors,
    /// A state dict for `torch.load`.
    Pytorch,
}
