//! The copies of a case that a task's network sees.

use brainmvp_volume::Modality;
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;

use super::{Augmentation, AugmentationConfig, Channel, Inputs, MixingConfig, interleave};

/// How copies are made.
#[derive(Debug, Clone)]
pub struct CopyPlan {
    /// The channels.
    pub inputs: Inputs,
    /// Templates in the place of some of them.
    pub mixing: MixingConfig,
    /// How all copies of a case are changed.
    pub augmentation: AugmentationConfig,
}

/// Copies of one box of one case.
pub(super) struct Copies {
    /// One or two, channels fastest, then x.
    boxes: Vec<Vec<f32>>,
    /// How they were changed.
    pub(super) change: Augmentation,
}

impl CopyPlan {
    /// Two copies of a box of `size` voxels (x, y, z) with `template`s of it in some places; one as it is where mixing is
    /// off or there are no templates.
    pub(super) fn draw(
        &self,
        channels: Vec<Channel>,
        template: impl Fn(Modality) -> Option<Vec<f32>>,
        size: [usize; 3],
        rng: &mut dyn Rng,
    ) -> Copies {
        let mut copies: Vec<Vec<Vec<f32>>> = if self.mixing.enabled && self.inputs.templates.is_some() {
            let templates: Vec<_> = self.inputs.channels.iter().map(|&channel| template(channel)).collect();
            (0..2).map(|_| self.mixing.copy(&channels, &templates, size, rng)).collect()
        } else {
            vec![channels.into_iter().map(|Channel { voxels, .. }| voxels).collect()]
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
        let count = batch[0].boxes.len();
        let shape = [batch.len(), z, y, x, self.inputs.channels.len()];
        (0..count)
            .map(|number| {
                let voxels: Vec<&[f32]> =
                    batch.iter().map(|copies| copies.boxes[number].as_slice()).collect();
                Tensor::from_data(TensorData::new(voxels.concat(), shape), device)
            })
            .collect()
    }
}

/// Mean squared difference of what two copies gave, `[1]`.
pub(super) fn disagreement<const D: usize>(first: Tensor<D>, second: Tensor<D>) -> Tensor<1> {
    let difference = first - second;
    (difference.clone() * difference).mean()
}

/// The first channel of the first case, `[D, H, W]`, to be shown.
pub(super) fn shown(x: Tensor<5>) -> Tensor<3> {
    x.detach().narrow(0, 0, 1).narrow(4, 0, 1).squeeze_dims(&[0, 4])
}
