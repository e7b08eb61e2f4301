//! Random changes that do not alter the meaning of a case.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::turn::mirror;

/// The ranges of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationConfig {
    /// Chance that a patch is mirrored along an axis.
    pub mirror: f64,
    /// Whether all three axes are mirrored together or none, as in the authors' released program; otherwise each by
    /// itself.
    pub mirror_together: bool,
    /// The largest value added to or subtracted from all intensities.
    pub shift: f32,
    /// The largest deviation from 1 of the factor of all intensities.
    pub scale: f32,
}

impl Default for AugmentationConfig {
    fn default() -> Self {
        Self { mirror: 0.5, mirror_together: false, shift: 0.1, scale: 0.1 }
    }
}

impl AugmentationConfig {
    /// What is wrong with these values, if anything.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=1.0).contains(&self.mirror) {
            return Some(format!("augmentation.mirror must lie in [0, 1], got {}", self.mirror));
        }
        let ranges = [("shift", self.shift), ("scale", self.scale)];
        let wrong = ranges.iter().find(|(_, value)| !(0.0..=1.0).contains(value));
        wrong.map(|(key, value)| format!("augmentation.{key} must lie in [0, 1], got {value}"))
    }

    /// Draws one change.
    pub fn draw(&self, rng: &mut dyn Rng) -> Augmentation {
        let mirrored = if self.mirror_together {
            [rng.random_bool(self.mirror); 3]
        } else {
            [(); 3].map(|()| rng.random_bool(self.mirror))
        };
        let mut within = |range: f32| (2.0 * rng.random::<f32>() - 1.0) * range;
        Augmentation { mirrored, shift: within(self.shift), factor: 1.0 + within(self.scale) }
    }
}

/// One change, applied to the images and the label map of a case alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augmentation {
    /// Axes x, y and z.
    mirrored: [bool; 3],
    shift: f32,
    factor: f32,
}

impl Augmentation {
    /// Changes an image of `size` voxels (x, y, z), x fastest.
    pub fn image(&self, voxels: &mut [f32], size: [usize; 3]) {
        self.mirror(voxels, size);
        for voxel in voxels {
            *voxel = (*voxel + self.shift) * self.factor;
        }
    }

    /// Mirrors voxels of any kind in place.
    pub fn mirror<T>(&self, voxels: &mut [T], size: [usize; 3]) {
        for axis in (0..3).filter(|axis| self.mirrored[*axis]) {
            mirror(voxels, size, axis);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn axes_are_mirrored_each_by_itself_or_together() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut drawn = |mirror_together| {
            let config = AugmentationConfig { mirror_together, ..AugmentationConfig::default() };
            let all: std::collections::BTreeSet<_> =
                (0..200).map(|_| config.draw(&mut rng).mirrored).collect();
            all.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(drawn(false).len(), 8);
        assert_eq!(drawn(true), [[false; 3], [true; 3]]);
    }

    proptest! {
        #[test]
        fn a_voxel_goes_to_the_other_side(
            size in prop::array::uniform3(1usize..6), mirrored in prop::array::uniform3(any::<bool>()),
        ) {
            let augmentation = Augmentation { mirrored, shift: 0.0, factor: 1.0 };
            let before: Vec<usize> = (0..size.iter().product()).collect();
            let mut after = before.clone();
            augmentation.mirror(&mut after, size);
            for (offset, &from) in after.iter().enumerate() {
                let voxel = [offset % size[0], offset / size[0] % size[1], offset / (size[0] * size[1])];
                let source: [usize; 3] = std::array::from_fn(|axis| {
                    if mirrored[axis] { size[axis] - 1 - voxel[axis] } else { voxel[axis] }
                });
                prop_assert_eq!(from, (source[2] * size[1] + source[1]) * size[0] + source[0]);
            }
        }
    }
}
