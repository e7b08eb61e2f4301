//! BrainMVP (Rui et al.): cross-modal reconstruction, modality-wise template distillation, modality-aware contrast.
//!
//! One modality of a case is the target x. Two views of it are made: in the cross-modal view, masked blocks of x are
//! replaced by another modality; in the distilled view, by the template of x's own modality. The network reconstructs x
//! from each (eqs. 2 and 3), and the contrast makes the deepest features of the two views similar (eq. 4). Each of the
//! three is a [`Task`], which can be switched off.

mod config;
mod method;
mod queue;
mod sample;
#[cfg(test)]
mod tests;
mod views;

use std::collections::BTreeMap;

use brainmvp_kernels::ops::ranks::gather_rows;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, Reconstruction};
use brainmvp_nets::weights::Entry;
use brainmvp_ranks::Ranks;
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::Tensor;
use rand::Rng;

use self::queue::Queue;
use crate::losses::{self, Contrast, Identity, unit_rows};
use crate::patch::PatchSource;
use crate::templates::Templates;
use crate::{Counts, DrawBy, Evaluation, Group, Moment, Objective, Scene};

pub use config::{BrainMvpConfig, Masks, Negatives, Task};
pub use sample::{BrainMvpPlan, BrainMvpSample};
pub use views::Views;

/// The network and the templates that are pre-trained together.
#[derive(Module, Debug)]
pub struct BrainMvp {
    /// What is kept after pre-training.
    pub encoder: Encoder,
    /// Reconstructs.
    pub decoder: Reconstruction,
    /// One per modality; kept too.
    pub templates: Templates,
    /// Past samples that are negatives of the contrast, if there is a queue.
    pub queue: Option<Queue>,
    #[module(skip)]
    config: BrainMvpConfig,
    #[module(skip)]
    patch: [usize; 3],
}

impl BrainMvp {
    /// A new network for patches of `patch` voxels (x, y, z), for numbers that [`BrainMvpConfig::settings_problem`] accepts.
    pub fn new(
        config: &BrainMvpConfig,
        network: &NetworkConfig,
        templates: Templates,
        patch: [usize; 3],
        init: &mut Init<'_>,
    ) -> Self {
        let features =
            patch.iter().map(|n| n / network.stride()).product::<usize>() * network.deepest_width();
        let queued = config.has(Task::Contrast) && config.negatives == Negatives::Queue;
        Self {
            encoder: network.encoder(init),
            decoder: network.reconstruction(init),
            templates,
            queue: queued.then(|| Queue::new(config.queue_length, features, init.device)),
            config: config.clone(),
            patch,
        }
    }

    /// The reconstruction and the deepest features of `x`, `[B, D, H, W, 1]`.
    pub fn reconstruct(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> (Tensor<5>, Tensor<5>) {
        let deepest = self.encoder.forward(x, pass).deepest();
        (self.decoder.forward(deepest.clone()), deepest)
    }

    /// Adds the losses of the tasks that reconstruct, and returns the reconstructions, `[n B, D, H, W, 1]`, if there are any.
    /// The views of these tasks are the first ones of `deepest`, in this order.
    fn add_reconstructions(
        &self,
        losses: &mut Losses,
        deepest: &Tensor<5>,
        targets: &Tensor<5>,
    ) -> Option<Tensor<5>> {
        let BrainMvpConfig { weight_cross, weight_distill, reconstruction, .. } = self.config;
        let all =
            [(Task::Cross, "loss_cross", weight_cross), (Task::Distill, "loss_distill", weight_distill)];
        let tasks: Vec<_> = all.into_iter().filter(|(task, ..)| self.config.has(*task)).collect();
        if tasks.is_empty() {
            return None;
        }
        let batch = targets.dims()[0];
        let reconstructed = self.decoder.forward(deepest.clone().narrow(0, 0, tasks.len() * batch));
        for (view, (_, name, weight)) in tasks.into_iter().enumerate() {
            let of_view = reconstructed.clone().narrow(0, view * batch, batch);
            losses.add(name, losses::reconstruction(of_view, targets.clone(), reconstruction), Some(weight));
        }
        Some(reconstructed)
    }

    /// The contrast of the deepest features of two views (eq. 4), `[2 B, D, H, W, C]`, with those of all ranks. They join the
    /// queue, if there is one.
    fn contrast(&self, deepest: Tensor<5>, samples: &[BrainMvpSample], ranks: &Ranks) -> Tensor<1> {
        let batch = samples.len();
        let rows = unit_rows(deepest);
        let views = [0, batch].map(|start| gather_rows(rows.clone().narrow(0, start, batch), ranks));
        let identities: Vec<Identity> = samples.iter().map(|sample| sample.identity).collect();
        let identities = Identity::gather(&identities, ranks);
        let contrast = Contrast {
            temperature: self.config.temperature,
            within_data_set: self.config.negatives_within_data_set,
        };
        let past = self.queue.as_ref().map(Queue::past);
        let loss = contrast.loss(views.clone(), &identities, past.as_ref());
        if let Some(queue) = &self.queue {
            queue.push(views, &identities);
        }
        loss
    }
}

impl Objective for BrainMvp {
    type Plan = BrainMvpPlan;
    type Sample = BrainMvpSample;

