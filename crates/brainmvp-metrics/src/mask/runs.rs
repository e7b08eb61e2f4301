//! A mask as runs of voxels along x, and the connected components that they form.
//!
//! Runs are joined as a whole, so that the work grows with the surface of a structure and not with its volume.

use std::ops::Range;

use super::{BITS, Mask};

/// Voxels of a row, one beside the other, from `start` to before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    z: u32,
    y: u32,
    start: u32,
    end: u32,
    /// The number of the part that it belongs to.
    pub(crate) part: u32,
}

/// The runs of a mask, each with the number of its component as its part.
#[derive(Debug, Clone)]
pub(crate) struct Components {
    pub(crate) runs: Vec<Run>,
    /// How many components there are; they are numbered from 0, in the order of their first voxels.
    pub(crate) count: usize,
}

/// Steps in y and z to the rows before a row that may touch it; those after it meet it from the other side.
const EARLIER: [[isize; 2]; 4] = [[-1, 0], [-1, -1], [0, -1], [1, -1]];

impl Run {
    /// The number of voxels.
    pub(crate) fn voxels(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// The same voxels as those of another part.
    pub(crate) fn of_part(self, part: u32) -> Self {
        Self { part, ..self }
    }

    /// Its first and last voxel.
    fn ends(&self) -> [[u32; 3]; 2] {
        [[self.start, self.y, self.z], [self.end - 1, self.y, self.z]]
    }
}

impl Mask {
    /// The runs of the set in the order of its voxels, all of part 0.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let (row, base) = (index / self.words_per_row, index % self.words_per_row * BITS);
            let (y, z) = ((row % self.shape[1]) as u32, (row / self.shape[1]) as u32);
            let (mut left, mut start) = (*word, base as u32);
            while left != 0 {
                let skipped = left.trailing_zeros();
                let length = (left >> skipped).trailing_ones();
                start += skipped;
                match runs.last_mut() {
                    // It goes on from the word before.
                    Some(last) if (last.z, last.y, last.end) == (z, y, start) => last.end += length,
                    _ => runs.push(Run { z, y, start, end: start + length, part: 0 }),
                }
                start += length;
                left = left.checked_shr(skipped + length).unwrap_or(0);
            }
        }
        runs
    }

    /// The components of voxels that are connected by a face, an edge or a corner (26-neighbourhood).
    pub(crate) fn components(&self) -> Components {
        let [_, ny, nz] = self.shape;
        let mut runs = self.runs();
        let mut starts = vec![0; ny * nz + 1];
        for run in &runs {
            starts[run.z as usize * ny + run.y as usize + 1] += 1;
        }
        for row in 1..starts.len() {
            starts[row] += starts[row - 1];
        }
        let row = |y: usize, z: usize| starts[z * ny + y]..starts[z * ny + y + 1];
        let mut parents: Vec<usize> = (0..runs.len()).collect();
        for (y, z) in (0..nz).flat_map(|z| (0..ny).map(move |y| (y, z))) {
            for [dy, dz] in EARLIER {
                let (before_y, before_z) = (y.wrapping_add_signed(dy), z.wrapping_add_signed(dz));
                if before_y < ny && before_z < nz {
                    join(&runs, row(y, z), row(before_y, before_z), &mut parents);
                }
            }
        }
        let mut count = 0;
        for index in 0..runs.len() {
            // The root of a tree is its first run.
            let root = root(&mut parents, index);
            runs[index].part = if root == index { count } else { runs[root].part };
            count += u32::from(root == index);
        }
        Components { runs, count: count as usize }
    }

    /// Masks of two sets of runs of one grid, both on the smallest grid around all of them.
    pub(crate) fn around(sets: [&[Run]; 2]) -> [Self; 2] {
        let ends = || sets.into_iter().flatten().flat_map(Run::ends);
        let along = |axis: usize| ends().map(move |voxel| voxel[axis]);
        let low: [u32; 3] = std::array::from_fn(|axis| along(axis).min().unwrap_or(0));
        let shape =
            std::array::from_fn(|axis| along(axis).max().map_or(0, |high| high - low[axis] + 1) as usize);
        let [nx, ny, nz] = shape;
        let words_per_row = nx.div_ceil(BITS);
        sets.map(|runs| {
            let mut words = vec![0; words_per_row * ny * nz];
            for run in runs {
                let row = ((run.z - low[2]) as usize * ny + (run.y - low[1]) as usize) * words_per_row;
                for x in (run.start - low[0]) as usize..(run.end - low[0]) as usize {
                    words[row + x / BITS] |= 1 << (x % BITS);
                }
            }
            Self { shape, words_per_row, words }
        })
    }
}

