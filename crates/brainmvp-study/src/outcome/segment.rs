//! Segmentation: the scores of the regions of each case.

use brainmvp_cohort::LabelScheme;
use brainmvp_metrics::metrics::Better;
use brainmvp_metrics::scores::CaseScores;
use brainmvp_metrics::{Metric, Score};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_train::finetune::{RegionProbabilities, TaskConfig, with_values_in};
use brainmvp_volume::nifti::write_labels;
use brainmvp_volume::{AtPath as _, LabelMap};
use serde::{Deserialize, Serialize};

use super::{Judged, Measure, Statistic, TaskOutcome, mean};

/// The scores of each region of each case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentOutcome {
    /// The rows, by case and region.
    pub rows: Vec<CaseScores>,
}

/// The name of the mean over all regions.
pub const ALL_REGIONS: &str = "mean";

impl TaskOutcome for SegmentOutcome {
    type Said = RegionProbabilities;

    fn new(_: &TaskConfig) -> Self {
        Self { rows: Vec::new() }
    }

    fn take(&mut self, said: RegionProbabilities, of: &Judged<'_>) -> Result<(), String> {
        let labels = said.labels(of.case.grid()).map_err(|error| error.to_string())?;
        keep(&labels, of).map_err(|error| error.to_string())?;
        let truth = of.case.labels([0; 3], of.case.shape()).map_err(|error| error.to_string())?;
        let truth = LabelMap::new(of.case.grid(), truth.unwrap_or_default());
        let pairs = with_values_in(&of.task.segment.regions, of.scheme);
        let ignored = of.scheme.map(LabelScheme::ignored).unwrap_or_default();
        let scores = of.rules.evaluate_as(&labels, &truth, &pairs, &ignored);
        let row = |scores| CaseScores { case: of.case.id().to_owned(), scores };
        self.rows.extend(scores.map_err(|error| error.to_string())?.into_iter().map(row));
        Ok(())
    }

    fn cases(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.iter().map(|row| row.case.as_str()).collect();
        names.dedup();
        names
    }

    fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.rows.sort_by(|a, b| a.case.cmp(&b.case));
        self
    }

    fn measures(&self) -> Vec<Measure> {
        of_regions(&self.rows)
    }

    fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a> {
        let by_case = self.by_case(measure);
        Box::new(move |drawn| mean(drawn.iter().map(|case| by_case[*case])))
    }

    fn by_case(&self, measure: &Measure) -> Vec<f64> {
        let Some(metric) = Metric::named(&measure.name) else { return Vec::new() };
        let of_case = |rows: &[CaseScores]| {
            let wanted = rows
                .iter()
                .filter(|row| measure.region == ALL_REGIONS || row.scores.region == measure.region);
            let value = |row: &CaseScores| row.scores.values.get(&metric).copied().and_then(Score::value);
            mean(wanted.filter_map(value))
        };
        self.rows.chunk_by(|a, b| a.case == b.case).map(of_case).collect()
    }

    fn better_case(&self, measure: &Measure) -> Better {
        measure.better
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let of_row = |row: &CaseScores| {
            let named = |(metric, score): (&Metric, &Score)| {
                let (case, region) = (row.case.clone(), row.scores.region.clone());
                [case, region, metric.name.to_owned(), score.to_string()]
            };
            row.scores.values.iter().map(named).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(of_row).collect()
    }
}

/// Writes a label map, for pictures of it.
fn keep(labels: &LabelMap, of: &Judged<'_>) -> crate::Result<()> {
    let Some(folder) = of.keep else { return Ok(()) };
    std::fs::create_dir_all(folder).at(folder)?;
    let path = folder.join(format!("{}.nii.gz", of.case.id()));
    Ok(write_labels(&path, labels, "prediction, in the space of the prepared case")?)
}

/// Each metric of each region, and of all regions together, first.
fn of_regions(rows: &[CaseScores]) -> Vec<Measure> {
    let mut regions = vec![ALL_REGIONS];
    for row in rows {
        if !regions.contains(&row.scores.region.as_str()) {
            regions.push(&row.scores.region);
        }
    }
    // The mean of one region is that region.
    if regions.len() == 2 {
        regions.remove(0);
    }
    let metrics: Vec<Metric> =
        rows.first().map_or(Vec::new(), |row| row.scores.values.keys().copied().collect());
    let mut measures = Vec::new();
    for (place, metric) in metrics.iter().enumerate() {
        for (number, region) in regions.iter().enumerate() {
            measures.push(Measure {
                region: (*region).to_owned(),
                name: metric.name.to_owned(),
                heading: format!("{region} {}", metric.heading()),
                of_case: format!("{region} {}", metric.title),
                per_shown: metric.unit.shown().1,
                digits: if metric.unit.shown().0.is_empty() { 4 } else { 2 },
                better: metric.better,
                is_main: place == 0 && number == 0,
            });
        }
    }
    measures
}
