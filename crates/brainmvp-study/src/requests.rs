//! From a cell to the runs that it consists of: their settings, in which equal work is made equal.

use std::path::Path;

use brainmvp_nets::networks::PresetName;
use brainmvp_objectives::downstream::MixWith;
use brainmvp_objectives::pretraining::MethodConfig;
use brainmvp_train::Ranks;
use brainmvp_train::config::{FinetuneConfig, PretrainConfig, RunConfig as _, merge};
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_train::saved::SavedNetwork;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::arms::{Arm, Beginning};
use crate::config::{Amount, StudyConfig};
use crate::plan::Cell;
use crate::{Error, Result, data};

/// A warm-up is at most this share of a run whose length the study decides: published ones are for far longer runs.
const LONGEST_WARMUP: u64 = 20;

/// How much a pre-training computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Steps.
    pub steps: u64,
    /// Patches that the network is trained on.
    pub views: u64,
    /// Voxels of these patches.
    pub voxels: u64,
}

/// The settings of a pre-training on this number of cases, and how much it computes.
///
/// # Errors
/// If the settings make no sense.
pub(crate) fn pretraining(
    config: &StudyConfig,
    arm: &Arm,
    seed: u64,
    cases: usize,
) -> Result<(Settings, Work)> {
    let asked = asked(config, arm)?;
    let resolved = PretrainConfig::resolve(&text(&asked)?, &[])?;
    let samples = (resolved.train.batch_size * resolved.train.accumulate) as u64;
    let views = samples * resolved.method.views() as u64;
    let mut settings = vec![format!("train.seed={seed}")];
    let voxels = views * resolved.patch.size.iter().map(|n| *n as u64).product::<u64>();
    let (table, steps) = match config.compute.pretrain_voxels {
        Amount::Recipe(_) => (asked, resolved.train.last_step(cases)),
        Amount::Equal(all) => {
            let steps = (all / voxels).max(1);
            let epochs = (steps * samples).div_ceil(cases.max(1) as u64);
            let warmup = resolved.optimizer.schedule.warmup_steps.min(steps / LONGEST_WARMUP);
            settings.push(format!("train.steps={steps}"));
            settings.push(format!("optimizer.schedule.warmup_steps={warmup}"));
            (in_course(&asked, &resolved.method, epochs)?, steps)
        }
    };
    let settings = Settings::whole(PretrainConfig::resolve(&text(&table)?, &settings)?.to_toml()?);
    Ok((settings, Work { steps, views: steps * views, voxels: steps * voxels }))
}

/// The name of the folder of a pre-training: its method and network, and a hash of all that decides it but fold and seed.
///
/// # Errors
/// If the settings make no sense.
pub(crate) fn name_of_pretraining(config: &StudyConfig, arm: &Arm) -> Result<String> {
    let resolved = PretrainConfig::resolve(&text(&asked(config, arm)?)?, &[])?;
    let (method, settings) = (resolved.method.name(), Settings::whole(resolved.to_toml()?));
    let identity =
        settings.identity(&format!("{:?} {}", config.compute.pretrain_voxels, data::identity(config)?));
    let network = arm.network.map_or("", PresetName::name);
    Ok(format!("{}-{network}-{}", method.name(), &identity[..8]))
}

/// What the study, the method and the arm ask of a pre-training.
fn asked(config: &StudyConfig, arm: &Arm) -> Result<Table> {
    let Beginning::Method(method, own) = &arm.beginning else {
        return Err(Error::Config(format!("arm {} has no method", arm.name)));
    };
    let mut table = config.pretrain.clone();
    if let Some(of_method) = config.methods.get(method) {
        merge(&mut table, of_method.clone());
    }
    merge(&mut table, own.clone());
    merge(&mut table, section("method", [("name".to_owned(), method.name().into())].into_iter().collect()));
    if let Some(network) = arm.network {
        let preset: Table = [("preset".to_owned(), network.name().into())].into_iter().collect();
        merge(&mut table, section("model", preset));
    }
    Ok(table)
}

/// The same, where what begins in the course of a run does so in proportion to its length, unless it is asked for.
fn in_course(asked: &Table, resolved: &MethodConfig, epochs: u64) -> Result<Table> {
    let preset = asked.get("method").and_then(|method| method.get("preset")).cloned();
    let preset = preset.map(Value::try_into).transpose().map_err(|e| Error::Config(e.to_string()))?;
    let published = MethodConfig::of(resolved.name(), preset.unwrap_or_default());
    let as_table = |method: &MethodConfig| {
        Table::try_from(method).map_err(|e| Error::Config(format!("method {}: {e}", resolved.name().name())))
    };
    let (before, mut scaled) = (as_table(&published)?, as_table(&published.for_epochs(epochs))?);
    scaled.retain(|key, value| before.get(key) != Some(value));
    let mut table = section("method", scaled);
    merge(&mut table, asked.clone());
    Ok(table)
}

/// What the study, the task and the arm ask of a fine-tuning.
fn of_task(config: &StudyConfig, arm: &Arm, task: &str) -> Table {
    let mut table = config.finetune.clone();
    if let Some(task) = config.tasks.get(task) {
        merge(&mut table, task.clone());
    }
    merge(&mut table, arm.finetune.clone());
    table
}

