//! How a run of the method begins, and what of it is used afterwards.

use brainmvp_nets::Init;
use brainmvp_nets::networks::{NetworkConfig, PresetName};
use brainmvp_nets::weights::Head;
use brainmvp_volume::{Grid, Modality};

use super::{BrainMvp, BrainMvpConfig, Task};
use crate::patch::PatchSource;
use crate::pretraining::{Kept, Learnt, Method, MethodPreset, Pretraining, Setup, Training};
use crate::templates::{TemplateSource, Templates, mean_image};

impl Method for BrainMvpConfig {
    const TITLE: &'static str = "BrainMVP (Rui et al.)";
    const ABOUT: &'static str =
        "reconstruction across modalities, a template for each modality, contrast between views";
    type Objective = BrainMvp;

    fn of(preset: MethodPreset) -> Self {
        Self::of(preset)
    }

    fn other_networks() -> Vec<PresetName> {
        vec![PresetName::known("unet3d")]
    }

    /// One of each reconstruction; contrast compares them.
    fn views(&self) -> usize {
        self.tasks.iter().filter(|task| **task != Task::Contrast).count().max(1)
    }

    fn learns_templates(&self) -> bool {
        self.tasks.contains(&Task::Distill)
    }

    fn for_epochs(&self, epochs: u64) -> Self {
        let published = Training::default().epochs as f64;
        let scaled = |epoch: usize| (epoch as f64 * epochs as f64 / published).round() as usize;
        Self {
            contrast_from_epoch: scaled(self.contrast_from_epoch),
            cross_from_epoch: scaled(self.cross_from_epoch),
            ..self.clone()
        }
    }

    fn training(preset: MethodPreset) -> Training {
        // Eight devices, or four of two batches each: as many cases a step.
        let accumulate = if preset == MethodPreset::Default { 1 } else { 8 };
        Training { accumulate, ..Training::default() }
    }

    fn problem(&self, _network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        self.settings_problem(patch)
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<BrainMvp, S::Error> {
        let grid = setup.frame.grid(self.templates.size.as_slice().try_into().ok());
        let is_mean = self.templates.source == TemplateSource::Mean;
        let levels = if is_mean { 1 } else { self.templates.levels() };
        let mut templates = Templates::new(grid, levels, Some(self.templates.range_floor), init.device);
        if is_mean {
            templates =
                templates.fixed(if setup.is_new { mean_images(&grid, setup.cases)? } else { Vec::new() });
        }
        Ok(BrainMvp::new(self, setup.network, templates, setup.patch, init))
    }
}

/// The mean image of each modality that some case has.
fn mean_images<S: PatchSource>(grid: &Grid, cases: &[S]) -> Result<Vec<(Modality, Vec<f32>)>, S::Error> {
    let mut means = Vec::new();
    for modality in Modality::ALL {
        means.extend(mean_image(grid, cases, modality)?.map(|mean| (modality, mean)));
    }
    Ok(means)
}

impl Pretraining for BrainMvp {
    fn kept() -> Kept {
        Kept::with_decoder(Head::Reconstruction)
    }

    fn templates(&self) -> Option<Learnt> {
        Some(self.templates.learnt())
    }
}
