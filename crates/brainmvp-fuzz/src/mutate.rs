//! Ways to damage a file.

use std::ops::Range;

use crate::Seed;
use crate::random::Random;

/// No damaged file is longer than this, or than its seed if that is longer.
const LONGEST: usize = 1 << 17;

/// The inside of a seed, damaged in one way or in several.
pub(crate) fn mutated(seeds: &[Seed], chosen: usize, random: &mut Random) -> Vec<u8> {
    let seed = &seeds[chosen];
    let mut bytes = seed.bytes.clone();
    let is_text = std::str::from_utf8(&bytes).is_ok();
    let times = [1, 1, 2, 4][random.below(4)];
    for _ in 0..times {
        let other = &seeds[random.below(seeds.len())].bytes;
        // Headers of text are damaged as text too.
        if random.below(4) < if is_text { 3 } else { 1 } {
            damage_text(&mut bytes, other, random);
        } else {
            damage_bytes(&mut bytes, &seed.numbers, other, random);
        }
    }
    bytes.truncate(LONGEST.max(seed.bytes.len()));
    bytes
}

fn damage_bytes(bytes: &mut Vec<u8>, numbers: &[(usize, usize)], other: &[u8], random: &mut Random) {
    let length = bytes.len();
    match random.below(12) {
        0 if length > 0 => bytes[random.below(length)] ^= 1 << random.below(8),
        1 if length > 0 => bytes[random.below(length)] = random.next() as u8,
        2 => bytes.truncate(random.below(length + 1)),
        3 => drop(bytes.drain(random.range(length))),
        4 => {
            let copy = other[random.range(other.len())].to_vec();
            insert(bytes, random.below(length + 1), &copy);
        }
        5 => {
            let copy = &other[random.range(other.len())];
            put(bytes, random.below(length + 1), copy);
        }
        6 => {
            // The beginning of one file and the end of another.
            bytes.truncate(random.below(length + 1));
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        7 => {
            let value = [0, 0xff, b' ', random.next() as u8][random.below(4)];
            let range = random.range(length);
            bytes[range].fill(value);
        }
        8 => {
            let width = [2, 4, 8][random.below(3)];
            swap(
                bytes,
                number_at(numbers, length, width, random).0,
                number_at(numbers, length, width, random).0,
                width,
            );
        }
        _ => {
            let width = [1, 2, 4, 8][random.below(4)];
            let (at, width) = number_at(numbers, length, width, random);
            let number = odd_number(bytes, at, width, random);
            put(bytes, at, &number);
        }
    }
}

/// Where a number may be: mostly one that is known.
fn number_at(numbers: &[(usize, usize)], length: usize, width: usize, random: &mut Random) -> (usize, usize) {
    if numbers.is_empty() || random.below(4) == 0 {
        // Numbers are mostly at the beginning.
        let within = if random.below(2) == 0 { length.min(256) } else { length };
        (random.below(within), width)
    } else {
        numbers[random.below(numbers.len())]
    }
}

/// A number that readers may trip over, in either byte order.
fn odd_number(bytes: &[u8], at: usize, width: usize, random: &mut Random) -> Vec<u8> {
    let mut raw = [0_u8; 8];
    if let Some(now) = bytes.get(at..at + width) {
        raw[..width].copy_from_slice(now);
    }
    let now = u64::from_le_bytes(raw);
    let bits = 8 * width as u32;
    let whole = match random.below(12) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => u64::MAX >> (65 - bits),
        4 => 1 << (bits - 1),
        5 => 1 << random.below(bits as usize),
        6 => now.wrapping_add(1),
        7 => now.wrapping_sub(1),
        8 => now.wrapping_mul(2),
        9 => bytes.len() as u64,
        10 => random.next() % 300,
        _ => random.next(),
    };
    const FLOATS: [f64; 9] = [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, 1e-40, 0.5];
    let float = FLOATS[random.below(FLOATS.len())];
    let mut number = match (width, random.below(3)) {
        (4, 0) => (float as f32).to_le_bytes().to_vec(),
        (8, 0) => float.to_le_bytes().to_vec(),
        _ => whole.to_le_bytes()[..width.min(8)].to_vec(),
    };
    if random.below(2) == 0 {
        number.reverse();
    }
    number
}

