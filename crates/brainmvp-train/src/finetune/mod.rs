//! A fine-tuning run from a configuration and a cache, for any of the tasks, from pre-trained or random weights.

mod data;
mod model;
mod placing;
mod predictor;
mod regions;
mod selection;
mod stored_templates;
pub mod tasks;
mod validate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::Split;
use brainmvp_infer::Mirror;
use brainmvp_nets::Init;
use brainmvp_nets::weights::{InputChannels, Skipped, Transferred, transfer};
use brainmvp_objectives::FrozenTemplates;
use brainmvp_objectives::downstream::{CopyPlan, Inputs, MixWith};
use brainmvp_objectives::templates::mean_image;
use brainmvp_prep::Preparation;
use brainmvp_prep::cache::Cache;
use brainmvp_ranks::Ranks;
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::data::Data;
use self::placing::Placing;
use self::tasks::{Applied, ForTask, Listed};
use self::validate::TaskJudge;
use crate::about::{About, Downstream, Kind};
use crate::batches::CaseSource;
use crate::config::FinetuneConfig;
use crate::placement::{Placer, TemplateFrame, TemplateSet};
use crate::preparation::{Prepared, refuse_differences};
use crate::pretrained::Pretrained;
use crate::purpose::{Purpose, ToTrain};
use crate::run::{Existing, RunFolder, RunRequest};
use crate::seen::{Seen, Stage, overlap_line};
use crate::source::Source;
use crate::templates::frame;
use crate::trainer::{Ended, Observer, Trainer, Validation};
use crate::{Result, device};

pub use model::Model;
pub use predictor::{CasePrediction, CasePredictor, CaseWindows, Laid, Predictor};
pub use regions::with_values_in;
pub use selection::{Part, parts};
pub use tasks::{
    Output, Prediction, RegionProbabilities, TaskConfig, TaskKind, TaskNetwork, TaskSettings, Written,
};

/// Separates the random initial weights from other random numbers with the run's seed.
const FIRST_WEIGHTS: u64 = 0x1F83_D9AB_FB41_BD6B;

/// Fine-tunes, or continues to.
///
/// # Errors
/// If the configuration, the data, the pre-trained weights, the run folder or the device is not usable, or training fails.
pub fn finetune(request: &RunRequest, stop: &AtomicBool, observer: &dyn Observer) -> Result<Ended> {
    set_up(request, stop, observer, ToTrain)
}

/// Sets up a run for a purpose.
pub(crate) fn set_up<P: Purpose>(
    request: &RunRequest,
    stop: &AtomicBool,
    observer: &dyn Observer,
    purpose: P,
) -> Result<P::Outcome> {
    let cases = crate::batches::open_cases(&request.data, observer)?;
    let cache = Cache::open(&request.data)?;
    let stored = request.stored_config::<FinetuneConfig>()?;
    let text = request.text(stored.as_ref())?;
    // The initial weights of a resumed run are in its checkpoints.
    let source = FinetuneConfig::source(&text, &request.settings)?;
    let pretrained = match &source {
        Some(source) if stored.is_none() => Some(Pretrained::open(source.clone())?),
        _ => None,
    };
    let network = pretrained.as_ref().map(|pretrained| &pretrained.about.network);
    let config = FinetuneConfig::resolve(&text, &request.settings, network)?;
    let asked = Asked { request, stop, observer, purpose, cases, cache, stored, source, pretrained, config };
    asked.config.task.kind.run(asked)
}

/// A run as it is asked for.
struct Asked<'a, P> {
    request: &'a RunRequest,
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
    purpose: P,
    /// All of the cache.
    cases: Vec<CaseSource>,
    cache: Cache,
    /// The configuration of the run that is continued.
    stored: Option<FinetuneConfig>,
    /// What the network starts from.
    source: Option<Source>,
    /// The same, opened, unless a run is continued.
    pretrained: Option<Pretrained>,
    config: FinetuneConfig,
}

impl<P: Purpose> ForTask for Asked<'_, P> {
    type Outcome = Result<P::Outcome>;

    fn run<T: Listed>(self) -> Result<P::Outcome> {
        begin::<T, P>(self)
    }
}

