//! The views of a patch, which differ in what fills its masked part.

use burn::tensor::{Device, Tensor, TensorData};

use super::{BrainMvp, BrainMvpConfig, BrainMvpSample, Task};
use crate::masking::Mask;

/// A view of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Masked blocks are replaced by another modality.
    Cross,
    /// Masked blocks are replaced by the template of the patch's own modality.
    Distilled,
    /// Like the cross-modal view, but with the other mask. The contrast uses it if there is no distilled view.
    OtherCross,
    /// Like the distilled view, but with the other mask. The contrast uses it if there is no cross-modal view.
    OtherDistilled,
}

impl View {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cross => "cross-modal view",
            Self::Distilled => "distilled view",
            Self::OtherCross => "second cross-modal view",
            Self::OtherDistilled => "second distilled view",
        }
    }

    fn is_cross(self) -> bool {
        matches!(self, Self::Cross | Self::OtherCross)
    }

    fn mask(self, sample: &BrainMvpSample) -> &Mask {
        match self {
            Self::Cross | Self::OtherDistilled => &sample.mask_cross,
            Self::Distilled | Self::OtherCross => &sample.mask_distill,
        }
    }
}

impl BrainMvpConfig {
    /// The views that the tasks of an epoch need; those that are reconstructed come first. The contrast compares the
    /// cross-modal with the distilled view if there are both, and otherwise two of one kind. If it is the only task, it
    /// compares two cross-modal views.
    pub(super) fn views(&self, epoch: usize) -> Vec<View> {
        let contrast = self.has(Task::Contrast) && epoch >= self.contrast_from_epoch;
        match (self.has(Task::Cross), self.has(Task::Distill)) {
            (true, true) => vec![View::Cross, View::Distilled],
            (false, true) if contrast => vec![View::Distilled, View::OtherDistilled],
            (false, true) => vec![View::Distilled],
            (_, false) if contrast => vec![View::Cross, View::OtherCross],
            (_, false) => vec![View::Cross],
        }
    }

    /// Whether any view is filled from a second modality.
    pub(super) fn reads_partner(&self) -> bool {
        self.views(usize::MAX).into_iter().any(View::is_cross)
    }
}

/// The views of a batch.
pub struct Views {
    kinds: Vec<View>,
    /// The target, `[B, D, H, W, 1]`.
    pub targets: Tensor<5>,
    /// The input of the network, `[B, D, H, W, 1]` each: one view or two; those that are reconstructed come first.
    pub views: Vec<Tensor<5>>,
    /// The template under the first patch, `[D, H, W]`, if templates are used.
    pub template: Option<Tensor<3>>,
}

impl Views {
    /// The volumes of the first case by name, `[D, H, W]`.
    pub(super) fn pictures(self, reconstructed: Option<Tensor<5>>) -> Vec<(&'static str, Tensor<3>)> {
        let first_case = |x: Tensor<5>| x.detach().narrow(0, 0, 1).squeeze_dims::<3>(&[0, 4]);
        let names = self.kinds.into_iter().map(View::name);
        let mut pictures = vec![("target", first_case(self.targets))];
        pictures.extend(names.zip(self.views.into_iter().map(first_case)));
        pictures.extend(reconstructed.map(|x| ("reconstruction", first_case(x))));
        pictures.extend(self.template.map(|template| ("template", template.detach())));
        pictures
    }
}

impl BrainMvp {
    /// The views of a batch in an epoch.
    pub fn views(&self, samples: &[BrainMvpSample], epoch: usize) -> Views {
        let device = self.templates.volumes[0].val().device();
        let kinds = self.config.views(epoch);
        let (mut targets, mut views) = (Vec::new(), vec![Vec::new(); kinds.len()]);
        let mut first_template = None;
        for sample in samples {
            let target = self.volume(&sample.target, &device);
            let template = self
                .config
                .has(Task::Distill)
                .then(|| self.templates.crop(sample.modality, sample.template_start, self.patch));
            for (kind, views) in kinds.iter().zip(&mut views) {
                let filling = self.filling(*kind, sample, template.as_ref(), epoch);
                let filling = filling.unwrap_or_else(|| target.zeros_like());
                views.push(self.fill(target.clone(), filling, kind.mask(sample)));
            }
            targets.push(target);
            first_template = first_template.or(template);
        }
        let stack = |volumes| Tensor::stack::<4>(volumes, 0).unsqueeze_dim(4);
        let views = views.into_iter().map(stack).collect();
        Views { kinds, targets: stack(targets), views, template: first_template }
    }

    /// What fills a view: another modality, or the template if the case has no other modality or the epoch is too early.
    /// `None` if there is neither; the masked part is then 0.
    fn filling(
        &self,
        view: View,
        sample: &BrainMvpSample,
        template: Option<&Tensor<3>>,
        epoch: usize,
    ) -> Option<Tensor<3>> {
        let partner =
            sample.partner.as_ref().filter(|_| view.is_cross() && epoch >= self.config.cross_from_epoch);
        match (partner, template) {
            (Some(partner), _) => Some(self.volume(partner, &self.templates.volumes[0].val().device())),
            (None, template) => template.cloned(),
        }
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
