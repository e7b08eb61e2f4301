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

/// All pairs of cases that have the same head under different subjects, in the order of the later case.
pub fn same_heads(heads: &[Head<'_>]) -> Vec<SameHead> {
    let mut pairs: BTreeMap<[usize; 2], BTreeMap<Modality, f64>> = BTreeMap::new();
    for modality in Modality::ALL {
        let mut library = Library::default();
        let mut owners = Vec::new();
        for (case, head) in heads.iter().enumerate() {
            let Some(image) = head.images.get(&modality) else { continue };
            for same in library.find(image) {
                let earlier: usize = owners[same.entry];
                if heads[earlier].subject != head.subject {
                    pairs.entry([case, earlier]).or_default().insert(modality, same.similarity);
                }
            }
            library.add(image);
            owners.push(case);
        }
    }
    pairs.into_iter().map(|([later, earlier], images)| SameHead { cases: [earlier, later], images }).collect()
}

impl SameHead {
    /// The images, with how alike they are: `t1 0.98, flair 0.97`.
    pub fn shown(&self) -> String {
        let image = |(modality, similarity): (&Modality, &f64)| format!("{modality} {similarity:.2}");
        self.images.iter().map(image).collect::<Vec<_>>().join(", ")
    }
}
