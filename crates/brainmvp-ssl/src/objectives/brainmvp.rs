//! BrainMVP (Rui et al.): cross-modal reconstruction, modality-wise template distillation, modality-aware contrast.
//!
//! Of a case's modalities one is the target x. Two views of it are made: in the cross-modal view, masked blocks of x
//! are replaced by another modality; in the distilled view, by the template of x's own modality. The network
//! reconstructs x from each (eqs. 2 and 3), and the deepest features of the two views agree (eq. 4).

use brainmvp_nets::Init;
use brainmvp_nets::layers::Noise;
use brainmvp_nets::networks::{Encoder, NetworkConfig, Reconstruction};
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::{Evaluation, Objective};
use crate::losses;
use crate::masking::{Mask, MaskConfig};
use crate::patch::{PatchSource, draw_start};
use crate::templates::{Templates, template_start};

/// Where the paper and the authors' released program differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodPreset {
    /// As the paper says.
    #[default]
    Paper,
    /// As the released program does.
    Released,
}

/// The method's numbers. Epochs count from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrainMvpConfig {
    /// Which defaults the other numbers started from.
    pub preset: MethodPreset,
    /// What is hidden.
    pub mask: MaskConfig,
    /// Weight of the cross-modal reconstruction.
    pub weight_cross: f32,
    /// Weight of the reconstruction from the template (lambda_MD).
    pub weight_distill: f32,
    /// Weight of the contrast (lambda_CL).
    pub weight_contrast: f32,
    /// Temperature of the contrast (tau).
    pub temperature: f32,
    /// First epoch with contrast.
    pub contrast_from_epoch: usize,
    /// Before this epoch, both views are filled from the template.
    pub cross_from_epoch: usize,
}

impl Default for BrainMvpConfig {
    fn default() -> Self {
        Self::of(MethodPreset::Paper)
    }
}

impl BrainMvpConfig {
    /// The numbers of a preset.
    pub fn of(preset: MethodPreset) -> Self {
        let (weight_distill, contrast_from_epoch, cross_from_epoch) = match preset {
            MethodPreset::Paper => (1.0, 900, 0),
            MethodPreset::Released => (10.0, 1000, 300),
        };
        Self {
            preset,
            mask: MaskConfig::default(),
            weight_cross: 1.0,
            weight_distill,
            weight_contrast: 1.0,
            temperature: 1.0,
            contrast_from_epoch,
            cross_from_epoch,
        }
    }
}

/// What the loader needs to draw samples.
#[derive(Debug, Clone)]
pub struct BrainMvpPlan {
    /// Voxels of a patch along x, y and z.
    pub patch: [usize; 3],
    /// What is hidden.
    pub mask: MaskConfig,
    /// Voxels of a template along x, y and z.
    pub template: [usize; 3],
}

/// One case's target, its filling, and its two masks. Voxels are x fastest.
pub struct BrainMvpSample {
    /// Name of the case.
    pub case: String,
    /// Modality of the target.
    pub modality: Modality,
    /// The target patch, x of the equations.
    pub target: Vec<f32>,
    /// The same place in another modality; `None` for a case with a single one.
    pub partner: Option<Vec<f32>>,
    /// Where the patch starts in the template, `[x, y, z]`.
    pub template_start: [isize; 3],
    /// Mask of the cross-modal view.
    pub mask_cross: Mask,
    /// Mask of the distilled view.
    pub mask_distill: Mask,
}

/// The network and the templates that are pre-trained together.
#[derive(Module, Debug)]
pub struct BrainMvp {
    /// What is kept after pre-training.
    pub encoder: Encoder,
    /// Reconstructs.
    pub decoder: Reconstruction,
    /// One per modality; kept too.
    pub templates: Templates,
    #[module(skip)]
    config: BrainMvpConfig,
    #[module(skip)]
    patch: [usize; 3],
}

impl BrainMvp {
    /// A new network for patches of `patch` voxels (x, y, z).
    pub fn new(
        config: &BrainMvpConfig,
        network: &NetworkConfig,
        templates: Templates,
        patch: [usize; 3],
        init: &mut Init<'_>,
    ) -> Self {
        Self {
            encoder: network.encoder(init),
            decoder: network.reconstruction(init),
            templates,
            config: config.clone(),
            patch,
        }
    }

