//! What a network said of the test cases, and what that is worth: one file for each task, and their list here.

mod classify;
mod regress;
mod segment;

use std::path::Path;

use brainmvp_cohort::LabelScheme;
use brainmvp_metrics::metrics::Better;
use brainmvp_metrics::{Score, SegmentationConfig};
use brainmvp_train::batches::CaseSource;
use brainmvp_train::finetune::{Prediction, TaskConfig, TaskKind};
use serde::{Deserialize, Serialize};

pub use classify::{Classified, ClassifyOutcome};
pub use regress::{RegressOutcome, Regressed};
pub use segment::{ALL_REGIONS, SegmentOutcome};

/// What is asked of the outcome of a task: of the predictions for the test cases, held against the truth, in the order of the
/// cases' names.
trait TaskOutcome: Sized {
    /// What a network says of a case.
    type Said;

    /// One without cases.
    fn new(task: &TaskConfig) -> Self;

    /// Holds a prediction against the truth of its case, which it has.
    ///
    /// # Errors
    /// The reason why that cannot be done.
    fn take(&mut self, said: Self::Said, of: &Judged<'_>) -> Result<(), String>;

    /// The names of the cases.
    fn cases(&self) -> Vec<&str>;

    /// This outcome with the cases of another one.
    fn and(self, other: Self) -> Self;

    /// The measures; the first is the main one.
    fn measures(&self) -> Vec<Measure>;

    /// How a measure is computed over some of the cases.
    fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a>;

    /// What each case contributes to tests of pairs.
    fn by_case(&self, measure: &Measure) -> Vec<f64>;

    /// Which of these are better.
    fn better_case(&self, measure: &Measure) -> Better;

    /// The rows of `results.csv`: case, region, name and value.
    fn rows(&self) -> Vec<[String; 4]>;

    /// What it contradicts itself in.
    fn problem(&self) -> Option<String> {
        None
    }
}

/// A test case, and what its prediction is held against.
pub(crate) struct Judged<'a> {
    pub(crate) case: &'a CaseSource,
    pub(crate) task: &'a TaskConfig,
    /// How label maps are scored.
    pub(crate) rules: &'a SegmentationConfig,
    /// What the values of its label map mean.
    pub(crate) scheme: Option<&'a LabelScheme>,
    /// The folder for label maps, if they are kept.
    pub(crate) keep: Option<&'a Path>,
}

