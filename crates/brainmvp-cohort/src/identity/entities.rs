//! Names of BIDS: a suffix, and entities before it, of which some say more about the image.

use super::acquisition::Acquisition;
use super::decision::Finding;
use super::evidence::{Evidence, Says, Source};
use super::text::{Heard, hear_all};
use super::vocabulary::Aliases;

/// Entities that describe the image. The others name a subject, a run, a space, a direction...
const DESCRIBING: [&str; 5] = ["ce", "desc", "label", "part", "inv"];

/// Entities of free text: only what it says about the agent, or against an image, counts beside the suffix.
const FREE: [&str; 2] = ["acq", "rec"];

/// Suffixes that have another meaning in BIDS than elsewhere.
const SUFFIXES: [(&str, super::NoImage); 2] =
    [("mp2rage", super::NoImage::Inversion), ("ffe", super::NoImage::Susceptibility)];

/// How much more a suffix counts than a word of a free name.
const BY_STANDARD: u8 = 2;

/// What a file of a BIDS data set is: `[("ce", "gadolinium")]` and `T1w`.
pub fn of_entities(
    entities: &[(String, String)],
    suffix: &str,
    acquisition: Option<&Acquisition>,
    aliases: &Aliases,
) -> Finding {
    let lower = suffix.to_lowercase();
    if let Some((_, no)) = SUFFIXES.iter().find(|(known, _)| *known == lower) {
        return Finding::of(vec![Evidence::new(Source::Name, suffix, Says::Not(*no), 5)]);
    }
    let written = |keys: &'static [&'static str]| {
        entities
            .iter()
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .map(|(key, value)| format!("{key}-{value}"))
    };
    let described: Vec<String> = written(&DESCRIBING).chain([suffix.to_owned()]).collect();
    let mut heard = hear_all(&described.join("_"), Source::Name, aliases);
    // The standard defines the suffix; it is no free text. Times alone do not contradict it.
    let suffix = heard.evidence.iter_mut().filter(|e| matches!(e.says, Says::Weighting(_)) && e.weight >= 4);
    suffix.for_each(|e| e.weight += BY_STANDARD);
    for text in written(&FREE) {
        let more: Heard = hear_all(&text, Source::Name, aliases);
        let counts = |e: &Evidence| matches!(e.says, Says::Agent(_) | Says::Not(_)) && e.weight >= 3;
        heard.evidence.extend(more.evidence.into_iter().filter(counts));
    }
    super::finding(heard, acquisition, aliases)
}
