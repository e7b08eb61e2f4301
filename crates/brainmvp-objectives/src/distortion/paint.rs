//! In- and out-painting: parts of a patch give way to noise.

use rand::{Rng, RngExt};

use super::boxes::{Block, fill_random};

/// Voxels between a box and the border of the patch.
const MARGIN: usize = 3;

/// The boxes that are painted, or that stay.
#[derive(Debug, Clone, Copy)]
pub struct Paint {
    /// There are at least so many.
    pub sure: usize,
    /// There are at most so many.
    pub most: usize,
    /// The chance that there is another one after each, until one fails.
    pub go_on: f64,
    /// The shortest and the longest side in a patch of this side, drawn for each axis.
    pub sides: fn(usize) -> [usize; 2],
}

impl Paint {
    /// The boxes in a patch of `size` voxels.
    fn draw(&self, size: [usize; 3], rng: &mut dyn Rng) -> Vec<Block> {
        let mut blocks = Vec::new();
        while blocks.len() < self.most && (blocks.len() < self.sure || rng.random_bool(self.go_on)) {
            let sides = size.map(|n| {
                let [least, most] = (self.sides)(n).map(|side| side.clamp(1, n));
                rng.random_range(least..=most.max(least))
            });
            blocks.push(Block::draw(sides, size, MARGIN, rng));
        }
        blocks
    }
}

/// Fills boxes with noise, uniform in `[0, 1)`.
pub fn paint_in(voxels: &mut [f32], size: [usize; 3], paint: &Paint, rng: &mut dyn Rng) {
    let mut numbers = Vec::new();
    for block in paint.draw(size, rng) {
        fill_random(&mut numbers, block.sides.iter().product(), rng);
        for (row, noise) in block.rows(size).zip(numbers.chunks_exact(block.sides[0])) {
            voxels[row].iter_mut().zip(noise).for_each(|(voxel, number)| *voxel = uniform(*number));
        }
    }
}

/// Fills all but boxes with noise, uniform in `[0, 1)`.
pub fn paint_out(voxels: &mut [f32], size: [usize; 3], paint: &Paint, rng: &mut dyn Rng) {
    let original = voxels.to_vec();
    let mut numbers = Vec::new();
    fill_random(&mut numbers, voxels.len(), rng);
    voxels.iter_mut().zip(&numbers).for_each(|(voxel, number)| *voxel = uniform(*number));
    for block in paint.draw(size, rng) {
        for row in block.rows(size) {
            voxels[row.clone()].copy_from_slice(&original[row]);
        }
    }
}

/// The upper 24 bits as a number in `[0, 1)`.
fn uniform(number: u32) -> f32 {
    (number >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const IN: Paint = Paint { sure: 1, most: 5, go_on: 0.95, sides: |n| [n / 6, n / 3] };
    const OUT: Paint = Paint { sure: 1, most: 1, go_on: 0.95, sides: |n| [n - 4 * n / 7, n - 3 * n / 7] };

    /// Values that noise does not have.
    fn image(size: [usize; 3]) -> Vec<f32> {
        (0..size.iter().product()).map(|i| -1.0 - i as f32).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Noise is in boxes of the sides that are asked for, away from the border; the rest is as before.
        #[test]
        fn boxes_are_painted(seed: u64) {
            let size = [40, 48, 36];
            let one = Paint { most: 1, ..IN };
            let mut voxels = image(size);
            paint_in(&mut voxels, size, &one, &mut ChaCha8Rng::seed_from_u64(seed));
            let noise = |i: &usize| voxels[*i] >= 0.0;
            let painted: Vec<usize> = (0..voxels.len()).filter(noise).collect();
            let mut count = 1;
            for axis in 0..3 {
                let along = |i: &usize| [i % 40, i / 40 % 48, i / (40 * 48)][axis];
                let (first, last) = (painted.iter().map(along).min().unwrap(), painted.iter().map(along).max().unwrap());
                prop_assert!(first >= 3 && last + 3 < size[axis] + 1);
                let side = last - first + 1;
                prop_assert!((size[axis] / 6..=size[axis] / 3).contains(&side));
                count *= side;
            }
            prop_assert_eq!(painted.len(), count);
            prop_assert!(image(size).iter().zip(&voxels).all(|(before, now)| before == now || (0.0..1.0).contains(now)));
        }

        /// A single box of the image stays, of the sides that are asked for.
        #[test]
        fn all_but_a_box_is_painted(seed: u64) {
            let size = [96; 3];
            let mut voxels = image(size);
            paint_out(&mut voxels, size, &OUT, &mut ChaCha8Rng::seed_from_u64(seed));
            let stays: Vec<usize> = (0..voxels.len()).filter(|&i| voxels[i] < 0.0).collect();
            let original = image(size);
            prop_assert!(stays.iter().all(|&i| voxels[i] == original[i]));
            let mut count = 1;
            for axis in 0..3 {
                let along = |i: &usize| [i % 96, i / 96 % 96, i / (96 * 96)][axis];
                let side = stays.iter().map(along).max().unwrap() - stays.iter().map(along).min().unwrap() + 1;
                prop_assert!((42..=55).contains(&side));
                count *= side;
            }
            prop_assert_eq!(stays.len(), count);
        }

        /// Patches smaller than any margin are no obstacle.
        #[test]
        fn small_patches_can_be_painted(seed: u64, x in 1usize..9, y in 1usize..9, z in 1usize..9) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut voxels = image([x, y, z]);
            paint_in(&mut voxels, [x, y, z], &IN, &mut rng);
            paint_out(&mut voxels, [x, y, z], &OUT, &mut rng);
            prop_assert!(voxels.iter().all(|value| *value < 1.0));
        }
    }
}