/// Makes [`Outcome`] from the list of tasks.
macro_rules! outcomes {
    ($($(#[$doc:meta])* $task:ident($outcome:ident),)+) => {
        /// The predictions for the test cases of a task, held against the truth, in the order of the cases' names.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "task", rename_all = "lowercase")]
        pub enum Outcome {
            $($(#[$doc])* $task($outcome),)+
        }

        impl Outcome {
            /// One without cases.
            pub(crate) fn new(task: &TaskConfig) -> Self {
                match task.kind { $(TaskKind::$task => Self::$task($outcome::new(task)),)+ }
            }

            /// Holds a prediction against the truth of its case.
            pub(crate) fn take(&mut self, said: Prediction, of: &Judged<'_>) -> Result<(), String> {
                match (self, said) {
                    $((Self::$task(outcome), Prediction::$task(said)) => outcome.take(said, of),)+
                    _ => Err("the prediction is one of another task".to_owned()),
                }
            }

            /// What it contradicts itself in, if it has been read from a file.
            pub(crate) fn problem(&self) -> Option<String> {
                match self { $(Self::$task(outcome) => outcome.problem(),)+ }
            }

            /// The names of the cases.
            pub fn cases(&self) -> Vec<&str> {
                match self { $(Self::$task(outcome) => outcome.cases(),)+ }
            }

            /// This outcome with the cases of another one: that of the other folds.
            #[must_use]
            pub fn and(self, other: Self) -> Self {
                match (self, other) {
                    $((Self::$task(first), Self::$task(second)) => Self::$task(first.and(second)),)+
                    (first, _) => first,
                }
            }

            /// The measures of the task; the first is the main one.
            pub fn measures(&self) -> Vec<Measure> {
                match self { $(Self::$task(outcome) => outcome.measures(),)+ }
            }

            /// How a measure is computed over some of the cases, given by their numbers, with repetition. NaN where it has no
            /// value.
            pub fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a> {
                match self { $(Self::$task(outcome) => outcome.statistic(measure),)+ }
            }

            /// What each case contributes, for tests of pairs: its score; in a classification the probability of its class; in
            /// a regression its absolute error. NaN for a case that the rules leave out.
            pub fn by_case(&self, measure: &Measure) -> Vec<f64> {
                match self { $(Self::$task(outcome) => outcome.by_case(measure),)+ }
            }

            /// Which values of [`Self::by_case`] are better.
            pub fn better_case(&self, measure: &Measure) -> Better {
                match self { $(Self::$task(outcome) => outcome.better_case(measure),)+ }
            }

            /// The rows of `results.csv`: case, region, name and value.
            pub fn rows(&self) -> Vec<[String; 4]> {
                match self { $(Self::$task(outcome) => outcome.rows(),)+ }
            }
        }
    };
}

// A new task is a line here, named as in the list of tasks.
outcomes! {
    /// The scores of each region of each case.
    Segment(SegmentOutcome),
    /// The probability of each class.
    Classify(ClassifyOutcome),
    /// The predicted and the true number.
    Regress(RegressOutcome),
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
}

impl Measure {
    /// A value as tables show it.
    pub fn shown(&self, value: f64) -> String {
        format!("{:.*}", self.digits, value / self.per_shown)
    }
}

/// A number over some of the cases, given by their numbers.
pub type Statistic<'a> = Box<dyn Fn(&[usize]) -> f64 + 'a>;

impl Outcome {
    /// A measure over all cases.
    pub fn value(&self, measure: &Measure) -> f64 {
        let all: Vec<usize> = (0..self.cases().len()).collect();
        self.statistic(measure)(&all)
    }
}

/// A measure that is computed from the scores of all cases together.
struct OfScores<S> {
    name: &'static str,
    heading: &'static str,
    better: Better,
    score: fn(&S) -> Score,
}

impl<S> OfScores<S> {
    /// All of a list, the first of which is the main one.
    fn measures(list: &[Self], of_case: &str, digits: usize) -> Vec<Measure> {
        let measure = |(place, of): (usize, &Self)| Measure {
            region: String::new(),
            name: of.name.to_owned(),
            heading: of.heading.to_owned(),
            of_case: of_case.to_owned(),
            per_shown: 1.0,
            digits,
            better: of.better,
            is_main: place == 0,
        };
        list.iter().enumerate().map(measure).collect()
    }

    /// The value of a measure of a list; NaN if it has none.
    fn value(list: &[Self], measure: &Measure, scores: &S) -> f64 {
        let of = list.iter().find(|of| of.name == measure.name);
        of.and_then(|of| (of.score)(scores).value()).unwrap_or(f64::NAN)
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

    use brainmvp_metrics::scores::CaseScores;
    use brainmvp_metrics::{Emptiness, Metric, RegionScores};

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
        Outcome::Segment(SegmentOutcome { rows: rows.map(row).collect() })
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
        let of = |classes: [&str; 2], case: &str, class| {
            Outcome::Classify(ClassifyOutcome {
                classes: classes.map(str::to_owned).to_vec(),
                cases: vec![Classified { case: case.to_owned(), probabilities: vec![0.9, 0.1], class }],
            })
        };
        let joined = of(["a", "b"], "z", 0).and(of(["b", "a"], "y", 0));
        let Outcome::Classify(ClassifyOutcome { cases, .. }) = &joined else { panic!("a classification") };
        assert_eq!((cases[0].case.as_str(), cases[0].class), ("y", 1));
        assert_eq!(cases[0].probabilities, [0.1, 0.9]);
        let auc = &joined.measures()[0];
        assert_eq!(joined.value(auc), 1.0);
        assert!(joined.statistic(auc)(&[0, 0]).is_nan(), "there is one class");
        assert_eq!(joined.by_case(auc), [0.9, 0.9]);
    }
}
