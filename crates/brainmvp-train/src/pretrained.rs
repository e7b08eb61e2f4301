//! What fine-tuning starts from.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_nets::networks::NetworkConfig;
use burn::tensor::TensorData;

use crate::Result;
use crate::placement::TemplateSet;
use crate::saved::{LearntTemplates, SavedNetwork};

/// A pre-trained network and its templates.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// Which network.
    pub network: NetworkConfig,
    /// Its fp32 parameters and buffers by our paths (`encoder.blocks1.0.norm1.weight`), in our axis order: what
    /// [`transfer`](brainmvp_nets::weights::transfer) takes from.
    pub weights: BTreeMap<String, TensorData>,
    /// The templates that it was trained with, if they are there.
    pub templates: Option<TemplateSet>,
    /// Where it is from, to be shown.
    pub origin: String,
}

impl Pretrained {
    /// Opens the folder of a run (its best checkpoint, else its newest), a checkpoint in such a folder, a safetensors
    /// file, or a PyTorch file of the published layout.
    ///
    /// # Errors
    /// As [`SavedNetwork::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let saved = SavedNetwork::open(path)?;
        Ok(Self {
            network: saved.network,
            weights: saved.weights,
            templates: saved.templates.map(LearntTemplates::set),
            origin: saved.origin,
        })
    }
}
