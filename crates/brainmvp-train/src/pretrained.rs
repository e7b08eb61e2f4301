//! The starting point of fine-tuning.

use std::collections::BTreeMap;

use brainmvp_volume::Modality;
use burn::tensor::TensorData;

use crate::Result;
use crate::about::{About, Kind, Parent};
use crate::placement::TemplateSet;
use crate::saved::{LearntTemplates, SavedNetwork};
use crate::source::Source;

/// A pre-trained network and its templates.
#[derive(Debug, Clone)]
pub struct Pretrained {
    /// What it is.
    pub about: About,
    /// Steps that it was trained for, if that is known.
    pub step: Option<u64>,
    /// Its fp32 parameters and buffers by our paths (`encoder.blocks1.0.norm1.weight`), in our axis order: what
    /// [`transfer`](brainmvp_nets::weights::transfer) takes from.
    pub weights: BTreeMap<String, TensorData>,
    /// The templates that it was trained with, if there are any.
    pub templates: Option<TemplateSet>,
    /// Where it is from, to be shown: file and step.
    pub origin: String,
}

impl Pretrained {
    /// Opens what [`SavedNetwork::open`] opens.
    ///
    /// # Errors
    /// As [`SavedNetwork::open`].
    pub fn open(source: impl Into<Source>) -> Result<Self> {
        SavedNetwork::open(source).map(Self::from)
    }

    /// The input channels of its first layer for these modalities, if it has one for each modality.
    pub fn channels_of(&self, modalities: &[Modality]) -> Option<Vec<usize>> {
        let by_modality = matches!(self.about.kind, Kind::PreTraining { by_modality: true, .. });
        by_modality.then(|| modalities.iter().map(|modality| modality.index()).collect())
    }

    /// The record of it in a run that starts from it.
    pub fn parent(&self) -> Parent {
        Parent { origin: self.origin.clone(), step: self.step, data: self.about.data.clone() }
    }
}

impl From<SavedNetwork> for Pretrained {
    fn from(saved: SavedNetwork) -> Self {
        Self {
            about: saved.about,
            step: saved.step,
            weights: saved.weights,
            templates: saved.templates.map(LearntTemplates::set),
            origin: saved.origin,
        }
    }
}
