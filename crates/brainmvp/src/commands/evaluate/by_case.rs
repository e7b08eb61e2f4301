//! Scores predictions of one answer for a case: `predictions.csv` against the truth of a cohort.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::{Case, Split};
use brainmvp_metrics::Score;
use brainmvp_metrics::scores::TextTable;
use brainmvp_metrics::statistics::{BootstrapConfig, Interval, bootstrap};
use brainmvp_volume::write_atomically;
use csv::StringRecord;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;
use serde::Serialize;

use super::{Missing, seen, some};
use crate::commands::predict::SeenCases;
use crate::commands::{counted, load_cohort};
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// The predictions of a file, and how they are scored.
pub(in crate::commands) trait Answers: Sized {
    /// What the truth of a case is called.
    const TRUTH: &'static str;
    /// What the columns of such a file are.
    const COLUMNS: &'static str;
    /// The prediction for a case.
    type Answer;
    /// A case that was scored, with truth and prediction, as it is written.
    type Scored: Serialize;
    /// The scores of some cases, as they are written.
    type Scores: Serialize;
    /// What the file of scores says first.
    type Head<'a>: Serialize
    where
        Self: 'a;

    /// What the columns after `case` say; `None` if they are those of another kind of file.
    fn of_columns(columns: &[&str]) -> Option<Self>;

    /// The cells of a row after the first; an error says what is wrong.
    fn answer(&self, cells: &[&str]) -> Result<Self::Answer, &'static str>;

    /// Whether a case has a truth to score against.
    ///
    /// # Errors
    /// If it is one that cannot have been predicted.
    fn has_truth(&self, case: &Case) -> anyhow::Result<bool>;

    /// Pairs a case that has a truth with its prediction.
    fn pair(&self, case: &Case, answer: Self::Answer) -> Self::Scored;

    /// The scores of some cases.
    ///
    /// # Errors
    /// If there are none.
    fn scores(&self, cases: &[&Self::Scored]) -> brainmvp_metrics::Result<Self::Scores>;

    /// The scores with intervals: names and headings.
    fn summary(scores: &Self::Scores) -> Vec<(&'static str, &'static str, Score)>;

    /// What the file of scores says first.
    fn head(&self) -> Self::Head<'_>;

    /// Prints what is not in the table of scores.
    fn tell(&self, _scores: &Self::Scores, _ui: &Ui) -> anyhow::Result<()> {
        Ok(())
    }

    /// The table of cases: its columns after `case`.
    fn columns(&self) -> Vec<String>;

    /// The cells of a case after the first.
    fn cells(&self, case: &Self::Scored) -> Vec<String>;
}

/// The inputs and outputs of an evaluation.
pub(super) struct ByCase<'a> {
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
struct Report<'a, H, S, C> {
    #[serde(flatten)]
    head: H,
    scores: &'a S,
    /// 95 % intervals, by bootstrap over the cases.
    intervals: BTreeMap<&'static str, Interval>,
    cases: Vec<Named<'a, C>>,
    missing: &'a [String],
    /// What the network had seen before, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<SeenBefore<S>>,
}

/// The cases that were seen, each with what it was seen as, and the scores of the others.
#[derive(Serialize)]
struct SeenBefore<S> {
    cases: BTreeMap<String, Vec<String>>,
    without: Option<Scored<S>>,
}

/// The scores of some cases.
#[derive(Serialize)]
pub(in crate::commands) struct Scored<S> {
    pub(in crate::commands) scores: S,
    /// 95 % intervals, by bootstrap over the cases.
    pub(in crate::commands) intervals: BTreeMap<&'static str, Interval>,
}

/// A case that was scored.
#[derive(Serialize)]
struct Named<'a, C> {
    id: &'a str,
    #[serde(flatten)]
    case: &'a C,
}

/// The table in a folder of predictions, or the one that is named, if there is one.
pub(super) fn file(pred: &Path) -> Option<PathBuf> {
    let inside = pred.join("predictions.csv");
    let is_csv = pred.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
    if is_csv && pred.is_file() { Some(pred.to_owned()) } else { inside.is_file().then_some(inside) }
}

/// The head of a table of predictions, and its rows.
pub(super) struct Table<'a> {
    path: &'a Path,
    head: StringRecord,
    reader: csv::Reader<std::fs::File>,
}

impl<'a> Table<'a> {
    pub(super) fn open(path: &'a Path) -> anyhow::Result<Self> {
        let place = || path.display().to_string();
        let mut reader = csv::Reader::from_path(path).with_context(place)?;
        let head = reader.headers().with_context(place)?.clone();
        Ok(Self { path, head, reader })
    }

    /// What its columns say; `None` if they are those of other answers.
    pub(super) fn of<A: Answers>(&self) -> Option<A> {
        let columns: Vec<&str> = self.head.iter().skip(1).collect();
        A::of_columns(&columns).filter(|_| self.head.get(0) == Some("case"))
    }

    /// An error that it is no such table.
    pub(super) fn refused<A: Answers>(&self) -> anyhow::Result<A> {
        Err(bad_input(format!("{}: not a table of predictions", self.path.display())))
            .advise(|_| format!("its columns are case, {}", A::COLUMNS))
    }

    pub(super) fn answers<A: Answers>(mut self, answers: &A) -> anyhow::Result<BTreeMap<String, A::Answer>> {
        let path = self.path.display();
        let mut found = BTreeMap::new();
        for (number, row) in self.reader.records().enumerate() {
            let (row, line) = (row.with_context(|| path.to_string())?, number + 2);
            let cells: Vec<&str> = row.iter().skip(1).map(str::trim).collect();
            let answer = answers.answer(&cells);
            let answer = answer.map_err(|reason| bad_input(format!("{path}: line {line}: {reason}")))?;
            let case = row.get(0).unwrap_or_default().to_owned();
            if found.insert(case.clone(), answer).is_some() {
                return Err(bad_input(format!("{path}: line {line}: case '{case}' occurs twice")));
            }
        }
        Ok(found)
    }
}

