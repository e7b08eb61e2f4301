//! The result of a probe: files, and a table.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_metrics::scores::TextTable;
use brainmvp_metrics::statistics::{Interval, bootstrap};
use brainmvp_prep::cache::CaseFacts;
use brainmvp_probe::{FOLDS, Matrix, squared_errors};
use brainmvp_volume::write_atomically;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;

use super::cases::{Case, Parts, Target};
use crate::commands::counted;
use crate::commands::evaluate::{Answers, RESAMPLED, Scored, scored, shown};
use crate::ui::Ui;

/// What was predicted for the scored cases, and how.
pub(super) struct Predicted {
    /// In files.
    pub(super) name: &'static str,
    pub(super) heading: &'static str,
    /// The name of the setting, and what was chosen.
    pub(super) setting: Option<(&'static str, f64)>,
    /// A row for each case.
    pub(super) values: Matrix,
}

impl Predicted {
    /// The squared error of each case.
    pub(super) fn errors(&self, target: &Target, cases: &[Case<'_>]) -> Vec<f64> {
        squared_errors(&self.values, &target.truth(cases))
    }
}

/// All that is reported.
pub(super) struct Report<'a> {
    pub(super) model: &'a str,
    /// What the scored cases are: test or validation cases.
    pub(super) scored: &'static str,
    pub(super) parts: &'a Parts<'a>,
    pub(super) cases: &'a [Case<'a>],
    /// First what needs no features.
    pub(super) predictions: &'a [Predicted],
    /// The squared errors of each prediction.
    pub(super) errors: Vec<Vec<f64>>,
    /// Cases without features, and why.
    pub(super) failed: BTreeMap<String, String>,
    pub(super) seed: u64,
    pub(super) out: &'a Path,
}

/// `probe.json`.
#[derive(Serialize)]
struct Written<'a, H, S> {
    #[serde(flatten)]
    head: H,
    model: &'a str,
    cases: Counts,
    /// The part that was scored.
    scored: &'static str,
    /// What the settings were chosen by.
    settings_by: String,
    /// The number of features of each block.
    features: BTreeMap<&'a str, usize>,
    probes: BTreeMap<&'static str, WrittenProbe<S>>,
    failed: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Counts {
    training: usize,
    validation: usize,
    test: usize,
}

/// One way to predict.
#[derive(Serialize)]
struct WrittenProbe<S> {
    #[serde(flatten)]
    setting: BTreeMap<&'static str, f64>,
    #[serde(flatten)]
    scored: Scored<S>,
    /// Mean over the cases, summed over the classes.
    squared_error: f64,
    /// By how much this is less than that of the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    gain: Option<Gain>,
}

/// How much better than the baseline.
#[derive(Serialize)]
struct Gain {
    squared_error: f64,
    /// 95 %, by bootstrap over the cases.
    interval: Interval,
    /// Whether the interval is above 0.
    is_better: bool,
}

impl Gain {
    fn verdict(&self) -> &'static str {
        let is_worse = self.interval.high.value().is_some_and(|high| high < 0.0);
        match (self.is_better, is_worse) {
            (true, _) => "better than",
            (_, true) => "worse than",
            _ => "no better than",
        }
    }
}

