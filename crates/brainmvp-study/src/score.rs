//! Scores a fine-tuned network on the test cases of a cache, in the space of the prepared cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_cohort::{LabelScheme, Split};
use brainmvp_infer as infer;
use brainmvp_metrics::SegmentationConfig;
use brainmvp_objectives::downstream::{Missing, MixWith};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_prep::cache::Cache;
use brainmvp_train::batches::{CaseSource, open_cases};
use brainmvp_train::finetune::{Laid, Model, Predictor, mean_images};
use brainmvp_train::placement::TemplateSet;
use brainmvp_train::trainer::Observer;
use brainmvp_volume::Modality;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::outcome::{Judged, Outcome};

/// An outcome, and what the network was given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The modalities that it was given; `None` for all that a case has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modalities: Option<Vec<Modality>>,
    /// What replaced the others, if it was given a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fill: Option<Fill>,
    /// What came of it.
    #[serde(deserialize_with = "consistent")]
    pub outcome: Outcome,
}

/// An outcome from a file that fits together: its numbers of classes are used as they are.
fn consistent<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Outcome, D::Error> {
    let outcome = Outcome::deserialize(deserializer)?;
    outcome.problem().map_or(Ok(outcome), |problem| Err(D::Error::custom(problem)))
}

/// What replaces modalities that a network is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The templates of its pre-training.
    Template,
    /// The mean images of the training cases.
    Mean,
    /// 0.
    Zero,
}

impl Fill {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 3] = [Self::Template, Self::Mean, Self::Zero];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Template => "templates",
            Self::Mean => "mean images",
            Self::Zero => "0",
        }
    }
}

/// How a network is scored.
pub(crate) struct Scoring<'a> {
    pub(crate) data: &'a Path,
    pub(crate) run: &'a Path,
    /// Where label maps are kept, if there is one for each case.
    pub(crate) predictions: &'a Path,
    pub(crate) rules: &'a SegmentationConfig,
    /// Whether every subset of the modalities is tried.
    pub(crate) subsets: bool,
    /// What its training was mixed with.
    pub(crate) mixing: MixWith,
    pub(crate) device: &'a str,
    pub(crate) stop: &'a AtomicBool,
    pub(crate) observer: &'a dyn Observer,
}

/// Why there is no score.
pub(crate) enum Unscored {
    /// It was interrupted.
    Stopped,
    /// For this reason.
    Failed(String),
}

impl<E: std::error::Error> From<E> for Unscored {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Scoring<'_> {
    /// The outcomes: one, or one for each subset of modalities and way to fill.
    pub(crate) fn run(&self) -> Result<Vec<Scored>, Unscored> {
        let device = brainmvp_train::device::device(self.device)?;
        let model = Model::open(self.run, &device)?;
        let schemes = Cache::open(self.data)?.manifest().label_schemes.clone();
        let windows = model.config.inference.clone();
        let mut predictor = Predictor { model, windows, mirror: infer::Mirror::default(), device };
        let mut cases = self.cases(&predictor)?;
        if !self.subsets {
            self.place(&predictor.model, &mut cases)?;
            let outcome = self.outcome(&predictor, &cases, &schemes)?;
            return Ok(vec![Scored { modalities: None, fill: None, outcome }]);
        }
        let fills = self.fills(&predictor.model)?;
        let mut scored = Vec::new();
        for (fill, templates) in fills {
            let model = &mut predictor.model;
            model.inputs.missing = if fill == Fill::Zero { Missing::Zero } else { Missing::Template };
            model.inputs.templates = templates.as_ref().map(|set| set.frozen.clone());
            model.templates = templates;
            let mut cases = cases.clone();
            self.place(model, &mut cases)?;
            for modalities in Modality::subsets(&predictor.model.inputs.channels) {
                let has_all = |case: &&CaseSource| modalities.iter().all(|m| case.modalities().contains(m));
                let some: Vec<CaseSource> =
                    cases.iter().filter(has_all).map(|case| case.only(&modalities)).collect();
                if !some.is_empty() {
                    let outcome = self.outcome(&predictor, &some, &schemes)?;
                    scored.push(Scored { modalities: Some(modalities), fill: Some(fill), outcome });
                }
            }
        }
        Ok(scored)
    }