fn swap(bytes: &mut [u8], one: usize, other: usize, width: usize) {
    if one.max(other) + width <= bytes.len() {
        (0..width).for_each(|i| bytes.swap(one + i, other + i));
    }
}

/// Overwrites what is there, and no further than the end.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes.iter_mut().skip(at).zip(with).for_each(|(byte, value)| *byte = *value);
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    drop(bytes.splice(at..at, what.iter().copied()));
}

fn replace(bytes: &mut Vec<u8>, range: Range<usize>, with: &[u8]) {
    drop(bytes.splice(range, with.iter().copied()));
}

/// Numbers, as text, that readers may trip over.
const NUMBERS: [&str; 22] = [
    "0",
    "1",
    "-1",
    "-0",
    "2",
    "255",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999999999",
    "1e9",
    "1e308",
    "1e999",
    "1e-400",
    "NaN",
    "inf",
    "0.5",
    "007",
];

/// Values of another type, and words that readers may trip over.
const WORDS: [&str; 24] = [
    "",
    "\"\"",
    "null",
    "true",
    "[]",
    "{}",
    "[1]",
    "\"x\"",
    "..",
    "../../x",
    "/",
    "/dev/zero",
    "\\u0000",
    "\\ud800",
    "\0",
    "\u{feff}",
    "é",
    "\u{1f9e0}",
    "NaN",
    "=",
    "\"",
    "'",
    "#",
    ":",
];

/// What can be nested.
const OPENING: [&str; 6] = ["[", "{", "{\"a\":", "(", "[[", "a.a."];

fn damage_text(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    // A line, or a part of one: `"key": value`, a cell, an element.
    let separators: &[u8] = if random.below(2) == 0 { b"\n" } else { b"\n,;\t{}[]= " };
    match random.below(10) {
        0 => drop(bytes.drain(piece(bytes, separators, random))),
        1 => {
            let copy = bytes[piece(bytes, separators, random)].repeat(1 + random.below(3));
            insert(bytes, piece_start(bytes, separators, random), &copy);
        }
        2 => {
            let (from, to) = (piece(other, separators, random), piece(bytes, separators, random));
            replace(bytes, to, &other[from]);
        }
        3 => {
            let copy = bytes[piece(bytes, separators, random)].to_vec();
            let to = piece(bytes, separators, random);
            replace(bytes, to, &copy);
        }
        4 => {
            let (at, opening) = (piece_start(bytes, separators, random), random.one(&OPENING));
            insert(bytes, at, opening.repeat([1, 3, 200, 20_000][random.below(4)]).as_bytes());
        }
        5 => {
            let at = piece_start(bytes, separators, random);
            insert(
                bytes,
                at,
                random.one(&["a", "\"", "9", " ", "\n", ",", "-"]).repeat(1 + random.below(5000)).as_bytes(),
            );
        }
        6 => {
            let range = piece(bytes, separators, random);
            replace(bytes, range, random.one(&WORDS).as_bytes());
        }
        _ => {
            let range = number_in(bytes, random);
            replace(bytes, range, random.one(&NUMBERS).as_bytes());
        }
    }
}

/// Where a piece of text begins.
fn piece_start(bytes: &[u8], separators: &[u8], random: &mut Random) -> usize {
    piece(bytes, separators, random).start
}

/// A piece of text with the separator at its end, somewhere.
fn piece(bytes: &[u8], separators: &[u8], random: &mut Random) -> Range<usize> {
    let at = random.below(bytes.len());
    let separates = |byte: &u8| separators.contains(byte);
    let start = bytes[..at].iter().rposition(separates).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(separates).map_or(bytes.len(), |after| at + after + 1);
    start..end
}

/// A number written in digits, the first one from somewhere on; if there is none, nothing.
fn number_in(bytes: &[u8], random: &mut Random) -> Range<usize> {
    let from = random.below(bytes.len());
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|digit| from + digit) else {
        return from..from;
    };
    let belongs = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let before = bytes[..start].iter().rev().take_while(|byte| belongs(byte)).count();
    let length = bytes[start..].iter().take_while(|byte| belongs(byte)).count();
    start - before..start + length
}
