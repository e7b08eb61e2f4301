//! What a network said of the test cases, and what that is worth.

use brainmvp_metrics::metrics::Better;
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use brainmvp_metrics::metrics::regression::{RegressionScores, regression};
use brainmvp_metrics::scores::CaseScores;
use brainmvp_metrics::{Metric, Score};
use serde::{Deserialize, Serialize};

/// The predictions for the test cases of a task, held against the truth, in the order of the cases' names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Outcome {
    /// The scores of each region of each case.
    Segment {
        /// The rows, by case and region.
        rows: Vec<CaseScores>,
    },
    /// The probability of each class.
    Classify {
        /// The classes.
        classes: Vec<String>,
        /// The cases.
        cases: Vec<Classified>,
    },
    /// The predicted and the true number.
    Regress {
        /// The name of the number.
        target: String,
        /// The cases.
        cases: Vec<Regressed>,
    },
}

/// A case of a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classified {
    /// The case.
    pub case: String,
    /// The probability of each class.
    pub probabilities: Vec<f64>,
    /// The place of the true class.
    pub class: usize,
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

/// A number by which arms are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Of which region; empty for all of a case.
    pub region: String,
    /// Its name in files.
    pub name: String,
    /// Its name in tables.
    pub heading: String,
    /// What each case contributes to tests of pairs, in words.
    pub of_case: String,
    /// How many of its unit are one of the table's.
    pub per_shown: f64,
    /// Decimal places in tables.
    pub digits: usize,
    /// Which values are better.
    pub better: Better,
    /// Whether it is the first one to look at.
    pub is_main: bool,
    what: What,
}

/// How a measure is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    /// The mean of a metric over cases.
    Segmentation(Metric),
    Auc,
    Accuracy,
    BalancedAccuracy,
    F1,
    Mae,
    Rmse,
    R2,
    Pearson,
}

/// A number over some of the cases, given by their numbers.
pub type Statistic<'a> = Box<dyn Fn(&[usize]) -> f64 + 'a>;

/// The name of the mean over all regions.
pub const ALL_REGIONS: &str = "mean";