/// The pairs of runs, one of each list, that have voxels in common, and how many. Both lists are in the order of
/// [`Mask::runs`].
pub(crate) fn overlaps<'a>(
    first: &'a [Run],
    second: &'a [Run],
) -> impl Iterator<Item = (&'a Run, &'a Run, usize)> {
    let (mut i, mut j) = (0, 0);
    std::iter::from_fn(move || {
        while let (Some(a), Some(b)) = (first.get(i), second.get(j)) {
            if (a.z, a.y, a.end) <= (b.z, b.y, b.end) {
                i += 1;
            } else {
                j += 1;
            }
            let common = a.end.min(b.end).saturating_sub(a.start.max(b.start));
            if (a.z, a.y) == (b.z, b.y) && common > 0 {
                return Some((a, b, common as usize));
            }
        }
        None
    })
}

/// Joins the runs of two neighbouring rows that touch, be it at a corner.
fn join(runs: &[Run], here: Range<usize>, beside: Range<usize>, parents: &mut [usize]) {
    let (mut i, mut j) = (here.start, beside.start);
    while i < here.end && j < beside.end {
        if runs[i].start <= runs[j].end && runs[j].start <= runs[i].end {
            let (a, b) = (root(parents, i), root(parents, j));
            parents[a.max(b)] = a.min(b);
        }
        if runs[i].end < runs[j].end { i += 1 } else { j += 1 }
    }
}

/// The first run of a tree; the way to it is halved.
fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::plain::{flags, labelled};
    use super::super::tests::{mask, mask_of, shape};
    use super::*;

    fn voxels(run: &Run) -> impl Iterator<Item = [u32; 3]> {
        let Run { z, y, start, end, .. } = *run;
        (start..end).map(move |x| [x, y, z])
    }

    proptest! {
        #[test]
        fn runs_are_the_voxels_in_their_order(mask in mask()) {
            let runs = mask.runs();
            prop_assert_eq!(runs.iter().flat_map(voxels).collect::<Vec<_>>(), mask.voxels());
            // None could be longer.
            prop_assert!(runs.windows(2).all(|two| (two[0].z, two[0].y, two[0].end) != (two[1].z, two[1].y, two[1].start)));
        }

        #[test]
        fn components_are_what_a_flood_reaches(mask in mask()) {
            let (found, [nx, ny, nz]) = (mask.components(), mask.shape());
            let mut labels = vec![0; nx * ny * nz];
            for run in &found.runs {
                voxels(run).for_each(|[x, y, z]| labels[(z as usize * ny + y as usize) * nx + x as usize] = run.part as usize + 1);
            }
            prop_assert_eq!(found.count, labels.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(labels, labelled(mask.shape(), &flags(&mask)));
        }

        #[test]
        fn overlaps_are_the_common_voxels(
            (a, b) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
        ) {
            let (first, second) = (a.runs(), b.runs());
            let mut common = 0;
            for (one, other, count) in overlaps(&first, &second) {
                let other: BTreeSet<_> = voxels(other).collect();
                prop_assert_eq!(voxels(one).filter(|voxel| other.contains(voxel)).count(), count);
                common += count;
            }
            prop_assert_eq!(common, a.common(&b));
        }

        #[test]
        fn the_grid_around_two_sets_has_them_at_its_edges(
            (a, b) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
        ) {
            let [first, second] = Mask::around([&a.runs(), &b.runs()]);
            let all: Vec<_> = a.voxels().into_iter().chain(b.voxels()).collect();
            let low = |axis: usize| all.iter().map(|voxel| voxel[axis]).min().unwrap_or(0);
            let extent = |axis: usize| all.iter().map(|voxel| voxel[axis] - low(axis) + 1).max().unwrap_or(0);
            prop_assert_eq!(first.shape(), [0, 1, 2].map(|axis| extent(axis) as usize));
            for (before, after) in [(a, first), (b, second)] {
                let moved = before.voxels().into_iter().map(|voxel| [0, 1, 2].map(|axis| voxel[axis] - low(axis)));
                prop_assert_eq!(moved.collect::<Vec<_>>(), after.voxels());
            }
        }
    }
}
