//! The scores of a set of cases: their table, its summary, files, and the comparison of two sets.

mod comparison;
mod file;
mod summary;
mod text_table;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::comparison::{Comparison, MetricComparison, Side};
pub use self::summary::{EmptyCounts, MetricSummary, RegionSummary, SeenBefore, Summary};
pub use self::text_table::TextTable;
use crate::{Error, RegionScores, Result, SegmentationConfig};

/// The scores of one case and region: a row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseScores {
    /// The case.
    pub case: String,
    /// Its region and scores.
    #[serde(flatten)]
    pub scores: RegionScores,
}

/// The scores of many cases, made by one configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    config: SegmentationConfig,
    rows: Vec<CaseScores>,
    /// Cases without a prediction, scored as if it were empty.
    missing: BTreeSet<String>,
    /// Cases that were not scored, with the reason.
    quarantined: BTreeMap<String, String>,
    /// The cases and regions that already have a row.
    known: BTreeSet<(String, String)>,
}

impl Scores {
    /// No scores yet; `config` determines how they will be made.
    pub fn new(config: SegmentationConfig) -> Self {
        Self {
            config,
            rows: Vec::new(),
            missing: BTreeSet::new(),
            quarantined: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// Adds the regions of a case, as returned by [`SegmentationConfig::evaluate`].
    ///
    /// # Errors
    /// [`Error::Duplicate`] if one of them is already present; then none is added.
    pub fn push(&mut self, case: &str, regions: Vec<RegionScores>) -> Result<()> {
        let key = |scores: &RegionScores| (case.to_owned(), scores.region.clone());
        let keys: BTreeSet<_> = regions.iter().map(key).collect();
        let twice = regions.iter().enumerate().find(|(i, scores)| {
            self.known.contains(&key(scores))
                || regions[..*i].iter().any(|other| other.region == scores.region)
        });
        if let Some((_, scores)) = twice {
            return Err(Error::Duplicate { case: case.to_owned(), region: scores.region.clone() });
        }
        self.known.extend(keys);
        self.rows.extend(regions.into_iter().map(|scores| CaseScores { case: case.to_owned(), scores }));
        Ok(())
    }

    /// Notes that a case had no prediction and was scored as if it were empty.
    pub fn note_missing(&mut self, case: &str) {
        self.missing.insert(case.to_owned());
    }

    /// Notes that a case was not scored, and why.
    pub fn quarantine(&mut self, case: &str, reason: &str) {
        self.quarantined.insert(case.to_owned(), reason.to_owned());
    }

    /// Cases without a prediction, scored as if it were empty.
    pub fn missing(&self) -> &BTreeSet<String> {
        &self.missing
    }

    /// Cases that were not scored, with the reason.
    pub fn quarantined(&self) -> &BTreeMap<String, String> {
        &self.quarantined
    }

    /// The configuration that they were made by.
    pub fn config(&self) -> &SegmentationConfig {
        &self.config
    }

    /// All rows, in the order in which they were added.
    pub fn rows(&self) -> &[CaseScores] {
        &self.rows
    }

    /// The names of the regions, in the order in which they first appear.
    pub fn regions(&self) -> Vec<&str> {
        let mut regions = Vec::new();
        for row in &self.rows {
            if !regions.contains(&row.scores.region.as_str()) {
                regions.push(row.scores.region.as_str());
            }
        }
        regions
    }

    /// The rows of a region.
    pub fn of_region<'a>(&'a self, region: &'a str) -> impl Iterator<Item = &'a CaseScores> {
        self.rows.iter().filter(move |row| row.scores.region == region)
    }
}

#[cfg(test)]
mod tests;
