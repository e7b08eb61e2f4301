//! Which blocks of a patch are hidden.

use rand::seq::index::sample;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// How masked blocks are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// The patch is divided into blocks; `floor(blocks (1 - rate))` of them, chosen uniformly, are kept.
    Grid,
    /// The paper's Algorithm 1: blocks around random centres are masked until the count of masked voxels, overlaps
    /// counted twice, reaches the rate.
    Random,
}

/// Masking of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// Where blocks are.
    pub kind: MaskKind,
    /// Side of a block in voxels (r).
    pub block: usize,
    /// Share of the patch that is masked (p*), in `[0, 1]`.
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
    /// What is wrong with these numbers for patches of `size` voxels, if anything.
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
            MaskKind::Random => self.draw_random(size, rng),
        }
    }

    fn draw_grid(&self, size: [usize; 3], rng: &mut dyn Rng) -> Mask {
        let blocks: usize = size.iter().map(|n| n / self.block).product();
        // The nudge keeps floor(64 * (1 - 0.75)) from becoming 15.
        let kept = (blocks as f64 * (1.0 - self.rate) + 1e-9).floor() as usize;
        let kept: Vec<usize> = sample(&mut *rng, blocks, kept.min(blocks)).into_vec();
        Mask::keeping_blocks(size, self.block, &kept)
    }

    fn draw_random(&self, size: [usize; 3], rng: &mut dyn Rng) -> Mask {
        let voxels: usize = size.iter().product();
        let mut masked = vec![false; voxels];
        let mut count = 0;
        while (count as f64) < self.rate * voxels as f64 {
            let start = size.map(|n| rng.random_range(0..n) as isize - self.block as isize / 2);
            let [xs, ys, zs]: [_; 3] = std::array::from_fn(|axis| {
                let end = (start[axis] + self.block as isize).min(size[axis] as isize);
                start[axis].max(0) as usize..end as usize
            });
            for z in zs {
                for y in ys.clone() {
                    let row = (z * size[1] + y) * size[0];
                    masked[row + xs.start..row + xs.end].fill(true);
                    count += xs.len();
                }
            }
        }
        Mask { masked }
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
        fn random_blocks_never_exceed_the_rate_by_more_than_one(seed: u64, rate in 0.0f64..0.99) {
            let config = MaskConfig { kind: MaskKind::Random, block: 4, rate };
            let mask = config.draw([16, 12, 8], &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(mask.rate() <= rate + 64.0 / (16.0 * 12.0 * 8.0));
            prop_assert!(rate == 0.0 || mask.rate() > 0.0);
        }
    }

    #[test]
    fn the_paper_keeps_345_of_1728_blocks() {
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
