//! Tests whether two sets of scores of the same cases differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{CaseScores, Scores, TextTable};
use crate::metrics::Better;
use crate::statistics::{Wilcoxon, ZeroRule, mean, wilcoxon};
use crate::{Error, Metric, Result, Score, SegmentationConfig};

/// Two sets of scores, case by case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Cases, with their regions, that are only in the first set: not compared.
    pub only_first: Vec<String>,
    /// Cases, with their regions, that are only in the second set: not compared.
    pub only_second: Vec<String>,
    /// One entry for each region and metric that both have.
    pub metrics: Vec<MetricComparison>,
}

/// One region and metric over the cases that are in both sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricComparison {
    /// The region.
    pub region: String,
    /// The metric.
    pub metric: Metric,
    /// The number of cases compared.
    pub n: usize,
    /// Cases not compared: left out by the rule for empty masks, or not finite, in either set.
    pub excluded: usize,
    /// The mean of the first set.
    pub first: Score,
    /// The mean of the second set.
    pub second: Score,
    /// The mean of first minus second.
    pub difference: Score,
    /// Which set is better on average; `None` if they are equal or the metric only describes.
    pub better: Option<Side>,
    /// Whether the difference may be chance. If values near 0 are better, their absolute values are tested. Not
    /// corrected for the number of tests.
    pub test: Wilcoxon,
}

/// One of two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Comparison {
    /// Compares two sets of scores by case, region and metric.
    ///
    /// # Errors
    /// [`Error::Incomparable`] if they were made by different rules, or have no case in common.
    pub fn new(first: &Scores, second: &Scores, zeros: ZeroRule) -> Result<Self> {
        Self::check_rules(first.config(), second.config())?;
        let (ours, theirs) = (by_case(first), by_case(second));
        let missing = |from: &ByCase<'_>, other: &ByCase<'_>| {
            let names = from.keys().filter(|key| !other.contains_key(*key));
            names.map(|(case, region)| format!("{case} {region}")).collect()
        };
        let common: BTreeSet<Metric> = first.config().metrics.iter().copied().collect();
        let metrics: BTreeSet<Metric> =
            second.config().metrics.iter().copied().filter(|metric| common.contains(metric)).collect();
        let mut found = Vec::new();
        for region in first.regions() {
            let pairs: Vec<_> = first
                .of_region(region)
                .filter_map(|row| Some((row, *theirs.get(&(row.case.as_str(), region))?)))
                .collect();
            if !pairs.is_empty() {
                for metric in &metrics {
                    found.push(MetricComparison::of(region, *metric, &pairs, zeros)?);
                }
            }
        }
        if found.is_empty() {
            return Err(Error::Incomparable("no case, region and metric is in both".to_owned()));
        }
        Ok(Self { only_first: missing(&ours, &theirs), only_second: missing(&theirs, &ours), metrics: found })
    }

    /// Refuses scores that were made by different rules, whose values are not comparable.
    ///
    /// # Errors
    /// [`Error::Incomparable`] with the rule.
    pub fn check_rules(first: &SegmentationConfig, second: &SegmentationConfig) -> Result<()> {
        let refuse =
            |what: &str| Err(Error::Incomparable(format!("{what}: evaluate again with one configuration")));
        if first.nsd_tolerance_mm != second.nsd_tolerance_mm {
            return refuse("their nsd_tolerance_mm differs");
        }
        if first.empty != second.empty {
            return refuse("their rules for empty masks differ");
        }
        if first.lesions != second.lesions {
            return refuse("their rules for lesions differ");
        }
        Ok(())
    }

    /// One line for each region and metric.
    pub fn table(&self) -> TextTable {
        let mut table = TextTable::new(
            2,
            ["Region", "Metric", "First", "Second", "Difference", "Better", "n", "Excluded", "p"],
        );
        for row in &self.metrics {
            let shown = |score| row.metric.shown(score);
            let better = match row.better {
                Some(Side::First) => "first",
                Some(Side::Second) => "second",
                None => "-",
            };
            table.push([
                row.region.clone(),
                row.metric.heading(),
                shown(row.first),
                shown(row.second),
                shown(row.difference),
                better.to_owned(),
                row.n.to_string(),
                row.excluded.to_string(),
                p_value(row.test.p_value),
            ]);
        }
        table
    }
}

impl MetricComparison {
    fn of(
        region: &str,
        metric: Metric,
        pairs: &[(&CaseScores, &CaseScores)],
        zeros: ZeroRule,
    ) -> Result<Self> {
        let value = |row: &CaseScores| row.scores.values.get(&metric).copied().and_then(Score::value);
        let finite = |row: &CaseScores| value(row).filter(|value| value.is_finite());
        let values = pairs.iter().filter_map(|(a, b)| Some((finite(a)?, finite(b)?)));
        let (first, second): (Vec<f64>, Vec<f64>) = values.unzip();
        let judged = |value: &f64| metric.better.merit(*value).unwrap_or(*value);
        let merits = |values: &[f64]| values.iter().map(judged).collect::<Vec<f64>>();
        let (ours, theirs) = (merits(&first), merits(&second));
        let ahead = if metric.better == Better::Neither { 0.0 } else { mean(&ours) - mean(&theirs) };
        let better = match ahead {
            _ if ahead > 0.0 => Some(Side::First),
            _ if ahead < 0.0 => Some(Side::Second),
            _ => None,
        };
        Ok(Self {
            region: region.to_owned(),
            metric,
            n: first.len(),
            excluded: pairs.len() - first.len(),
            first: Score::new(mean(&first)),
            second: Score::new(mean(&second)),
            difference: Score::new(mean(&first) - mean(&second)),
            better,
            test: wilcoxon(&ours, &theirs, zeros)?,
        })
    }
}

/// A rounded p-value; one that would be 0 is shown as below the last digit.
fn p_value(score: Score) -> String {
    match score.value() {
        Some(p) if p < 5e-5 => "<0.0001".to_owned(),
        _ => format!("{score:.4}"),
    }
}

/// Rows by case and region.
type ByCase<'a> = BTreeMap<(&'a str, &'a str), &'a CaseScores>;

fn by_case(scores: &Scores) -> ByCase<'_> {
    scores.rows().iter().map(|row| ((row.case.as_str(), row.scores.region.as_str()), row)).collect()
}
