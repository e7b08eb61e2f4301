//! A step of fine-tuning and a window of inference on noise: the work of the downstream networks, to be measured.

use brainmvp_nets::Init;
use brainmvp_nets::heads::Segmented;
use brainmvp_nets::networks::{NetworkConfig, SegmentationNetwork, UniFormerConfig};
use brainmvp_ssl::losses;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use rand::seq::index::sample;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::optimizer::{NamedAdamW, OptimizerConfig};

/// Modalities of a case, and labels that are told apart, as in the BraTS data sets.
const MODALITIES: usize = 4;
const CLASSES: usize = 3;
/// Weight of the agreement of the two copies (BrainMVP eq. 7).
const WEIGHT_AGREEMENT: f32 = 0.1;

/// UniFormer-S that segments, fine-tuned on one batch again and again.
pub struct Finetuning {
    network: SegmentationNetwork,
    optimizer: NamedAdamW,
    config: OptimizerConfig,
    rng: ChaCha8Rng,
    /// `[B, D, H, W, C]` each.
    images: Tensor<5>,
    templates: Tensor<5>,
    /// Of both copies: they are one batch for the losses.
    target: Tensor<5>,
}

impl Finetuning {
    /// Cases of `size` voxels along each axis.
    pub fn new(size: usize, batch: usize, device: &Device) -> Self {
        let config = OptimizerConfig { weight_decay: 1e-4, ..OptimizerConfig::default() };
        let device = device.clone().autodiff();
        let noise = |channels| {
            let uniform = Distribution::Uniform(0.0, 1.0);
            Tensor::<5>::random([batch, size, size, size, channels], uniform, &device)
        };
        let target = noise(CLASSES).greater_elem(0.8).float();
        Self {
            network: network(&device),
            optimizer: NamedAdamW::new(&config, 1.0),
            config,
            rng: ChaCha8Rng::seed_from_u64(0),
            images: noise(MODALITIES),
            templates: noise(MODALITIES),
            target: Tensor::cat(vec![target.clone(), target], 0),
        }
    }

    /// One step: two copies of each case, some modalities of each replaced by templates; losses at three scales and the
    /// agreement of the deepest features (BrainMVP eqs. 6 and 7); gradients; AdamW. Returns itself and the loss.
    pub fn step(mut self) -> (Self, f32) {
        let copies = [(); 2].map(|()| self.copy());
        let [first, second] = copies.map(|copy| self.network.forward(copy, &mut None));
        let apart = first.deepest.clone() - second.deepest.clone();
        let mut total = (apart.clone() * apart).mean() * WEIGHT_AGREEMENT;
        let scales = |copy: Segmented| copy.coarse.into_iter().chain([copy.logits]);
        for (first, second) in scales(first).zip(scales(second)) {
            total = total + losses::segmentation(Tensor::cat(vec![first, second], 0), self.target.clone());
        }
        let gradients = GradientsParams::from_grads(total.backward(), &self.network);
        let rate = self.config.schedule.learning_rate;
        self.network = self.optimizer.step(self.network, gradients, rate, 1.0);
        (self, total.into_scalar())
    }

    /// The images, up to all but one modality replaced.
    fn copy(&mut self) -> Tensor<5> {
        let count = self.rng.random_range(0..MODALITIES);
        let mut replaced = [0.0; MODALITIES];
        for modality in sample(&mut self.rng, MODALITIES, count) {
            replaced[modality] = 1.0;
        }
        let replaced = TensorData::new(replaced.to_vec(), [1, 1, 1, 1, MODALITIES]);
        let replaced = Tensor::<5>::from_data(replaced, &self.images.device());
        self.images.clone() + (self.templates.clone() - self.images.clone()) * replaced
    }
}

/// UniFormer-S that segments, on one batch of windows again and again.
pub struct Inference {
    network: SegmentationNetwork,
    windows: Tensor<5>,
}

impl Inference {
    /// Windows of `size` voxels along each axis.
    pub fn new(size: usize, batch: usize, device: &Device) -> Self {
        let shape = [batch, size, size, size, MODALITIES];
        let windows = Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device);
        Self { network: network(device), windows }
    }

    /// The logits, and their mean: it is there once they are.
    pub fn run(&self) -> f32 {
        self.network.forward(self.windows.clone(), &mut None).logits.mean().into_scalar()
    }
}

fn network(device: &Device) -> SegmentationNetwork {
    let config = NetworkConfig::UniFormer(UniFormerConfig::small()).with_in_channels(MODALITIES);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    SegmentationNetwork::new(&config, CLASSES, &mut Init { device, rng: &mut rng })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_lower_the_loss() {
        let mut finetuning = Finetuning::new(16, 1, &Device::flex());
        let mut losses = Vec::new();
        for _ in 0..6 {
            let (next, loss) = finetuning.step();
            finetuning = next;
            losses.push(loss);
        }
        assert!(losses.iter().all(|loss| loss.is_finite()) && losses[5] < losses[0], "{losses:?}");
        assert!(Inference::new(16, 2, &Device::flex()).run().is_finite());
    }
}
