//! A searchable collection of fingerprints.

use rayon::prelude::*;

use super::Fingerprint;
use super::alignment::{Cells, Subject};

/// Fingerprints of one modality. A search compares with all of them coarsely, and in full only with those that may match.
#[derive(Debug, Default)]
pub struct Library {
    /// Each of them with its coarse cells.
    entries: Vec<(Fingerprint, Cells)>,
}

/// A fingerprint in a library that belongs to the same image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Its index in the order of insertion.
    pub entry: usize,
    /// See [`Fingerprint::similarity`].
    pub similarity: f64,
}

/// Pairs whose correlation on the coarse grid is below this are not compared in full.
const WORTH_A_LOOK: f32 = 0.5;

impl Library {
    /// Adds a fingerprint.
    pub fn add(&mut self, fingerprint: &Fingerprint) {
        self.entries.push((fingerprint.clone(), Cells::of(fingerprint).halved()));
    }

    /// All fingerprints of the same image, in the order of insertion.
    pub fn find(&self, image: &Fingerprint) -> Vec<Match> {
        self.find_among(image, |_| true)
    }

    /// The same, but only those whose index `is_candidate` accepts are compared.
    pub fn find_among(&self, image: &Fingerprint, is_candidate: impl Fn(usize) -> bool + Sync) -> Vec<Match> {
        let subject = Subject::of(image);
        let compare = |(entry, (fingerprint, coarse)): (usize, &(Fingerprint, Cells))| {
            if !is_candidate(entry) {
                return None;
            }
            let similarity = subject.similarity(|| Cells::of(fingerprint), coarse, WORTH_A_LOOK);
            (similarity >= Fingerprint::SAME_IMAGE).then_some(Match { entry, similarity })
        };
        self.entries.par_iter().enumerate().filter_map(compare).collect()
    }
}
