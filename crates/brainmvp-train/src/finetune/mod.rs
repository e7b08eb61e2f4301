//! A fine-tuning run from its configuration and a cache: segmentation or classification, from pre-trained weights or none.

mod data;
mod model;
mod predictor;
mod regions;
mod selection;
mod stored_templates;
mod validate;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use brainmvp_nets::Init;
use brainmvp_nets::networks::{ClassificationNetwork, SegmentationNetwork};
use brainmvp_nets::weights::{Skipped, Transferred, transfer};
use brainmvp_prep::PrepConfig;
use brainmvp_prep::cache::Cache;
use brainmvp_ssl::downstream::{
    Classifying, ClassifyingPlan, CopyPlan, Inputs, Resized, Segmenting, SegmentingPlan,
};
use brainmvp_ssl::objectives::Objective;
use burn::module::Module;
use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::data::Data;
use self::model::Facts;
use self::validate::{ClassificationJudge, SegmentationJudge};
use crate::config::{FinetuneConfig, TaskKind};
use crate::pretrained::Pretrained;
use crate::run::{Existing, RunFolder, RunRequest};
use crate::trainer::{Ended, Judge, Observer, Trainer, Validation};
use crate::{Error, Result, device};

pub use model::{Model, TaskNetwork};
pub use predictor::{Prediction, Predictor};
pub use validate::CaseWindows;

/// Keeps the first weights apart from other things drawn by the run's seed.
const FIRST_WEIGHTS: u64 = 0x1F83_D9AB_FB41_BD6B;

/// Fine-tunes, or continues to.
///
/// # Errors
/// If the configuration, the data, the pre-trained weights, the run folder or the device is not usable, or training fails.
pub fn finetune(request: &RunRequest, stop: &AtomicBool, observer: &dyn Observer) -> Result<Ended> {
    let cases = crate::batches::open_cases(&request.data, observer)?;
    let cache = Cache::open(&request.data)?;
    let stored = request.stored_config::<FinetuneConfig>()?;
    let text = request.text(stored.as_ref())?;
    // What a run that goes on began with is in its checkpoints.
    let pretrained = match FinetuneConfig::source(&text, &request.settings)? {
        Some(path) if stored.is_none() => Some(Pretrained::open(&path)?),
        _ => None,
    };
    let network = pretrained.as_ref().map(|pretrained| &pretrained.network);
    let mut config = FinetuneConfig::resolve(&text, &request.settings, network)?;
    let data = Data::new(&mut config, cases, &cache.manifest().label_schemes, observer)?;
    config.model.network = config.model.network.with_in_channels(config.task.modalities.len());
    stored.as_ref().map_or(Ok(()), |stored| request.refuse_change(&config, stored))?;
    let device = device::device(&request.device)?;
    device::set_precision(config.train.precision, &request.device)?;
    let folder = RunFolder::create(&request.out, request.existing)?;
    if request.existing == Existing::Resume && folder.checkpoints()?.is_empty() {
        observer.note("nothing to resume: starting anew");
    }
    folder.store_config(&config)?;
    if let Some(templates) = pretrained.as_ref().and_then(|pretrained| pretrained.templates.as_ref()) {
        stored_templates::save(&templates.only(&config.task.modalities), &folder.templates())?;
    }
    let templates = folder.templates().is_file().then(|| stored_templates::load(&folder.templates()));
    let inputs = Inputs {
        channels: config.task.modalities.clone(),
        missing: config.task.missing,
        templates: templates.transpose()?,
    };
    let start = Start {
        config: &config,
        preparation: &cache.manifest().config,
        data: &data,
        pretrained: pretrained.as_ref(),
        copies: CopyPlan { inputs, mixing: config.mixing, augmentation: config.augmentation },
        folder: &folder,
        device,
        stop,
        observer,
    };
    match config.task.kind {
        TaskKind::Segment => start.segment(),
        TaskKind::Classify => start.classify(),
    }
}

