//! `brainmvp evaluate --modality-subsets`: scores a network with every subset of its modalities.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use brainmvp_cohort::{Case, Cohort, LabelScheme, Split};
use brainmvp_metrics::scores::TextTable;
use brainmvp_metrics::statistics::BootstrapConfig;
use brainmvp_metrics::{Metric, RegionScores, Score, Scores, SeenBefore, SegmentationConfig, Summary};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_prep::Pipeline;
use brainmvp_train::finetune::{Laid, Prediction, Predictor, TaskKind, with_values_in};
use brainmvp_train::new_case::{CaseError, NewCase};
use brainmvp_train::placement::Placer;
use brainmvp_train::seen::{SeenIndex, Sighting};
use brainmvp_volume::{LabelMap, Modality, file, write_atomically};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;

use super::seen;
use crate::commands::counted;
use crate::commands::inference::{go_on, reason, tell_laid};
use crate::commands::predict::SeenCases;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
use crate::ui::Ui;

/// The options of the evaluation.
pub(super) struct Subsets<'a> {
    pub(super) predictor: &'a Predictor,
    pub(super) pipeline: &'a Pipeline,
    pub(super) config: &'a SegmentationConfig,
    pub(super) seed: u64,
    /// What the network was trained on, if that is known.
    pub(super) trained_on: Option<SeenIndex<'a>>,
}

/// The results, as written to `--out`.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    config: &'a SegmentationConfig,
    /// The modalities of the network.
    modalities: &'a [Modality],
    subsets: Vec<WrittenSubset<'a>>,
    quarantined: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct WrittenSubset<'a> {
    modalities: Vec<Modality>,
    cases: usize,
    summary: &'a Summary,
    /// What the network had seen before, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a SeenBefore>,
    scores: &'a [brainmvp_metrics::scores::CaseScores],
}

/// The scores with one set of modalities.
struct Subset {
    modalities: Vec<Modality>,
    scores: Scores,
    summary: Summary,
    seen: Option<SeenBefore>,
}

/// What is known of a case.
struct Found {
    subsets: Vec<SubsetScores>,
    seen: Vec<Sighting>,
}

/// The scores with a set of modalities.
type SubsetScores = (Vec<Modality>, Vec<RegionScores>);

