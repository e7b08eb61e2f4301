//! SimMIM (Xie et al., CVPR 2022) in three dimensions, as in Chen et al. (WACV 2023).
//!
//! The transformer sees all tokens, the masked ones as a learnt vector with their positions, and one linear layer
//! reconstructs the voxels of the masked ones. A case takes part with any of its modalities, one at a time; how many it has
//! makes no difference. The transformer's last norm has no part in it, as published.

use brainmvp_nets::Init;
use brainmvp_nets::layers::{Linear, Pass};
use brainmvp_nets::networks::{Network as _, NetworkConfig, PresetName, Unetr};
use brainmvp_nets::weights::Entry;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::tokens::{
    self, TOKEN, TokenPlan, TokenSample, choose, mask, patches, pictures, unetr, units, voxels_of_tokens,
};
use super::{Kept, Method, MethodPreset, Pretraining, Setup, Training};
use crate::patch::PatchSource;
use crate::{Evaluation, Group, Moment, Objective, Scene};

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SimMimConfig {
    /// Share of the tokens (16^3 voxels) that is masked, rounded up.
    pub rate: f64,
    /// Side of the cubes that are masked as a whole, in tokens: 2 in the published program for images, with a rate of 0.6.
    pub unit: usize,
}

impl Default for SimMimConfig {
    fn default() -> Self {
        Self { rate: 0.75, unit: 1 }
    }
}

impl Method for SimMimConfig {
    const TITLE: &'static str = "SimMIM (Xie et al., Chen et al.)";
    const ABOUT: &'static str = "masked reconstruction by a single layer on the transformer";
    type Objective = SimMim;

    fn network() -> PresetName {
        PresetName::known("unetr")
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { batch_size: 4, learning_rate: 1e-4, warmup_steps: 50, ..Training::default() }
    }

    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        tokens::problem(network, patch, self.rate, self.unit)
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<SimMim, S::Error> {
        let config = unetr(setup.network);
        Ok(SimMim {
            encoder: config.encoder(init),
            mask_token: init.normal([1, 1, config.width], 0.02),
            voxels: Linear::new(config.width, TOKEN.pow(3), init),
            config: self.clone(),
            patch: setup.patch,
        })
    }
}

/// The transformer, and the layer that is thrown away.
#[derive(Module, Debug)]
pub struct SimMim {
    /// What is kept after pre-training.
    pub encoder: Unetr,
    /// In place of a masked token.
    mask_token: Param<Tensor<3>>,
    /// From a token to its voxels.
    voxels: Linear,
    #[module(skip)]
    config: SimMimConfig,
    #[module(skip)]
    patch: [usize; 3],
}

impl SimMim {
    /// The voxels of all tokens, `[B, N, TOKEN^3]`.
    fn reconstruct(&self, x: Tensor<5>, masked: Tensor<3>) -> Tensor<3> {
        let tokens = self.encoder.patch_embedding.project(x);
        let [batch, d, h, w, width] = tokens.dims();
        let tokens = tokens.reshape([batch, d * h * w, width]);
        let tokens = tokens * (masked.clone() * -1.0 + 1.0) + self.mask_token.val() * masked;
        let positions = self.encoder.patch_embedding.positions([d, h, w]).reshape([1, d * h * w, width]);
        let encoded = self.encoder.blocks.iter().fold(tokens + positions, |x, block| block.forward(x));
        self.voxels.forward(encoded)
    }
}

impl Objective for SimMim {
    type Plan = TokenPlan;
    type Sample = TokenSample;

    fn plan(&self) -> TokenPlan {
        let SimMimConfig { rate, unit } = self.config;
        let masked = (rate * units(self.patch, unit) as f64 - 1e-9).ceil();
        TokenPlan { patch: self.patch, unit, masked: masked as usize }
    }

    fn draw<S: PatchSource>(
        plan: &TokenPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<TokenSample, S::Error> {
        plan.draw(scene, rng)
    }

    fn forward(&self, samples: &[TokenSample], _at: Moment, _pass: &mut Pass<'_>) -> Evaluation {
        let device = self.mask_token.val().device();
        let x = patches(samples, self.patch, &device);
        let masked = mask(samples, &device);
        let output = self.reconstruct(x.clone(), masked.clone());
        let chosen = || samples.iter().map(|sample| sample.masked.as_slice());
        let target = choose(voxels_of_tokens(x.clone()), chosen());
        let total = (choose(output.clone(), chosen()) - target).abs().mean();
        Evaluation::of(total, pictures(x, output, masked, self.patch))
    }

    /// A token that stands for others does not decay.
    fn group(&self, entry: Entry<'_>) -> Group {
        Group { decays: entry.path != "mask_token", ..Group::default() }
    }
}

impl Pretraining for SimMim {
    fn kept() -> Kept {
        Kept::encoder()
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::UnetrConfig;
    use brainmvp_nets::weights::handles;
    use burn::tensor::Device;

    use super::*;
    use crate::pretraining::test_cases::untrained;

    const PATCH: [usize; 3] = [32; 3];

    fn objective(network: UnetrConfig, device: &Device) -> SimMim {
        untrained(&SimMimConfig::default(), &NetworkConfig::Unetr(network), PATCH, device)
    }

    #[test]
    fn the_head_has_as_many_parameters_as_published() {
        let network = UnetrConfig { depth: 4, ..UnetrConfig::published() };
        let objective = objective(network, &Device::flex());
        let head = handles(&objective).into_iter().filter(|named| !named.path.starts_with("encoder."));
        assert_eq!(head.map(|named| named.shape.iter().product::<usize>()).sum::<usize>(), 3_150_592);
    }

    #[test]
    fn as_many_tokens_are_masked_as_published() {
        let mut objective = objective(UnetrConfig::tiny(), &Device::flex());
        objective.patch = [96; 3];
        for (rate, unit, expected) in [(0.75, 1, 162), (0.6, 2, 17), (0.6, 1, 130)] {
            objective.config = SimMimConfig { rate, unit };
            assert_eq!(objective.plan().masked, expected);
        }
    }

    /// The voxels of a masked token do not change what is made of it, and those of another do.
    #[test]
    fn what_is_masked_is_not_seen() {
        let device = Device::flex();
        let objective = objective(UnetrConfig::tiny(), &device);
        let (masked, visible) = (vec![0, 1, 2, 4, 5, 7], vec![3, 6]);
        let output = |of_masked: f32, of_visible: f32| {
            let value = |voxel: usize| {
                let [x, y, z] = [voxel % 32, voxel / 32 % 32, voxel / 1024].map(|at| at / TOKEN);
                if masked.contains(&((z * 2 + y) * 2 + x)) { of_masked } else { of_visible }
            };
            let voxels = (0..PATCH.iter().product()).map(value).collect();
            let sample = TokenSample { voxels, masked: masked.clone(), visible: visible.clone() };
            let samples = [sample];
            let x = patches(&samples, PATCH, &device);
            objective.reconstruct(x, mask(&samples, &device)).into_data()
        };
        assert_eq!(output(0.0, 0.5), output(1.0, 0.5));
        assert_ne!(output(0.0, 0.5), output(0.0, 0.6));
    }
}
