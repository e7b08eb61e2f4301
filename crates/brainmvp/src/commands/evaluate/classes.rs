//! Scores a classification.

use std::collections::BTreeSet;

use brainmvp_cohort::Case;
use brainmvp_metrics::Score;
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use serde::Serialize;

use super::by_case::Answers;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// The classes of `case,class,p(CLASS),...`, as `brainmvp predict` writes them.
pub(in crate::commands) struct Classes {
    pub(in crate::commands) classes: Vec<String>,
}

/// A case that was scored.
#[derive(Serialize)]
pub(in crate::commands) struct Scored {
    truth: String,
    predicted: String,
    probabilities: Vec<f64>,
}

/// What the file of scores says first.
#[derive(Serialize)]
pub(in crate::commands) struct Head<'a> {
    classes: &'a [String],
}

impl Classes {
    /// A case with its class, and the probability of each class.
    pub(in crate::commands) fn scored(&self, truth: String, probabilities: Vec<f64>) -> Scored {
        Scored { truth, predicted: self.classes[highest(&probabilities)].clone(), probabilities }
    }
}

impl Answers for Classes {
    const TRUTH: &'static str = "class";
    const COLUMNS: &'static str =
        "class, and p(CLASS) for every class; those of a regression are case and the name of the number";
    /// The probabilities of the classes.
    type Answer = Vec<f64>;
    type Scored = Scored;
    type Scores = ClassificationScores;
    type Head<'a> = Head<'a>;

    fn of_columns(columns: &[&str]) -> Option<Self> {
        let ("class", of_classes) = columns.split_first().map(|(first, rest)| (*first, rest))? else {
            return None;
        };
        let class = |cell: &&str| cell.strip_prefix("p(")?.strip_suffix(')').map(str::to_owned);
        let classes = of_classes.iter().map(class).collect::<Option<Vec<String>>>()?;
        let are_distinct = classes.iter().collect::<BTreeSet<_>>().len() == classes.len();
        (classes.len() > 1 && are_distinct).then_some(Self { classes })
    }

    fn answer(&self, cells: &[&str]) -> Result<Vec<f64>, &'static str> {
        let probability = |cell: &&str| cell.parse().ok().filter(|value| (0.0..=1.0).contains(value));
        let values = cells.iter().skip(1).map(probability).collect::<Option<_>>();
        values.ok_or("a probability is not a number from 0 to 1")
    }

    fn has_truth(&self, case: &Case) -> anyhow::Result<bool> {
        let Some(class) = &case.class else { return Ok(false) };
        if self.classes.contains(class) {
            return Ok(true);
        }
        let reason = format!("case '{}' is of the class '{class}', which was not predicted", case.id);
        Err(bad_input(reason)).advise(|_| format!("the predictions are of {}", self.classes.join(", ")))
    }

    fn pair(&self, case: &Case, probabilities: Vec<f64>) -> Scored {
        self.scored(case.class.clone().unwrap_or_default(), probabilities)
    }

    fn scores(&self, cases: &[&Scored]) -> brainmvp_metrics::Result<ClassificationScores> {
        let probabilities: Vec<f64> =
            cases.iter().flat_map(|case| case.probabilities.iter().copied()).collect();
        #[expect(clippy::expect_used, reason = "`has_truth` refuses cases of other classes")]
        let place = |case: &&Scored| {
            let place = self.classes.iter().position(|class| *class == case.truth);
            place.expect("a class of the predictions")
        };
        multiclass(&probabilities, &cases.iter().map(place).collect::<Vec<_>>(), self.classes.len())
    }

    fn summary(scores: &ClassificationScores) -> Vec<(&'static str, &'static str, Score)> {
        vec![
            ("accuracy", "Accuracy", scores.accuracy),
            ("balanced_accuracy", "Balanced accuracy", scores.balanced_accuracy),
            ("auc", "AUC", scores.auc),
            ("f1_macro", "F1, macro", scores.f1_macro),
            ("f1_binary", "F1, second class", scores.f1_binary.unwrap_or(Score::EXCLUDED)),
        ]
    }

    fn head(&self) -> Head<'_> {
        Head { classes: &self.classes }
    }

    fn tell(&self, scores: &ClassificationScores, ui: &Ui) -> anyhow::Result<()> {
        ui.result("Cases by true class (rows) and predicted class (columns):")?;
        let width = self.classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).max(6) + 2;
        let row = |name: &str, cells: Vec<String>| {
            let cells = cells.iter().map(|cell| format!("{cell:>width$}")).collect::<Vec<_>>().concat();
            format!("{name:width$}{cells}")
        };
        ui.result(row("", self.classes.clone()))?;
        for (class, counts) in self.classes.iter().zip(&scores.confusion) {
            ui.result(row(class, counts.iter().map(ToString::to_string).collect()))?;
        }
        Ok(())
    }

    fn columns(&self) -> Vec<String> {
        let words = ["truth", "predicted"].into_iter().map(str::to_owned);
        words.chain(self.classes.iter().map(|class| format!("p({class})"))).collect()
    }

    fn cells(&self, case: &Scored) -> Vec<String> {
        let words = [&case.truth, &case.predicted].into_iter().cloned();
        words.chain(case.probabilities.iter().map(ToString::to_string)).collect()
    }
}

/// The index of the highest value, the first of equally high ones.
fn highest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, place| if values[place] > values[best] { place } else { best })
}
