//! `brainmvp evaluate`

mod by_case;
mod classes;
mod files;
#[cfg(test)]
mod fuzz;
mod numbers;
mod score;
mod seen;
mod subsets;
mod truth;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use brainmvp_cohort::{LabelScheme, Split};
use brainmvp_metrics::lesions::LESION_RULES;
use brainmvp_metrics::statistics::{BootstrapConfig, ZeroRule};
use brainmvp_metrics::{Comparison, EmptyRule, LesionRule, Metric, Region, Scores, SegmentationConfig};
use brainmvp_train::seen::Seen;
use clap::Args;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) use self::by_case::{Answers, RESAMPLED, Scored, scored, shown};
use self::by_case::{ByCase, Table};
pub(super) use self::classes::Classes;
use self::files::LabelMaps;
pub(super) use self::numbers::{Numbers, Scored as ScoredNumber};
use self::score::{Pair, side_by_side};
use self::subsets::Subsets;
use self::truth::Truths;
use super::counted;
use super::inference::{Options, pipeline};
use super::predict::{SeenCases, Told};
use super::preprocess::half_of_free_memory;
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
use crate::ui::Ui;

/// Score predictions against the truth: label maps by region (Dice, HD95, lesions and more), classes (AUC,
/// F1 and more) and numbers (mean absolute error, R2 and more) by case
///
/// The prediction of a case is DIR/CASE.nii.gz or DIR/CASE_seg.nii.gz, or is in the folder DIR/CASE: under such a name,
/// as seg.nii.gz, or as the only file. Instead of seg, the names may have pred, prediction, label, labels or
/// segmentation, and instead of .nii.gz the ending .nii. A folder of truths is read by the same rule. Prediction and
/// truth must be on one grid: nothing is resampled. Scores have 95 % intervals. A case that cannot be scored is named and
/// left out; the others are scored. If predictions.json names cases that the network has seen in training, there are
/// scores with and without them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp evaluate --pred predictions --truth cohort.json --split test --out metrics.json --csv results.csv
  brainmvp evaluate --pred predictions --truth labels --label-scheme brats_2023 --out metrics.json
  brainmvp evaluate --pred predictions --truth labels --regions 'WT=1,2,4;TC=1,4;ET=4' --out metrics.json
  brainmvp evaluate --pred predictions --truth labels --label-scheme brats_2023 --lesions met --out metrics.json
  brainmvp evaluate --pred ours --truth cohort.json --out ours.json --compare theirs.json
  brainmvp evaluate --pred numbers --truth cohort.json --split test --out regression.json
  brainmvp evaluate --model segmenter --modality-subsets --truth cohort.json --split test --out subsets.json

