//! Scores a regression.

use brainmvp_cohort::Case;
use brainmvp_metrics::Score;
use brainmvp_metrics::metrics::regression::{RegressionScores, regression};
use serde::Serialize;

use super::by_case::Answers;

/// The column of `case,COLUMN`, as `brainmvp predict` writes it: that of the cohort with the true numbers.
pub(in crate::commands) struct Numbers {
    pub(in crate::commands) target: String,
}

/// A case that was scored.
#[derive(Serialize)]
pub(in crate::commands) struct Scored {
    pub(in crate::commands) truth: f64,
    pub(in crate::commands) predicted: f64,
}

/// What the file of scores says first.
#[derive(Serialize)]
pub(in crate::commands) struct Head<'a> {
    target: &'a str,
}

impl Answers for Numbers {
    const TRUTH: &'static str = "number";
    const COLUMNS: &'static str = "and the name of the number";
    type Answer = f64;
    type Scored = Scored;
    type Scores = RegressionScores;
    type Head<'a> = Head<'a>;

    fn of_columns(columns: &[&str]) -> Option<Self> {
        match columns {
            [target] if *target != "class" => Some(Self { target: (*target).to_owned() }),
            _ => None,
        }
    }

    fn answer(&self, cells: &[&str]) -> Result<f64, &'static str> {
        let number = cells.first().and_then(|cell| cell.parse().ok());
        number.filter(|number: &f64| number.is_finite()).ok_or("the prediction is not a number")
    }

    fn has_truth(&self, case: &Case) -> anyhow::Result<bool> {
        Ok(case.numbers.contains_key(&self.target))
    }

    fn pair(&self, case: &Case, predicted: f64) -> Scored {
        Scored { truth: case.numbers[&self.target], predicted }
    }

    fn scores(&self, cases: &[&Scored]) -> brainmvp_metrics::Result<RegressionScores> {
        let (predicted, truth): (Vec<f64>, Vec<f64>) =
            cases.iter().map(|case| (case.predicted, case.truth)).unzip();
        regression(&predicted, &truth)
    }

    fn summary(scores: &RegressionScores) -> Vec<(&'static str, &'static str, Score)> {
        scores.named().to_vec()
    }

    fn head(&self) -> Head<'_> {
        Head { target: &self.target }
    }

    fn columns(&self) -> Vec<String> {
        vec!["truth".to_owned(), "predicted".to_owned()]
    }

    fn cells(&self, case: &Scored) -> Vec<String> {
        vec![case.truth.to_string(), case.predicted.to_string()]
    }
}