impl Subsets<'_> {
    /// Predicts every labelled case with every non-empty set of the network's modalities that it has, scores it in its own
    /// space, writes the files and prints the table. A case is prepared once, with all of its images.
    pub(super) fn run(
        &self,
        truth: &Path,
        split: Option<Split>,
        [out, csv]: [Option<&Path>; 2],
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let cohort = crate::commands::load_cohort(truth)?;
        let kind = self.predictor.model.config.task.kind;
        if kind != TaskKind::Segment {
            return Err(bad_input(format!(
                "--modality-subsets: the run is of `finetune {}`; there is no label map to score",
                kind.name()
            )));
        }
        let chosen = |case: &&Case| case.label.is_some() && (split.is_none() || case.split == split);
        let cases: Vec<&Case> = cohort.cases.iter().filter(chosen).collect();
        if cases.is_empty() {
            let which = if split.is_some() { " of this split" } else { "" };
            return Err(bad_input(format!("{}: no case{which} has a label map", truth.display())));
        }
        let mut scores: BTreeMap<Vec<Modality>, Scores> = BTreeMap::new();
        let mut quarantined = BTreeMap::new();
        let mut seen = SeenCases::new();
        let progress = Progress::new(ui, "evaluate", "cases", cases.len());
        let placer = self.predictor.model.placer(None);
        for (number, case) in cases.iter().enumerate() {
            match self.case(&cohort, case, placer.as_ref(), (&progress, ui)) {
                Ok(found) => {
                    if !found.seen.is_empty() {
                        seen.insert(case.id.to_string(), found.seen);
                    }
                    for (subset, regions) in found.subsets {
                        let of_subset =
                            scores.entry(subset).or_insert_with(|| Scores::new(self.config.clone()));
                        of_subset.push(case.id.as_str(), regions)?;
                    }
                }
                Err(error) => {
                    let reason = without_error_numbers(&reason(error)?);
                    ui.alert(format!("warning: case '{}' is left out: {reason}", case.id));
                    quarantined.insert(case.id.to_string(), reason);
                }
            }
            progress.advance(number + 1);
        }
        progress.finish();
        let seen = self.trained_on.is_some().then_some(seen);
        self.tell(scores, seen.as_ref(), &quarantined, [out, csv], ui)?;
        if quarantined.is_empty() {
            return Ok(());
        }
        Err(bad_input(format!(
            "{} of {} could not be scored",
            quarantined.len(),
            counted(cases.len(), "case")
        )))
        .advise(|_| "fix the files named above".to_owned())
    }

    /// The scores of a case with every set of its modalities.
    fn case(
        &self,
        cohort: &Cohort,
        case: &Case,
        placer: Option<&Placer<'_>>,
        (progress, ui): (&Progress, &Ui),
    ) -> Result<Found, CaseError> {
        let model = &self.predictor.model;
        #[expect(clippy::expect_used, reason = "`run` chooses cases with a label map")]
        let label = case.label.as_deref().expect("a case with a label map");
        let truth =
            file::read_labels(label).map_err(|e| CaseError::Case(case.without_paths(&e.to_string())))?;
        let scheme = cohort.label_scheme(case);
        let regions = with_values_in(&model.config.task.segment.regions, scheme);
        let ignored = scheme.map(LabelScheme::ignored).unwrap_or_default();
        let mut prepared = NewCase::new(case, self.pipeline)?;
        // Once for all sets, with all images.
        if let Some(placer) = placer.filter(|_| model.inputs.fills(&[])) {
            tell_laid(&Laid::on(&mut prepared.source, placer)?, case.id.as_str(), ui);
        }
        let damaged = || CaseError::Case("the record of its registration is damaged".to_owned());
        let native = prepared.placed(truth.grid()).ok_or_else(damaged)?;
        let has = |modality: &Modality| prepared.source.modalities().contains(modality);
        let present: Vec<Modality> = model.inputs.channels.iter().copied().filter(has).collect();
        if present.is_empty() {
            return Err(CaseError::Case("it has none of the modalities that the network uses".to_owned()));
        }
        let subsets = Modality::subsets(&present);
        let mut found = Vec::with_capacity(subsets.len());
        for (number, subset) in subsets.iter().enumerate() {
            let seen = prepared.source.only(subset);
            let prediction = self.predictor.predict(&seen, |done, total| {
                let (set, sets) = (number + 1, subsets.len());
                progress.message(format!("{}: set {set}/{sets}, window {}/{total}", case.id, done + 1));
                go_on()
            })?;
            let Prediction::Segment(probabilities) = prediction else {
                unreachable!("`run` refuses other tasks")
            };
            // Labels are decided where registration moved the voxels of the label map, and compared on its own grid.
            let labels = LabelMap::new(*truth.grid(), probabilities.labels(native)?.into_voxels());
            let scores = self.config.evaluate_as(&labels, &truth, &regions, &ignored);
            found.push((subset.clone(), scores.map_err(|e| CaseError::Case(e.to_string()))?));
        }
        let seen = self.trained_on.as_ref().map(|index| index.find_case(&prepared.source));
        Ok(Found { subsets: found, seen: seen.unwrap_or_default() })
    }

    fn tell(
        &self,
        scores: BTreeMap<Vec<Modality>, Scores>,
        seen: Option<&SeenCases>,
        quarantined: &BTreeMap<String, String>,
        [out, csv]: [Option<&Path>; 2],
        ui: &Ui,
    ) -> anyhow::Result<()> {
        if scores.is_empty() {
            return Err(bad_input("no case could be scored"));
        }
        let channels = &self.predictor.model.inputs.channels;
        let mut subsets = Vec::new();
        for (modalities, scores) in scores {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let summary = scores.summary(&BootstrapConfig::default(), &mut rng)?;
            let seen = seen.map(|seen| seen::without(&scores, seen, self.seed)).transpose()?;
            subsets.push(Subset { modalities, scores, summary, seen });
        }
        // The fewest modalities first.
        subsets.sort_by_key(|subset| subset.modalities.len());
        if let Some(out) = out {
            let written = Written {
                version: 1,
                config: self.config,
                modalities: channels,
                subsets: subsets.iter().map(Subset::written).collect(),
                quarantined,
            };
            let mut text = serde_json::to_string_pretty(&written)?;
            text.push('\n');
            write_atomically(out, |file| file.write_all(text.as_bytes()))?;
        }
        if let Some(csv) = csv {
            let text = csv_of(&subsets, self.config)?;
            write_atomically(csv, |file| file.write_all(&text))?;
        }
        ui.result(table(&subsets, |subset| Some(&subset.summary), self.config))?;
        if let Some(seen) = seen {
            let scored = subsets.iter().flat_map(|subset| subset.scores.rows()).map(|row| row.case.as_str());
            let others = subsets.iter().any(|subset| subset.without_seen().is_some());
            seen::tell(&seen::among(scored, seen), others, ui)?;
            if others {
                ui.result(table(&subsets, Subset::without_seen, self.config))?;
            }
        }
        let shown = out.map_or_else(String::new, |out| format!("{}: ", out.display()));
        let count = counted(subsets.len(), "set");
        ui.result(format!("{shown}{count} of modalities, {} left out", counted(quarantined.len(), "case")))
    }
}

