//! From probabilities of overlapping regions to one label for each voxel. This is the only place where that is decided,
//! for validation in training as for predictions and their scores.

use std::collections::BTreeSet;

use crate::{Error, Result};

/// Chooses a label value by the probabilities of regions, each a set of label values, which may overlap or lie in each
/// other.
///
/// A value is in some of the regions and not in the others. Regions are independent, as the network gives them, so a
/// value's likelihood is the product of `p` over the regions that it is in and `1 - p` over the others; background is in
/// none. The most likely value is taken; in a tie, background, and then the lower value. For a single region that is `p >
/// 1/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelDecision {
    regions: usize,
    /// A value for each set of regions that some value is in.
    candidates: Vec<Candidate>,
    indistinguishable: Vec<Vec<u16>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    value: u16,
    regions: Vec<usize>,
}

/// Probabilities closer to 0 or 1 than this are taken as this close, so that their logits are finite.
const CLOSEST: f32 = 1e-7;

impl LabelDecision {
    /// The decision for these regions.
    ///
    /// # Errors
    /// [`Error::Regions`] if there is none, or one has no value or that of the background, 0.
    pub fn new(regions: &[BTreeSet<u16>]) -> Result<Self> {
        if regions.is_empty() {
            return Err(Error::Regions("there are none".to_owned()));
        }
        if regions.iter().any(|region| region.is_empty() || region.contains(&0)) {
            return Err(Error::Regions("each must have label values, and not 0, the background".to_owned()));
        }
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut groups: Vec<Vec<u16>> = Vec::new();
        for value in regions.iter().flatten().copied().collect::<BTreeSet<u16>>() {
            let within = (0..regions.len()).filter(|region| regions[*region].contains(&value)).collect();
            if let Some(place) = candidates.iter().position(|candidate| candidate.regions == within) {
                groups[place].push(value);
            } else {
                candidates.push(Candidate { value, regions: within });
                groups.push(vec![value]);
            }
        }
        groups.retain(|group| group.len() > 1);
        Ok(Self { regions: regions.len(), candidates, indistinguishable: groups })
    }

    /// How many probabilities it takes.
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// Values that are in the same regions, so that the probabilities do not distinguish them: of each group the first
    /// value is written.
    pub fn indistinguishable(&self) -> &[Vec<u16>] {
        &self.indistinguishable
    }

    /// The label of every voxel; `probabilities` has as many values for each region as there are voxels.
    pub fn labels(&self, probabilities: &[&[f32]]) -> Vec<u16> {
        let voxels = probabilities.first().map_or(0, |region| region.len());
        (0..voxels).map(|at| self.decide(|region| probabilities[region][at])).collect()
    }

    /// The label of a voxel where `probability` is that of a region.
    pub fn decide(&self, probability: impl Fn(usize) -> f32) -> u16 {
        // Most voxels: where every region is less likely than not, so is every value.
        if (0..self.regions).all(|region| probability(region) <= 0.5) {
            return 0;
        }
        // Relative to background, whose regions are none: p / (1 - p) for each region that a value is in.
        let logit = |region: usize| {
            let p = probability(region).clamp(CLOSEST, 1.0 - CLOSEST);
            (p / (1.0 - p)).ln()
        };
        let mut best = (0, 0.0);
        for candidate in &self.candidates {
            let score: f32 = candidate.regions.iter().map(|region| logit(*region)).sum();
            if score > best.1 {
                best = (candidate.value, score);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regions(sets: &[&[u16]]) -> Vec<BTreeSet<u16>> {
        sets.iter().map(|values| values.iter().copied().collect()).collect()
    }

    #[test]
    fn nested_regions_of_a_tumour() {
        // ET, TC, WT of BraTS 2017.
        let decision = LabelDecision::new(&regions(&[&[4], &[1, 4], &[1, 2, 4]])).unwrap();
        assert!(decision.indistinguishable().is_empty());
        let rows = [
            ([0.1, 0.2, 0.3], 0),
            ([0.1, 0.2, 0.9], 2),
            ([0.1, 0.9, 0.9], 1),
            ([0.9, 0.9, 0.9], 4),
            // Contradictions: what fits best. A sure core speaks for the tumour, a faint one does not.
            ([0.1, 0.99, 0.4], 1),
            ([0.1, 0.55, 0.2], 0),
            ([0.5, 0.5, 0.5], 0),
            ([0.0, 1.0, 1.0], 1),
        ];
        for (probabilities, expected) in rows {
            assert_eq!(decision.decide(|region| probabilities[region]), expected, "{probabilities:?}");
        }
        let of_region = |region| rows.map(|(probabilities, _): ([f32; 3], u16)| probabilities[region]);
        let [et, tc, wt] = [0, 1, 2].map(of_region);
        assert_eq!(decision.labels(&[&et, &tc, &wt]), rows.map(|(_, expected)| expected));
    }

    #[test]
    fn values_of_equal_regions_are_named() {
        let decision = LabelDecision::new(&regions(&[&[1, 2, 3], &[3]])).unwrap();
        assert_eq!(decision.indistinguishable(), [[1, 2]]);
        assert_eq!(decision.decide(|region| [0.9, 0.1][region]), 1);
        assert_eq!(decision.decide(|region| [0.9, 0.8][region]), 3);
    }

    #[test]
    fn nothing_and_background_are_no_regions() {
        for bad in [&[][..], &[&[][..]], &[&[1], &[0, 1]]] {
            assert!(LabelDecision::new(&regions(bad)).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_likeliest_label_is_chosen(
            sets in prop::collection::vec(prop::collection::btree_set(1_u16..6, 1..4), 1..5),
            probabilities in prop::collection::vec(0.01_f32..0.99, 5),
        ) {
            let decision = LabelDecision::new(&sets).unwrap();
            let found = decision.decide(|region| probabilities[region]);
            let likelihood = |value: u16| -> f64 {
                let of = |(set, p): (&BTreeSet<u16>, &f32)| {
                    f64::from(if set.contains(&value) { *p } else { 1.0 - p }).ln()
                };
                sets.iter().zip(&probabilities).map(of).sum()
            };
            for value in 0..6 {
                prop_assert!(likelihood(found) >= likelihood(value) - 1e-4);
            }
        }
    }
}