impl Outcome {
    /// What it contradicts itself in, if it has been read from a file.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self::Classify { classes, cases } = self else { return None };
        let count = classes.len();
        let wrong = cases.iter().find(|case| case.class >= count || case.probabilities.len() != count)?;
        Some(format!("case '{}' has not one of {count} classes, each with a probability", wrong.case))
    }

    /// The names of the cases.
    pub fn cases(&self) -> Vec<&str> {
        match self {
            Self::Segment { rows } => {
                let mut names: Vec<&str> = rows.iter().map(|row| row.case.as_str()).collect();
                names.dedup();
                names
            }
            Self::Classify { cases, .. } => cases.iter().map(|case| case.case.as_str()).collect(),
            Self::Regress { cases, .. } => cases.iter().map(|case| case.case.as_str()).collect(),
        }
    }

    /// This outcome with the cases of another one: that of the other folds.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Segment { rows: mut all }, Self::Segment { rows }) => {
                all.extend(rows);
                all.sort_by(|a, b| a.case.cmp(&b.case));
                Self::Segment { rows: all }
            }
            (Self::Classify { classes, cases: mut all }, Self::Classify { classes: other, cases }) => {
                // A fold may lack a class.
                let place = |class: usize| classes.iter().position(|known| *known == other[class]);
                all.extend(cases.into_iter().filter_map(|case| {
                    let mut probabilities = vec![0.0; classes.len()];
                    for (class, probability) in case.probabilities.iter().enumerate() {
                        probabilities[place(class)?] = *probability;
                    }
                    Some(Classified { class: place(case.class)?, probabilities, ..case })
                }));
                all.sort_by(|a, b| a.case.cmp(&b.case));
                Self::Classify { classes, cases: all }
            }
            (Self::Regress { target, cases: mut all }, Self::Regress { cases, .. }) => {
                all.extend(cases);
                all.sort_by(|a, b| a.case.cmp(&b.case));
                Self::Regress { target, cases: all }
            }
            (first, _) => first,
        }
    }

    /// The measures of the task.
    pub fn measures(&self) -> Vec<Measure> {
        match self {
            Self::Segment { rows } => of_regions(rows),
            Self::Classify { .. } => [
                ("auc", "AUC", What::Auc),
                ("accuracy", "Accuracy", What::Accuracy),
                ("balanced_accuracy", "Balanced accuracy", What::BalancedAccuracy),
                ("f1_macro", "F1", What::F1),
            ]
            .map(|(name, heading, what)| {
                Measure::of_cases(
                    [name, heading, "the probability of the true class"],
                    4,
                    Better::Higher,
                    what,
                )
            })
            .to_vec(),
            Self::Regress { .. } => [
                ("mae", "MAE", Better::Lower, What::Mae),
                ("rmse", "RMSE", Better::Lower, What::Rmse),
                ("r2", "R2", Better::Higher, What::R2),
                ("pearson", "Pearson's r", Better::Higher, What::Pearson),
            ]
            .map(|(name, heading, better, what)| {
                Measure::of_cases([name, heading, "the absolute error"], 3, better, what)
            })
            .to_vec(),
        }
    }

    /// How a measure is computed over some of the cases, given by their numbers, with repetition. NaN where it has no value.
    pub fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a> {
        match self {
            Self::Segment { .. } => {
                let by_case = self.by_case(measure);
                Box::new(move |drawn| mean(drawn.iter().map(|case| by_case[*case])))
            }
            Self::Classify { classes, cases } => Box::new(move |drawn| {
                let of = |case: &usize| cases[*case].probabilities.iter().copied();
                let probabilities: Vec<f64> = drawn.iter().flat_map(of).collect();
                let truth: Vec<usize> = drawn.iter().map(|case| cases[*case].class).collect();
                let scores = multiclass(&probabilities, &truth, classes.len());
                scores.ok().and_then(|scores| of_classes(&scores, measure.what).value()).unwrap_or(f64::NAN)
            }),
            Self::Regress { cases, .. } => Box::new(move |drawn| {
                let (said, truth): (Vec<f64>, Vec<f64>) =
                    drawn.iter().map(|case| (cases[*case].predicted, cases[*case].truth)).unzip();
                let scores = regression(&said, &truth);
                scores.ok().and_then(|scores| of_numbers(&scores, measure.what).value()).unwrap_or(f64::NAN)
            }),
        }
    }

    /// A measure over all cases.
    pub fn value(&self, measure: &Measure) -> f64 {
        let all: Vec<usize> = (0..self.cases().len()).collect();
        self.statistic(measure)(&all)
    }

    /// What each case contributes, for tests of pairs: its score; in a classification the probability of its class; in a
    /// regression its absolute error. NaN for a case that the rules leave out.
    pub fn by_case(&self, measure: &Measure) -> Vec<f64> {
        match (self, measure.what) {
            (Self::Segment { rows }, What::Segmentation(metric)) => {
                let of_case = |rows: &[CaseScores]| {
                    let wanted = rows
                        .iter()
                        .filter(|row| measure.region == ALL_REGIONS || row.scores.region == measure.region);
                    let value =
                        |row: &CaseScores| row.scores.values.get(&metric).copied().and_then(Score::value);
                    mean(wanted.filter_map(value))
                };
                rows.chunk_by(|a, b| a.case == b.case).map(of_case).collect()
            }
            (Self::Classify { cases, .. }, _) => {
                cases.iter().map(|case| case.probabilities[case.class]).collect()
            }
            (Self::Regress { cases, .. }, _) => {
                cases.iter().map(|case| (case.predicted - case.truth).abs()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Which values of [`Self::by_case`] are better.
    pub fn better_case(&self, measure: &Measure) -> Better {
        match self {
            Self::Segment { .. } => measure.better,
            Self::Classify { .. } => Better::Higher,
            Self::Regress { .. } => Better::Lower,
        }
    }

    /// The rows of `results.csv`: case, region, name and value.
    pub fn rows(&self) -> Vec<[String; 4]> {
        match self {
            Self::Segment { rows } => {
                let of_row = |row: &CaseScores| {
                    let named = |(metric, score): (&Metric, &Score)| {
                        let (case, region) = (row.case.clone(), row.scores.region.clone());
                        [case, region, metric.name.to_owned(), score.to_string()]
                    };
                    row.scores.values.iter().map(named).collect::<Vec<_>>()
                };
                rows.iter().flat_map(of_row).collect()
            }
            Self::Classify { classes, cases } => {
                let of_case = |case: &Classified| {
                    let of_class = |(place, class): (usize, &String)| {
                        let row = |name: &str, value: String| {
                            [case.case.clone(), class.clone(), name.to_owned(), value]
                        };
                        let is_true = u8::from(place == case.class).to_string();
                        [row("probability", case.probabilities[place].to_string()), row("truth", is_true)]
                    };
                    classes.iter().enumerate().flat_map(of_class).collect::<Vec<_>>()
                };
                cases.iter().flat_map(of_case).collect()
            }
            Self::Regress { target, cases } => {
                let of_case = |case: &Regressed| {
                    [("predicted", case.predicted), ("truth", case.truth)].map(|(name, value)| {
                        [case.case.clone(), target.clone(), name.to_owned(), value.to_string()]
                    })
                };
                cases.iter().flat_map(of_case).collect()
            }
        }
    }
}

impl Measure {
    fn of_cases([name, heading, of_case]: [&str; 3], digits: usize, better: Better, what: What) -> Self {
        Self {
            region: String::new(),
            name: name.to_owned(),
            heading: heading.to_owned(),
            of_case: of_case.to_owned(),
            per_shown: 1.0,
            digits,
            better,
            is_main: matches!(what, What::Auc | What::Mae),
            what,
        }
    }

    /// A value as tables show it.
    pub fn shown(&self, value: f64) -> String {
        format!("{:.*}", self.digits, value / self.per_shown)
    }
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
                what: What::Segmentation(*metric),
            });
        }
    }
    measures
}

