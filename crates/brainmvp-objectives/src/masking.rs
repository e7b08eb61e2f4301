//! Masks: which blocks of a patch are replaced.

use rand::seq::index::sample;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How masked blocks are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// The patch is divided into blocks; `floor(blocks (1 - rate))` of them, chosen uniformly, are kept.
    Grid,
    /// Blocks around random centres are masked until the rate of the voxels is: a voxel that several blocks cover counts
    /// once.
    Random,
    /// The paper's Algorithm 1 as printed: as `random`, but every block counts as r^3 voxels, whatever it covers that was
    /// masked before or is outside. At a rate of 0.8 it masks 53 % of a patch of 96^3.
    Literal,
}

/// Masking of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Where masked blocks are.
    pub kind: MaskKind,
    /// Side of a block in voxels (r, 8 in the paper); divides the patch.
    pub block: usize,
    /// Share of the patch that is masked (p*, 0.8 in the paper).
    pub rate: f64,
}

impl Default for MaskConfig {
    fn default() -> Self {
        Self { kind: MaskKind::Grid, block: 8, rate: 0.8 }
    }
}

/// Which voxels of a patch are masked; x fastest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    masked: Vec<bool>,
}

impl MaskConfig {
    /// What is wrong with these values for patches of `size` voxels, if anything.
    pub fn problem(&self, size: [usize; 3]) -> Option<String> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Some(format!("method.mask.rate must lie in [0, 1], got {}", self.rate));
        }
        if self.block == 0 || size.iter().any(|n| n % self.block != 0) {
            return Some(format!("method.mask.block {} must divide patch.size {size:?}", self.block));
        }
        None
    }

    /// Draws a mask for a patch of `size` voxels (x, y, z), which [`MaskConfig::problem`] has accepted.
    pub fn draw(&self, size: [usize; 3], rng: &mut dyn Rng) -> Mask {
        match self.kind {
            MaskKind::Grid => self.draw_grid(size, rng),
            MaskKind::Random | MaskKind::Literal => self.draw_blocks(size, rng),
        }
    }

    fn draw_grid(&self, size: [usize; 3], rng: &mut dyn Rng) -> Mask {
        let blocks: usize = size.iter().map(|n| n / self.block).product();
        // The small term keeps floor(64 * (1 - 0.75)) from becoming 15.
        let kept = (blocks as f64 * (1.0 - self.rate) + 1e-9).floor() as usize;
        let kept: Vec<usize> = sample(&mut *rng, blocks, kept.min(blocks)).into_vec();
        Mask::keeping_blocks(size, self.block, &kept)
    }

    fn draw_blocks(&self, size: [usize; 3], rng: &mut dyn Rng) -> Mask {
        let voxels: usize = size.iter().product();
        let mut mask = Mask { masked: vec![false; voxels] };
        let mut counted = 0;
        while (counted as f64) < self.rate * voxels as f64 {
            let start = size.map(|n| rng.random_range(0..n) as isize - self.block as isize / 2);
            let new = mask.add_block(size, start, self.block);
            counted += if self.kind == MaskKind::Literal { self.block.pow(3) } else { new };
        }
        mask
    }
}

impl Mask {
    /// The grid mask of a patch of `size` voxels that keeps the blocks of these indices (x fastest).
    pub fn keeping_blocks(size: [usize; 3], block: usize, kept: &[usize]) -> Self {
        let blocks = size.map(|n| n / block);
        let mut masked_blocks = vec![true; blocks.iter().product()];
        for &index in kept {
            masked_blocks[index] = false;
        }
        let mut masked = Vec::with_capacity(size.iter().product());
        for z in 0..size[2] {
            for y in 0..size[1] {
                let row = (z / block * blocks[1] + y / block) * blocks[0];
                masked.extend((0..size[0]).map(|x| masked_blocks[row + x / block]));
            }
        }
        Self { masked }
    }