/// Chooses the cases of a run, places templates on them, prepares its folder and begins.
fn begin<T: Listed, P: Purpose>(asked: Asked<'_, P>) -> Result<P::Outcome> {
    let Asked { request, stop, observer, mut purpose, cases, cache, stored, source, pretrained, mut config } =
        asked;
    let test_cases: Vec<CaseSource> =
        cases.iter().filter(|case| case.facts().split == Some(Split::Test)).cloned().collect();
    let (mut data, task) = Data::new::<T>(&mut config, cases, &cache.manifest().label_schemes, observer)?;
    config.model.network = config.model.network.with_in_channels(config.task.modalities.len());
    stored.as_ref().map_or(Ok(()), |stored| request.refuse_change(&config, stored))?;
    if let Some(pretrained) = &pretrained {
        compare_preparations(pretrained, &cache.manifest().preparation, &data, &config, observer)?;
    }
    let device = device::device(&request.device)?;
    device::set_precision(config.train.precision, &request.device)?;
    let run = stored.is_some().then_some(&request.out);
    let templates = templates(&config, pretrained.as_ref(), run, &data.training)?;
    let inputs = Inputs {
        channels: config.task.modalities.clone(),
        missing: config.task.missing,
        templates: templates.as_ref().map(|templates| templates.frozen.clone()),
    };
    let copies = CopyPlan { inputs, mixing: config.mixing, augmentation: config.augmentation };
    tell_copies(&copies, observer);
    if let Some(templates) = &templates {
        let placer = Placer::new(templates, config.templates.placement, Some(&request.data));
        let is_mixed = matches!(config.mixing.with, MixWith::Templates | MixWith::Mean);
        let placing = Placing { placer, inputs: &copies.inputs, is_mixed, observer };
        if !placing.run(&mut data, stop)? {
            return purpose.stopped();
        }
    }
    let folder = purpose.folder(request)?;
    if request.existing == Existing::Resume && folder.checkpoints()?.is_empty() {
        observer.note("nothing to resume: starting from the beginning");
    }
    let mut preparation = cache.manifest().preparation.clone();
    if request.ranks.is_first() {
        folder.store_config(&config)?;
        if stored.is_none() {
            let source = source.as_ref().map(|source| source.path.as_path());
            tell_overlaps(source, &data, &test_cases, observer)?.save(folder.path())?;
        }
        preparation = preparation.store(folder.path())?;
        if let Some(templates) = &templates {
            stored_templates::save(templates, &folder.templates())?;
        }
    }
    let judged = purpose.judged(&data.validation);
    Start {
        purpose,
        task,
        judged,
        config: &config,
        preparation,
        data: &data,
        pretrained: pretrained.as_ref(),
        copies,
        templates,
        folder: &folder,
        device,
        stop,
        observer,
        ranks: &request.ranks,
    }
    .train()
}

/// Reports if each case is seen only once although two copies were requested.
fn tell_copies(copies: &CopyPlan, observer: &dyn Observer) {
    if copies.count() == 1 && copies.mixing.with != MixWith::None {
        observer.note(
            "there is no template of any modality, so each case is seen once and there is no agreement term (mixing.with = \
             \"mean\" or \"zero\" needs no templates)",
        );
    }
}

/// Refuses cases that were prepared in another way than those of the pre-training, unless the configuration accepts it.
fn compare_preparations(
    pretrained: &Pretrained,
    preparation: &Preparation,
    data: &Data,
    config: &FinetuneConfig,
    observer: &dyn Observer,
) -> Result<()> {
    let origin = &pretrained.origin;
    let Some(learnt_from) = pretrained.about.prepared() else {
        observer.note(&format!("{origin} does not say how its cases were prepared, so this is not compared"));
        return Ok(());
    };
    let all: Vec<_> = data.training.iter().chain(&data.validation).cloned().collect();
    let frame = TemplateFrame::of(&all);
    let cases = Prepared { config: &preparation.config, frame: frame.as_ref() };
    let accepted = refuse_differences(origin, &learnt_from, &cases, &config.init.accept_differences)?;
    for difference in accepted {
        observer.note(&format!("accepted: pre-training and these cases differ in {difference}"));
    }
    Ok(())
}

/// The templates for the channels of the network: those of the pre-training, mean images instead of them, or those stored
/// in the run that is continued.
fn templates(
    config: &FinetuneConfig,
    pretrained: Option<&Pretrained>,
    run: Option<&PathBuf>,
    training: &[CaseSource],
) -> Result<Option<TemplateSet>> {
    if config.mixing.with == MixWith::Mean && run.is_none() {
        return mean_images(&config.task.modalities, training).map(Some);
    }
    if let Some(templates) = pretrained.and_then(|pretrained| pretrained.templates.as_ref()) {
        return Ok(Some(templates.only(&config.task.modalities)));
    }
    let Some(run) = run else { return Ok(None) };
    let path = RunFolder::open(run)?.templates();
    path.is_file().then(|| stored_templates::load(&path)).transpose()
}

/// The mean image of each modality over cases, as templates.
///
/// # Errors
/// If a case cannot be read.
pub fn mean_images(modalities: &[Modality], training: &[CaseSource]) -> Result<TemplateSet> {
    let grid = frame(training).grid(None);
    let mut means = Vec::new();
    for &modality in modalities {
        means.extend(mean_image(&grid, training, modality)?.map(|mean| (modality, mean)));
    }
    // As for templates: if the range of a mean is smaller than that of the images, it is not stretched.
    let frozen = FrozenTemplates::new(grid.shape, Some(grid.affine), Some(1.0), means);
    Ok(TemplateSet { frozen, frame: TemplateFrame::of(training) })
}