    /// What is tried in the place of modalities, with the volumes: the network's templates if it has any, the mean images of the
    /// training cases, 0.
    fn fills(&self, model: &Model) -> Result<Vec<(Fill, Option<TemplateSet>)>, Unscored> {
        let training = |case: &CaseSource| {
            case.facts().split != Some(Split::Test) && model.config.task.lacking(case).is_none()
        };
        let training: Vec<CaseSource> =
            open_cases(self.data, self.observer)?.into_iter().filter(training).collect();
        let means = mean_images(&model.inputs.channels, &training)?;
        // A network that was mixed with mean images has those for templates.
        let own = model.templates.clone().filter(|_| self.mixing != MixWith::Mean);
        let templates = own.map(|templates| (Fill::Template, Some(templates)));
        Ok(templates.into_iter().chain([(Fill::Mean, Some(means)), (Fill::Zero, None)]).collect())
    }

    /// The test cases that the task can be scored on, by name.
    fn cases(&self, predictor: &Predictor) -> Result<Vec<CaseSource>, Unscored> {
        let model = &predictor.model;
        let mut found = Vec::new();
        for case in open_cases(self.data, self.observer)? {
            if case.facts().split != Some(Split::Test) {
                continue;
            }
            let has_channel = model.inputs.channels.iter().any(|m| case.modalities().contains(m));
            let without_channels = || (!has_channel).then(|| "modality of the network".to_owned());
            if let Some(lacks) = model.config.task.lacking(&case).or_else(without_channels) {
                self.observer.warn(&format!("test case '{}' is not scored: it has no {lacks}", case.id()));
                continue;
            }
            found.push(case);
        }
        if found.is_empty() {
            return Err(Unscored::Failed("no test case can be scored".to_owned()));
        }
        found.sort_by(|a, b| a.id().cmp(b.id()));
        Ok(found)
    }

    /// Places the templates of a network on the cases that need them: on all, if subsets are tried.
    fn place(&self, model: &Model, cases: &mut [CaseSource]) -> Result<(), Unscored> {
        let Some(placer) = model.placer(Some(self.data)) else { return Ok(()) };
        for case in cases.iter_mut().filter(|case| self.subsets || model.inputs.fills(case.modalities())) {
            let laid = Laid::on(case, &placer).map_err(|e| in_case(case, &e))?;
            if let Laid::Nowhere(reason) = laid {
                let id = case.id();
                self.observer.warn(&format!("case '{id}': missing modalities are replaced by 0: {reason}"));
            }
        }
        Ok(())
    }

    fn outcome(
        &self,
        predictor: &Predictor,
        cases: &[CaseSource],
        schemes: &BTreeMap<String, LabelScheme>,
    ) -> Result<Outcome, Unscored> {
        let task = &predictor.model.config.task;
        let keep = (!self.subsets).then_some(self.predictions);
        let mut outcome = Outcome::new(task);
        for case in cases {
            let go_on = |_, _| {
                if self.stop.load(Ordering::Relaxed) { Err(infer::Error::Stopped) } else { Ok(()) }
            };
            let said = predictor.predict(case, go_on).map_err(|error| match error {
                infer::Error::Stopped => Unscored::Stopped,
                other => in_case(case, &other),
            })?;
            let scheme = schemes.get(case.data_set());
            let judged = Judged { case, task, rules: self.rules, scheme, keep };
            outcome.take(said, &judged).map_err(|reason| in_case(case, &reason))?;
        }
        Ok(outcome)
    }
}

fn in_case(case: &CaseSource, error: &dyn std::fmt::Display) -> Unscored {
    Unscored::Failed(format!("test case '{}': {error}", case.id()))
}
