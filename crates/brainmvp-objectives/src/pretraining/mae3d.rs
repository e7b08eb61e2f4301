//! MAE3D: a masked auto-encoder of patches of one modality (He et al., CVPR 2022, in three dimensions as in Chen et al.,
//! WACV 2023).
//!
//! Most tokens are left out, the transformer sees the others alone, and a light decoder reconstructs the voxels of the
//! missing ones. A case takes part with any of its modalities, one at a time; how many it has makes no difference. The
//! transformer's last norm has no part in it, as published.

use brainmvp_nets::Init;
use brainmvp_nets::layers::{LayerNorm, Linear, Pass};
use brainmvp_nets::networks::{Network as _, NetworkConfig, PresetName, TransformerBlock, Unetr};
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

/// What the decoder must reconstruct.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The voxels, by their mean absolute error (Chen et al.).
    #[default]
    Voxels,
    /// The voxels of each token minus their mean, divided by their deviation, by their mean squared error (He et al.).
    Normalised,
}

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mae3dConfig {
    /// Share of the tokens (16^3 voxels) that is masked: 162 of 216 at 96^3.
    pub rate: f64,
    /// What is reconstructed.
    pub target: Target,
    /// Channels of the decoder, which is thrown away.
    pub decoder_width: usize,
    /// Blocks of the decoder.
    pub decoder_depth: usize,
    /// Attention heads of the decoder; divides its channels.
    pub decoder_heads: usize,
}

impl Default for Mae3dConfig {
    fn default() -> Self {
        Self { rate: 0.75, target: Target::default(), decoder_width: 512, decoder_depth: 8, decoder_heads: 8 }
    }
}

impl Method for Mae3dConfig {
    const TITLE: &'static str = "MAE3D (He et al., Chen et al.)";
    const ABOUT: &'static str = "masked auto-encoder: the transformer sees a quarter of the tokens";
    type Objective = Mae3d;

    fn network() -> PresetName {
        PresetName::known("unetr")
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { batch_size: 4, weight_decay: 0.05, decay_norms_and_biases: false, ..Training::default() }
    }

    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        let (width, heads) = (self.decoder_width, self.decoder_heads);
        tokens::problem(network, patch, self.rate, 1)
            .or_else(|| {
                let possible = heads > 0 && width > 0 && width <= 4096 && width.is_multiple_of(heads);
                (!possible).then(|| {
                    format!(
                        "method.decoder_heads {heads} must divide method.decoder_width {width}, at most 4096"
                    )
                })
            })
            .or_else(|| {
                let possible = (1..=64).contains(&self.decoder_depth);
                (!possible)
                    .then(|| format!("method.decoder_depth must be from 1 to 64, got {}", self.decoder_depth))
            })
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<Mae3d, S::Error> {
        let (config, width) = (unetr(setup.network), self.decoder_width);
        let count = setup.patch.map(|n| n / TOKEN).iter().product();
        Ok(Mae3d {
            encoder: config.encoder(init),
            narrow: Linear::new(config.width, width, init),
            mask_token: init.normal([1, 1, width], 0.02),
            positions: init.normal([1, count, width], 1.0),
            blocks: (0..self.decoder_depth)
                .map(|_| TransformerBlock::new([width, 4 * width], self.decoder_heads, false, init))
                .collect(),
            norm: LayerNorm::new(width, 1e-5, init),
            voxels: Linear::new(width, TOKEN.pow(3), init),
            config: self.clone(),
            patch: setup.patch,
        })
    }
}

/// The transformer, and the decoder that is thrown away.
#[derive(Module, Debug)]
pub struct Mae3d {
    /// What is kept after pre-training.
    pub encoder: Unetr,
    /// To the decoder's width.
    narrow: Linear,
    /// In place of a masked token.
    mask_token: Param<Tensor<3>>,
    /// Of the tokens, in the decoder.
    positions: Param<Tensor<3>>,
    blocks: Vec<TransformerBlock>,
    norm: LayerNorm,
    /// From a token to its voxels.
    voxels: Linear,
    #[module(skip)]
    config: Mae3dConfig,
    #[module(skip)]
    patch: [usize; 3],
}

impl Mae3d {
    /// The features of the visible tokens, `[B, n, C]`.
    fn encode(&self, x: Tensor<5>, samples: &[TokenSample]) -> Tensor<3> {
        let tokens = self.encoder.patch_embedding.forward(x);
        let [batch, d, h, w, width] = tokens.dims();
        let tokens = tokens.reshape([batch, d * h * w, width]);
        let visible = choose(tokens, samples.iter().map(|sample| sample.visible.as_slice()));
        self.encoder.blocks.iter().fold(visible, |x, block| block.forward(x))
    }

    /// The voxels of all tokens, `[B, N, TOKEN^3]`.
    fn decode(&self, encoded: Tensor<3>, samples: &[TokenSample]) -> Tensor<3> {
        let encoded = self.narrow.forward(encoded);
        let [batch, visible, width] = encoded.dims();
        let count = self.positions.dims()[1];
        let missing = self.mask_token.val().expand([batch, count - visible, width]);
        // Visible ones first, then masked ones; each to its place.
        let places: Vec<Vec<usize>> = samples
            .iter()
            .map(|sample| {
                let mut places = vec![0; count];
                let order = sample.visible.iter().chain(&sample.masked).enumerate();
                order.for_each(|(place, token)| places[*token] = place);
                places
            })
            .collect();
        let tokens = choose(Tensor::cat(vec![encoded, missing], 1), places.iter().map(Vec::as_slice));
        let decoded = self.blocks.iter().fold(tokens + self.positions.val(), |x, block| block.forward(x));
        self.voxels.forward(self.norm.forward(decoded))
    }
}

