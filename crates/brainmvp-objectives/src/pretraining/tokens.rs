//! What the methods on a vision transformer share: patches of one modality, and which of their tokens are masked.

use brainmvp_nets::layers::blocks;
use brainmvp_nets::networks::{NetworkConfig, UnetrConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rand::Rng;
use rand::seq::index::sample;

use super::tensors::{picture, volumes};
use crate::Scene;
use crate::patch::{PatchSource, draw_image};

/// Voxels along each axis of a token.
pub(super) const TOKEN: usize = 16;

/// A patch of one modality, and which of its tokens the network does not see.
pub struct TokenSample {
    /// x fastest.
    pub(super) voxels: Vec<f32>,
    /// Indices of masked tokens and of the others, ascending; x fastest.
    pub(super) masked: Vec<usize>,
    pub(super) visible: Vec<usize>,
}

/// What the loader needs to draw them.
#[derive(Debug, Clone)]
pub struct TokenPlan {
    pub(super) patch: [usize; 3],
    /// Tokens are masked in cubes of this many along each axis.
    pub(super) unit: usize,
    /// As many of these cubes are masked; one at least is, and one is not.
    pub(super) masked: usize,
}

/// The number of cubes of `unit` tokens along each axis in a patch.
pub(super) fn units(patch: [usize; 3], unit: usize) -> usize {
    patch.map(|n| (n / TOKEN).div_ceil(unit)).iter().product()
}

impl TokenPlan {
    /// Tokens along x, y and z.
    fn tokens(&self) -> [usize; 3] {
        self.patch.map(|n| n / TOKEN)
    }

    pub(super) fn draw<S: PatchSource>(
        &self,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<TokenSample, S::Error> {
        let (_, _, voxels) = draw_image(scene.case(), scene.target, self.patch, rng)?;
        let (masked, visible) = self.draw_mask(rng);
        Ok(TokenSample { voxels, masked, visible })
    }

    /// Cubes of tokens, at least one masked and one visible.
    fn draw_mask(&self, rng: &mut dyn Rng) -> (Vec<usize>, Vec<usize>) {
        let tokens = self.tokens();
        let units = tokens.map(|n| n.div_ceil(self.unit));
        let count: usize = units.iter().product();
        let chosen = sample(&mut *rng, count, self.masked.clamp(1, count - 1)).into_vec();
        let mut is_masked = vec![false; count];
        for unit in chosen {
            is_masked[unit] = true;
        }
        let unit_of = |token: usize| {
            let at = [token % tokens[0], token / tokens[0] % tokens[1], token / (tokens[0] * tokens[1])];
            let [x, y, z] = at.map(|place| place / self.unit);
            (z * units[1] + y) * units[0] + x
        };
        (0..tokens.iter().product()).partition(|token| is_masked[unit_of(*token)])
    }
}

/// What is wrong with a network, a patch and a share of masked tokens for these methods, if anything.
pub(super) fn problem(network: &NetworkConfig, patch: [usize; 3], rate: f64, unit: usize) -> Option<String> {
    if let Some(problem) = network_problem(network) {
        return Some(problem);
    }
    if !(rate > 0.0 && rate < 1.0) {
        return Some(format!("method.rate must lie between 0 and 1, got {rate}"));
    }
    if unit == 0 || units(patch, unit) < 2 {
        return Some(format!(
            "patch.size {patch:?} must have two tokens or more ({TOKEN} voxels each), or units of them"
        ));
    }
    None
}

/// What is wrong with a network for these methods, if anything.
pub(super) fn network_problem(network: &NetworkConfig) -> Option<String> {
    let fits = matches!(network, NetworkConfig::Unetr(_));
    (!fits).then(|| "the method trains a vision transformer: set model.preset to unetr".to_owned())
}

/// The sizes of the network that [`problem`] has accepted.
pub(super) fn unetr(network: &NetworkConfig) -> &UnetrConfig {
    match network {
        NetworkConfig::Unetr(config) => config,
        other => unreachable!("`problem` refuses {}", other.title()),
    }
}

/// The patches of a batch, `[B, D, H, W, 1]`.
pub(super) fn patches(samples: &[TokenSample], size: [usize; 3], device: &Device) -> Tensor<5> {
    volumes(samples.iter().map(|sample| sample.voxels.as_slice()), size, device)
}

/// The voxels of each token, `[B, N, TOKEN^3]`; tokens x fastest.
pub(super) fn voxels_of_tokens(x: Tensor<5>) -> Tensor<3> {
    let tokens = blocks(x, TOKEN);
    let [batch, d, h, w, voxels] = tokens.dims();
    tokens.reshape([batch, d * h * w, voxels])
}

/// Blocks of voxels put back in their places: the inverse of [`voxels_of_tokens`].
pub(super) fn volume_of_tokens(tokens: Tensor<3>, [x, y, z]: [usize; 3]) -> Tensor<5> {
    let [batch, _, _] = tokens.dims();
    let [d, h, w] = [z, y, x].map(|n| n / TOKEN);
    let split: Tensor<7> = tokens.reshape([batch, d, h, w, TOKEN, TOKEN, TOKEN]);
    split.permute([0, 1, 4, 2, 5, 3, 6]).reshape([batch, z, y, x, 1])
}

/// Some tokens of each sample, `[B, N, C]` to `[B, n, C]`; as many of each.
pub(super) fn choose<'a>(tokens: Tensor<3>, chosen: impl Iterator<Item = &'a [usize]>) -> Tensor<3> {
    let device = tokens.device();
    let rows = chosen.enumerate().map(|(sample, chosen)| {
        let indices: Vec<i64> = chosen.iter().map(|index| *index as i64).collect();
        let count = indices.len();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device);
        tokens.clone().narrow(0, sample, 1).select(1, indices)
    });
    Tensor::cat(rows.collect(), 0)
}

