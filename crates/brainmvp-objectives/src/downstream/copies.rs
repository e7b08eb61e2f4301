//! The copies of a case, and their common loss.

use brainmvp_nets::networks::Classified;
use brainmvp_volume::Modality;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

use super::{
    Agreement, Augmentation, AugmentationConfig, Channel, Inputs, MixWith, MixingConfig, Supervision,
    interleave,
};
use crate::Evaluation;
use crate::patch::PatchSource;

/// How copies are made.
#[derive(Debug, Clone)]
pub struct CopyPlan {
    /// The channels.
    pub inputs: Inputs,
    /// What replaces some of them.
    pub mixing: MixingConfig,
    /// The augmentation of all copies of a case.
    pub augmentation: AugmentationConfig,
}

/// Copies of one box of one case.
pub(super) struct Copies {
    /// One or two, channels fastest, then x.
    pub(super) boxes: Vec<Vec<f32>>,
    /// How they were changed.
    pub(super) change: Augmentation,
}

impl CopyPlan {
    /// The number of copies of each case: two, or one if mixing is off or no channel has a template.
    pub fn count(&self) -> usize {
        let has_template = || {
            let templates = self.inputs.templates.as_ref();
            templates.is_some_and(|t| t.modalities().any(|m| self.inputs.channels.contains(&m)))
        };
        match self.mixing.with {
            MixWith::None => 1,
            MixWith::Zero => 2,
            MixWith::Templates | MixWith::Mean => 1 + usize::from(has_template()),
        }
    }

    /// What replaces a modality in the box of `size` voxels that starts at `start` (x, y, z), if anything does.
    pub(super) fn filling<S: PatchSource>(
        &self,
        case: &S,
        modality: Modality,
        start: [isize; 3],
        size: [usize; 3],
    ) -> Option<Vec<f32>> {
        match self.mixing.with {
            MixWith::Templates | MixWith::Mean => self.inputs.template(case, modality, start, size),
            MixWith::Zero => Some(vec![0.0; size.iter().product()]),
            MixWith::None => None,
        }
    }

    /// The copies of a box of `size` voxels (x, y, z), in which some modalities are replaced by their `filling`. A single
    /// copy is the unchanged box.
    pub(super) fn draw(
        &self,
        channels: Vec<Channel>,
        filling: impl Fn(Modality) -> Option<Vec<f32>>,
        size: [usize; 3],
        rng: &mut dyn Rng,
    ) -> Copies {
        let mut copies: Vec<Vec<Vec<f32>>> = if self.count() == 1 {
            vec![channels.into_iter().map(|Channel { voxels, .. }| voxels).collect()]
        } else {
            let fillings: Vec<_> = self.inputs.channels.iter().map(|&channel| filling(channel)).collect();
            (0..2).map(|_| self.mixing.copy(&channels, &fillings, size, rng)).collect()
        };
        let change = self.augmentation.draw(rng);
        copies.iter_mut().flatten().for_each(|channel| change.image(channel, size));
        let boxes = copies.iter().map(|copy| interleave(&copy.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        Copies { boxes: boxes.collect(), change }
    }

    /// The first copy of every case of a batch, then the second, `[B, D, H, W, C]` each. Boxes have `size` voxels (x, y, z).
    pub(super) fn tensors(
        &self,
        batch: &[&Copies],
        [x, y, z]: [usize; 3],
        device: &Device,
    ) -> Vec<Tensor<5>> {
        let shape = [batch.len(), z, y, x, self.inputs.channels.len()];
        (0..self.count())
            .map(|number| {
                let voxels: Vec<&[f32]> =
                    batch.iter().map(|copies| copies.boxes[number].as_slice()).collect();
                Tensor::from_data(TensorData::new(voxels.concat(), shape), device)
            })
            .collect()
    }
}

/// The loss of a batch of copies (eqs. 6 and 7).
pub struct CopyLoss {
    /// Supervision plus weighted agreement, `[1]`.
    pub total: Tensor<1>,
    /// Both without weights, by name, `[1]` each; with one copy there is no agreement.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

impl MixingConfig {
    /// The loss of a network's outputs for the copies of a batch.
    ///
    /// `supervise` computes the loss of copies as one batch, and `disagree` the difference between two copies. `name` is
    /// the name of the supervision.
    pub(super) fn loss<T>(
        &self,
        outputs: &[T],
        name: &'static str,
        supervise: impl Fn(&[T]) -> Tensor<1>,
        disagree: impl Fn(&T, &T) -> Tensor<1>,
    ) -> CopyLoss {
        let supervised = match (self.supervision, outputs) {
            (Supervision::Sum, [first, second]) => {
                supervise(std::slice::from_ref(first)) + supervise(std::slice::from_ref(second))
            }
            (Supervision::Sum | Supervision::Pooled, outputs) => supervise(outputs),
        };
        let (mut total, mut parts) = (supervised.clone(), vec![(name, supervised)]);
        if let [first, second] = outputs {
            let apart = disagree(first, second);
            total = total + apart.clone() * self.weight_agreement;
            parts.push(("loss_agreement", apart));
        }
        CopyLoss { total, parts }
    }
}

impl CopyLoss {
    /// The evaluation of a batch; of the `volumes` that there are, the first case's first channel is shown.
    pub(super) fn evaluation<const N: usize>(
        self,
        volumes: [(&'static str, Option<Tensor<5>>); N],
    ) -> Evaluation {
        Evaluation {
            quality: self.total.clone().detach(),
            total: self.total,
            parts: self.parts,
            pictures: volumes.into_iter().filter_map(|(name, x)| Some((name, shown(x?)))).collect(),
        }
    }
}

/// How much the answers of a network for two copies of whole cases disagree, `[1]`.
pub(super) fn agreement(a: &Classified, b: &Classified, at: Agreement) -> Tensor<1> {
    match at {
        Agreement::Features => disagreement(a.deepest.clone(), b.deepest.clone()),
        Agreement::Output => disagreement(a.logits.clone(), b.logits.clone()),
    }
}

/// The mean squared difference between the outputs for two copies, `[1]`.
pub(super) fn disagreement<const D: usize>(first: Tensor<D>, second: Tensor<D>) -> Tensor<1> {
    let difference = first - second;
    (difference.clone() * difference).mean()
}

/// The first channel of the first case, `[D, H, W]`, for display.
fn shown(x: Tensor<5>) -> Tensor<3> {
    x.detach().narrow(0, 0, 1).narrow(4, 0, 1).squeeze_dims(&[0, 4])
}
