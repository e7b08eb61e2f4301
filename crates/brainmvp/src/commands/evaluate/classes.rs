//! Scores a classification: `predictions.csv` against the classes of a cohort.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::Split;
use brainmvp_metrics::Score;
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use brainmvp_metrics::scores::TextTable;
use brainmvp_metrics::statistics::{BootstrapConfig, Interval, bootstrap};
use brainmvp_volume::write_atomically;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;

use super::{Missing, seen, some};
use crate::commands::predict::SeenCases;
use crate::commands::{counted, load_cohort};
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// The probabilities of each class, `case,class,p(CLASS),...`, as `brainmvp predict` writes them.
struct Predictions {
    classes: Vec<String>,
    /// The probabilities by case, in the order of the classes.
    probabilities: BTreeMap<String, Vec<f64>>,
}

/// The inputs and outputs of an evaluation.
pub(super) struct Classes<'a> {
    pub(super) truth: &'a Path,
    pub(super) split: Option<Split>,
    pub(super) missing: Missing,
    pub(super) seed: u64,
    /// What the network has seen, if that is known.
    pub(super) seen: Option<SeenCases>,
    pub(super) out: &'a Path,
    pub(super) csv: Option<&'a Path>,
}

/// The result as written to the file.
#[derive(Serialize)]
struct Report<'a> {
    classes: &'a [String],
    scores: &'a ClassificationScores,
    /// 95 % intervals, by bootstrap over the cases.
    intervals: BTreeMap<&'static str, Interval>,
    cases: &'a [Case],
    missing: &'a [String],
    /// What the network had seen before, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<SeenClasses>,
}

/// The cases that were seen, each with what it was seen as, and the scores of the others.
#[derive(Serialize)]
struct SeenClasses {
    cases: BTreeMap<String, Vec<String>>,
    without: Option<Scored>,
}

/// The scores of some cases.
#[derive(Serialize)]
struct Scored {
    scores: ClassificationScores,
    /// 95 % intervals, by bootstrap over the cases.
    intervals: BTreeMap<&'static str, Interval>,
}

/// A case that was scored.
#[derive(Serialize)]
struct Case {
    id: String,
    truth: String,
    predicted: String,
    probabilities: Vec<f64>,
}

/// A score with an interval.
type Summarised = (&'static str, &'static str, fn(&ClassificationScores) -> Score);

const SUMMARISED: [Summarised; 5] = [
    ("accuracy", "Accuracy", |scores| scores.accuracy),
    ("balanced_accuracy", "Balanced accuracy", |scores| scores.balanced_accuracy),
    ("auc", "AUC", |scores| scores.auc),
    ("f1_macro", "F1, macro", |scores| scores.f1_macro),
    ("f1_binary", "F1, second class", |scores| scores.f1_binary.unwrap_or(Score::EXCLUDED)),
];

/// The file of a classification in a folder of predictions, if there is one.
pub(super) fn file(pred: &Path) -> Option<PathBuf> {
    let inside = pred.join("predictions.csv");
    let is_csv = pred.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    if is_csv && pred.is_file() { Some(pred.to_owned()) } else { inside.is_file().then_some(inside) }
}

