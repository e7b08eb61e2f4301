//! A share of a cohort, for runs on several machines.

use std::fmt;
use std::str::FromStr;

/// Share `index` of `count`, from 1: every `count`-th case of the cohort, so that shares are similar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    count: usize,
}

impl Shard {
    /// All cases.
    pub const WHOLE: Self = Self { index: 1, count: 1 };

    /// Share `index` of `count`; `None` unless `1 <= index <= count`.
    pub fn new(index: usize, count: usize) -> Option<Self> {
        (1..=count).contains(&index).then_some(Self { index, count })
    }

    /// Whether there are other shares.
    pub fn is_part(self) -> bool {
        self.count > 1
    }

    /// The items of a list that belong to the share.
    pub fn of<T>(self, all: &[T]) -> impl Iterator<Item = &T> {
        all.iter().skip(self.index - 1).step_by(self.count)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = String;

    /// Reads `2/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let numbers =
            text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        let shard = numbers.and_then(|(index, count)| Self::new(index, count));
        shard.ok_or_else(|| format!("'{text}' is not a share: write I/N with I from 1 to N, e.g. 2/8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_disjoint_and_whole() {
        let all: Vec<usize> = (0..10).collect();
        for count in 1..12 {
            let mut found: Vec<usize> = (1..=count)
                .flat_map(|i| Shard::new(i, count).unwrap().of(&all).copied().collect::<Vec<_>>())
                .collect();
            found.sort_unstable();
            assert_eq!(found, all, "{count}");
        }
        assert_eq!("2/8".parse::<Shard>().unwrap().to_string(), "2/8");
        for bad in ["0/8", "9/8", "8", "a/b", "1/0", "-1/2"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
