//! A network stored in a file of any kind: a run's checkpoint, a weights file, a PyTorch checkpoint.
//!
//! A weights file is a safetensors file with PyTorch's names and axes, so that a PyTorch program can read it too.
//! Information that is not in names and shapes is in its metadata under the key `brainmvp`, as JSON: its [`About`]. A
//! PyTorch file of this program has the same text next to its tensors.
//!
//! ```text
//! {"version": 2,
//!  "weights": {"step": 1200,
//!              "about": {"kind": {"pre-training": {"method": "brainmvp", "patch": [96, 96, 96]}},
//!                        "network": {"uniformer": {"in_channels": 1, "widths": [64, 128, 320, 512], ...}},
//!                        "head": "reconstruction",
//!                        "preparation": {"pipeline": 3, "config": {"spacing_mm": [1.0, 1.0, 1.0], ...}},
//!                        "templates": {"size": [240, 240, 155], "affine": [[1.0, 0.0, 0.0, -120.0], ...],
//!                                      "range_floor": 1.0,
//!                                      "frame": {"registered": {"shape": [240, 240, 155], "affine": ...},
//!                                                "space": {"standard": "SRI24"}}}, ...}}}
//! ```
//!
//! The templates of a pre-training are a tensor `rep_template`, `[S, X, Y, Z]`, one volume for each modality in the order
//! of [`Modality::ALL`], not normalised; `affine`, the first three rows of the affine to RAS+ mm, is null if it is not
//! known, and so is `frame`, the registered volumes that they were learnt from.

mod checkpoint;
mod published;
mod pytorch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use brainmvp_nets::weights::{self, Completed, StateDict, TEMPLATES, complete, templates_to_upstream};
use brainmvp_objectives::FrozenTemplates;
use brainmvp_volume::{Affine, AtPath as _, Modality};
use burn::module::Module;
use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

pub(crate) use self::published::refuse_odd;
use self::pytorch::PytorchFile;
use crate::about::{About, Description, Kind, TemplatesAbout, Weights};
use crate::placement::{TemplateFrame, TemplateSet};
use crate::source::Source;
use crate::tensor_file::{self, TensorFile};
use crate::{Error, Result};

/// A stored network and its templates.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedNetwork {
    /// What it is. Its files are looked for in `folder`.
    pub about: About,
    /// Steps that it was trained for, if that is known.
    pub step: Option<u64>,
    /// fp32 parameters and buffers by our paths (`encoder.blocks1.0.norm1.weight`), in our axis order.
    pub weights: BTreeMap<String, TensorData>,
    /// The templates that were learnt with it.
    pub templates: Option<LearntTemplates>,
    /// Other tensors, by their published names and in their axis order.
    pub unused: StateDict,
    /// Published names of the tensors that its head lacks.
    pub missing: Vec<String>,
    /// What could not be read from the shapes, and was assumed.
    pub assumed: Option<String>,
    /// Where it is from, to be shown: the file and, of a run's checkpoint, the step and why it was chosen.
    pub origin: String,
    /// The folder with everything that belongs to it: that of its run, or that of the file.
    pub folder: PathBuf,
}

/// Templates as learnt, not normalised.
#[derive(Debug, Clone, PartialEq)]
pub struct LearntTemplates {
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// Their position, if it is known.
    pub affine: Option<Affine>,
    /// Where they were learnt, if that is known.
    pub frame: Option<TemplateFrame>,
    /// A range below this is not divided by; without it, they are used as they are. See
    /// [`brainmvp_objectives::templates::TemplateConfig::range_floor`].
    pub range_floor: Option<f32>,
    /// One for each modality in the order of [`Modality::ALL`], x fastest.
    pub volumes: Vec<Vec<f32>>,
    /// How often each was updated; empty if that is not known.
    pub updates: BTreeMap<Modality, usize>,
}

impl LearntTemplates {
    /// Their position, and how they are normalised.
    pub fn about(&self) -> TemplatesAbout {
        let affine = self.affine.map(|affine| affine.rows());
        TemplatesAbout { size: self.size, affine, range_floor: self.range_floor, frame: self.frame.clone() }
    }