    /// The targets, the cross-modal and the distilled views, and the templates of a batch, `[B, D, H, W, 1]` each.
    pub fn views(&self, samples: &[BrainMvpSample], epoch: usize) -> [Tensor<5>; 4] {
        let device = self.templates.volumes[0].val().device();
        let template_only = epoch < self.config.cross_from_epoch;
        let (mut targets, mut cross, mut distilled) = (Vec::new(), Vec::new(), Vec::new());
        let mut templates = Vec::new();
        for sample in samples {
            let target = self.volume(&sample.target, &device);
            let template = self.templates.crop(sample.modality, sample.template_start, self.patch);
            let filling = match &sample.partner {
                Some(partner) if !template_only => self.volume(partner, &device),
                _ => template.clone(),
            };
            cross.push(self.fill(target.clone(), filling, &sample.mask_cross));
            distilled.push(self.fill(target.clone(), template.clone(), &sample.mask_distill));
            targets.push(target);
            templates.push(template);
        }
        [targets, cross, distilled, templates].map(|volumes| Tensor::stack::<4>(volumes, 0).unsqueeze_dim(4))
    }

    /// The reconstruction and the deepest features of `x`, `[B, D, H, W, 1]`.
    pub fn reconstruct(&self, x: Tensor<5>, noise: &mut Noise<'_>) -> (Tensor<5>, Tensor<5>) {
        let [.., deepest] = self.encoder.forward(x, noise);
        (self.decoder.forward(deepest.clone()), deepest)
    }

    fn volume(&self, voxels: &[f32], device: &Device) -> Tensor<3> {
        let [x, y, z] = self.patch;
        Tensor::from_data(TensorData::new(voxels.to_vec(), [z, y, x]), device)
    }

    /// `target` with its masked voxels replaced.
    fn fill(&self, target: Tensor<3>, filling: Tensor<3>, mask: &Mask) -> Tensor<3> {
        let masked: Vec<f32> = mask.voxels().iter().map(|&masked| f32::from(u8::from(masked))).collect();
        let masked = self.volume(&masked, &target.device());
        target.clone() + (filling - target) * masked
    }
}

impl Objective for BrainMvp {
    type Plan = BrainMvpPlan;
    type Sample = BrainMvpSample;

    fn plan(&self) -> BrainMvpPlan {
        BrainMvpPlan { patch: self.patch, mask: self.config.mask, template: self.templates.size() }
    }

    fn draw<S: PatchSource>(
        plan: &BrainMvpPlan,
        case: &S,
        rng: &mut dyn Rng,
    ) -> Result<BrainMvpSample, S::Error> {
        let modalities = case.modalities();
        let target = rng.random_range(0..modalities.len());
        let modality = modalities[target];
        let others: Vec<Modality> = modalities.iter().copied().filter(|&other| other != modality).collect();
        let partner = (!others.is_empty()).then(|| others[rng.random_range(0..others.len())]);
        let start = draw_start(case, modality, plan.patch, rng)?;
        Ok(BrainMvpSample {
            case: case.id().to_owned(),
            modality,
            target: case.patch(modality, start, plan.patch)?,
            partner: partner.map(|other| case.patch(other, start, plan.patch)).transpose()?,
            template_start: template_start(case, start, plan.template),
            mask_cross: plan.mask.draw(plan.patch, rng),
            mask_distill: plan.mask.draw(plan.patch, rng),
        })
    }

    fn forward(&self, samples: &[BrainMvpSample], epoch: usize, rng: &mut dyn Rng) -> Evaluation {
        let config = &self.config;
        let batch = samples.len();
        let [target, cross, distilled, template] = self.views(samples, epoch);
        let cases: Vec<&str> = samples.iter().map(|sample| sample.case.as_str()).collect();
        let views = Tensor::cat(vec![cross.clone(), distilled.clone()], 0);
        let (reconstructed, deepest) = self.reconstruct(views, &mut Some(rng));
        let halves = |x: &Tensor<5>| [x.clone().narrow(0, 0, batch), x.clone().narrow(0, batch, batch)];
        let [from_cross, from_distilled] = halves(&reconstructed);
        let loss_cross = losses::reconstruction(from_cross.clone(), target.clone());
        let loss_distill = losses::reconstruction(from_distilled, target.clone());
        let quality = loss_cross.clone() * config.weight_cross + loss_distill.clone() * config.weight_distill;
        let mut total = quality.clone();
        let [first, second] = halves(&deepest);
        let loss_contrast = if epoch >= config.contrast_from_epoch {
            let loss = losses::contrast(first, second, &cases, config.temperature);
            total = total + loss.clone() * config.weight_contrast;
            loss
        } else {
            losses::contrast(first.detach(), second.detach(), &cases, config.temperature)
        };
        let first_case = |x: Tensor<5>| x.detach().narrow(0, 0, 1).squeeze_dims::<3>(&[0, 4]);
        Evaluation {
            total,
            quality: quality.detach(),
            parts: vec![
                ("loss_cross", loss_cross),
                ("loss_distill", loss_distill),
                ("loss_contrast", loss_contrast),
            ],
            pictures: vec![
                ("target", first_case(target)),
                ("cross-modal view", first_case(cross)),
                ("distilled view", first_case(distilled)),
                ("reconstruction", first_case(from_cross)),
                ("template", first_case(template)),
            ],
        }
    }
}
