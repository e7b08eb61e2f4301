//! One head under two names.

use std::collections::BTreeMap;

use brainmvp_volume::Modality;

use super::{Fingerprint, Library};

/// A case and what its images look like.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its data set and subject: cases with the same ones are known to be of one person, and are not compared.
    pub subject: (&'a str, &'a str),
    /// The fingerprints of its images.
    pub images: &'a BTreeMap<Modality, Fingerprint>,
}

/// Two cases of different subjects that have images of the same head.
#[derive(Debug, Clone, PartialEq)]
pub struct SameHead {
    /// Their places among those that were compared, the earlier one first.
    pub cases: [usize; 2],
    /// The images that are the same, with their [`Fingerprint::similarity`].
    pub images: BTreeMap<Modality, f64>,
}

/// The most pairs of cases that are compared: a comparison takes some milliseconds, so that these take about as long as
/// preparing the cases.
pub const MOST_PAIRS: usize = 1_000_000;

/// All pairs of cases that have the same head under different subjects, in the order of the later case. A pair is compared by
/// the first modality that both have, and if that is the same, by the others. `None` if there are more than [`MOST_PAIRS`].
pub fn same_heads(heads: &[Head<'_>]) -> Option<Vec<SameHead>> {
    if heads.len() * heads.len().saturating_sub(1) / 2 > MOST_PAIRS {
        return None;
    }
    let mut found = Vec::new();
    let mut libraries: BTreeMap<Modality, (Library, Vec<usize>)> = BTreeMap::new();
    for (later, head) in heads.iter().enumerate() {
        for (modality, image) in head.images {
            let Some((library, owners)) = libraries.get(modality) else { continue };
            // Those that have an earlier modality in common were compared by it.
            let is_candidate = |entry: usize| {
                let other = &heads[owners[entry]];
                let first = head.images.keys().find(|modality| other.images.contains_key(modality));
                other.subject != head.subject && first == Some(modality)
            };
            for same in library.find_among(image, is_candidate) {
                let earlier = owners[same.entry];
                let mut images = BTreeMap::from([(*modality, same.similarity)]);
                let others = head.images.iter().filter(|(other, _)| *other != modality);
                images.extend(others.filter_map(|(other, image)| {
                    let similarity = image.similarity(heads[earlier].images.get(other)?);
                    (similarity >= Fingerprint::SAME_IMAGE).then_some((*other, similarity))
                }));
                found.push(SameHead { cases: [earlier, later], images });
            }
        }
        for (modality, image) in head.images {
            let (library, owners) = libraries.entry(*modality).or_default();
            library.add(image);
            owners.push(later);
        }
    }
    Some(found)
}

impl SameHead {
    /// The images, with how alike they are: `t1 0.98, flair 0.97`.
    pub fn shown(&self) -> String {
        let image = |(modality, similarity): (&Modality, &f64)| format!("{modality} {similarity:.2}");
        self.images.iter().map(image).collect::<Vec<_>>().join(", ")
    }
}
