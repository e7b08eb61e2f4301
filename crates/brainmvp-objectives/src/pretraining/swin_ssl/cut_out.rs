//! Cut-out: boxes of a view that are filled with something else.

use std::ops::Range;

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::limits;

/// How much of a view is filled, and in which boxes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CutOutConfig {
    /// Each of two passes fills a share of a view from 0 to this. Voxels that several boxes cover count several
    /// times, so that 0.3 fills 13.8 % on average.
    pub most: f64,
    /// The shortest side of a box, as a share of the view's.
    pub shortest: f64,
    /// What all sides are shorter than, as a share of the view's.
    pub longest: f64,
}

impl Default for CutOutConfig {
    fn default() -> Self {
        Self { most: 0.3, shortest: 0.05, longest: 0.25 }
    }
}

/// A box inside a patch, `[x, y, z]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    start: [usize; 3],
    sides: [usize; 3],
}

impl CutOutConfig {
    /// What is wrong with these values, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let shares = [
            ("method.cut_out.most", self.most),
            ("method.cut_out.shortest", self.shortest),
            ("method.cut_out.longest", self.longest),
        ];
        limits::shares(&shares).or_else(|| {
            (self.shortest > self.longest)
                .then(|| "method.cut_out.shortest must be at most method.cut_out.longest".to_owned())
        })
    }

    /// Draws the boxes of one pass over a patch of `size` voxels (x, y, z).
    pub(super) fn draw(&self, size: [usize; 3], rng: &mut dyn Rng) -> Vec<Cut> {
        let voxels: usize = size.iter().product();
        let wanted = rng.random::<f64>() * self.most * voxels as f64;
        let (mut boxes, mut counted) = (Vec::new(), 0);
        while (counted as f64) < wanted {
            let sides = size.map(|n| {
                let side = |share: f64| (share * n as f64) as usize;
                let shortest = side(self.shortest).max(1);
                rng.random_range(shortest..side(self.longest).max(shortest + 1))
            });
            let start = std::array::from_fn(|axis| rng.random_range(0..=size[axis] - sides[axis]));
            counted += sides.iter().product::<usize>();
            boxes.push(Cut { start, sides });
        }
        boxes
    }
}

impl Cut {
    /// Its voxels in a patch of `size` voxels, row by row.
    fn rows(self, size: [usize; 3]) -> impl Iterator<Item = Range<usize>> {
        let Self { start: [x, y, z], sides } = self;
        let first = move |row: usize| ((z + row / sides[1]) * size[1] + y + row % sides[1]) * size[0] + x;
        (0..sides[1] * sides[2]).map(move |row| first(row)..first(row) + sides[0])
    }

    /// Fills it with normal noise, whose smallest value becomes 0 and whose largest becomes 1.
    pub(super) fn fill_with_noise(self, voxels: &mut [f32], size: [usize; 3], mut rng: &mut dyn Rng) {
        let count = self.sides.iter().product();
        let noise: Vec<f32> = (0..count).map(|_| StandardNormal.sample(&mut rng)).collect();
        let lowest = noise.iter().copied().fold(f32::INFINITY, f32::min);
        let range = noise.iter().copied().fold(f32::NEG_INFINITY, f32::max) - lowest;
        let scaled = |value: &f32| if range > 0.0 { (value - lowest) / range } else { 0.0 };
        for (row, noise) in self.rows(size).zip(noise.chunks_exact(self.sides[0])) {
            voxels[row].iter_mut().zip(noise).for_each(|(voxel, value)| *voxel = scaled(value));
        }
    }

    /// Fills it with the same place of another patch.
    pub(super) fn fill_from(self, voxels: &mut [f32], other: &[f32], size: [usize; 3]) {
        for row in self.rows(size) {
            voxels[row.clone()].copy_from_slice(&other[row]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    proptest! {
        #[test]
        fn sides_are_within_their_shares(seed: u64) {
            let size = [96, 96, 40];
            for cut in CutOutConfig::default().draw(size, &mut ChaCha8Rng::seed_from_u64(seed)) {
                prop_assert!(cut.sides[..2].iter().all(|side| (4..24).contains(side)));
                prop_assert!((2..10).contains(&cut.sides[2]));
                prop_assert!((0..3).all(|axis| cut.start[axis] + cut.sides[axis] <= size[axis]));
            }
        }

        #[test]
        fn noise_reaches_from_0_to_1_in_each_box_and_nothing_else_changes(seed: u64) {
            let size = [12, 10, 9];
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let (mut voxels, cut) = (vec![7.0; 12 * 10 * 9], Cut { start: [3, 9, 2], sides: [5, 1, 4] });
            cut.fill_with_noise(&mut voxels, size, &mut rng);
            let inside: Vec<f32> = voxels.iter().copied().filter(|value| *value != 7.0).collect();
            prop_assert_eq!(inside.len(), 20);
            prop_assert!(inside.contains(&0.0) && inside.contains(&1.0));
            prop_assert!(cut.rows(size).flatten().all(|at| voxels[at] != 7.0));
        }
    }

    /// 13.8 % on average: overlaps count twice in what is wanted, 15 %.
    #[test]
    fn a_pass_covers_as_much_as_published() {
        let size = [96; 3];
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut covered = 0;
        let passes = 300;
        for _ in 0..passes {
            let mut voxels = vec![false; 96 * 96 * 96];
            for cut in CutOutConfig::default().draw(size, &mut rng) {
                cut.rows(size).for_each(|row| voxels[row].fill(true));
            }
            covered += voxels.into_iter().filter(|covered| *covered).count();
        }
        let share = covered as f64 / f64::from(passes * 96 * 96 * 96);
        assert!((share - 0.138).abs() < 0.015, "{share}");
    }

    #[test]
    fn no_more_is_filled_than_allowed() {
        let none = CutOutConfig { most: 0.0, ..CutOutConfig::default() };
        assert!(none.draw([8; 3], &mut ChaCha8Rng::seed_from_u64(1)).is_empty());
        assert!(CutOutConfig { shortest: 0.5, ..none }.problem().is_some());
    }
}