impl Report<'_> {
    /// Writes both files, and prints the table and whether the features are of use.
    pub(super) fn tell<A: Answers>(
        &self,
        answers: &A,
        pair: impl Fn(&CaseFacts, &[f64]) -> A::Scored,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let paired: Vec<Vec<A::Scored>> =
            self.predictions.iter().map(|found| self.paired(found, &pair)).collect();
        let mut probes = BTreeMap::new();
        for (place, found) in self.predictions.iter().enumerate() {
            let scored = scored(answers, &paired[place].iter().collect::<Vec<_>>(), self.seed)?;
            let gain = (place > 0).then(|| self.gain(place)).transpose()?;
            let setting = found.setting.into_iter().collect();
            let squared_error = mean(&self.errors[place]);
            probes.insert(found.name, WrittenProbe { setting, scored, squared_error, gain });
        }
        self.print::<A>(&probes, ui)?;
        let Parts { training, validation, test } = self.parts;
        let cases = Counts { training: training.len(), validation: validation.len(), test: test.len() };
        let written = Written {
            head: answers.head(),
            model: self.model,
            cases,
            scored: self.scored,
            settings_by: self.settings_by(),
            features: self.features(),
            probes,
            failed: &self.failed,
        };
        let text = serde_json::to_vec_pretty(&written)?;
        write_atomically(&self.out.join("probe.json"), |file| file.write_all(&text))?;
        self.write_csv(answers, &paired)?;
        ui.result(format!(
            "{}: {} scored",
            self.out.join("probe.json").display(),
            counted(self.cases.len(), "case")
        ))
    }

    fn paired<S>(&self, found: &Predicted, pair: impl Fn(&CaseFacts, &[f64]) -> S) -> Vec<S> {
        let rows = found.values.row_iter().map(|row| row.iter().copied().collect::<Vec<f64>>());
        self.cases.iter().zip(rows).map(|(case, row)| pair(case.facts, &row)).collect()
    }

    /// How much better a prediction is than that without features.
    fn gain(&self, place: usize) -> anyhow::Result<Gain> {
        let gains: Vec<f64> =
            self.errors[0].iter().zip(&self.errors[place]).map(|(base, own)| base - own).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let interval = bootstrap(gains.len(), &RESAMPLED, &mut rng, |drawn| {
            drawn.iter().map(|case| gains[*case]).sum::<f64>() / drawn.len() as f64
        })?;
        let is_better = interval.low.value().is_some_and(|low| low > 0.0);
        Ok(Gain { squared_error: mean(&gains), interval, is_better })
    }

    fn settings_by(&self) -> String {
        if self.parts.held().is_empty() {
            format!("a cross-validation of the training cases in {FOLDS} parts")
        } else {
            "the validation cases".to_owned()
        }
    }

    fn features(&self) -> BTreeMap<&str, usize> {
        let all = self.parts.training.iter().flat_map(|case| &case.features);
        all.map(|(block, features)| (block.as_str(), features.len())).collect()
    }

    fn print<A: Answers>(
        &self,
        probes: &BTreeMap<&'static str, WrittenProbe<A::Scores>>,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let Parts { training, validation, test } = self.parts;
        let (training, validation, test) = (training.len(), validation.len(), test.len());
        let blocks: Vec<String> =
            self.features().iter().map(|(block, width)| format!("{block} {width}")).collect();
        ui.note(format!(
            "note: {training} training, {validation} validation and {test} test cases; features: {}",
            blocks.join(", ")
        ));
        if self.scored != "test" {
            ui.alert("warning: there are no test cases: the scores are those of the validation cases");
        }
        let headings = self.predictions.iter().map(|found| found.heading);
        let mut table = TextTable::new(1, ["Score"].into_iter().chain(headings));
        let columns: Vec<_> = self.predictions.iter().map(|found| &probes[found.name].scored).collect();
        for (row, (name, heading, score)) in A::summary(&columns[0].scores).into_iter().enumerate() {
            if score.value().is_none() {
                continue;
            }
            let cell = |scored: &&Scored<A::Scores>| {
                let score = A::summary(&scored.scores)[row].2;
                let interval = scored.intervals.get(name);
                let is_number = score.value().is_some_and(f64::is_finite);
                interval.filter(|_| is_number).map_or("-".to_owned(), |Interval { low, high }| {
                    format!("{} ({} to {})", shown(score), shown(*low), shown(*high))
                })
            };
            table.push([heading.to_owned()].into_iter().chain(columns.iter().map(cell)));
        }
        ui.result(table)?;
        for found in &self.predictions[1..] {
            self.print_gain(found, &probes[found.name], &probes[self.predictions[0].name], ui)?;
        }
        Ok(())
    }

    /// A line about one way to predict.
    fn print_gain<S>(
        &self,
        found: &Predicted,
        own: &WrittenProbe<S>,
        baseline: &WrittenProbe<S>,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let (Some((setting, value)), Some(gain)) = (found.setting, &own.gain) else { return Ok(()) };
        let (verdict, Interval { low, high }) = (gain.verdict(), gain.interval);
        let value = if value.fract() == 0.0 { value.to_string() } else { format!("{value:.1e}") };
        ui.result(format!(
            "{}: {setting} {value}, chosen by {}; {verdict} no features at all: squared error {:.4} against {:.4}, by {:.4} \
             ({} to {})",
            found.heading,
            self.settings_by(),
            own.squared_error,
            baseline.squared_error,
            gain.squared_error,
            shown(low),
            shown(high)
        ))
    }

    fn write_csv<A: Answers>(&self, answers: &A, paired: &[Vec<A::Scored>]) -> anyhow::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = answers.columns();
        let head = ["case".to_owned(), columns[0].clone()];
        let of_probe = |found: &Predicted| {
            columns[1..].iter().map(|column| format!("{} {column}", found.name)).collect::<Vec<_>>()
        };
        writer.write_record(head.into_iter().chain(self.predictions.iter().flat_map(of_probe)))?;
        for (place, case) in self.cases.iter().enumerate() {
            let cells = |scored: &Vec<A::Scored>| answers.cells(&scored[place]);
            let truth = cells(&paired[0]).swap_remove(0);
            let predicted = paired.iter().flat_map(|scored| cells(scored).split_off(1));
            writer.write_record([case.facts.id.to_string(), truth].into_iter().chain(predicted))?;
        }
        let text = writer.into_inner()?;
        Ok(write_atomically(&self.out.join("probe.csv"), |file| file.write_all(&text))?)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