impl Subset {
    fn name(&self) -> String {
        self.modalities.iter().map(|modality| modality.name()).collect::<Vec<_>>().join("+")
    }

    fn cases(&self) -> usize {
        self.scores.rows().iter().map(|row| &row.case).collect::<BTreeSet<_>>().len()
    }

    /// The summary without the cases that the network has seen; `None` if all or none were seen.
    fn without_seen(&self) -> Option<&Summary> {
        self.seen.as_ref()?.without.as_ref()
    }

    fn written(&self) -> WrittenSubset<'_> {
        let (summary, seen, scores) = (&self.summary, self.seen.as_ref(), self.scores.rows());
        WrittenSubset { modalities: self.modalities.clone(), cases: self.cases(), summary, seen, scores }
    }
}

/// Rows are sets of modalities; columns are the cases and, of each region, the means of the first two metrics (Dice and
/// HD95 unless others are chosen).
fn table<'a>(
    subsets: &'a [Subset],
    summary: impl Fn(&'a Subset) -> Option<&'a Summary>,
    config: &SegmentationConfig,
) -> TextTable {
    let shown: Vec<Metric> = config.metrics.iter().copied().take(2).collect();
    let regions: Vec<&str> = subsets.first().map_or(Vec::new(), |subset| subset.scores.regions());
    let mut head = vec!["Modalities".to_owned(), "n".to_owned()];
    for region in &regions {
        head.extend(shown.iter().map(|metric| format!("{region} {}", metric.heading())));
    }
    let mut table = TextTable::new(1, head);
    for subset in subsets {
        let Some(summary) = summary(subset) else { continue };
        let cases = summary.regions.iter().map(|region| region.cases).max().unwrap_or(0);
        let mut row = vec![subset.name(), cases.to_string()];
        for region in &regions {
            row.extend(shown.iter().map(|metric| metric.shown(mean(summary, region, *metric))));
        }
        table.push(row);
    }
    table
}

/// `modalities,region,n`, then the mean of each metric.
fn csv_of(subsets: &[Subset], config: &SegmentationConfig) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = ["modalities", "region", "n"].into_iter();
    writer.write_record(head.chain(config.metrics.iter().map(|metric| metric.name)))?;
    for subset in subsets {
        for region in &subset.summary.regions {
            let mut row = vec![subset.name(), region.region.clone(), region.cases.to_string()];
            let mean = |metric: &Metric| mean(&subset.summary, &region.region, *metric).to_string();
            row.extend(config.metrics.iter().map(mean));
            writer.write_record(row)?;
        }
    }
    Ok(writer.into_inner()?)
}

fn mean(summary: &Summary, region: &str, metric: Metric) -> Score {
    let region = summary.regions.iter().find(|found| found.region == region);
    let found = region.and_then(|region| region.metrics.get(&metric));
    found.map_or(Score::EXCLUDED, |metric| metric.values.mean)
}
