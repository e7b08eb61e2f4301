//! Boxes of a patch.

use std::ops::Range;

use rand::{Rng, RngExt};

/// A box inside a patch, `[x, y, z]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) start: [usize; 3],
    pub(super) sides: [usize; 3],
}

impl Block {
    /// A box of these sides anywhere in a patch, but for a margin where there is room for it.
    pub(super) fn draw(sides: [usize; 3], size: [usize; 3], margin: usize, rng: &mut dyn Rng) -> Self {
        let start = std::array::from_fn(|axis| {
            let room = size[axis] - sides[axis];
            let margin = margin.min(room / 2);
            rng.random_range(margin..=room - margin)
        });
        Self { start, sides }
    }

    /// Its voxels in a patch, row by row.
    pub(super) fn rows(self, size: [usize; 3]) -> impl Iterator<Item = Range<usize>> {
        let Self { start: [x, y, z], sides } = self;
        let first = move |row: usize| ((z + row / sides[1]) * size[1] + y + row % sides[1]) * size[0] + x;
        (0..sides[1] * sides[2]).map(move |row| first(row)..first(row) + sides[0])
    }
}

/// Random numbers of 32 bits, many at a time: a generator behind a reference is slow to ask for single ones.
pub(super) fn fill_random(numbers: &mut Vec<u32>, count: usize, rng: &mut dyn Rng) {
    let mut bytes = [0; 4096];
    numbers.clear();
    while numbers.len() < count {
        let chunk = &mut bytes[..4 * (count - numbers.len()).min(1024)];
        rng.fill_bytes(chunk);
        let (words, _) = chunk.as_chunks::<4>();
        numbers.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
    }
}