/// A run that is about to begin.
struct Start<'a> {
    config: &'a FinetuneConfig,
    preparation: &'a PrepConfig,
    data: &'a Data,
    pretrained: Option<&'a Pretrained>,
    copies: CopyPlan,
    folder: &'a RunFolder,
    /// Without autodiff.
    device: Device,
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
}

impl Start<'_> {
    fn segment(self) -> Result<Ended> {
        let Some(regions) = &self.data.regions else {
            return Err(Error::Config("task.regions: there are none".to_owned()));
        };
        let plan = SegmentingPlan {
            copies: self.copies.clone(),
            regions: regions.regions.iter().map(|region| region.labels().clone()).collect(),
            regions_by_data_set: regions.by_data_set.clone(),
            patch: self.config.patch.size,
            labelled_share: self.config.patch.labelled_share,
        };
        let classes = plan.regions.len();
        let network = self.begin(|init| SegmentationNetwork::new(&self.config.model.network, classes, init));
        let judge = SegmentationJudge {
            cases: &self.data.validation,
            inputs: &self.copies.inputs,
            regions,
            window: &self.config.inference,
            device: &self.device,
        };
        self.train(Segmenting::new(network, plan), &judge)
    }

    fn classify(self) -> Result<Ended> {
        let plan = ClassifyingPlan {
            copies: self.copies.clone(),
            classes: self.config.task.classes.clone(),
            class_weights: self.data.class_weights(&self.config.task),
            resized: Resized { whole: self.config.patch.resize, patch: self.config.patch.size },
        };
        let classes = plan.classes.len();
        let network =
            self.begin(|init| ClassificationNetwork::new(&self.config.model.network, classes, init));
        let judge = ClassificationJudge { cases: &self.data.validation, plan: &plan, device: &self.device };
        self.train(Classifying::new(network, plan.clone()), &judge)
    }

    /// A new network with what it takes over from pre-training.
    fn begin<M: Module>(&self, network: impl FnOnce(&mut Init<'_>) -> M) -> M {
        let device = self.device.clone().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.train.seed ^ FIRST_WEIGHTS);
        let network = network(&mut Init { device: &device, rng: &mut rng });
        let Some(pretrained) = self.pretrained else { return network };
        let (network, report) = transfer(network, &pretrained.weights, self.config.init.first_layer);
        self.tell(&report, &pretrained.origin);
        network
    }

    /// What was taken over.
    fn tell(&self, report: &Transferred, origin: &str) {
        let taken = report.loaded.len() + report.fitted.len();
        let total = taken + report.skipped.len();
        self.observer.note(&format!("{taken} of {total} tensors are from {origin}; the others begin anew"));
        let odd = report.skipped.iter().find(|(_, why)| matches!(why, Skipped::Shape { .. }));
        if let Some((name, Skipped::Shape { expected, found })) = odd {
            self.observer.warn(&format!("{name} begins anew: {found:?} there, {expected:?} here"));
        }
    }

    fn train<O: Objective + 'static>(&self, objective: O, judge: &dyn Judge<O>) -> Result<Ended> {
        let facts = Facts {
            method: Facts::METHOD.to_owned(),
            preparation: self.preparation.clone(),
            data: self.data.fingerprint(),
        };
        let trainer = Trainer {
            train: &self.config.train,
            optimizer: &self.config.optimizer,
            template_rates: Vec::new(),
            checkpoint: &self.config.checkpoint,
            log: &self.config.log,
            cases: Arc::new(self.data.training.clone()),
            folder: self.folder,
            device: self.device.clone().autodiff(),
            stop: self.stop,
            observer: self.observer,
            facts: serde_json::to_value(facts).map_err(|e| Error::Config(e.to_string()))?,
        };
        let validation = Validation { config: &self.config.validation, judge };
        trainer.run(objective, (!self.data.validation.is_empty()).then_some(&validation))
    }
}