/// Warns of validation and test cases that the network has seen; returns everything that it will have seen.
fn tell_overlaps(
    source: Option<&Path>,
    data: &Data,
    test_cases: &[CaseSource],
    observer: &dyn Observer,
) -> Result<Seen> {
    let mut seen = source.map_or_else(|| Ok(Seen::nothing()), Seen::of_weights)?;
    if let Some(origin) = &seen.unknown {
        observer
            .note(&format!("which cases {origin} was trained on is not known, so overlaps cannot be found"));
    }
    let index = seen.index();
    for (what, cases) in [("validation", &data.validation[..]), ("test", test_cases)] {
        if let Some(line) = overlap_line(what, cases, &index) {
            observer.warn(&format!("{line}. Their scores are too optimistic"));
        }
    }
    let mut training = Seen::nothing();
    training.add(Stage::Finetuning, &data.training);
    for (what, cases) in [("validation", &data.validation[..]), ("test", test_cases)] {
        if let Some(line) = overlap_line(what, cases, &training.index()) {
            observer.warn(&format!("{line}. Leave one of each pair out"));
        }
    }
    seen.cases.extend(training.cases);
    seen.add(Stage::Validation, &data.validation);
    Ok(seen)
}

/// A run that is about to start.
struct Start<'a, P, T> {
    purpose: P,
    task: T,
    /// The validation cases that judge the network.
    judged: &'a [CaseSource],
    config: &'a FinetuneConfig,
    preparation: Preparation,
    data: &'a Data,
    pretrained: Option<&'a Pretrained>,
    copies: CopyPlan,
    templates: Option<TemplateSet>,
    folder: &'a RunFolder,
    /// Without autodiff.
    device: Device,
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
    ranks: &'a Ranks,
}

impl<P: Purpose, T: Listed> Start<'_, P, T> {
    fn train(&self) -> Result<P::Outcome> {
        let (config, keys) = (self.config, T::keys(&self.config.task));
        let network = self.begin(|init| T::network(keys, &config.model.network, init));
        let objective = self.task.objective(network, keys, config, self.copies.clone())?;
        let trainer = Trainer {
            train: &config.train,
            optimizer: &config.optimizer,
            checkpoint: &config.checkpoint,
            log: &config.log,
            cases: Arc::new(self.data.training.clone()),
            folder: self.folder,
            device: self.device.clone().autodiff(),
            stop: self.stop,
            observer: self.observer,
            about: self.about(),
            ranks: self.ranks.clone(),
        };
        let mirror = Mirror::default();
        let how = Applied {
            inputs: &self.copies.inputs,
            patch: &config.patch,
            windows: &config.inference,
            mirror: &mirror,
            device: &self.device,
        };
        let (ranks, observer) = (self.ranks, self.observer);
        let judge = TaskJudge { task: &self.task, keys, cases: self.judged, how, ranks, observer };
        let validation = Validation { config: &config.validation, judge: &judge };
        let validation = (!self.data.validation.is_empty()).then_some(&validation);
        self.purpose.carry_out(&trainer, objective, validation)
    }

    /// A new network with the weights taken over from pre-training.
    fn begin<M: Module>(&self, network: impl FnOnce(&mut Init<'_>) -> M) -> M {
        let device = self.device.clone().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.train.seed ^ FIRST_WEIGHTS);
        let network = network(&mut Init { device: &device, rng: &mut rng });
        let Some(pretrained) = self.pretrained else { return network };
        let config = self.config;
        let chosen = pretrained.channels_of(&config.task.modalities);
        let channels = match &chosen {
            Some(chosen) => InputChannels::Chosen(chosen),
            None => InputChannels::One(config.init.first_layer),
        };
        let (network, report) = transfer(&config.model.network, network, &pretrained.weights, channels);
        self.tell(&report, &pretrained.origin);
        network
    }

    /// Reports what was taken over.
    fn tell(&self, report: &Transferred, origin: &str) {
        let taken = report.loaded.len() + report.fitted.len();
        let total = taken + report.skipped.len();
        self.observer.note(&format!("{taken} of {total} tensors are from {origin}; the others are new"));
        let odd = report.skipped.iter().find(|(_, why)| matches!(why, Skipped::Shape { .. }));
        if let Some((name, Skipped::Shape { expected, found })) = odd {
            self.observer.warn(&format!("{name} is new: its shape is {found:?} there and {expected:?} here"));
        }
    }

    /// What the network says of itself.
    fn about(&self) -> About {
        let FinetuneConfig { task, patch, inference, templates, model, .. } = self.config;
        let downstream = Downstream {
            task: task.clone(),
            patch: *patch,
            inference: inference.clone(),
            templates: *templates,
        };
        About {
            kind: Kind::FineTuning(Box::new(downstream)),
            network: model.network.clone(),
            head: task.head(),
            preparation: Some(self.preparation.clone()),
            templates: self.templates.as_ref().map(stored_templates::about),
            data: Some(self.data.fingerprint()),
            parent: self.pretrained.map(Pretrained::parent),
        }
    }
}
