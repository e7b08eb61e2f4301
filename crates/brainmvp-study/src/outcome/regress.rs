//! Regression: a predicted and a true number.

use brainmvp_metrics::metrics::Better;
use brainmvp_metrics::metrics::regression::{RegressionScores, regression};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_train::finetune::TaskConfig;
use serde::{Deserialize, Serialize};

use super::{Judged, Measure, OfScores, Statistic, TaskOutcome};

/// The predicted and the true number of each case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressOutcome {
    /// The name of the number.
    pub target: String,
    /// The cases.
    pub cases: Vec<Regressed>,
}

/// A case of a regression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Regressed {
    /// The case.
    pub case: String,
    /// What the network says.
    pub predicted: f64,
    /// The true number.
    pub truth: f64,
}

const MEASURES: &[OfScores<RegressionScores>] = &[
    OfScores { name: "mae", heading: "MAE", better: Better::Lower, score: |scores| scores.mae },
    OfScores { name: "rmse", heading: "RMSE", better: Better::Lower, score: |scores| scores.rmse },
    OfScores { name: "r2", heading: "R2", better: Better::Higher, score: |scores| scores.r2 },
    OfScores {
        name: "pearson",
        heading: "Pearson's r",
        better: Better::Higher,
        score: |scores| scores.pearson,
    },
];

impl TaskOutcome for RegressOutcome {
    type Said = f64;

    fn new(task: &TaskConfig) -> Self {
        Self { target: task.regress.target.clone(), cases: Vec::new() }
    }

    fn take(&mut self, said: f64, of: &Judged<'_>) -> Result<(), String> {
        let truth = of.case.facts().numbers.get(&self.target).ok_or("it has no number to compare with")?;
        self.cases.push(Regressed { case: of.case.id().to_owned(), predicted: said, truth: *truth });
        Ok(())
    }

    fn cases(&self) -> Vec<&str> {
        self.cases.iter().map(|case| case.case.as_str()).collect()
    }

    fn and(mut self, other: Self) -> Self {
        self.cases.extend(other.cases);
        self.cases.sort_by(|a, b| a.case.cmp(&b.case));
        self
    }

    fn measures(&self) -> Vec<Measure> {
        OfScores::measures(MEASURES, "the absolute error", 3)
    }

    fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a> {
        Box::new(move |drawn| {
            let (said, truth): (Vec<f64>, Vec<f64>) =
                drawn.iter().map(|case| (self.cases[*case].predicted, self.cases[*case].truth)).unzip();
            let scores = regression(&said, &truth);
            scores.map_or(f64::NAN, |scores| OfScores::value(MEASURES, measure, &scores))
        })
    }

    fn by_case(&self, _: &Measure) -> Vec<f64> {
        self.cases.iter().map(|case| (case.predicted - case.truth).abs()).collect()
    }

    fn better_case(&self, _: &Measure) -> Better {
        Better::Lower
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let of_case = |case: &Regressed| {
            [("predicted", case.predicted), ("truth", case.truth)].map(|(name, value)| {
                [case.case.clone(), self.target.clone(), name.to_owned(), value.to_string()]
            })
        };
        self.cases.iter().flat_map(of_case).collect()
    }
}
