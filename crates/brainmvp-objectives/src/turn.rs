//! Quarter turns and mirroring of patches, x fastest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An axis of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Axis {
    /// From left to right.
    #[default]
    X,
    /// From back to front.
    Y,
    /// From the feet to the head.
    Z,
}

impl Axis {
    /// The two axes that turn about it.
    pub fn others(self) -> [usize; 2] {
        match self {
            Self::X => [1, 2],
            Self::Y => [2, 0],
            Self::Z => [0, 1],
        }
    }
}

/// Mirrors a patch of `size` voxels along one of its axes (0 for x).
pub fn mirror<T>(voxels: &mut [T], size: [usize; 3], axis: usize) {
    let step: usize = size[..axis].iter().product();
    let (length, block) = (size[axis], step * size[axis]);
    for lines in voxels.chunks_exact_mut(block.max(1)) {
        for low in 0..length / 2 {
            let (before, after) = lines.split_at_mut((length - 1 - low) * step);
            before[low * step..][..step].swap_with_slice(&mut after[..step]);
        }
    }
}

/// How a patch is turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// About this axis.
    pub axis: Axis,
    /// By so many right angles.
    pub quarters: usize,
}

impl Turn {
    /// Whether a patch of this size keeps it when it is turned about an axis.
    pub fn is_possible(size: [usize; 3], axis: Axis) -> bool {
        let [u, v] = axis.others();
        size[u] == size[v]
    }

    /// The patch of `size` voxels (x, y, z; x fastest) after it.
    pub fn of(self, voxels: &[f32], size: [usize; 3]) -> Vec<f32> {
        let mut turned = Vec::with_capacity(voxels.len());
        for z in 0..size[2] {
            for y in 0..size[1] {
                turned.extend((0..size[0]).map(|x| {
                    let [x, y, z] = self.origin([x, y, z], size);
                    voxels[(z * size[1] + y) * size[0] + x]
                }));
            }
        }
        turned
    }

    /// Where the voxel that is now here was before.
    fn origin(self, mut at: [usize; 3], size: [usize; 3]) -> [usize; 3] {
        let [u, v] = self.axis.others();
        for _ in 0..self.quarters % 4 {
            (at[u], at[v]) = (at[v], size[v] - 1 - at[u]);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each voxel is a number whose digits are its position.
    fn numbered(size: [usize; 3]) -> Vec<f32> {
        let count: usize = size.iter().product();
        let digits = |i: usize| i % size[0] + 10 * (i / size[0] % size[1]) + 100 * (i / (size[0] * size[1]));
        (0..count).map(|i| digits(i) as f32).collect()
    }

    #[test]
    fn four_quarters_are_none() {
        for (axis, size) in [(Axis::X, [2, 3, 3]), (Axis::Y, [3, 2, 3]), (Axis::Z, [3, 3, 2])] {
            let start = numbered(size);
            let quarter = Turn { axis, quarters: 1 };
            let steps: Vec<Vec<f32>> =
                std::iter::successors(Some(start.clone()), |x| Some(quarter.of(x, size))).take(5).collect();
            for (quarters, step) in steps.iter().enumerate() {
                assert_eq!(Turn { axis, quarters }.of(&start, size), *step);
            }
            assert_eq!(steps[4], start);
            assert!(steps[1..4].iter().all(|step| *step != start));
            assert!(Turn::is_possible(size, axis));
        }
        assert!(!Turn::is_possible([3, 3, 2], Axis::X));
    }

    #[test]
    fn a_quarter_about_z_keeps_slices_and_turns_them() {
        let turned = Turn { axis: Axis::Z, quarters: 1 }.of(&numbered([2, 2, 2]), [2, 2, 2]);
        // Rows of y = 0 and y = 1 were 0, 1 and 10, 11.
        assert_eq!(turned, [10.0, 0.0, 11.0, 1.0, 110.0, 100.0, 111.0, 101.0]);
    }

    proptest! {
        #[test]
        fn mirroring_turns_one_axis_round(size in prop::array::uniform3(1_usize..6), axis in 0_usize..3) {
            let start: Vec<usize> = (0..size.iter().product()).collect();
            let mut voxels = start.clone();
            mirror(&mut voxels, size, axis);
            for (i, value) in voxels.iter().enumerate() {
                let mut at = [i % size[0], i / size[0] % size[1], i / (size[0] * size[1])];
                at[axis] = size[axis] - 1 - at[axis];
                prop_assert_eq!(*value, (at[2] * size[1] + at[1]) * size[0] + at[0]);
            }
            mirror(&mut voxels, size, axis);
            prop_assert_eq!(voxels, start);
        }
    }
}
