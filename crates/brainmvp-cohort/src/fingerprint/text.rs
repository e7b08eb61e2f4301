//! Fingerprints as text: one character per cell of the brain, and a few for the cells outside.
//!
//! Characters from `#` to `[` are levels; `?` is 0. `]` and the characters after it are runs of cells outside: `]` is one
//! cell, and each following character twice as many. All are ASCII characters that JSON does not escape.

use super::{CELLS, Fingerprint, OUTSIDE};

/// The highest level; the lowest is its negative.
pub(super) const HIGHEST: i8 = 28;

const ZERO: u8 = b'?';
const LOWEST_LEVEL: u8 = ZERO - HIGHEST as u8;
const HIGHEST_LEVEL: u8 = ZERO + HIGHEST as u8;
const RUN: u8 = b']';

/// The longest run has two to the power of this cells.
const LONGEST: u32 = CELLS.ilog2();

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        let mut text = Self::new();
        for run in fingerprint.cells.chunk_by(|a, b| (*a == OUTSIDE) == (*b == OUTSIDE)) {
            if run[0] == OUTSIDE {
                let powers = (0..=LONGEST).rev().filter(|power| run.len() >> power & 1 == 1);
                text.extend(powers.map(|power| char::from(RUN + power as u8)));
            } else {
                text.extend(run.iter().map(|level| char::from(ZERO.wrapping_add_signed(*level))));
            }
        }
        text
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut cells = Vec::with_capacity(CELLS);
        for character in text.bytes() {
            match character {
                LOWEST_LEVEL..=HIGHEST_LEVEL => cells.push(character.wrapping_sub(ZERO).cast_signed()),
                RUN.. if u32::from(character - RUN) <= LONGEST => {
                    let run = 1_usize << (character - RUN);
                    cells.resize(cells.len() + run, OUTSIDE);
                }
                other => return Err(format!("character {other} cannot be part of a fingerprint")),
            }
            if cells.len() > CELLS {
                break;
            }
        }
        if cells.len() != CELLS {
            return Err(format!("a fingerprint of {} cells instead of {CELLS}", cells.len()));
        }
        Ok(Self { cells: cells.into() })
    }
}
