//! Classification: the probability of each class.

use brainmvp_metrics::metrics::Better;
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_train::finetune::TaskConfig;
use serde::{Deserialize, Serialize};

use super::{Judged, Measure, OfScores, Statistic, TaskOutcome};

/// The probability of each class, for each case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassifyOutcome {
    /// The classes.
    pub classes: Vec<String>,
    /// The cases.
    pub cases: Vec<Classified>,
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

const MEASURES: &[OfScores<ClassificationScores>] = &[
    OfScores { name: "auc", heading: "AUC", better: Better::Higher, score: |scores| scores.auc },
    OfScores {
        name: "accuracy",
        heading: "Accuracy",
        better: Better::Higher,
        score: |scores| scores.accuracy,
    },
    OfScores {
        name: "balanced_accuracy",
        heading: "Balanced accuracy",
        better: Better::Higher,
        score: |scores| scores.balanced_accuracy,
    },
    OfScores { name: "f1_macro", heading: "F1", better: Better::Higher, score: |scores| scores.f1_macro },
];

impl TaskOutcome for ClassifyOutcome {
    type Said = Vec<f32>;

    fn new(task: &TaskConfig) -> Self {
        Self { classes: task.classify.classes.clone(), cases: Vec::new() }
    }

    fn take(&mut self, said: Vec<f32>, of: &Judged<'_>) -> Result<(), String> {
        let class = self.classes.iter().position(|known| Some(known.as_str()) == of.case.class());
        let class = class.ok_or("it has no class that the network knows")?;
        let probabilities = said.into_iter().map(f64::from).collect();
        self.cases.push(Classified { case: of.case.id().to_owned(), probabilities, class });
        Ok(())
    }

    fn cases(&self) -> Vec<&str> {
        self.cases.iter().map(|case| case.case.as_str()).collect()
    }

    fn and(mut self, other: Self) -> Self {
        // A fold may lack a class.
        let place = |class: usize| self.classes.iter().position(|known| *known == other.classes[class]);
        self.cases.extend(other.cases.into_iter().filter_map(|case| {
            let mut probabilities = vec![0.0; self.classes.len()];
            for (class, probability) in case.probabilities.iter().enumerate() {
                probabilities[place(class)?] = *probability;
            }
            Some(Classified { class: place(case.class)?, probabilities, ..case })
        }));
        self.cases.sort_by(|a, b| a.case.cmp(&b.case));
        self
    }

    fn measures(&self) -> Vec<Measure> {
        OfScores::measures(MEASURES, "the probability of the true class", 4)
    }

    fn statistic<'a>(&'a self, measure: &'a Measure) -> Statistic<'a> {
        Box::new(move |drawn| {
            let of = |case: &usize| self.cases[*case].probabilities.iter().copied();
            let probabilities: Vec<f64> = drawn.iter().flat_map(of).collect();
            let truth: Vec<usize> = drawn.iter().map(|case| self.cases[*case].class).collect();
            let scores = multiclass(&probabilities, &truth, self.classes.len());
            scores.map_or(f64::NAN, |scores| OfScores::value(MEASURES, measure, &scores))
        })
    }

    fn by_case(&self, _: &Measure) -> Vec<f64> {
        self.cases.iter().map(|case| case.probabilities[case.class]).collect()
    }

    fn better_case(&self, _: &Measure) -> Better {
        Better::Higher
    }

    fn rows(&self) -> Vec<[String; 4]> {
        let of_case = |case: &Classified| {
            let of_class = |(place, class): (usize, &String)| {
                let row =
                    |name: &str, value: String| [case.case.clone(), class.clone(), name.to_owned(), value];
                let is_true = u8::from(place == case.class).to_string();
                [row("probability", case.probabilities[place].to_string()), row("truth", is_true)]
            };
            self.classes.iter().enumerate().flat_map(of_class).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }

    fn problem(&self) -> Option<String> {
        let count = self.classes.len();
        let is_odd = |case: &&Classified| case.class >= count || case.probabilities.len() != count;
        let wrong = self.cases.iter().find(is_odd)?;
        Some(format!("case '{}' has not one of {count} classes, each with a probability", wrong.case))
    }
}
