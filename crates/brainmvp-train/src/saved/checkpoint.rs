//! Reads networks from the checkpoints of runs.

use std::collections::BTreeMap;

use brainmvp_nets::weights::StateDict;
use brainmvp_objectives::pretraining::KeptPart;
use brainmvp_objectives::templates::Templates;
use brainmvp_volume::Modality;
use burn::tensor::TensorData;

use super::{LearntTemplates, SavedNetwork, published};
use crate::about::{About, Kind};
use crate::checkpoint::{Checkpoint, State};
use crate::source::Chosen;
use crate::templates::stored_volume;
use crate::tensor_file::TensorFile;
use crate::{Error, Result};

/// The network of a checkpoint whose description has been read.
pub(super) fn open(mut file: TensorFile, state: State, chosen: &Chosen) -> Result<SavedNetwork> {
    file.check_seal()?;
    let path = &chosen.path;
    let mut checkpoint = Checkpoint::new(file, state);
    let about = checkpoint.state().about.clone();
    if let Some(problem) = about.problem() {
        return Err(Error::checkpoint(path, problem));
    }
    let templates = templates(&about, &mut checkpoint)?;
    let mut weights = BTreeMap::new();
    for name in checkpoint.names() {
        let Some(parameter) = name.strip_prefix("model.").and_then(|name| used_afterwards(&about, name))
        else {
            continue;
        };
        let (shape, values) = checkpoint.tensor(&name)?;
        published::refuse_odd(path, &parameter, &values)?;
        weights.insert(parameter, TensorData::new(values, shape));
    }
    // Networks are allocated to be filled: a small file must not cause a large allocation.
    let elements: u64 = weights.values().map(|values| values.num_elements() as u64).sum();
    if about.network.parameters_at_least() > elements {
        return Err(Error::checkpoint(path, "most of the tensors of its network are missing"));
    }
    let State { step, total_steps, .. } = checkpoint.state();
    let why = chosen.why.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    Ok(SavedNetwork {
        step: Some(*step),
        weights,
        templates,
        unused: StateDict::new(),
        missing: Vec::new(),
        assumed: None,
        origin: format!("{}, step {step} of {total_steps}{why}", path.display()),
        folder: chosen.folder.clone(),
        about,
    })
}

/// The name under which a parameter is used after its training; `None` if it is not, as a template or the feature of a past
/// sample.
fn used_afterwards(about: &About, name: &str) -> Option<String> {
    let Kind::PreTraining { kept, .. } = &about.kind else { return Some(name.to_owned()) };
    kept.iter().find_map(|KeptPart { from, to }| Some(format!("{to}{}", name.strip_prefix(from.as_str())?)))
}

/// The templates that a pre-training has in its checkpoints.
fn templates(about: &About, checkpoint: &mut Checkpoint) -> Result<Option<LearntTemplates>> {
    let Some(of) = about.templates.as_ref().filter(|_| matches!(about.kind, Kind::PreTraining { .. })) else {
        return Ok(None);
    };
    let volumes = Modality::ALL.map(|modality| stored_volume(checkpoint, modality, of.size));
    let volumes = volumes.into_iter().collect::<Result<_>>()?;
    Ok(Some(LearntTemplates {
        size: of.size,
        affine: of.affine(),
        frame: of.frame.clone(),
        range_floor: of.range_floor,
        volumes,
        updates: Templates::updates(&checkpoint.state().updates),
    }))
}