Exit codes: 0 every case was scored, 2 some cases could not be scored (the others were), or bad input.")]
pub(crate) struct Evaluate {
    /// Folder with predicted label maps, or with the predictions.csv of a classification or regression
    #[arg(long, value_name = "DIR", required_unless_present = "modality_subsets")]
    pred: Option<PathBuf>,
    /// Cohort file whose cases have label maps, classes or numbers, or a folder of label maps
    #[arg(long, value_name = "COHORT|DIR")]
    truth: PathBuf,
    /// File to write: the scores of every case, and their summary, as JSON
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write the scores of every case as CSV
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Only the cases of one split of the cohort: training, validation or test
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// Label scheme, which gives the meaning of label values and the regions to score (`brainmvp list labels`), or
    /// values such as 1=core,2=oedema [default: the cohort's, otherwise every value in the truths]
    #[arg(long, value_name = "SCHEME")]
    label_scheme: Option<LabelScheme>,
    /// Regions to score, each a union of label values, e.g. 'WT=1,2,4;TC=1,4;ET=4' [default: those of the network if
    /// `predict` wrote the predictions, otherwise those of the scheme]
    #[arg(long, value_name = "NAME=VALUES;...", value_delimiter = ';', value_parser = region)]
    regions: Vec<Region>,
    /// Metrics to compute (`brainmvp list metrics`) [default: all]
    #[arg(long, value_name = "METRIC,...", value_delimiter = ',', value_parser = metric)]
    metrics: Vec<Metric>,
    /// Tolerance for nsd: how far apart surfaces may be to agree
    #[arg(long, value_name = "MM", default_value_t = SegmentationConfig::default().nsd_tolerance_mm)]
    nsd_tolerance: f64,
    /// Score where masks are empty: both=best|excluded|undefined, one=worst|excluded|undefined, and
    /// penalty_mm=MM, the worst distance [default: both=best,one=worst, the diagonal of the image]
    #[arg(long, value_name = "RULE=...,...", value_parser = empty_rule)]
    empty: Option<EmptyRule>,
    /// How the lesion-wise metrics tell lesions apart: a rule (`brainmvp list lesions`), and what is different from it:
    /// dilations=N (voxels), ignored_mm3=VOLUME and penalty_mm=MM, e.g. met,ignored_mm3=5 [default: gli]
    #[arg(long, value_name = "RULE,...", value_parser = lesion_rule)]
    lesions: Option<LesionRule>,
    /// Cases without a prediction: score them as if it were empty, in the regions that the truth has, so that a missing
    /// file never improves a mean; leave them out; or stop
    #[arg(long, default_value = "empty", value_parser = argument::choice(
        &[("empty", Missing::Empty), ("skip", Missing::Skip), ("error", Missing::Error)]))]
    missing: Missing,
    /// Scores of other predictions, written by this command, to compare with case by case (paired Wilcoxon test)
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Instead of given predictions, score those of --model with every subset of its modalities, in one table
    #[arg(long, requires = "model", conflicts_with_all = ["pred", "label_scheme", "regions", "missing", "compare", "memory"])]
    modality_subsets: bool,
    /// Folder of the fine-tuning run that predicts, for --modality-subsets
    #[arg(long, value_name = "RUN", requires = "modality_subsets")]
    model: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    /// Seed of the bootstrap for the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Memory for all cases processed at the same time, e.g. 4G [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = argument::bytes)]
    memory: Option<u64>,
}

/// What happens to a case without a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Empty,
    Skip,
    Error,
}

/// How many names a line shows; the others are counted.
const NAMES_SHOWN: usize = 5;