fn of_classes(scores: &ClassificationScores, what: What) -> Score {
    match what {
        What::Auc => scores.auc,
        What::Accuracy => scores.accuracy,
        What::BalancedAccuracy => scores.balanced_accuracy,
        _ => scores.f1_macro,
    }
}

fn of_numbers(scores: &RegressionScores, what: What) -> Score {
    match what {
        What::Mae => scores.mae,
        What::Rmse => scores.rmse,
        What::R2 => scores.r2,
        _ => scores.pearson,
    }
}

/// The mean of what has a value; NaN if nothing has.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) =
        values.filter(|value| !value.is_nan()).fold((0.0, 0_usize), |(sum, n), value| (sum + value, n + 1));
    if count == 0 { f64::NAN } else { sum / count as f64 }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use brainmvp_metrics::{Emptiness, RegionScores};

    use super::*;

    /// A segmentation of two regions, with these Dice scores by case.
    pub(crate) fn segmentation(dice: &[[f64; 2]]) -> Outcome {
        let metric = Metric::named("dice").unwrap();
        let row = |(case, region, value): (usize, &str, f64)| CaseScores {
            case: format!("case-{case}"),
            scores: RegionScores {
                region: region.to_owned(),
                empty: Emptiness::Neither,
                values: BTreeMap::from([(metric, Score::new(value))]),
            },
        };
        let rows = dice.iter().enumerate().flat_map(|(case, [a, b])| [(case, "WT", *a), (case, "ET", *b)]);
        Outcome::Segment { rows: rows.map(row).collect() }
    }

    #[test]
    fn regions_have_their_means_and_one_of_all() {
        let outcome = segmentation(&[[0.8, 0.4], [0.6, 0.0]]);
        let measures = outcome.measures();
        let headings: Vec<&str> = measures.iter().map(|measure| measure.heading.as_str()).collect();
        assert_eq!(headings, ["mean Dice", "WT Dice", "ET Dice"]);
        assert!(measures[0].is_main && !measures[1].is_main);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(outcome.value(&measures[0]), 0.45);
        close(outcome.statistic(&measures[1])(&[0, 0, 1]), 2.2 / 3.0);
        close(outcome.by_case(&measures[0])[0], 0.6);
        assert_eq!(outcome.rows().len(), 4);
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn folds_of_classifications_are_joined_by_class() {
        let of = |classes: [&str; 2], case: &str, class| Outcome::Classify {
            classes: classes.map(str::to_owned).to_vec(),
            cases: vec![Classified { case: case.to_owned(), probabilities: vec![0.9, 0.1], class }],
        };
        let joined = of(["a", "b"], "z", 0).and(of(["b", "a"], "y", 0));
        let Outcome::Classify { cases, .. } = &joined else { panic!("a classification") };
        assert_eq!((cases[0].case.as_str(), cases[0].class), ("y", 1));
        assert_eq!(cases[0].probabilities, [0.1, 0.9]);
        let auc = &joined.measures()[0];
        assert_eq!(joined.value(auc), 1.0);
        assert!(joined.statistic(auc)(&[0, 0]).is_nan(), "there is one class");
        assert_eq!(joined.by_case(auc), [0.9, 0.9]);
    }
}