    fn plan(&self) -> BrainMvpPlan {
        let BrainMvpConfig { draw, mask, masks, .. } = self.config;
        let (patch, partner, template) = (self.patch, self.config.reads_partner(), self.templates.size());
        BrainMvpPlan { draw, patch, mask, masks, partner, template }
    }

    fn draw_by(plan: &BrainMvpPlan) -> DrawBy {
        plan.draw
    }

    fn draw<S: PatchSource>(
        plan: &BrainMvpPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<BrainMvpSample, S::Error> {
        plan.draw(scene.case(), scene.target, rng)
    }

    fn forward(&self, samples: &[BrainMvpSample], at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let epoch = at.epoch;
        let seen = self.views(samples, epoch);
        let views = Tensor::cat(seen.views.clone(), 0);
        let deepest = self.encoder.forward(views, pass).deepest();
        let mut losses = Losses::default();
        let reconstructed = self.add_reconstructions(&mut losses, &deepest, &seen.targets);
        let quality = losses.total.clone();
        if self.config.has(Task::Contrast) && seen.views.len() == 2 {
            // Before its first epoch it is only reported.
            let begun = epoch >= self.config.contrast_from_epoch;
            let deepest = if begun { deepest } else { deepest.detach() };
            let weight = begun.then_some(self.config.weight_contrast);
            losses.add("loss_contrast", self.contrast(deepest, samples, &pass.ranks), weight);
        }
        #[expect(
            clippy::expect_used,
            reason = "a task is on in every epoch: BrainMvpConfig::settings_problem sees to it"
        )]
        let total = losses.total.expect("no task is on");
        Evaluation {
            quality: quality.unwrap_or_else(|| total.clone()).detach(),
            total,
            parts: losses.parts,
            pictures: seen.pictures(reconstructed),
        }
    }

    fn learnt_images(&self) -> Vec<(Modality, Tensor<3>)> {
        if self.config.has(Task::Distill) { self.templates.images() } else { Vec::new() }
    }

    /// Templates have no weight decay, and each of their levels has its own learning rate.
    fn group(&self, entry: Entry<'_>) -> Group {
        match Templates::level_of(entry.path.strip_prefix("templates.").unwrap_or_default()) {
            Some((level, _)) => {
                let rate = self.config.templates.learning_rates().get(level).copied().unwrap_or(1.0);
                Group { rate, decays: false }
            }
            None => Group::default(),
        }
    }

    fn counts(&self, updates: &BTreeMap<String, usize>) -> Option<Counts> {
        Templates::counts(updates)
    }
}

/// A sum of weighted losses, and each of them.
#[derive(Default)]
struct Losses {
    total: Option<Tensor<1>>,
    parts: Vec<(&'static str, Tensor<1>)>,
}

impl Losses {
    /// Adds a loss; without a weight it is reported, but not minimised.
    fn add(&mut self, name: &'static str, loss: Tensor<1>, weight: Option<f32>) {
        if let Some(weight) = weight {
            let weighted = loss.clone() * weight;
            self.total = Some(match self.total.take() {
                Some(total) => total + weighted,
                None => weighted,
            });
        }
        self.parts.push((name, loss));
    }
}