/// Whether the settings of an arm make sense, as far as they are known before anything is computed: those of given weights
/// are not.
///
/// # Errors
/// If they do not.
pub(crate) fn check(config: &StudyConfig, arm: &Arm) -> Result<()> {
    let wrong = |stage: &str, e: brainmvp_train::Error| {
        let reason = e.to_string();
        let reason = reason.strip_prefix("configuration: ").unwrap_or(&reason);
        Error::Config(format!("arm {}: {stage}: {reason}", arm.name))
    };
    if matches!(arm.beginning, Beginning::Method(..)) {
        let table = asked(config, arm)?;
        PretrainConfig::resolve(&text(&table)?, &[]).map_err(|e| wrong("pre-training", e))?;
    }
    let Some(network) = arm.network else { return Ok(()) };
    for task in config.tasks.keys() {
        let preset = [format!("model.preset={}", network.name())];
        FinetuneConfig::resolve(&text(&of_task(config, arm, task))?, &preset, None)
            .map_err(|e| wrong(&format!("task {task}"), e))?;
    }
    Ok(())
}

/// The settings of a fine-tuning, but for what it begins with.
///
/// # Errors
/// If a number does not fit TOML's integers.
pub(crate) fn finetuning(config: &StudyConfig, arm: &Arm, cell: &Cell) -> Result<Settings> {
    let table = of_task(config, arm, &cell.task);
    let mut settings = vec![
        format!("train.seed={}", cell.seed),
        format!("data.labels_fraction={:?}", cell.fraction),
        format!("data.partition={}", cell.seed),
    ];
    let has_steps = arm.finetune.get("train").is_some_and(|train| train.get("steps").is_some());
    if let Amount::Equal(steps) = config.compute.finetune_steps
        && !has_steps
    {
        settings.push(format!("train.steps={steps}"));
    }
    if let Some(views) = config.compute.finetune_views {
        settings.push(format!("train.batch_size={}", views / copies(config, arm, &table)?));
    }
    let text = text(&table)?;
    let network = arm.network.map(|network| format!("model.preset={}", network.name()));
    let with_network: Vec<String> = settings.iter().chain(&network).cloned().collect();
    let whole = match network {
        Some(_) => FinetuneConfig::resolve(&text, &with_network, None)?.to_toml()?,
        // That of given weights is not known here.
        None => format!("{text}\n{settings:?}"),
    };
    // Weights bring their network with them.
    let more = if arm.beginning == Beginning::Random { with_network } else { settings };
    Ok(Settings { text, more, whole })
}

/// What a fine-tuning mixes with.
///
/// # Errors
/// If that is none of the ways.
pub(crate) fn mixing(finetune: &Table) -> Result<MixWith> {
    let asked = finetune.get("mixing").and_then(|mixing| mixing.get("with")).cloned();
    let with = asked.map(Value::try_into).transpose().map_err(|e| Error::Config(e.to_string()))?;
    Ok(with.unwrap_or_default())
}

/// The copies of each patch that a fine-tuning sees.
fn copies(config: &StudyConfig, arm: &Arm, finetune: &Table) -> Result<usize> {
    Ok(match (mixing(finetune)?, &arm.beginning) {
        (MixWith::None, _) | (MixWith::Templates, Beginning::Random) => 1,
        (MixWith::Zero | MixWith::Mean, _) => 2,
        (MixWith::Templates, Beginning::Method(..)) => {
            let resolved = PretrainConfig::resolve(&text(&asked(config, arm)?)?, &[])?;
            1 + usize::from(resolved.method.learns_templates())
        }
        (MixWith::Templates, Beginning::Weights(path)) => {
            1 + usize::from(SavedNetwork::open(path.as_path())?.templates.is_some())
        }
    })
}

/// What a run is asked to do, wherever its files are.
pub(crate) struct Settings {
    text: String,
    /// `key=value` over it.
    more: Vec<String>,
    /// What they come to, every key with its value: runs that ask the same are the same, whatever they say of it.
    whole: String,
}

impl Settings {
    /// Those of a text with every key.
    fn whole(text: String) -> Self {
        Self { text: text.clone(), more: Vec::new(), whole: text }
    }

    /// The run in a folder, on the cases of a cache, which begins with these weights.
    pub(crate) fn request(&self, source: Option<&Path>, [data, out]: [&Path; 2], device: &str) -> RunRequest {
        let source = source.map(|path| format!("init.source={}", Value::String(path.display().to_string())));
        RunRequest {
            data: data.to_owned(),
            out: out.to_owned(),
            config: Some(self.text.clone()),
            settings: self.more.iter().cloned().chain(source).collect(),
            existing: Existing::Resume,
            device: device.to_owned(),
            ranks: Ranks::alone(),
        }
    }

    /// By which it is told whether a result is of the same question: a hash of the settings and of `more`.
    pub(crate) fn identity(&self, more: &str) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.whole.len() as u64).to_le_bytes());
        hasher.update(self.whole.as_bytes());
        hasher.update(more.as_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

fn section(name: &str, table: Table) -> Table {
    [(name.to_owned(), Value::Table(table))].into_iter().collect()
}

fn text(table: &Table) -> Result<String> {
    toml::to_string(table).map_err(|e| Error::Config(e.to_string()))
}
