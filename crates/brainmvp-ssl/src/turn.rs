//! Quarter turns and mirroring of patches.

use serde::{Deserialize, Serialize};

/// An axis of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// What becomes of a patch: it is turned, and before mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Turn {
    /// It is mirrored along these axes (x, y, z).
    pub mirrored: [bool; 3],
    /// It is turned about this axis.
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
        std::array::from_fn(|axis| if self.mirrored[axis] { size[axis] - 1 - at[axis] } else { at[axis] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let quarter = Turn { axis, quarters: 1, ..Turn::default() };
            let steps: Vec<Vec<f32>> =
                std::iter::successors(Some(start.clone()), |x| Some(quarter.of(x, size))).take(5).collect();
            for (quarters, step) in steps.iter().enumerate() {
                assert_eq!(Turn { quarters, ..quarter }.of(&start, size), *step);
            }
            assert_eq!(steps[4], start);
            assert!(steps[1..4].iter().all(|step| *step != start));
            assert!(Turn::is_possible(size, axis));
        }
        assert!(!Turn::is_possible([3, 3, 2], Axis::X));
    }

    #[test]
    fn a_quarter_about_z_keeps_slices_and_turns_them() {
        let turned =
            Turn { axis: Axis::Z, quarters: 1, ..Turn::default() }.of(&numbered([2, 2, 2]), [2, 2, 2]);
        // Rows of y = 0 and y = 1 were 0, 1 and 10, 11.
        assert_eq!(turned, [10.0, 0.0, 11.0, 1.0, 110.0, 100.0, 111.0, 101.0]);
    }

    #[test]
    fn axes_are_mirrored_one_by_one() {
        let size = [3, 2, 2];
        let mirrored = |mirrored| Turn { mirrored, ..Turn::default() }.of(&numbered(size), size);
        assert_eq!(mirrored([true, false, false])[..3], [2.0, 1.0, 0.0]);
        assert_eq!(mirrored([false, true, false])[..3], [10.0, 11.0, 12.0]);
        assert_eq!(mirrored([false, false, true])[..3], [100.0, 101.0, 102.0]);
    }
}