impl Evaluate {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let config = self.config()?;
        if let Some(model) = &self.model {
            let predictor = self.options.open(model, None, ui)?;
            for file in std::iter::once(&self.out).chain(&self.csv) {
                argument::prepare_output_file(file)?;
            }
            let pipeline = pipeline(&predictor.model.preparation, ui)?;
            let trained_on = Seen::of_model(model)?;
            let trained_on = trained_on.as_ref().map(Seen::index);
            let subsets = Subsets {
                predictor: &predictor,
                pipeline: &pipeline,
                config: &config,
                seed: self.seed,
                trained_on,
            };
            return subsets.run(&self.truth, self.split, [Some(&self.out), self.csv.as_deref()], ui);
        }
        let Some(pred) = &self.pred else {
            return Err(bad_input("--pred: give the folder with the predictions"));
        };
        let seen = seen::of_predictions(pred, ui)?;
        if let Some(file) = by_case::file(pred) {
            return self.score_by_case(&file, seen, ui);
        }
        let others = self.compare.as_ref().map(|path| Scores::load_json(path)).transpose()?;
        if let Some(others) = &others {
            Comparison::check_rules(&config, others.config())?;
        }
        let truths = Truths::load(&self.truth, self.split)?;
        let predictions = LabelMaps::of(pred)?;
        for file in std::iter::once(&self.out).chain(&self.csv) {
            argument::prepare_output_file(file)?;
        }
        let mut scores = Scores::new(config);
        self.score(&truths, &predictions, &mut scores, ui)?;
        note_others(&truths, &predictions, ui);
        self.tell(&scores, seen.as_ref(), ui)?;
        if let Some(others) = &others {
            self.tell_comparison(&scores, others, ui)?;
        }
        self.judge(&scores)
    }

    /// Scores a classification or a regression.
    fn score_by_case(&self, file: &Path, seen: Option<SeenCases>, ui: &Ui) -> anyhow::Result<()> {
        if self.compare.is_some() {
            return Err(bad_input(
                "--compare compares segmentations; classes and numbers have no scores by case",
            ));
        }
        for file in std::iter::once(&self.out).chain(&self.csv) {
            argument::prepare_output_file(file)?;
        }
        let by_case = ByCase {
            truth: &self.truth,
            split: self.split,
            missing: self.missing,
            seed: self.seed,
            seen,
            out: &self.out,
            csv: self.csv.as_deref(),
        };
        let table = Table::open(file)?;
        if let Some(numbers) = table.of::<Numbers>() {
            return by_case.run(table, &numbers, ui);
        }
        let classes: Classes = table.of().map_or_else(|| table.refused(), Ok)?;
        by_case.run(table, &classes, ui)
    }

    fn config(&self) -> anyhow::Result<SegmentationConfig> {
        let default = SegmentationConfig::default();
        let config = SegmentationConfig {
            metrics: if self.metrics.is_empty() { default.metrics } else { self.metrics.clone() },
            nsd_tolerance_mm: self.nsd_tolerance,
            empty: self.empty.unwrap_or_default(),
            lesions: self.lesions.unwrap_or_default(),
        };
        config.validate()?;
        let names: BTreeSet<&str> = self.regions.iter().map(Region::name).collect();
        if names.len() < self.regions.len() {
            return Err(bad_input("--regions gives one name twice"));
        }
        Ok(config)
    }

    /// Scores every case that can be scored, and names the others.
    fn score(
        &self,
        truths: &Truths,
        predictions: &LabelMaps,
        scores: &mut Scores,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let memory_bytes = self.memory.unwrap_or_else(half_of_free_memory);
        let predicted = Told::of(predictions.folder())?.map(Told::into_regions).unwrap_or_default();
        let targets = truths.targets(self.label_scheme.as_ref(), &self.regions, &predicted, memory_bytes)?;
        let mut pairs = Vec::new();
        let mut unclear = truths.unclear.clone();
        for truth in &truths.cases {
            let target = &targets[&truth.data_set];
            match predictions.find(&truth.case) {
                Ok(file) => pairs.push(Pair { truth, target, prediction: file.map(PathBuf::from) }),
                Err(reason) => unclear.push((truth.case.clone(), reason)),
            }
        }
        self.treat_missing(predictions, &mut pairs, scores, ui)?;
        let (done, left_out) = (AtomicUsize::new(0), AtomicUsize::new(unclear.len()));
        let progress = Progress::new(ui, "evaluate", "cases", pairs.len());
        let results = side_by_side(&pairs, memory_bytes, Pair::bytes, |pair| {
            let result = pair.score(scores.config());
            if result.is_err() {
                progress.message(format!("{} left out", left_out.fetch_add(1, Ordering::Relaxed) + 1));
            }
            progress.advance(done.fetch_add(1, Ordering::Relaxed) + 1);
            result
        });
        progress.finish();
        for (pair, result) in pairs.iter().zip(results) {
            match result {
                Ok(regions) => scores.push(&pair.truth.case, regions)?,
                Err(reason) => unclear.push((pair.truth.case.clone(), reason)),
            }
        }
        for (case, reason) in unclear {
            let reason = without_error_numbers(&reason);
            ui.alert(format!("warning: case '{case}' is left out: {reason}"));
            scores.quarantine(&case, &reason);
        }
        Ok(())
    }

    /// Treats cases without a prediction as the user wants.
    fn treat_missing(
        &self,
        predictions: &LabelMaps,
        pairs: &mut Vec<Pair<'_>>,
        scores: &mut Scores,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let without = pairs.iter().filter(|pair| pair.prediction.is_none());
        let missing: Vec<&str> = without.map(|pair| pair.truth.case.as_str()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let found = format!("no prediction for {} of {}", missing.len(), counted(pairs.len(), "case"));
        let all = missing.len() == pairs.len();
        if all || self.missing == Missing::Error {
            let error = bad_input(format!("{}: {found}: {}", predictions.folder().display(), some(&missing)));
            return Err(error).advise(|_| "predictions are named after their case: CASE.nii.gz".to_owned());
        }
        let what = if self.missing == Missing::Skip { "left out" } else { "scored as empty" };
        ui.alert(format!("warning: {found}, {what}: {}", some(&missing)));
        for case in missing {
            match self.missing {
                Missing::Skip => scores.quarantine(case, NO_PREDICTION),
                _ => scores.note_missing(case),
            }
        }
        pairs.retain(|pair| pair.prediction.is_some() || self.missing == Missing::Empty);
        Ok(())
    }

    /// Writes the files and prints the tables.
    fn tell(&self, scores: &Scores, seen: Option<&SeenCases>, ui: &Ui) -> anyhow::Result<()> {
        if scores.rows().is_empty() {
            return Err(bad_input("no case could be scored"));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let summary = scores.summary(&BootstrapConfig::default(), &mut rng)?;
        let seen = seen.map(|seen| seen::without(scores, seen, self.seed)).transpose()?;
        scores.save_json(&self.out, &summary, seen.as_ref())?;
        if let Some(csv) = &self.csv {
            scores.save_csv(csv, seen.as_ref())?;
        }
        ui.result(summary.metrics_table())?;
        ui.result(summary.empty_table())?;
        if let Some(seen) = &seen {
            seen::tell(&seen.cases, seen.without.is_some(), ui)?;
            seen.without.iter().try_for_each(|without| ui.result(without.metrics_table()))?;
        }
        ui.result(format!(
            "{}: {} scored, {} left out",
            self.out.display(),
            counted(cases(scores), "case"),
            scores.quarantined().len()
        ))
    }

    fn tell_comparison(&self, scores: &Scores, others: &Scores, ui: &Ui) -> anyhow::Result<()> {
        let Some(other) = &self.compare else { return Ok(()) };
        let comparison = Comparison::new(scores, others, ZeroRule::default())?;
        ui.result(format!("\nfirst: {}, second: {}\n", self.out.display(), other.display()))?;
        ui.result(comparison.table())?;
        for (only, file) in [(&comparison.only_first, &self.out), (&comparison.only_second, other)] {
            if !only.is_empty() {
                let names: Vec<&str> = only.iter().map(String::as_str).collect();
                ui.note(format!("note: only in {}, not compared: {}", file.display(), some(&names)));
            }
        }
        Ok(())
    }

    /// Whether every case that should be scored was scored.
    fn judge(&self, scores: &Scores) -> anyhow::Result<()> {
        let failed = scores.quarantined().values().filter(|reason| *reason != NO_PREDICTION).count();
        if failed == 0 {
            return Ok(());
        }
        let all = cases(scores) + scores.quarantined().len();
        let error = bad_input(format!("{failed} of {} could not be scored", counted(all, "case")));
        Err(error).advise(|_| {
            let out = self.out.display();
            format!("fix the files named above; {out} has the other cases, and names these")
        })
    }
}

/// The reason for a case that the user wants to be left out.
const NO_PREDICTION: &str = "no prediction";

/// Prints what is not scored.
fn note_others(truths: &Truths, predictions: &LabelMaps, ui: &Ui) {
    if truths.unlabelled > 0 {
        ui.note(format!("note: {} without a label map, not scored", counted(truths.unlabelled, "case")));
    }
    let known: BTreeSet<&str> = truths.cases.iter().map(|truth| truth.case.as_str()).collect();
    let others = predictions.cases().iter().map(String::as_str).filter(|case| !known.contains(case));
    let others: Vec<&str> = others.collect();
    if !others.is_empty() {
        let found = counted(others.len(), "prediction");
        ui.note(format!("note: {found} without a truth, not scored: {}", some(&others)));
    }
}

/// The cases with scores.
fn cases(scores: &Scores) -> usize {
    scores.rows().iter().map(|row| &row.case).collect::<BTreeSet<_>>().len()
}

/// `a, b, c and 4 more`
pub(super) fn some(names: &[&str]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    text.trim().to_owned().try_into()
}

/// `NAME=VALUE,...` of `--regions`.
fn region(text: &str) -> Result<Region, String> {
    let refuse = || format!("'{}': write NAME=VALUES, e.g. TC=1,4", text.trim());
    let (name, values) = text.split_once('=').ok_or_else(refuse)?;
    let values: Result<Vec<u16>, _> = values.split(',').map(|value| value.trim().parse()).collect();
    let values = values.map_err(|_| refuse())?;
    if name.trim().is_empty() {
        return Err(refuse());
    }
    Region::new(name.trim(), values).map_err(|error| error.to_string())
}

/// `both=...,one=...,penalty_mm=...` of `--empty`.
fn empty_rule(text: &str) -> Result<EmptyRule, String> {
    changed(EmptyRule::default(), text.split(','), "both=excluded,one=worst")
}

/// `NAME,dilations=...,ignored_mm3=...,penalty_mm=...` of `--lesions`.
fn lesion_rule(text: &str) -> Result<LesionRule, String> {
    let (first, others) = text.split_once(',').unwrap_or((text, ""));
    if first.contains('=') {
        return changed(LesionRule::default(), text.split(','), "dilations=1,ignored_mm3=5");
    }
    let names = || LESION_RULES.iter().map(|named| named.name).collect::<Vec<_>>().join(" ");
    let rule = LesionRule::named(first.trim());
    let rule = rule.ok_or_else(|| format!("unknown rule '{}' (known: {})", first.trim(), names()))?;
    changed(rule, others.split(',').filter(|other| !other.is_empty()), "ignored_mm3=5")
}

/// A rule with some of its fields changed, each `FIELD=VALUE` with the names used in files.
fn changed<'a, T: Serialize + DeserializeOwned>(
    rule: T,
    changes: impl Iterator<Item = &'a str>,
    example: &str,
) -> Result<T, String> {
    let mut rule = serde_json::to_value(rule).map_err(|error| error.to_string())?;
    for change in changes {
        let (field, value) = change.split_once('=').ok_or_else(|| format!("write e.g. {example}"))?;
        let value = value.trim();
        rule[field.trim()] = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    }
    serde_json::from_value(rule).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use brainmvp_metrics::{BothEmpty, OneEmpty};

    use super::*;

    #[test]
    fn rules_and_regions_are_typed() {
        let rule = empty_rule("both=excluded, penalty_mm=100").unwrap();
        let expected = (BothEmpty::Excluded, OneEmpty::Worst, Some(100.0));
        assert_eq!((rule.both, rule.one, rule.penalty_mm), expected);
        assert!(empty_rule("both=worst").unwrap_err().contains("excluded"));
        assert!(empty_rule("all=best").unwrap_err().contains("penalty_mm"));
        assert!(empty_rule("best").is_err() && empty_rule("penalty_mm=far").is_err());
        let met = LesionRule::named("met").unwrap();
        assert_eq!(lesion_rule(" met ").unwrap(), met);
        assert_eq!(lesion_rule("met, ignored_mm3=5").unwrap(), LesionRule { ignored_mm3: 5.0, ..met });
        let own = lesion_rule("dilations=2,penalty_mm=99.5").unwrap();
        assert_eq!(own, LesionRule { dilations: 2, penalty_mm: 99.5, ..LesionRule::default() });
        assert!(lesion_rule("glioma").unwrap_err().contains("known: gli ssa men ped met"));
        assert!(lesion_rule("gli,met").unwrap_err().contains("ignored_mm3=5"));
        assert!(lesion_rule("dilations=1.5").unwrap_err().contains("1.5"));
        assert!(lesion_rule("dilation=1").unwrap_err().contains("dilations"));
        assert_eq!(region("WT = 1, 2").unwrap(), Region::new("WT", [1, 2]).unwrap());
        for bad in ["WT", "WT=", "=1", "WT=x", "WT=0"] {
            assert!(region(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(some(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }
}
