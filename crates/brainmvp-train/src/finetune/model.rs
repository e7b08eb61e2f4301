//! A fine-tuned network with everything needed to use it.

use std::path::Path;

use brainmvp_nets::Init;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_objectives::downstream::{Inputs, Missing};
use brainmvp_prep::Preparation;
use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::stored_templates;
use super::tasks::TaskNetwork;
use crate::about::{Downstream, Kind};
use crate::placement::{Placer, TemplateSet};
use crate::run;
use crate::saved::SavedNetwork;
use crate::source::Source;
use crate::{Error, Result};

/// A fine-tuned network, for inference.
pub struct Model {
    /// What it is for, and how it is applied.
    pub config: Downstream,
    /// Its numbers.
    pub numbers: NetworkConfig,
    /// How its training cases were prepared; new ones must be prepared in the same way.
    pub preparation: Preparation,
    /// Its input channels.
    pub inputs: Inputs,
    /// The templates that replace missing modalities.
    pub templates: Option<TemplateSet>,
    /// The network, without autodiff.
    pub network: TaskNetwork,
    /// The number of steps that it was trained for.
    pub step: u64,
    /// Where it is from, to be shown: file and step.
    pub origin: String,
}

impl Model {
    /// Places its templates on cases; `None` if it has none. Transforms are stored in the folder `cache` of prepared
    /// cases, if there is one.
    pub fn placer(&self, cache: Option<&Path>) -> Option<Placer<'_>> {
        let templates = self.templates.as_ref()?;
        Some(Placer::new(templates, self.config.templates.placement, cache))
    }

    /// Opens what [`SavedNetwork::open`] opens: of a run the best weights, or the last ones without validation.
    ///
    /// # Errors
    /// As [`SavedNetwork::open`] and [`Model::new`].
    pub fn open(source: impl Into<Source>, device: &Device) -> Result<Self> {
        Self::new(SavedNetwork::open(source)?, device)
    }

    /// The model of a fine-tuned network.
    ///
    /// # Errors
    /// If it was not fine-tuned, or its templates are not in its folder.
    pub fn new(saved: SavedNetwork, device: &Device) -> Result<Self> {
        let wrong = |reason: &str| Error::network(&saved.origin, reason);
        let Kind::FineTuning(config) = &saved.about.kind else {
            return Err(wrong("it was not fine-tuned by this program"));
        };
        let incomplete = || wrong("it does not say how its cases were prepared");
        let preparation = saved.about.preparation.clone().ok_or_else(incomplete)?;
        let step = saved.step.ok_or_else(|| wrong("it does not say how long it was trained"))?;
        let (numbers, task) = (saved.about.network.clone(), &config.task);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut init = Init { device, rng: &mut rng };
        let network = TaskNetwork::load(task, &saved, &mut init)?;
        let stored = run::templates_in(&saved.folder);
        let templates = match saved.about.templates.as_ref().filter(|_| task.missing == Missing::Template) {
            None => None,
            Some(_) if stored.is_file() => Some(stored_templates::load(&stored)?),
            Some(_) => {
                let reason = "its templates, which replace missing modalities, are not next to it: copy \
                              templates.safetensors of its run there";
                return Err(wrong(reason));
            }
        };
        let inputs = Inputs {
            channels: task.modalities.clone(),
            missing: task.missing,
            templates: templates.as_ref().map(|templates| templates.frozen.clone()),
        };
        Ok(Self {
            config: (**config).clone(),
            numbers,
            preparation,
            inputs,
            templates,
            network,
            step,
            origin: saved.origin,
        })
    }
}
