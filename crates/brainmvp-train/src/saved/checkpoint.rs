//! Networks out of the checkpoints of runs.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::{Head, StateDict};
use brainmvp_volume::{Affine, Modality};
use burn::tensor::TensorData;
use serde::Deserialize;

use super::{LearntTemplates, SavedNetwork, published};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::run::RunFolder;
use crate::templates::{Facts, stored_volume};
use crate::tensor_file::TensorFile;
use crate::{Error, Result};

/// The best checkpoint of a run, else its newest.
pub(super) fn open_run(run: &Path) -> Result<SavedNetwork> {
    let folder = RunFolder::open(run)?;
    let path = match folder.checkpoints()?.pop() {
        Some(newest) if !folder.best().is_file() => folder.checkpoint(newest),
        None if !folder.best().is_file() => {
            return Err(Error::run_folder(run, "has no checkpoint yet; let the run reach one"));
        }
        _ => folder.best(),
    };
    open(TensorFile::open(&path)?)
}

/// A checkpoint in the folder of its run.
pub(super) fn open(file: TensorFile) -> Result<SavedNetwork> {
    let path = file.path().to_owned();
    let network = network_of_run(&path)?;
    let mut checkpoint = Checkpoint::of(file)?;
    let templates = templates(&mut checkpoint)?;
    let mut weights = BTreeMap::new();
    for name in checkpoint.names() {
        let Some(parameter) = name.strip_prefix("model.").filter(|name| !name.starts_with("templates."))
        else {
            continue;
        };
        let (shape, values) = checkpoint.tensor(&name)?;
        published::refuse_odd(&path, parameter, &values)?;
        weights.insert(parameter.to_owned(), TensorData::new(values, shape));
    }
    let head = head(&weights, templates.is_some());
    let origin = format!("{}, step {}", path.display(), checkpoint.state().step);
    let (unused, missing) = (StateDict::new(), Vec::new());
    Ok(SavedNetwork { network, head, weights, templates, unused, missing, assumed: None, origin })
}

/// The part of a run's configuration that is read here.
#[derive(Deserialize)]
struct Stored {
    model: ModelConfig,
}

fn network_of_run(checkpoint: &Path) -> Result<NetworkConfig> {
    let folder = checkpoint.parent().and_then(Path::parent);
    let path =
        folder.map(|folder| folder.join("config.toml")).filter(|path| path.is_file()).ok_or_else(|| {
            Error::checkpoint(
                checkpoint,
                "a checkpoint outside the folder of its run, whose config.toml tells its network",
            )
        })?;
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let stored: Stored =
        toml::from_str(&text).map_err(|e| Error::run_folder(&path, e.message().trim().replace('\n', " ")))?;
    match stored.model.network.problem() {
        Some(problem) => Err(Error::run_folder(&path, problem)),
        None => Ok(stored.model.network),
    }
}

fn templates(checkpoint: &mut Checkpoint) -> Result<Option<LearntTemplates>> {
    let Ok(facts) = serde_json::from_value::<Facts>(checkpoint.state().facts.clone()) else {
        return Ok(None);
    };
    let volumes = Modality::ALL.map(|modality| stored_volume(checkpoint, modality, facts.templates.shape));
    let volumes = volumes.into_iter().collect::<Result<_>>()?;
    Ok(Some(LearntTemplates {
        size: facts.templates.shape,
        affine: Some(Affine::from_rows(facts.templates.affine)),
        range_floor: facts.range_floor,
        volumes,
    }))
}

/// What these weights are beside an encoder. A UNET3D has the same decoder in pre-training, which has templates.
fn head(weights: &BTreeMap<String, TensorData>, has_templates: bool) -> Head {
    let outputs = |name: &str| weights.get(name).and_then(|weight| weight.shape().to_vec().last().copied());
    if weights.contains_key("decoder.out_1.weight") {
        return Head::Reconstruction;
    }
    if let Some(classes) = outputs("head.weight") {
        return Head::Classification { classes };
    }
    match outputs("decoder.out.weight").or_else(|| outputs("decoder.up1conv.weight")) {
        Some(_) if has_templates => Head::Reconstruction,
        Some(classes) => Head::Segmentation { classes },
        None => Head::None,
    }
}
