//! Drawing crops of a head: base crops that divide it, and random ones.

use brainmvp_volume::Modality;
use rand::{Rng, RngExt};

use super::VocoConfig;
use crate::patch::{PatchSource, central_start};
use crate::turn::{Axis, Turn, mirror};

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct VocoPlan {
    pub(super) config: VocoConfig,
    /// Voxels of a crop along x, y and z.
    pub(super) patch: [usize; 3],
}

/// The crops of one case. Voxels are x fastest.
pub struct VocoSample {
    /// The base crops, x fastest, then the random ones.
    pub(super) crops: Vec<Vec<f32>>,
    /// For each random crop, the share of it that is in each base crop.
    pub(super) overlaps: Vec<f32>,
}

impl VocoPlan {
    /// Voxels of the region that the base crops divide.
    pub(super) fn region(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.config.grid[axis] * self.patch[axis])
    }

    /// Where the base crops start in the region, x fastest.
    fn bases(&self) -> Vec<[usize; 3]> {
        let ([nx, ny, nz], [x, y, z]) = (self.config.grid, self.patch);
        let of_row = move |row: usize| (0..nx).map(move |i| [i * x, row % ny * y, row / ny * z]);
        (0..ny * nz).flat_map(of_row).collect()
    }

    /// The share of a crop that is in each base crop. `start` is in the region.
    pub(super) fn overlaps(&self, start: [usize; 3]) -> Vec<f32> {
        let share = |base: [usize; 3]| {
            let along = |axis: usize| {
                let apart = base[axis].abs_diff(start[axis]);
                self.patch[axis].saturating_sub(apart) as f32 / self.patch[axis] as f32
            };
            along(0) * along(1) * along(2)
        };
        self.bases().into_iter().map(share).collect()
    }

    pub(super) fn draw<S: PatchSource>(
        &self,
        case: &S,
        target: Option<Modality>,
        rng: &mut dyn Rng,
    ) -> Result<VocoSample, S::Error> {
        let modalities = case.modalities();
        let modality = target.unwrap_or_else(|| modalities[rng.random_range(0..modalities.len())]);
        let (region, mut starts) = (self.region(), self.bases());
        let mut overlaps = Vec::new();
        for _ in 0..self.config.crops {
            let start = std::array::from_fn(|axis| rng.random_range(0..=region[axis] - self.patch[axis]));
            overlaps.extend(self.overlaps(start));
            starts.push(start);
        }
        let origin = central_start(case.shape(), region);
        let mut crops = Vec::new();
        for start in starts {
            let start = std::array::from_fn(|axis| origin[axis] + start[axis] as isize);
            let voxels = case.patch(modality, start, self.patch)?;
            crops.push(self.augment(voxels, rng));
        }
        Ok(VocoSample { crops, overlaps })
    }

    /// The crop mirrored, turned about z, and with another brightness, each with its chance.
    fn augment(&self, mut voxels: Vec<f32>, rng: &mut dyn Rng) -> Vec<f32> {
        let VocoConfig { mirror: chance, turn, shift_chance, shift, .. } = self.config;
        let mirrored = [(); 3].map(|()| rng.random_bool(chance));
        let quarters = if rng.random_bool(turn) { rng.random_range(1..4) } else { 0 };
        let shift =
            if rng.random_bool(shift_chance) { (2.0 * rng.random::<f32>() - 1.0) * shift } else { 0.0 };
        for axis in (0..3).filter(|axis| mirrored[*axis]) {
            mirror(&mut voxels, self.patch, axis);
        }
        if quarters > 0 {
            voxels = Turn { axis: Axis::Z, quarters }.of(&voxels, self.patch);
        }
        for voxel in &mut voxels {
            *voxel += shift;
        }
        voxels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(grid: [usize; 3], patch: usize) -> VocoPlan {
        VocoPlan { config: VocoConfig { grid, ..VocoConfig::default() }, patch: [patch; 3] }
    }

    #[test]
    fn a_crop_between_four_bases_has_a_quarter_in_each() {
        let plan = plan([4, 4, 1], 96);
        assert_eq!(plan.region(), [384, 384, 96]);
        let overlaps = plan.overlaps([48, 48, 0]);
        assert_eq!(overlaps.len(), 16);
        for (base, overlap) in overlaps.into_iter().enumerate() {
            assert_eq!(overlap, if [0, 1, 4, 5].contains(&base) { 0.25 } else { 0.0 }, "{base}");
        }
    }

    proptest! {
        #[test]
        fn all_of_a_crop_is_in_some_base(x in 0usize..=128, y in 0usize..=128, z in 0usize..=64) {
            let overlaps = plan([3, 3, 2], 64).overlaps([x, y, z]);
            prop_assert_eq!(overlaps.len(), 18);
            prop_assert!((overlaps.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(overlaps.iter().filter(|overlap| **overlap > 0.0).count() <= 8);
        }
    }
}