/// Each token's voxels minus their mean, divided by their deviation.
fn normalised(tokens: Tensor<3>) -> Tensor<3> {
    let deviation = tokens.clone() - tokens.clone().mean_dim(2);
    let variance = (deviation.clone() * deviation.clone()).mean_dim(2);
    deviation / (variance + 1e-6).sqrt()
}

impl Objective for Mae3d {
    type Plan = TokenPlan;
    type Sample = TokenSample;

    fn plan(&self) -> TokenPlan {
        // The small term keeps 162 of 216 from becoming 161.
        let masked = (self.config.rate * units(self.patch, 1) as f64 + 1e-9).floor();
        TokenPlan { patch: self.patch, unit: 1, masked: masked as usize }
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
        let output = self.decode(self.encode(x.clone(), samples), samples);
        let target = voxels_of_tokens(x.clone());
        let masked = || samples.iter().map(|sample| sample.masked.as_slice());
        let found = choose(output.clone(), masked());
        let total = match self.config.target {
            Target::Voxels => (found - choose(target, masked())).abs().mean(),
            Target::Normalised => {
                let error = found - normalised(choose(target, masked()));
                (error.clone() * error).mean()
            }
        };
        Evaluation::of(total, pictures(x, output, mask(samples, &device), self.patch))
    }

    /// Tokens that stand for something else do not decay.
    fn group(&self, entry: Entry<'_>) -> Group {
        let stands_for = ["mask_token", "positions"].contains(&entry.path);
        Group { decays: !stands_for, ..Group::default() }
    }
}

impl Pretraining for Mae3d {
    fn kept() -> Kept {
        Kept::encoder()
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::UnetrConfig;
    use brainmvp_nets::weights::handles;
    use burn::tensor::{Device, TensorData};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::pretraining::test_cases::untrained;

    const PATCH: [usize; 3] = [32; 3];

    fn objective(config: &Mae3dConfig, network: UnetrConfig, device: &Device) -> Mae3d {
        untrained(config, &NetworkConfig::Unetr(network), PATCH, device)
    }

    fn tiny() -> Mae3dConfig {
        Mae3dConfig { decoder_width: 32, decoder_depth: 2, decoder_heads: 2, ..Mae3dConfig::default() }
    }

    fn sample(value: impl Fn(usize) -> f32) -> TokenSample {
        let voxels = (0..PATCH.iter().product()).map(value).collect();
        TokenSample { voxels, masked: vec![0, 2, 3, 4, 6, 7], visible: vec![1, 5] }
    }

    fn loss(objective: &Mae3d, sample: TokenSample) -> f32 {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        objective.forward(&[sample], Moment::default(), &mut Pass::training(&mut rng)).total.into_scalar()
    }

    #[test]
    fn the_decoder_has_as_many_parameters_as_published() {
        let network = UnetrConfig { depth: 4, ..UnetrConfig::published() };
        let mae = objective(&Mae3dConfig::default(), network, &Device::flex());
        let decoder = handles(&mae).into_iter().filter(|named| !named.path.starts_with("encoder."));
        let count: usize = decoder.map(|named| named.shape.iter().product::<usize>()).sum();
        // Of positions, 216 are published and there are 8 here.
        assert_eq!(count + (216 - 8) * 512, 27_813_888);
    }

    /// Where a masked token is in the image, its voxels are not seen: only the target changes with them.
    #[test]
    fn masked_voxels_are_targets_and_nothing_else() {
        let device = Device::flex();
        let mae = objective(&tiny(), UnetrConfig::tiny(), &device);
        let is_masked = |voxel: usize| {
            let [x, y, z] = [voxel % 32, voxel / 32 % 32, voxel / 1024].map(|at| at / TOKEN);
            sample(|_| 0.0).masked.contains(&((z * 2 + y) * 2 + x))
        };
        let encoded = |value: f32| {
            let sample = sample(|voxel| if is_masked(voxel) { value } else { 0.25 });
            let x = patches(std::slice::from_ref(&sample), PATCH, &device);
            mae.encode(x, &[sample]).into_data()
        };
        assert_eq!(encoded(0.0), encoded(1.0));
    }

    #[test]
    fn the_loss_is_the_error_of_masked_voxels() {
        let device = Device::flex();
        let mut mae = objective(&tiny(), UnetrConfig::tiny(), &device);
        // A decoder that predicts 0 everywhere.
        mae.voxels.weight = Param::from_tensor(mae.voxels.weight.val().zeros_like());
        assert!((loss(&mae, sample(|_| 0.75)) - 0.75).abs() < 1e-6);
        mae.config.target = Target::Normalised;
        assert!(loss(&mae, sample(|_| 0.75)).abs() < 1e-6, "of equal voxels nothing is left");
    }

    #[test]
    fn as_many_tokens_are_masked_as_published() {
        let network = UnetrConfig::tiny();
        let mut mae = objective(&tiny(), network, &Device::flex());
        mae.patch = [96; 3];
        assert_eq!(mae.plan().masked, 162);
    }

    #[test]
    fn normalised_tokens_have_mean_0_and_deviation_1() {
        let values: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let tokens = Tensor::<3>::from_data(TensorData::new(values, [1, 2, 4]), &Device::flex());
        let found: Vec<f32> = normalised(tokens).into_data().try_to_vec().unwrap();
        for token in found.chunks(4) {
            assert!(token.iter().sum::<f32>().abs() < 1e-5);
            assert!((token.iter().map(|v| v * v).sum::<f32>() / 4.0 - 1.0).abs() < 1e-4);
        }
    }
}