    /// Masks the part of a block inside a patch of `size` voxels; returns how many voxels were not masked before.
    fn add_block(&mut self, size: [usize; 3], start: [isize; 3], block: usize) -> usize {
        let [xs, ys, zs]: [_; 3] = std::array::from_fn(|axis| {
            let end = (start[axis] + block as isize).min(size[axis] as isize);
            start[axis].max(0) as usize..end as usize
        });
        let mut new = 0;
        for z in zs {
            for y in ys.clone() {
                let row = (z * size[1] + y) * size[0];
                let row = &mut self.masked[row + xs.start..row + xs.end];
                new += row.iter().filter(|masked| !**masked).count();
                row.fill(true);
            }
        }
        new
    }

    /// For each voxel, x fastest, whether it is masked.
    pub fn voxels(&self) -> &[bool] {
        &self.masked
    }

    /// Share of the voxels that are masked.
    pub fn rate(&self) -> f64 {
        self.masked.iter().filter(|&&m| m).count() as f64 / self.masked.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    proptest! {
        #[test]
        fn a_grid_keeps_whole_blocks_at_the_rate(
            blocks in prop::array::uniform3(1usize..6), block in 1usize..5, rate in 0.0f64..=1.0, seed: u64,
        ) {
            let size = blocks.map(|n| n * block);
            let config = MaskConfig { kind: MaskKind::Grid, block, rate };
            prop_assert!(config.problem(size).is_none());
            let mask = config.draw(size, &mut ChaCha8Rng::seed_from_u64(seed));
            let count: usize = blocks.iter().product();
            let kept = (count as f64 * (1.0 - rate) + 1e-9).floor() / count as f64;
            prop_assert!((mask.rate() - (1.0 - kept)).abs() < 1e-9);
            for (offset, masked) in mask.voxels().iter().enumerate() {
                let [x, y, z] = [offset % size[0], offset / size[0] % size[1], offset / (size[0] * size[1])];
                let first = [x, y, z].map(|i| i / block * block);
                prop_assert_eq!(*masked, mask.voxels()[(first[2] * size[1] + first[1]) * size[0] + first[0]]);
            }
        }

        #[test]
        fn random_blocks_reach_the_rate_and_exceed_it_by_less_than_one(seed: u64, rate in 0.0f64..0.99) {
            let config = MaskConfig { kind: MaskKind::Random, block: 4, rate };
            let mask = config.draw([16, 12, 8], &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!((rate..rate + 64.0 / (16.0 * 12.0 * 8.0)).contains(&mask.rate()));
        }
    }

    #[test]
    fn the_literal_algorithm_masks_53_percent() {
        let config = MaskConfig { kind: MaskKind::Literal, ..MaskConfig::default() };
        let rate = |seed| config.draw([96; 3], &mut ChaCha8Rng::seed_from_u64(seed)).rate();
        let rates: Vec<f64> = (0..20).map(rate).collect();
        let mean = rates.iter().sum::<f64>() / 20.0;
        assert!((mean - 0.526).abs() < 0.003, "{mean}");
        assert!(rates.iter().all(|rate| (rate - mean).abs() < 0.02), "{rates:?}");
    }

    #[test]
    fn everything_or_nothing_may_be_masked() {
        for kind in [MaskKind::Grid, MaskKind::Random, MaskKind::Literal] {
            let rate = |rate| {
                MaskConfig { kind, block: 4, rate }.draw([8; 3], &mut ChaCha8Rng::seed_from_u64(1)).rate()
            };
            assert_eq!(rate(0.0), 0.0);
            assert!(rate(1.0) == 1.0 || kind == MaskKind::Literal);
        }
    }

    #[test]
    fn a_grid_keeps_345_of_1728_blocks() {
        let mask = MaskConfig::default().draw([96; 3], &mut ChaCha8Rng::seed_from_u64(1));
        let kept = mask.voxels().iter().filter(|&&m| !m).count();
        assert_eq!(kept, 345 * 512);
    }

    #[test]
    fn same_seed_same_mask() {
        let draw = |seed| MaskConfig::default().draw([32; 3], &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
