//! Local shuffling: the voxels of small boxes change places, so that texture is lost and structure stays.

use rand::Rng;
use rand::RngExt;

use super::boxes::{Block, fill_random};

/// Boxes whose voxels change places. Each box takes its voxels from the original image, so that later boxes overwrite
/// earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalShuffle {
    /// Their number.
    pub boxes: usize,
    /// Their sides.
    pub sides: Sides,
}

/// The sides of boxes, as parts of the patch's: a part of 10 is a tenth, at least one voxel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Up to this part along each axis, for each box anew.
    UpTo(usize),
    /// This part. All boxes have one permutation.
    Exactly(usize),
}

impl LocalShuffle {
    /// Shuffles a patch.
    pub fn apply(&self, voxels: &mut [f32], size: [usize; 3], rng: &mut dyn Rng) {
        let (Sides::UpTo(part) | Sides::Exactly(part)) = self.sides;
        let longest = size.map(|n| (n / part.max(1)).max(1));
        let most = longest.iter().product();
        let original = voxels.to_vec();
        let (mut held, mut numbers) = (Vec::<f32>::with_capacity(most), Vec::with_capacity(most));
        let is_shared = matches!(self.sides, Sides::Exactly(_));
        if is_shared {
            fill_random(&mut numbers, most, rng);
        }
        for _ in 0..self.boxes {
            let sides = if is_shared { longest } else { longest.map(|most| rng.random_range(1..=most)) };
            let block = Block::draw(sides, size, 0, rng);
            held.clear();
            block.rows(size).for_each(|row| held.extend_from_slice(&original[row]));
            if !is_shared {
                fill_random(&mut numbers, held.len(), rng);
            }
            permute(&mut held, &numbers);
            for (row, values) in block.rows(size).zip(held.chunks_exact(sides[0])) {
                voxels[row].copy_from_slice(values);
            }
        }
    }
}

/// Fisher and Yates's shuffle with given random numbers, as many as there are values.
fn permute(values: &mut [f32], numbers: &[u32]) {
    for (last, number) in (1..values.len()).rev().zip(numbers) {
        // From 0 to `last`: the upper half of a product is even to one part in millions.
        let other = (u64::from(*number) * (last as u64 + 1)) >> 32;
        values.swap(last, other as usize);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// A single box has the same values as before, and nothing outside of it changes.
        #[test]
        fn a_box_keeps_its_values(seed: u64, x in 1usize..24, y in 1usize..24, z in 1usize..24) {
            let size = [x, y, z];
            let original: Vec<f32> = (0..x * y * z).map(|i| i as f32).collect();
            let mut voxels = original.clone();
            let shuffle = LocalShuffle { boxes: 1, sides: Sides::UpTo(2) };
            shuffle.apply(&mut voxels, size, &mut ChaCha8Rng::seed_from_u64(seed));
            let moved: Vec<usize> = (0..voxels.len()).filter(|&i| voxels[i] != original[i]).collect();
            for axis in 0..3 {
                let along = |i: usize| [i % x, i / x % y, i / (x * y)][axis];
                let (first, last) = (moved.iter().map(|&i| along(i)).min(), moved.iter().map(|&i| along(i)).max());
                let side = last.zip(first).map_or(0, |(last, first)| last - first + 1);
                prop_assert!(side <= (size[axis] / 2).max(1));
            }
            voxels.sort_by(f32::total_cmp);
            prop_assert_eq!(voxels, original);
        }

        /// Boxes of one permutation move the voxels of each in the same way.
        #[test]
        fn boxes_may_share_a_permutation(seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let size = [40; 3];
            let original: Vec<f32> = (0..64_000).map(|i| i as f32).collect();
            let mut voxels = original.clone();
            LocalShuffle { boxes: 3, sides: Sides::Exactly(20) }.apply(&mut voxels, size, &mut rng);
            let mut steps: Vec<i64> =
                voxels.iter().zip(&original).map(|(a, b)| (a - b) as i64).filter(|step| *step != 0).collect();
            steps.sort_unstable();
            steps.dedup();
            prop_assert!(steps.len() <= 8, "{steps:?}");
        }
    }

    #[test]
    fn all_permutations_are_equally_frequent() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut numbers, mut counts) = (Vec::new(), std::collections::BTreeMap::<Vec<u8>, usize>::new());
        for _ in 0..6000 {
            let mut values = [0.0, 1.0, 2.0];
            fill_random(&mut numbers, 3, &mut rng);
            permute(&mut values, &numbers);
            *counts.entry(values.map(|v: f32| v as u8).to_vec()).or_default() += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