/// 1 for the masked tokens, else 0: `[B, N, 1]`.
pub(super) fn mask(samples: &[TokenSample], device: &Device) -> Tensor<3> {
    let count = samples.first().map_or(0, |sample| sample.masked.len() + sample.visible.len());
    let mut mask = vec![0.0_f32; samples.len() * count];
    for (place, sample) in samples.iter().enumerate() {
        sample.masked.iter().for_each(|token| mask[place * count + token] = 1.0);
    }
    Tensor::from_data(TensorData::new(mask, [samples.len(), count, 1]), device)
}

/// Target, input and reconstruction of the first sample, to be shown. `seen` is 1 where the network saw a token.
pub(super) fn pictures(
    x: Tensor<5>,
    reconstructed: Tensor<3>,
    masked: Tensor<3>,
    patch: [usize; 3],
) -> Vec<(&'static str, Tensor<3>)> {
    let tokens = voxels_of_tokens(x.clone());
    let seen = tokens.clone() * (masked.clone() * -1.0 + 1.0);
    let output = seen.clone() + reconstructed * masked;
    vec![
        ("target", picture(&x, 0)),
        ("input", picture(&volume_of_tokens(seen, patch), 0)),
        ("reconstruction", picture(&volume_of_tokens(output, patch), 0)),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn counts(patch: usize, masked: usize, unit: usize, seed: u64) -> (usize, usize) {
        let plan = TokenPlan { patch: [patch; 3], unit, masked };
        let (masked, visible) = plan.draw_mask(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut all: Vec<usize> = masked.iter().chain(&visible).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..(patch / TOKEN).pow(3)).collect::<Vec<_>>());
        (masked.len(), visible.len())
    }

    proptest! {
        #[test]
        fn as_many_tokens_are_masked_as_wanted(seed: u64) {
            prop_assert_eq!(counts(96, 162, 1, seed), (162, 54));
            // 17 of 27 cubes of 32^3 voxels.
            prop_assert_eq!(counts(96, 17, 2, seed), (17 * 8, 10 * 8));
            prop_assert_eq!(counts(32, 0, 1, seed), (1, 7));
            prop_assert_eq!(counts(32, 8, 1, seed), (7, 1));
        }
    }

    #[test]
    fn tokens_go_there_and_back() {
        let (device, patch) = (Device::flex(), [32, 48, 16]);
        let values: Vec<f32> = (0..patch.iter().product::<usize>()).map(|i| i as f32).collect();
        let x = Tensor::<5>::from_data(TensorData::new(values, [1, 16, 48, 32, 1]), &device);
        let tokens = voxels_of_tokens(x.clone());
        assert_eq!(tokens.dims(), [1, 6, 4096]);
        assert_eq!(volume_of_tokens(tokens, patch).into_data(), x.into_data());
    }
}
