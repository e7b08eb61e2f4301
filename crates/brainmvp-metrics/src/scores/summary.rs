//! Summarises many cases: one line for each region and metric.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Scores, TextTable};
use crate::statistics::{BootstrapConfig, Description};
use crate::{Emptiness, Metric, RegionScores, Result, Score};

/// All regions of a set of cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Summary {
    /// The regions, in the order of the scores.
    pub regions: Vec<RegionSummary>,
}

/// One region over all cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionSummary {
    /// The region.
    pub region: String,
    /// The number of cases with scores of the region.
    pub cases: usize,
    /// Which masks were empty.
    pub empty: EmptyCounts,
    /// The metrics in the order of tables.
    pub metrics: BTreeMap<Metric, MetricSummary>,
}

/// The number of cases with each kind of empty mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyCounts {
    /// None.
    pub neither: usize,
    /// Both: the structure is absent.
    pub both: usize,
    /// Only the prediction: missed.
    pub prediction: usize,
    /// Only the truth: predicted where there is none.
    pub truth: usize,
}

/// One metric over all cases of a region.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Cases that the rule for empty masks left out.
    pub excluded: usize,
    /// The values of the other cases.
    #[serde(flatten)]
    pub values: Description,
}

/// The scored cases that the network was trained on, or chosen by, and the summary of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenBefore {
    /// The cases, each with what it was seen as.
    pub cases: BTreeMap<String, Vec<String>>,
    /// The summary without them; nothing where all were seen, or none.
    pub without: Option<Summary>,
}

impl Scores {
    /// The scores of all cases but some.
    pub fn without<'a>(&self, cases: impl IntoIterator<Item = &'a String>) -> Self {
        let cases: BTreeSet<&String> = cases.into_iter().collect();
        let mut others = self.clone();
        others.rows.retain(|row| !cases.contains(&row.case));
        others.known.retain(|(case, _)| !cases.contains(case));
        others.missing.retain(|case| !cases.contains(case));
        others
    }

    /// Summarises every region and metric. The same scores, settings and generator give the same numbers.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if the settings of the bootstrap allow no interval.
    pub fn summary(&self, config: &BootstrapConfig, rng: &mut impl Rng) -> Result<Summary> {
        let mut regions = Vec::new();
        for region in self.regions() {
            let rows: Vec<_> = self.of_region(region).map(|row| &row.scores).collect();
            let mut metrics = BTreeMap::new();
            for metric in &self.config.metrics {
                let scores: Vec<Score> =
                    rows.iter().filter_map(|row| row.values.get(metric).copied()).collect();
                let values: Vec<f64> = scores.iter().filter_map(|score| score.value()).collect();
                let excluded = scores.len() - values.len();
                let values = Description::of(&values, config, rng)?;
                metrics.insert(*metric, MetricSummary { excluded, values });
            }
            let empty = EmptyCounts::of(&rows);
            regions.push(RegionSummary { region: region.to_owned(), cases: rows.len(), empty, metrics });
        }
        Ok(Summary { regions })
    }
}

impl EmptyCounts {
    fn of(rows: &[&RegionScores]) -> Self {
        let count = |emptiness| rows.iter().filter(|row| row.empty == emptiness).count();
        Self {
            neither: count(Emptiness::Neither),
            both: count(Emptiness::Both),
            prediction: count(Emptiness::Prediction),
            truth: count(Emptiness::Truth),
        }
    }
}

impl Summary {
    /// One line for each region and metric: mean, standard deviation, median, interval, and number of cases.
    pub fn metrics_table(&self) -> TextTable {
        let mut table =
            TextTable::new(2, ["Region", "Metric", "Mean", "Interval", "Std", "Median", "n", "Excluded"]);
        for region in &self.regions {
            for (metric, summary) in &region.metrics {
                let values = &summary.values;
                let shown = |score| metric.shown(score);
                table.push([
                    region.region.clone(),
                    metric.heading(),
                    shown(values.mean),
                    format!("{} to {}", shown(values.interval.low), shown(values.interval.high)),
                    // Of a single case there is none.
                    if values.n > 1 { shown(values.std) } else { "-".to_owned() },
                    shown(values.median),
                    values.n.to_string(),
                    summary.excluded.to_string(),
                ]);
            }
        }
        table
    }

    /// One line for each region: the number of cases with each kind of empty mask.
    pub fn empty_table(&self) -> TextTable {
        let mut table =
            TextTable::new(1, ["Region", "Cases", "Both present", "Both empty", "Missed", "False alarm"]);
        for RegionSummary { region, cases, empty, .. } in &self.regions {
            let counts = [*cases, empty.neither, empty.both, empty.prediction, empty.truth];
            let [cases, neither, both, missed, false_alarm] = counts.map(|count| count.to_string());
            table.push([region.clone(), cases, neither, both, missed, false_alarm]);
        }
        table
    }
}
