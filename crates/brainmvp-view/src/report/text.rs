//! Numbers for people, and files that may not be there.

use std::path::Path;

use brainmvp_volume::Modality;
use serde::de::DeserializeOwned;

/// Four digits.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size < 1e-3 {
        format!("{value:.2e}")
    } else if size < 10.0 {
        format!("{value:.4}")
    } else {
        format!("{value:.1}")
    }
}

/// `21 s`, `3 min 5 s`, `2 h 10 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// `1.2 GB`, `340 MB`.
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e9 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} MB", bytes / 1e6) }
}

/// Names of modalities, each once, in the order of the templates; other names come last.
pub(super) fn in_their_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_by_key(|name| {
        (name.parse::<Modality>().map_or(Modality::ALL.len(), |one| one as usize), *name)
    });
    names.dedup();
    names
}

/// What a JSON file says; `None` if it is not there, or says something else.
pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modalities_are_in_the_order_of_the_templates() {
        assert_eq!(
            in_their_order(["t2", "x", "flair", "t2", "adc"].into_iter()),
            ["flair", "t2", "adc", "x"]
        );
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.00012, 0.61234, 42.06].map(number), ["0.0000", "1.20e-4", "0.6123", "42.1"]);
        assert_eq!([12.4, 185.0, 7860.0].map(duration), ["12 s", "3 min 5 s", "2 h 11 min"]);
        assert_eq!([340_000_000, 1_240_000_000].map(size), ["340 MB", "1.2 GB"]);
    }
}
