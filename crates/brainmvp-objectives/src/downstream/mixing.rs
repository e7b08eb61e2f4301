//! Two copies of a case, in each of which a part is replaced (BrainMVP eqs. 6 and 7).

use rand::seq::index::sample;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Channel;
use crate::masking::MaskConfig;

/// What replaces modalities in the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MixWith {
    /// The templates of pre-training, as in the paper. Without templates there is one copy.
    #[default]
    Templates,
    /// The mean image of the modality over the training cases of the run, wherever a template would be used: a control
    /// without learnt templates.
    Mean,
    /// 0.
    Zero,
    /// Nothing: there is one unchanged copy, and no agreement term.
    None,
}

/// How the copies of a batch are supervised (eq. 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Supervision {
    /// The losses of the two copies are added, as printed in eq. 6.
    #[default]
    Sum,
    /// Both copies are one batch with one loss, as in the authors' released program. This is about half of the sum, so
    /// that the agreement term weighs about twice as much.
    Pooled,
}

/// Where the two copies must agree (eq. 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Agreement {
    /// In the deepest features of the encoder, as in the paper.
    #[default]
    Features,
    /// In the coarsest output, as in the authors' released program.
    Output,
}

/// How copies are made and supervised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MixingConfig {
    /// What replaces modalities in the two copies of a patch (eqs. 6 and 7).
    pub with: MixWith,
    /// The largest number of modalities that are replaced in a copy; 0 for all but one. At least one of those that
    /// the case has always stays.
    pub most_replaced: usize,
    /// The blocks to replace if the network has a single channel.
    pub mask: MaskConfig,
    /// How the copies are supervised (eq. 6).
    pub supervision: Supervision,
    /// Where the copies must agree (eq. 7).
    pub agreement: Agreement,
    /// Weight of their agreement in the loss.
    pub weight_agreement: f32,
}

impl Default for MixingConfig {
    fn default() -> Self {
        Self {
            with: MixWith::default(),
            most_replaced: 0,
            mask: MaskConfig::default(),
            supervision: Supervision::default(),
            agreement: Agreement::default(),
            weight_agreement: 0.1,
        }
    }
}

impl MixingConfig {
    /// The settings of the authors' released program: up to three modalities are replaced, both copies are one batch, and
    /// they must agree in the coarsest output.
    pub fn released() -> Self {
        Self {
            most_replaced: 3,
            supervision: Supervision::Pooled,
            agreement: Agreement::Output,
            ..Self::default()
        }
    }

    /// One copy of the channels of a box of `size` voxels (x, y, z). If the case has several modalities, a uniformly
    /// drawn number of them are replaced by their `fillings`; with a single one, blocks are.
    pub(crate) fn copy(
        &self,
        channels: &[Channel],
        fillings: &[Option<Vec<f32>>],
        size: [usize; 3],
        rng: &mut dyn Rng,
    ) -> Vec<Vec<f32>> {
        let mut copy: Vec<Vec<f32>> = channels.iter().map(|channel| channel.voxels.clone()).collect();
        if let ([only], [filling]) = (copy.as_mut_slice(), fillings) {
            if let Some(filling) = filling {
                let mask = self.mask.draw(size, rng);
                let masked = only.iter_mut().zip(filling).zip(mask.voxels());
                masked.filter(|(_, masked)| **masked).for_each(|((voxel, filling), _)| *voxel = *filling);
            }
            return copy;
        }
        let present = channels.iter().filter(|channel| channel.present).count();
        let replaceable: Vec<usize> =
            (0..channels.len()).filter(|&c| channels[c].present && fillings[c].is_some()).collect();
        let most = if self.most_replaced == 0 { usize::MAX } else { self.most_replaced };
        let most = most.min(present.saturating_sub(1)).min(replaceable.len());
        let count = rng.random_range(0..=most);
        for chosen in sample(&mut *rng, replaceable.len(), count) {
            let channel = replaceable[chosen];
            if let Some(filling) = &fillings[channel] {
                copy[channel].clone_from(filling);
            }
        }
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    fn channel(value: f32, present: bool) -> Channel {
        Channel { voxels: vec![value; 8], present }
    }

    #[test]
    fn one_modality_that_is_there_always_stays() {
        let channels = [channel(1.0, true), channel(2.0, false), channel(3.0, true), channel(4.0, true)];
        let fillings = vec![Some(vec![0.0; 8]); 4];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..300 {
            let copy = MixingConfig::default().copy(&channels, &fillings, [2; 3], &mut rng);
            assert_eq!(copy[1], [2.0; 8], "what stands for a missing modality is not replaced again");
            let replaced = [0, 2, 3].iter().filter(|&&c| copy[c] == [0.0; 8]).count();
            counts[replaced] += 1;
        }
        assert!(counts[..3].iter().all(|&count| count > 70) && counts[3] == 0, "{counts:?}");
    }

    #[test]
    fn without_a_filling_a_modality_stays() {
        let channels = [channel(1.0, true), channel(2.0, true)];
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..20 {
            let copy = MixingConfig::default().copy(&channels, &[None, Some(vec![9.0; 8])], [2; 3], &mut rng);
            assert_eq!(copy[0], [1.0; 8]);
        }
    }

    #[test]
    fn of_a_single_modality_blocks_are_replaced() {
        let config = MixingConfig {
            mask: MaskConfig { block: 1, rate: 0.75, ..MaskConfig::default() },
            ..MixingConfig::default()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let copy = config.copy(&[channel(1.0, true)], &[Some(vec![5.0; 8])], [2; 3], &mut rng);
        assert_eq!(copy[0].iter().filter(|&&voxel| voxel == 5.0).count(), 6);
    }
}
