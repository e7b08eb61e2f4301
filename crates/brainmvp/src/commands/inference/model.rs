//! The network of `--model`, and how its cases have to be prepared.

use std::path::{Path, PathBuf};

use brainmvp_prep::{Error, Pipeline, Preparation};
use brainmvp_train::saved::SavedNetwork;
use brainmvp_train::source::{CheckpointChoice, Source};
use clap::Args;

use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// Which weights of a run, and the atlas that new cases are registered to.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelOptions {
    /// Checkpoint of the run: best, last, or the number of a step [default: the best validation, or the last one of a run
    /// without validation, such as pre-training]
    #[arg(long, value_name = "best|last|STEP", requires = "model")]
    checkpoint: Option<CheckpointChoice>,
    /// The atlas that the cases of the model were registered to, if it is not stored with the model; any other file is
    /// refused
    #[arg(long, value_name = "FILE", requires = "model")]
    atlas: Option<PathBuf>,
}

impl ModelOptions {
    /// Opens the network and prints which one it is.
    pub(crate) fn open(&self, model: &Path, ui: &Ui) -> anyhow::Result<SavedNetwork> {
        let mut saved = SavedNetwork::open(Source { path: model.to_owned(), checkpoint: self.checkpoint })?;
        ui.note(format!("note: the model is {}", saved.origin));
        if let Some(atlas) = &self.atlas {
            let preparation = saved.about.preparation.take().filter(|of| of.config.atlas.is_some());
            let preparation = preparation.ok_or_else(|| {
                bad_input("--atlas: the cases of the model were not registered to an atlas")
            })?;
            saved.about.preparation = Some(preparation.with_atlas(atlas)?);
        }
        Ok(saved)
    }
}

/// Prepares new cases in the same way as those of a model.
pub(crate) fn pipeline(preparation: &Preparation, ui: &Ui) -> anyhow::Result<Pipeline> {
    if preparation.pipeline != Pipeline::VERSION {
        ui.alert(format!(
            "warning: the model's cases were prepared by version {} of the pipeline, new ones are by version {}: they may \
             differ a little",
            preparation.pipeline,
            Pipeline::VERSION
        ));
    }
    Pipeline::new(&preparation.config).advise(|error| match error {
        Error::FileNeeded { .. } => "name that file with --atlas".to_owned(),
        Error::FileChanged { .. } => "put the right file there, or name it with --atlas".to_owned(),
        _ => "the preparation is recorded in the model".to_owned(),
    })
}