    /// The templates as used downstream.
    pub fn frozen(self) -> FrozenTemplates {
        let volumes = Modality::ALL.into_iter().zip(self.volumes);
        FrozenTemplates::new(self.size, self.affine, self.range_floor, volumes)
    }

    /// The same, with what is known of their position.
    pub fn set(mut self) -> TemplateSet {
        let frame = self.frame.take();
        TemplateSet { frozen: self.frozen(), frame }
    }
}

impl SavedNetwork {
    /// Opens a checkpoint of a run, chosen as [`Source`] says, a safetensors file of published names, or a PyTorch file.
    /// A PyTorch file is data: no code in it is run.
    ///
    /// # Errors
    /// If the file is none of these, is damaged, is of a network that this program does not have, or contains values that
    /// are not finite; if the run has no such checkpoint.
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        let chosen = source.into().choose()?;
        let path = &chosen.path;
        let told = |text: &str| Description::parse(text).map_err(|reason| Error::checkpoint(path, reason));
        let mut start = Vec::new();
        let file = File::open(path).at(path)?;
        file.take(9).read_to_end(&mut start).at(path)?;
        // Before the JSON of a safetensors file stands its length.
        let mut saved = if start.get(8) == Some(&b'{') {
            let file = TensorFile::open(path)?;
            match file.text().map(told).transpose()? {
                Some(Description::Checkpoint(state)) => checkpoint::open(file, *state, &chosen)?,
                Some(Description::Weights(told)) => published::open(file, Some(*told), &chosen)?,
                None => published::open(file, None, &chosen)?,
            }
        } else {
            let file = PytorchFile::open(path)?;
            match file.description().map(told).transpose()? {
                Some(Description::Weights(told)) => published::open(file, Some(*told), &chosen)?,
                Some(Description::Checkpoint(_)) => {
                    return Err(Error::checkpoint(
                        path,
                        "a PyTorch file with the description of a checkpoint",
                    ));
                }
                None => published::open(file, None, &chosen)?,
            }
        };
        saved.about.preparation =
            saved.about.preparation.map(|preparation| preparation.stored_in(&chosen.folder));
        Ok(saved)
    }

    /// Puts the weights into a module of the network's shape.
    ///
    /// # Errors
    /// If a parameter is not there, or has another shape.
    pub fn load<M: Module>(&self, module: M) -> Result<M> {
        weights::load(module, |entry| {
            let wrong = |reason: String| Error::network(&self.origin, reason);
            let found = self.weights.get(entry.path);
            let values = found.ok_or_else(|| wrong(format!("it has no tensor '{}'", entry.path)))?;
            if values.shape().to_vec() != entry.shape {
                let (found, expected) = (values.shape(), entry.shape);
                return Err(wrong(format!("{} has shape {found:?} instead of {expected:?}", entry.path)));
            }
            Ok(Some(values.clone()))
        })
    }

    /// What is written of it. The templates of a fine-tuning are not in the file; whether there are others, `templates` says.
    fn described(&self) -> About {
        let templates = self.templates.as_ref().map(LearntTemplates::about);
        let of_run = self.about.templates.as_ref().filter(|_| matches!(self.about.kind, Kind::FineTuning(_)));
        About { templates: templates.or_else(|| of_run.cloned()), ..self.about.clone() }
    }

    /// Writes a weights file or a PyTorch file, completely or not at all; returns the published names of the tensors
    /// that only the published network has, which are freshly initialised.
    ///
    /// # Errors
    /// If the head is not whole, or the file cannot be written.
    pub fn write(&self, path: &Path, format: Format) -> Result<Vec<String>> {
        let completed = complete(&self.about.network, self.about.head, &self.weights, &self.unused);
        let Completed { mut tensors, filled } =
            completed.map_err(|source| Error::Weights { path: path.to_owned(), source })?;
        if let Some(templates) = &self.templates {
            let [x, y, z] = templates.size;
            let volumes = templates.volumes.iter().map(Vec::as_slice);
            let values = templates_to_upstream(volumes, templates.size);
            tensors.insert(TEMPLATES.to_owned(), TensorData::new(values, [templates.volumes.len(), x, y, z]));
        }
        let description = Weights { step: self.step, about: self.described() };
        let description = Description::Weights(Box::new(description)).to_text();
        let about = description.map_err(|reason| Error::checkpoint(path, reason))?;
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
