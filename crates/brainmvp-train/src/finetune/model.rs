//! A fine-tuned network with all that its use needs.

use std::path::Path;

use brainmvp_nets::Init;
use brainmvp_nets::networks::{ClassificationNetwork, SegmentationNetwork};
use brainmvp_prep::PrepConfig;
use brainmvp_ssl::downstream::{Inputs, Missing};
use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::stored_templates;
use crate::checkpoint::Checkpoint;
use crate::config::{FinetuneConfig, TaskKind};
use crate::placement::{Placer, TemplateSet};
use crate::run::RunFolder;
use crate::{Error, Result};

/// What a checkpoint of a fine-tuning run says beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// Always [`Facts::METHOD`].
    pub(super) method: String,
    /// How the training cases were prepared.
    pub(super) preparation: PrepConfig,
    /// Changes when the cases or their content change.
    pub(super) data: String,
}

impl Facts {
    pub(super) const METHOD: &str = "finetune";
}

/// A fine-tuned network, for inference.
pub struct Model {
    /// The configuration of its run.
    pub config: FinetuneConfig,
    /// How its training cases were prepared; new ones must be prepared alike.
    pub preparation: PrepConfig,
    /// What it sees of a case.
    pub inputs: Inputs,
    /// The templates that stand in for what a case lacks.
    pub templates: Option<TemplateSet>,
    /// The network, without autodiff.
    pub network: TaskNetwork,
    /// Steps that it was trained for.
    pub step: u64,
}

/// A network of one of the tasks.
#[allow(clippy::large_enum_variant)] // a program has one of them
pub enum TaskNetwork {
    /// A label for every voxel: logits of `config.task.regions`, in their order.
    Segmentation(SegmentationNetwork),
    /// A class for every case: logits of `config.task.classes`, in their order.
    Classification(ClassificationNetwork),
}

impl Model {
    /// What lays its templates on cases; `None` where it has none. Transforms are kept in the folder `cache` of prepared
    /// cases, where there is one.
    pub fn placer(&self, cache: Option<&Path>) -> Option<Placer<'_>> {
        let templates = self.templates.as_ref()?;
        Some(Placer::new(templates, self.config.templates.placement, cache))
    }

    /// Reads the best weights of a fine-tuning run, or the newest where none were judged yet.
    ///
    /// # Errors
    /// If the folder holds no fine-tuning run, no checkpoint, or one that cannot be read.
    pub fn open(run: &Path, device: &Device) -> Result<Self> {
        let folder = RunFolder::open(run)?;
        let config = RunFolder::stored_config::<FinetuneConfig>(run)?;
        let config =
            config.ok_or_else(|| Error::run_folder(run, "has no checkpoint yet; let the run reach one"))?;
        let path = match folder.checkpoints()?.pop() {
            Some(newest) if !folder.best().is_file() => folder.checkpoint(newest),
            _ => folder.best(),
        };
        let mut checkpoint = Checkpoint::open(&path)?;
        let facts: Facts = serde_json::from_value(checkpoint.state().facts.clone())
            .map_err(|e| Error::checkpoint(&path, format!("not of a fine-tuning run: {e}")))?;
        let step = checkpoint.state().step;
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut init = Init { device, rng: &mut rng };
        let (network, task) = (&config.model.network, &config.task);
        let network = match task.kind {
            TaskKind::Segment => {
                let network = SegmentationNetwork::new(network, task.regions.len(), &mut init);
                TaskNetwork::Segmentation(checkpoint.load_model(network)?)
            }
            TaskKind::Classify => {
                let network = ClassificationNetwork::new(network, task.classes.len(), &mut init);
                TaskNetwork::Classification(checkpoint.load_model(network)?)
            }
        };
        let templates = (task.missing == Missing::Template && folder.templates().is_file())
            .then(|| stored_templates::load(&folder.templates()))
            .transpose()?;
        let inputs = Inputs {
            channels: task.modalities.clone(),
            missing: task.missing,
            templates: templates.as_ref().map(|templates| templates.frozen.clone()),
        };
        Ok(Self { preparation: facts.preparation, inputs, templates, network, step, config })
    }
}