/// Cases that were scored, by name.
type Cases<A> = Vec<(String, <A as Answers>::Scored)>;

impl ByCase<'_> {
    /// Scores the cases that have a truth, and writes and prints the result.
    pub(super) fn run<A: Answers>(&self, table: Table<'_>, answers: &A, ui: &Ui) -> anyhow::Result<()> {
        let (cases, missing) = self.pairs(table.answers(answers)?, answers)?;
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(String::as_str).collect();
            let found = format!("{} without a prediction: {}", counted(missing.len(), "case"), some(&names));
            if self.missing != Missing::Skip {
                return Err(bad_input(found)).advise(|_| "--missing skip leaves them out".to_owned());
            }
            ui.alert(format!("warning: left out: {found}"));
        }
        let all: Vec<&A::Scored> = cases.iter().map(|(_, case)| case).collect();
        let Scored { scores, intervals } = scored(answers, &all, self.seed)?;
        Self::print(answers, &scores, &intervals, ui)?;
        let seen = self.seen.as_ref().map(|seen| {
            let seen = seen::among(cases.iter().map(|(id, _)| id.as_str()), seen);
            let others = cases.iter().filter(|(id, _)| !seen.contains_key(id));
            let others: Vec<&A::Scored> = others.map(|(_, case)| case).collect();
            // Too few cases may be left to have scores.
            let without = (!seen.is_empty() && !others.is_empty())
                .then(|| scored(answers, &others, self.seed).ok())
                .flatten();
            SeenBefore { cases: seen, without }
        });
        if let Some(SeenBefore { cases, without }) = &seen {
            seen::tell(cases, without.is_some(), ui)?;
            if let Some(Scored { scores, intervals }) = without {
                Self::print(answers, scores, intervals, ui)?;
            }
        }
        let (head, missing) = (answers.head(), missing.as_slice());
        let named = cases.iter().map(|(id, case)| Named { id, case }).collect();
        let report = Report { head, scores: &scores, intervals, cases: named, missing, seen };
        let text = serde_json::to_vec_pretty(&report)?;
        write_atomically(self.out, |file| file.write_all(&text))?;
        if let Some(csv) = self.csv {
            write_csv(csv, &cases, answers)?;
        }
        ui.result(format!("{}: {} scored", self.out.display(), counted(cases.len(), "case")))
    }

    /// The cases with a truth and a prediction, and those with only a truth.
    fn pairs<A: Answers>(
        &self,
        mut found: BTreeMap<String, A::Answer>,
        answers: &A,
    ) -> anyhow::Result<(Cases<A>, Vec<String>)> {
        let cohort = load_cohort(self.truth)?;
        let (mut pairs, mut missing) = (Vec::new(), Vec::new());
        for case in cohort.cases.iter().filter(|case| self.split.is_none() || case.split == self.split) {
            if !answers.has_truth(case)? {
                continue;
            }
            match found.remove(case.id.as_str()) {
                None => missing.push(case.id.to_string()),
                Some(answer) => pairs.push((case.id.to_string(), answers.pair(case, answer))),
            }
        }
        if pairs.is_empty() {
            return Err(bad_input(format!("no case has both a {} and a prediction", A::TRUTH)));
        }
        Ok((pairs, missing))
    }

    fn print<A: Answers>(
        answers: &A,
        scores: &A::Scores,
        intervals: &BTreeMap<&'static str, Interval>,
        ui: &Ui,
    ) -> anyhow::Result<()> {
        let mut table = TextTable::new(1, ["Score", "Value", "95 % interval"]);
        for (name, heading, score) in A::summary(scores) {
            if let Some(Interval { low, high }) = intervals.get(name) {
                let interval = format!("{} to {}", shown(*low), shown(*high));
                table.push([heading.to_owned(), shown(score), interval]);
            }
        }
        ui.result(table)?;
        answers.tell(scores, ui)
    }
}

/// The scores of some cases, with intervals.
pub(in crate::commands) fn scored<A: Answers>(
    answers: &A,
    cases: &[&A::Scored],
    seed: u64,
) -> anyhow::Result<Scored<A::Scores>> {
    let scores = answers.scores(cases)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut intervals = BTreeMap::new();
    for (place, (name, _, score)) in A::summary(&scores).into_iter().enumerate() {
        if score.value().is_none() {
            continue;
        }
        let statistic = |drawn: &[usize]| {
            let drawn: Vec<&A::Scored> = drawn.iter().map(|case| cases[*case]).collect();
            let scores = answers.scores(&drawn).ok();
            scores.and_then(|scores| A::summary(&scores)[place].2.value()).unwrap_or(f64::NAN)
        };
        intervals.insert(name, bootstrap(cases.len(), &RESAMPLED, &mut rng, statistic)?);
    }
    Ok(Scored { scores, intervals })
}

/// How intervals over cases are made.
pub(in crate::commands) const RESAMPLED: BootstrapConfig =
    BootstrapConfig { resamples: 2000, confidence: 0.95 };

/// A score as text.
pub(in crate::commands) fn shown(score: Score) -> String {
    score.value().map_or("-".to_owned(), |value| format!("{value:.3}"))
}

fn write_csv<A: Answers>(path: &Path, cases: &Cases<A>, answers: &A) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(["case".to_owned()].into_iter().chain(answers.columns()))?;
    for (id, case) in cases {
        writer.write_record([id.clone()].into_iter().chain(answers.cells(case)))?;
    }
    let text = writer.into_inner()?;
    Ok(write_atomically(path, |file| file.write_all(&text))?)
}