impl Classes<'_> {
    /// Scores the cases that have a class, and writes and prints the result.
    pub(super) fn run(&self, file: &Path, ui: &Ui) -> anyhow::Result<()> {
        let predictions = Predictions::read(file)?;
        let (cases, missing) = self.pairs(&predictions)?;
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(String::as_str).collect();
            let found = format!("{} without a prediction: {}", counted(missing.len(), "case"), some(&names));
            if self.missing != Missing::Skip {
                return Err(bad_input(found)).advise(|_| "--missing skip leaves them out".to_owned());
            }
            ui.alert(format!("warning: left out: {found}"));
        }
        #[expect(clippy::expect_used, reason = "`pairs` refuses cases of other classes")]
        let place = |case: &Case| {
            let place = predictions.classes.iter().position(|class| *class == case.truth);
            place.expect("a class of the predictions")
        };
        let labels: Vec<usize> = cases.iter().map(place).collect();
        let all: Vec<usize> = (0..cases.len()).collect();
        let classes = &predictions.classes;
        let Scored { scores, intervals } = self.scored(&cases, &labels, classes.len(), &all)?;
        Self::print(&scores, &intervals, classes, ui)?;
        let seen = self.seen.as_ref().map(|seen| {
            let seen = seen::among(cases.iter().map(|case| case.id.as_str()), seen);
            let others: Vec<usize> =
                all.iter().copied().filter(|case| !seen.contains_key(&cases[*case].id)).collect();
            // Too few cases may be left to have scores.
            let without = (!seen.is_empty() && !others.is_empty())
                .then(|| self.scored(&cases, &labels, classes.len(), &others).ok())
                .flatten();
            SeenClasses { cases: seen, without }
        });
        if let Some(SeenClasses { cases, without }) = &seen {
            seen::tell(cases, without.is_some(), ui)?;
            if let Some(Scored { scores, intervals }) = without {
                Self::print(scores, intervals, classes, ui)?;
            }
        }
        let report = Report { classes, scores: &scores, intervals, cases: &cases, missing: &missing, seen };
        let text = serde_json::to_vec_pretty(&report)?;
        write_atomically(self.out, |file| file.write_all(&text))?;
        if let Some(csv) = self.csv {
            write_csv(csv, &cases, classes)?;
        }
        ui.result(format!("{}: {} scored", self.out.display(), counted(cases.len(), "case")))
    }

    /// The scores of the cases of some numbers. `labels` are the places of their true classes, of `count`.
    fn scored(
        &self,
        cases: &[Case],
        labels: &[usize],
        count: usize,
        numbers: &[usize],
    ) -> anyhow::Result<Scored> {
        let of = |drawn: &[usize]| {
            let drawn = || drawn.iter().map(|place| numbers[*place]);
            let probabilities: Vec<f64> =
                drawn().flat_map(|case| cases[case].probabilities.iter().copied()).collect();
            let labels: Vec<usize> = drawn().map(|case| labels[case]).collect();
            multiclass(&probabilities, &labels, count)
        };
        let scores = of(&(0..numbers.len()).collect::<Vec<_>>())?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut intervals = BTreeMap::new();
        for (name, _, score) in SUMMARISED.iter().filter(|(.., score)| score(&scores).value().is_some()) {
            let statistic = |drawn: &[usize]| {
                of(drawn).ok().and_then(|scores| score(&scores).value()).unwrap_or(f64::NAN)
            };
            let config = BootstrapConfig { resamples: 2000, ..BootstrapConfig::default() };
            intervals.insert(*name, bootstrap(numbers.len(), &config, &mut rng, statistic)?);
        }
        Ok(Scored { scores, intervals })
    }

    /// The cases with a class and a prediction, and those with only a class.
    fn pairs(&self, predictions: &Predictions) -> anyhow::Result<(Vec<Case>, Vec<String>)> {
        let cohort = load_cohort(self.truth)?;
        let (mut pairs, mut missing) = (Vec::new(), Vec::new());
        for case in cohort.cases.iter().filter(|case| self.split.is_none() || case.split == self.split) {
            let Some(class) = &case.class else { continue };
            if !predictions.classes.contains(class) {
                let reason = format!("case '{}' is of the class '{class}', which was not predicted", case.id);
                return Err(bad_input(reason))
                    .advise(|_| format!("the predictions are of {}", predictions.classes.join(", ")));
            }
            match predictions.probabilities.get(case.id.as_str()) {
                None => missing.push(case.id.to_string()),
                Some(probabilities) => pairs.push(Case {
                    id: case.id.to_string(),
                    truth: class.clone(),
                    predicted: predictions.classes[highest(probabilities)].clone(),
                    probabilities: probabilities.clone(),
                }),
            }
        }
        if pairs.is_empty() {
            return Err(bad_input("no case has both a class and a prediction"));
        }
        Ok((pairs, missing))
    }

    fn print(
        scores: &ClassificationScores,
        intervals: &BTreeMap<&'static str, Interval>,
        classes: &[String],
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let shown = |score: Score| score.value().map_or("-".to_owned(), |value| format!("{value:.3}"));
        let mut table = TextTable::new(1, ["Score", "Value", "95 % interval"]);
        for (name, heading, score) in SUMMARISED {
            if let Some(Interval { low, high }) = intervals.get(name) {
                let interval = format!("{} to {}", shown(*low), shown(*high));
                table.push([heading.to_owned(), shown(score(scores)), interval]);
            }
        }
        ui.result(table)?;
        ui.result("Cases by true class (rows) and predicted class (columns):")?;
        let width = classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).max(6) + 2;
        let row = |name: &str, cells: Vec<String>| {
            let cells = cells.iter().map(|cell| format!("{cell:>width$}")).collect::<Vec<_>>().concat();
            format!("{name:width$}{cells}")
        };
        ui.result(row("", classes.to_vec()))?;
        for (class, counts) in classes.iter().zip(&scores.confusion) {
            ui.result(row(class, counts.iter().map(ToString::to_string).collect()))?;
        }
        Ok(())
    }
}

impl Predictions {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let mut reader = csv::Reader::from_path(path).with_context(place)?;
        let head = reader.headers().with_context(place)?.clone();
        let class = |cell: &str| cell.strip_prefix("p(")?.strip_suffix(')').map(str::to_owned);
        let classes: Option<Vec<String>> = head.iter().skip(2).map(class).collect();
        let named = head.iter().take(2).eq(["case", "class"]);
        let classes = classes.filter(|classes| {
            named && classes.len() > 1 && classes.iter().collect::<BTreeSet<_>>().len() == classes.len()
        });
        let Some(classes) = classes else {
            return Err(bad_input(format!("{}: not the predictions of a classification", path.display())))
                .advise(|_| "its columns are case, class, and p(CLASS) for every class".to_owned());
        };
        let mut probabilities = BTreeMap::new();
        for (number, row) in reader.records().enumerate() {
            let row = row.with_context(place)?;
            let values: Option<Vec<f64>> = row
                .iter()
                .skip(2)
                .map(|cell| cell.trim().parse().ok().filter(|value| (0.0..=1.0).contains(value)))
                .collect();
            let line = number + 2;
            let values = values.ok_or_else(|| {
                bad_input(format!(
                    "{}: line {line}: a probability is not a number from 0 to 1",
                    path.display()
                ))
            })?;
            let case = row.get(0).unwrap_or_default().to_owned();
            if let Some(twice) = probabilities.insert(case.clone(), values) {
                drop(twice);
                return Err(bad_input(format!(
                    "{}: line {line}: case '{case}' occurs twice",
                    path.display()
                )));
            }
        }
        Ok(Self { classes, probabilities })
    }
}

/// The index of the highest value, the first of equally high ones.
fn highest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, place| if values[place] > values[best] { place } else { best })
}

fn write_csv(path: &Path, cases: &[Case], classes: &[String]) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = ["case", "truth", "predicted"].into_iter().map(str::to_owned);
    writer.write_record(head.chain(classes.iter().map(|class| format!("p({class})"))))?;
    for case in cases {
        let words = [&case.id, &case.truth, &case.predicted].into_iter().cloned();
        writer.write_record(words.chain(case.probabilities.iter().map(ToString::to_string)))?;
    }
    let text = writer.into_inner()?;
    Ok(write_atomically(path, |file| file.write_all(&text))?)
}
