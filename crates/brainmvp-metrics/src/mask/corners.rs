//! The corners of voxels at which a set and its outside meet.

use super::{BITS, Mask};

impl Mask {
    /// The corners at which voxels of the set and other voxels meet, as a set on the grid of corners: `[x, y, z]` is the
    /// corner before that voxel along all axes. Everything beyond the grid is outside the set.
    pub(crate) fn corners(&self) -> Self {
        let [nx, ny, nz] = self.shape;
        let shape = self.shape.map(|count| count + 1);
        let words_per_row = shape[0].div_ceil(BITS);
        let mut words = vec![0; words_per_row * shape[1] * shape[2]];
        let outside = vec![0; self.words_per_row];
        for (index, corners) in words.chunks_mut(words_per_row).enumerate() {
            let (y, z) = (index % shape[1], index / shape[1]);
            // The rows of voxels on the four sides of a row of corners.
            let rows = [[1, 1], [0, 1], [1, 0], [0, 0]].map(|[before_y, before_z]| {
                let (y, z) = (y.wrapping_sub(before_y), z.wrapping_sub(before_z));
                if y < ny && z < nz && nx > 0 { self.row(y, z) } else { &outside }
            });
            let word = |row: &[u64], at: usize| row.get(at).copied().unwrap_or(0);
            let some = |at: usize| rows.iter().fold(0, |bits, row| bits | word(row, at));
            let all = |at: usize| rows.iter().fold(u64::MAX, |bits, row| bits & word(row, at));
            let (mut some_before, mut all_before) = (0, 0);
            for (at, corners) in corners.iter_mut().enumerate() {
                let (some, all) = (some(at), all(at));
                *corners = (some | some << 1 | some_before) & !(all & (all << 1 | all_before));
                (some_before, all_before) = (some >> (BITS - 1), all >> (BITS - 1));
            }
        }
        Self { shape, words_per_row, words }
    }

    /// Which of the eight voxels around a corner are in the set: bit 0 is the one before it along all axes, bits 1, 2 and
    /// 4 are its neighbours along x, y and z, and so on.
    pub(crate) fn around_corner(&self, corner: [u32; 3]) -> u8 {
        (0..8).fold(0, |code, bit| {
            let voxel = [0, 1, 2].map(|axis| (corner[axis] as usize + (bit >> axis & 1)).wrapping_sub(1));
            let inside = voxel[1] < self.shape[1] && voxel[2] < self.shape[2] && self.contains(voxel);
            code | u8::from(inside) << bit
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain::flags;
    use super::super::tests::{all_voxels, mask};

    proptest! {
        #[test]
        fn corners_have_voxels_of_both_kinds_around_them(mask in mask()) {
            let corners = mask.corners();
            let shape = corners.shape();
            prop_assert_eq!(shape, mask.shape().map(|count| count + 1));
            let both = |corner: [usize; 3]| {
                let around = all_voxels([2; 3]).map(|step| [0, 1, 2].map(|axis| (corner[axis] + step[axis]).wrapping_sub(1)));
                let inside = around.filter(|voxel| (0..3).all(|axis| voxel[axis] < mask.shape()[axis]) && mask.contains(*voxel));
                (1..8).contains(&inside.count())
            };
            prop_assert_eq!(flags(&corners), all_voxels(shape).map(both).collect::<Vec<_>>());
            for corner in corners.voxels() {
                prop_assert!(![0, u8::MAX].contains(&mask.around_corner(corner)));
            }
        }
    }
}
