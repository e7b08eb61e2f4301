//! The voxels of a region, one bit each.
//!
//! With bits, counting, intersecting and finding the surface handle 64 voxels per instruction, and a mask of 240 x 240
//! x 155 voxels takes 1.2 MB, which stays in the processor's cache.

mod axes;
mod corners;
mod dilation;
mod nearest;
#[cfg(test)]
pub(crate) mod plain;
mod runs;
mod tree;

use std::collections::BTreeSet;

use rayon::prelude::*;

pub(crate) use self::axes::Axes;
pub(crate) use self::nearest::distances;
pub(crate) use self::runs::{Run, overlaps};

/// Voxels per word.
const BITS: usize = u64::BITS as usize;

/// A set of voxels on a grid. Every row along x begins with a new word; bits past the end of the row are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    shape: [usize; 3],
    words_per_row: usize,
    words: Vec<u64>,
}

/// A label map and its foreground, from which the masks of all regions are made.
#[derive(Debug, Clone)]
pub(crate) struct Labels<'a> {
    voxels: &'a [u16],
    foreground: Mask,
}

impl<'a> Labels<'a> {
    /// `voxels` of a grid of `shape`, x fastest.
    pub(crate) fn new(shape: [usize; 3], voxels: &'a [u16]) -> Self {
        let foreground = Mask::pack(shape, voxels, None, |chunk, flags| {
            flags.iter_mut().zip(chunk).for_each(|(flag, value)| *flag = u8::from(*value != 0));
        });
        Self { voxels, foreground }
    }

    /// The voxels with any of these values. Only the foreground is examined.
    pub(crate) fn mask(&self, values: &BTreeSet<u16>) -> Mask {
        Mask::pack(self.foreground.shape, self.voxels, Some(&self.foreground), |chunk, flags| {
            for label in values {
                flags.iter_mut().zip(chunk).for_each(|(flag, value)| *flag |= u8::from(value == label));
            }
        })
    }
}

impl Mask {
    /// The `true` voxels of a grid of `shape`, x fastest.
    ///
    /// # Panics
    /// If the number of voxels is not that of `shape`: a bug in the program, never the fault of a file.
    pub fn new(shape: [usize; 3], voxels: &[bool]) -> Self {
        Self::pack(shape, voxels, None, |chunk, flags| {
            flags.iter_mut().zip(chunk).for_each(|(flag, value)| *flag = u8::from(*value));
        })
    }

    /// Makes one bit per voxel: `mark` sets the flags of up to 64 voxels, which are 0 before. Words that are 0 in
    /// `within` stay 0.
    fn pack<T>(
        shape: [usize; 3],
        voxels: &[T],
        within: Option<&Self>,
        mark: impl Fn(&[T], &mut [u8; BITS]) + Sync,
    ) -> Self
    where
        T: Copy + Default + PartialEq + Sync,
    {
        let [nx, ny, nz] = shape;
        assert_eq!(nx * ny * nz, voxels.len(), "voxels do not fill a grid of {shape:?}");
        let words_per_row = nx.div_ceil(BITS);
        let mut words = vec![0; words_per_row * ny * nz];
        let slab = (words_per_row * ny).max(1);
        words.par_chunks_mut(slab).enumerate().for_each(|(z, words)| {
            for (index, word) in words.iter_mut().enumerate() {
                if within.is_some_and(|mask| mask.words[z * slab + index] == 0) {
                    continue;
                }
                let (row, start) = (z * ny + index / words_per_row, index % words_per_row * BITS);
                let chunk = &voxels[row * nx + start..row * nx + nx.min(start + BITS)];
                // Counting is vectorised and searching is not, and most of a label map is background.
                if within.is_none() && chunk.iter().filter(|v| **v != T::default()).count() == 0 {
                    continue;
                }
                let mut flags = [0; BITS];
                mark(chunk, &mut flags);
                *word = gather(&flags);
            }
        });
        Self { shape, words_per_row, words }
    }

