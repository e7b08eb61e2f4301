//! Dilation of a mask.

use super::{BITS, Mask};

impl Mask {
    /// The set, grown `times` by the neighbours of its voxels that share a face or an edge with them (18-neighbourhood). It
    /// stays within the grid.
    pub(crate) fn dilated(&self, times: u32) -> Self {
        (0..times).fold(self.clone(), |mask, _| mask.grown())
    }

    fn grown(&self) -> Self {
        let wide = self.widened();
        let [_, ny, nz] = self.shape;
        let (row, slab) = (self.words_per_row, self.words_per_row * ny);
        let mut words = vec![0; self.words.len()];
        for (index, word) in words.iter_mut().enumerate() {
            let (y, z) = (index / row % ny, index / slab);
            // The words beside it in y of a slab.
            let beside = |words: &[u64], index: usize| {
                let before = if y > 0 { words[index - row] } else { 0 };
                before | if y + 1 < ny { words[index + row] } else { 0 }
            };
            // In its own slab, all neighbours; in the two others, no corners.
            let cross = |index: usize| wide[index] | beside(&self.words, index);
            *word = wide[index] | beside(&wide, index);
            *word |= if z > 0 { cross(index - slab) } else { 0 };
            *word |= if z + 1 < nz { cross(index + slab) } else { 0 };
        }
        Self { shape: self.shape, words_per_row: row, words }
    }

    /// The words of the set, grown by one voxel along x.
    fn widened(&self) -> Vec<u64> {
        let per_row = self.words_per_row;
        let last = u64::MAX >> ((BITS - self.shape[0] % BITS) % BITS);
        let at = |inside: bool, index: usize| if inside { self.words[index] } else { 0 };
        let widened = |(index, word): (usize, &u64)| {
            let x = index % per_row;
            let before = word << 1 | at(x > 0, index.wrapping_sub(1)) >> (BITS - 1);
            let after = word >> 1 | at(x + 1 < per_row, index + 1) << (BITS - 1);
            (word | before | after) & if x + 1 < per_row { u64::MAX } else { last }
        };
        self.words.iter().enumerate().map(widened).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::plain::{dilated, flags};
    use super::super::tests::mask;

    proptest! {
        #[test]
        fn neighbours_by_face_and_edge_are_reached(mask in mask(), times in 0_u32..4) {
            let expected = (0..times).fold(flags(&mask), |voxels, _| dilated(mask.shape(), &voxels));
            prop_assert_eq!(flags(&mask.dilated(times)), expected);
        }
    }
}
