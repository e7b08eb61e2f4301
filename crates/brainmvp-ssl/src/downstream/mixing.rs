//! Two copies of a case with templates in the place of some of it (BrainMVP eqs. 6 and 7).

use rand::seq::index::sample;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::Channel;
use crate::masking::MaskConfig;

/// Where the two copies are held together (eq. 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Agreement {
    /// At the deepest features of the encoder, as the paper says.
    #[default]
    Features,
    /// At the coarsest output, as the authors' released program does.
    Output,
}

/// How copies are made. Templates are those of pre-training and stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MixingConfig {
    /// Whether there are two copies at all; without templates there is one, as it is.
    pub enabled: bool,
    /// The most modalities of a copy that templates replace; 0 for all but one. One that is there always stays.
    pub most_replaced: usize,
    /// Which blocks are replaced where the network sees a single modality.
    pub mask: MaskConfig,
    /// Where the copies are held together.
    pub agreement: Agreement,
    /// Weight of their agreement in the loss.
    pub weight_agreement: f32,
}

impl Default for MixingConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            most_replaced: 0,
            mask: MaskConfig::default(),
            agreement: Agreement::default(),
            weight_agreement: 0.1,
        }
    }
}

impl MixingConfig {
    /// One copy of the channels of a box of `size` voxels (x, y, z). Of several modalities that are there some are
    /// replaced by their `templates`, their number drawn uniformly; of a single one, blocks are.
    pub(crate) fn copy(
        &self,
        channels: &[Channel],
        templates: &[Option<Vec<f32>>],
        size: [usize; 3],
        rng: &mut dyn Rng,
    ) -> Vec<Vec<f32>> {
        let mut copy: Vec<Vec<f32>> = channels.iter().map(|channel| channel.voxels.clone()).collect();
        if let ([only], [template]) = (copy.as_mut_slice(), templates) {
            if let Some(template) = template {
                let mask = self.mask.draw(size, rng);
                let masked = only.iter_mut().zip(template).zip(mask.voxels());
                masked.filter(|(_, masked)| **masked).for_each(|((voxel, filling), _)| *voxel = *filling);
            }
            return copy;
        }
        let present = channels.iter().filter(|channel| channel.present).count();
        let replaceable: Vec<usize> =
            (0..channels.len()).filter(|&c| channels[c].present && templates[c].is_some()).collect();
        let most = if self.most_replaced == 0 { usize::MAX } else { self.most_replaced };
        let most = most.min(present.saturating_sub(1)).min(replaceable.len());
        let count = rng.random_range(0..=most);
        for chosen in sample(&mut *rng, replaceable.len(), count) {
            let channel = replaceable[chosen];
            if let Some(template) = &templates[channel] {
                copy[channel].clone_from(template);
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
        let templates = vec![Some(vec![0.0; 8]); 4];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0; 4];
        for _ in 0..300 {
            let copy = MixingConfig::default().copy(&channels, &templates, [2; 3], &mut rng);
            assert_eq!(copy[1], [2.0; 8], "what stands for a missing modality is not replaced again");
            let replaced = [0, 2, 3].iter().filter(|&&c| copy[c] == [0.0; 8]).count();
            counts[replaced] += 1;
        }
        assert!(counts[..3].iter().all(|&count| count > 70) && counts[3] == 0, "{counts:?}");
    }

    #[test]
    fn without_a_template_a_modality_stays() {
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
