//! The settings of the method, and how they depend on each other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::DrawBy;
use crate::limits;
use crate::losses::ReconstructionNorm;
use crate::masking::{MaskConfig, MaskKind};
use crate::pretraining::MethodPreset;
use crate::templates::TemplateConfig;

/// A task of the method. A task that is not listed costs nothing and has no effect: no view is made for it, and no
/// template is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Reconstruction from the cross-modal view (eq. 2).
    Cross,
    /// Reconstruction from the distilled view, which learns the templates (eq. 3).
    Distill,
    /// Contrast between two views (eq. 4).
    Contrast,
}

/// Whether the two views of a patch share a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Masks {
    /// Each view has its own mask.
    #[default]
    Independent,
    /// Both views have the same mask.
    Shared,
}

/// The negatives of the contrast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Negatives {
    /// The other cases of the batch.
    #[default]
    Batch,
    /// Those, and the last `queue_length` samples before them, with their features at the time.
    Queue,
}

/// The settings of the method. Epochs count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BrainMvpConfig {
    /// The preset: whose values the keys have that are left out, in all sections of a pre-training.
    pub preset: MethodPreset,
    /// The tasks that are on; one that is off costs nothing.
    pub tasks: Vec<Task>,
    /// How samples are drawn.
    pub draw: DrawBy,
    /// The templates.
    pub templates: TemplateConfig,
    /// The masks.
    pub mask: MaskConfig,
    /// Whether the two views of a patch have one mask.
    pub masks: Masks,
    /// How far a reconstruction is from the target (eqs. 2 and 3).
    pub reconstruction: ReconstructionNorm,
    /// Weight of the reconstruction from the cross-modal view (L_CMR).
    pub weight_cross: f32,
    /// Weight of the reconstruction from the distilled view (lambda_MD).
    pub weight_distill: f32,
    /// Weight of the contrast (lambda_CL).
    pub weight_contrast: f32,
    /// Temperature of the contrast (tau, eq. 4).
    pub temperature: f32,
    /// What a case is contrasted with.
    pub negatives: Negatives,
    /// Samples in the queue of negatives, if there is one.
    pub queue_length: usize,
    /// Whether cases of one data set are negatives of each other. Cases of one person never are.
    pub negatives_within_data_set: bool,
    /// First epoch with contrast, from 0.
    pub contrast_from_epoch: usize,
    /// Until this epoch, the masked blocks of the cross-modal view show the template too.
    pub cross_from_epoch: usize,
}

/// The range floor that corresponds to the formula as printed, which adds 1e-9 to the range.
const LITERAL_RANGE_FLOOR: f32 = 1e-9;

impl Default for BrainMvpConfig {
    fn default() -> Self {
        Self::of(MethodPreset::Default)
    }
}

impl BrainMvpConfig {
    /// The settings of a preset.
    pub fn of(preset: MethodPreset) -> Self {
        let default = Self {
            preset,
            tasks: vec![Task::Cross, Task::Distill, Task::Contrast],
            draw: DrawBy::Case,
            templates: TemplateConfig::default(),
            mask: MaskConfig::default(),
            masks: Masks::Independent,
            reconstruction: ReconstructionNorm::Squared,
            weight_cross: 1.0,
            weight_distill: 1.0,
            weight_contrast: 1.0,
            temperature: 1.0,
            negatives: Negatives::Batch,
            queue_length: 64,
            negatives_within_data_set: true,
            contrast_from_epoch: 900,
            cross_from_epoch: 0,
        };
        let literal = || TemplateConfig { range_floor: LITERAL_RANGE_FLOOR, ..TemplateConfig::default() };
        match preset {
            MethodPreset::Default => default,
            MethodPreset::Paper => Self {
                templates: literal(),
                mask: MaskConfig { kind: MaskKind::Literal, ..default.mask },
                reconstruction: ReconstructionNorm::Unsquared,
                ..default
            },
            MethodPreset::Released => Self {
                templates: literal(),
                weight_distill: 10.0,
                contrast_from_epoch: 1000,
                cross_from_epoch: 300,
                ..default
            },
        }
    }

    /// Whether a task is on.
    pub fn has(&self, task: Task) -> bool {
        self.tasks.contains(&task)
    }

    /// What is wrong with these settings for patches of `patch` voxels, if anything.
    pub fn settings_problem(&self, patch: [usize; 3]) -> Option<String> {
        let [cross, distill, contrast] =
            [Task::Cross, Task::Distill, Task::Contrast].map(|task| self.has(task));
        let repeated = self.tasks.iter().enumerate().any(|(i, task)| self.tasks[..i].contains(task));
        let rules = [
            (self.tasks.is_empty(), "method.tasks must name at least one of cross, distill, contrast"),
            (repeated, "method.tasks names a task twice"),
            (
                self.cross_from_epoch > 0 && !distill,
                "method.cross_from_epoch fills views from templates, which only the task distill has: set it to 0",
            ),
            (
                self.contrast_from_epoch > 0 && contrast && !cross && !distill,
                "method.contrast_from_epoch must be 0 if contrast is the only task",
            ),
            (
                self.masks == Masks::Shared && contrast && !(cross && distill),
                "method.masks = shared makes the two views of the contrast the same; it needs the tasks cross and distill",
            ),
            (
                self.negatives == Negatives::Queue && self.queue_length == 0,
                "method.queue_length must be at least 1",
            ),
        ];
        let broken = rules.into_iter().find(|(broken, _)| *broken).map(|(_, rule)| rule.to_owned());
        broken
            .or_else(|| self.mask.problem(patch))
            .or_else(|| self.templates.problem("method.templates"))
            .or_else(|| self.number_problem())
    }

    fn number_problem(&self) -> Option<String> {
        limits::at_most(&[("method.queue_length", self.queue_length as u64, 65_536)])
            .or_else(|| limits::positive(&[("method.temperature", f64::from(self.temperature))]))
            .or_else(|| {
                limits::not_negative(&[
                    ("method.weight_cross", f64::from(self.weight_cross)),
                    ("method.weight_distill", f64::from(self.weight_distill)),
                    ("method.weight_contrast", f64::from(self.weight_contrast)),
                ])
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_possible_and_parts_that_do_not_fit_are_refused() {
        for preset in [MethodPreset::Default, MethodPreset::Paper, MethodPreset::Released] {
            assert_eq!(BrainMvpConfig::of(preset).settings_problem([96; 3]), None);
        }
        let with = |change: &dyn Fn(&mut BrainMvpConfig)| {
            let mut config = BrainMvpConfig::of(MethodPreset::Released);
            change(&mut config);
            config.settings_problem([96; 3]).unwrap_or_default()
        };
        assert!(with(&|c| c.tasks.clear()).contains("at least one"));
        assert!(with(&|c| c.tasks = vec![Task::Cross, Task::Cross]).contains("twice"));
        assert!(with(&|c| c.tasks = vec![Task::Cross]).contains("cross_from_epoch"));
        let alone = |c: &mut BrainMvpConfig| (c.tasks, c.cross_from_epoch) = (vec![Task::Contrast], 0);
        assert!(with(&alone).contains("contrast_from_epoch"));
        let alike = |c: &mut BrainMvpConfig| {
            (c.tasks, c.masks) = (vec![Task::Distill, Task::Contrast], Masks::Shared);
        };
        assert!(with(&alike).contains("the same"));
        assert!(with(&|c| (c.negatives, c.queue_length) = (Negatives::Queue, 0)).contains("queue_length"));
        assert!(with(&|c| c.mask.block = 7).contains("mask.block"));
        assert_eq!(with(&|c| c.tasks = vec![Task::Distill]), "");
    }
}