    /// The number of voxels of the grid along x, y and z.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The number of voxels in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The number of voxels in both sets.
    pub(crate) fn common(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(a, b)| (a & b).count_ones() as usize).sum()
    }

    /// The voxels that are not in `other`, a set of the same grid.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
        self
    }

    /// Whether the voxel `[x, y, z]` is in the set.
    pub fn contains(&self, [x, y, z]: [usize; 3]) -> bool {
        x < self.shape[0] && self.row(y, z)[x / BITS] >> (x % BITS) & 1 == 1
    }

    /// The voxels of the set with a face-neighbour outside it. Everything beyond the grid is outside the set, as in an
    /// erosion by the 6-neighbourhood with a background border.
    pub fn surface(&self) -> Self {
        let [_, ny, nz] = self.shape;
        let per_row = self.words_per_row;
        let slab = per_row * ny;
        let at = |inside: bool, index: usize| if inside { self.words[index] } else { 0 };
        let mut words = vec![0; self.words.len()];
        for (index, word) in words.iter_mut().enumerate() {
            let here = self.words[index];
            if here == 0 {
                continue;
            }
            let (x, y, z) = (index % per_row, index / per_row % ny, index / slab);
            let before = here << 1 | at(x > 0, index.wrapping_sub(1)) >> (BITS - 1);
            let after = here >> 1 | at(x + 1 < per_row, index + 1) << (BITS - 1);
            let rows = at(y > 0, index.wrapping_sub(per_row)) & at(y + 1 < ny, index + per_row);
            let slabs = at(z > 0, index.wrapping_sub(slab)) & at(z + 1 < nz, index + slab);
            *word = here & !(before & after & rows & slabs);
        }
        Self { shape: self.shape, words_per_row: per_row, words }
    }

    /// The voxels of the set, `[x, y, z]`, x fastest.
    pub(crate) fn voxels(&self) -> Vec<[u32; 3]> {
        let mut voxels = Vec::with_capacity(self.count());
        for (index, word) in self.words.iter().enumerate() {
            let mut left = *word;
            while left != 0 {
                let row = index / self.words_per_row;
                let x = index % self.words_per_row * BITS + left.trailing_zeros() as usize;
                voxels.push([x as u32, (row % self.shape[1]) as u32, (row / self.shape[1]) as u32]);
                left &= left - 1;
            }
        }
        voxels
    }

    /// The words of a row along x.
    #[inline]
    fn row(&self, y: usize, z: usize) -> &[u64] {
        let start = (z * self.shape[1] + y) * self.words_per_row;
        &self.words[start..start + self.words_per_row]
    }
}

/// 64 flags of 0 or 1 as the bits of a word.
fn gather(flags: &[u8; BITS]) -> u64 {
    let (eights, _) = flags.as_chunks::<8>();
    // The product moves flag k of eight to bit 56 + k; no two partial products share a bit.
    let byte = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    eights.iter().enumerate().fold(0, |word, (i, eight)| word | byte(eight) << (8 * i))
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Masks of a small grid, some wider than a word.
    pub(crate) fn mask() -> impl Strategy<Value = Mask> {
        shape().prop_flat_map(mask_of)
    }

    pub(crate) fn shape() -> impl Strategy<Value = [usize; 3]> {
        (prop_oneof![1_usize..9, 60_usize..140], 1_usize..8, 1_usize..8).prop_map(|(x, y, z)| [x, y, z])
    }

    pub(crate) fn mask_of(shape: [usize; 3]) -> impl Strategy<Value = Mask> {
        let count: usize = shape.iter().product();
        prop_oneof![Just(0.002), Just(0.1), Just(0.9), Just(1.0)].prop_flat_map(move |share| {
            prop::collection::vec(prop::bool::weighted(share), count)
                .prop_map(move |voxels| Mask::new(shape, &voxels))
        })
    }

    pub(crate) fn all_voxels([nx, ny, nz]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
        (0..nz).flat_map(move |z| (0..ny).flat_map(move |y| (0..nx).map(move |x| [x, y, z])))
    }

    proptest! {
        #[test]
        fn masks_of_regions_hold_their_labels((shape, values) in shape().prop_flat_map(|shape| {
            (Just(shape), prop::collection::vec(0_u16..5, shape.iter().product::<usize>()))
        })) {
            let region = BTreeSet::from([1, 4]);
            let mask = Labels::new(shape, &values).mask(&region);
            for (voxel, value) in all_voxels(shape).zip(&values) {
                prop_assert_eq!(mask.contains(voxel), [1, 4].contains(value));
            }
            prop_assert_eq!(mask.count(), values.iter().filter(|v| [1, 4].contains(*v)).count());
        }

        #[test]
        fn the_surface_touches_the_outside(mask in mask()) {
            let surface = mask.surface();
            let shape = mask.shape();
            for voxel in all_voxels(shape) {
                let outside = (0..3).any(|axis| {
                    [usize::MAX, 1].iter().any(|step| {
                        let mut next = voxel;
                        next[axis] = next[axis].wrapping_add(*step);
                        next[axis] >= shape[axis] || !mask.contains(next)
                    })
                });
                prop_assert_eq!(surface.contains(voxel), mask.contains(voxel) && outside);
            }
        }

        #[test]
        fn voxels_are_those_of_the_set(mask in mask()) {
            let expected: Vec<_> =
                all_voxels(mask.shape()).filter(|v| mask.contains(*v)).map(|v| v.map(|i| i as u32)).collect();
            prop_assert_eq!(mask.voxels(), expected);
        }
    }
}
