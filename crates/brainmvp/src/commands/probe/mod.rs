//! `brainmvp probe`

mod cases;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::Context as _;
use brainmvp_prep::cache::{Cache, CaseEntry, CaseFacts};
use brainmvp_probe::{Features, Linear, Matrix, Neighbours, Tuning, probe};
use brainmvp_train::batches::CaseSource;
use brainmvp_train::new_case::CaseError;
use brainmvp_train::seen::{Seen, overlap_line};
use clap::Args;

use self::cases::{Case, Parts, Role, Target};
use self::report::{Predicted, Report};
use super::counted;
use super::evaluate::{Classes, Numbers, ScoredNumber};
use super::inference::{Described, Encoder, EncoderOptions, Failed, each};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::ui::Ui;

/// Tell how much the features of an encoder say of cases, without training it: a linear model and nearest neighbours
///
/// The features are those of `brainmvp embed`. Two models of them predict the class or a number of every case: a linear one
/// (logistic or ridge regression) and the mean of the nearest training cases. They are fitted to the training cases of the cohort.
/// Their settings, the penalty and the number of neighbours, are chosen by the validation cases. The test cases are scored, as
/// `brainmvp evaluate` scores predictions, beside a prediction that needs no network. Training and validation cases are
/// those of `brainmvp finetune`. Without test cases, the validation cases are scored, and the settings are chosen by a
/// cross-validation of the training cases.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp probe --data cache --model run --target class --out probe
  brainmvp probe --data cache --model run --target age --out probe

DIR/probe.json has the scores, DIR/probe.csv the prediction for every scored case.
Exit codes: 0 every case was used, 1 failed or interrupted, 2 the features of some cases could not be computed (the others were \
used), or bad input.")]
pub(crate) struct Probe {
    #[command(flatten)]
    encoder: EncoderOptions,
    /// Cache folder with the prepared cases, their splits, and their classes or numbers
    #[arg(long, value_name = "CACHE")]
    data: PathBuf,
    /// What is predicted: class, or the column of the cohort with the numbers
    #[arg(long, value_name = "class|COLUMN", default_value = "class")]
    target: String,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the bootstrap for the intervals
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

impl Probe {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let cache = Cache::open(&self.data)?;
        let (target, chosen) = cases::choose(cache.cases(), &self.target, ui)?;
        let (encoder, origin) = Encoder::open(&self.encoder, ui)?;
        encoder.warn_of_differences(&cache, ui);
        let (described, failed) = self.describe(&cache, &encoder, &chosen, ui)?;
        for (case, reason) in &failed {
            ui.alert(format!("warning: case '{case}' is left out: {}", without_error_numbers(reason)));
        }
        let parts = Parts::of(described, ui);
        if parts.training.is_empty() {
            return Err(bad_input("no training case is left"));
        }
        let (name, scored) = parts.scored()?;
        let predictions = predict(&target, &parts, scored)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let report = Report {
            model: &origin,
            scored: name,
            parts: &parts,
            cases: scored,
            predictions: &predictions,
            errors: predictions.iter().map(|found| found.errors(&target, scored)).collect(),
            failed: failed.iter().cloned().collect(),
            seed: self.seed,
            out: &self.out,
        };
        match &target {
            Target::Class(classes) => {
                let answers = Classes { classes: classes.clone() };
                let pair = |facts: &CaseFacts, found: &[f64]| {
                    answers.scored(facts.class.clone().unwrap_or_default(), found.to_vec())
                };
                report.tell(&answers, pair, ui)?;
            }
            Target::Number(column) => {
                let answers = Numbers { target: column.clone() };
                let pair = |facts: &CaseFacts, found: &[f64]| ScoredNumber {
                    truth: facts.numbers[column],
                    predicted: found[0],
                };
                report.tell(&answers, pair, ui)?;
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        let count = counted(failed.len(), "case");
        Err(bad_input(format!("the features of {count} could not be computed")))
            .advise(|_| "fix the cases named above; the others were used".to_owned())
    }

    /// The features of the chosen cases, and the cases that have none, each with the reason.
    fn describe<'a>(
        &self,
        cache: &'a Cache,
        encoder: &Encoder,
        chosen: &[(Role, &'a CaseEntry)],
        ui: &Ui,
    ) -> anyhow::Result<(Vec<(Role, Case<'a>)>, Failed)> {
        let placer = encoder.placer(Some(cache.dir()));
        let has_test = chosen.iter().any(|(role, _)| *role == Role::Test);
        let to_score = if has_test { Role::Test } else { Role::Validation };
        let mut scored = Vec::new();
        let described = each(ui, "probe", chosen, |&(role, entry)| {
            let case = cache.open_case(entry).map_err(|e| CaseError::Case(e.to_string()));
            let described = case.and_then(|case| {
                let source = CaseSource::new(entry, case);
                if role == to_score {
                    scored.push(source.clone());
                }
                let features = blocks(encoder.describe(source, placer.as_ref(), ui)?, encoder.is_joint());
                Ok((role, Case { facts: &entry.case, features }))
            });
            (entry.case.id.to_string(), described)
        })?;
        if let Some(seen) = Seen::of_model(&self.encoder.model)?
            && let Some(line) = overlap_line("scored", &scored, &seen.index())
        {
            ui.alert(format!("warning: {line}. Scores on them may be too optimistic"));
        }
        Ok(described)
    }
}

/// The features of a case by modality, or all of them as one block.
fn blocks(described: Vec<Described>, is_joint: bool) -> Features {
    let name = |modality: String| if is_joint { "all modalities".to_owned() } else { modality };
    described.into_iter().map(|Described { modality, features }| (name(modality), features)).collect()
}

/// What is predicted for the scored cases without features, and by both models.
fn predict(target: &Target, parts: &Parts<'_>, scored: &[Case<'_>]) -> anyhow::Result<Vec<Predicted>> {
    let (training, held) = (target.sample(&parts.training), target.sample(parts.held()));
    let persons = persons(&parts.training);
    let tuning = if parts.held().is_empty() { Tuning::Folds(&persons) } else { Tuning::Held(&held) };
    let unknown = target.sample(scored).features;
    let refuse = |error: brainmvp_probe::Error| bad_input(error.to_string());
    let linear = probe::<Linear>(&training, &tuning).map_err(refuse)?;
    let neighbours = probe::<Neighbours>(&training, &tuning).map_err(refuse)?;
    let mean = training.truth.mean();
    Ok(vec![
        Predicted {
            name: "baseline",
            heading: target.baseline(),
            setting: None,
            values: Matrix::from_fn(unknown.len(), mean.len(), |_, column| mean[column]),
        },
        Predicted {
            name: "linear",
            heading: "Linear",
            setting: Some(("penalty", linear.setting)),
            values: linear.predict(&unknown).map_err(refuse)?,
        },
        Predicted {
            name: "neighbours",
            heading: "Nearest neighbours",
            setting: Some(("count", neighbours.setting as f64)),
            values: neighbours.predict(&unknown).map_err(refuse)?,
        },
    ])
}

/// A number for the person of each case.
fn persons(cases: &[Case<'_>]) -> Vec<usize> {
    let person = |case: &Case<'_>| (case.facts.data_set.clone(), case.facts.subject.clone());
    let all: BTreeSet<_> = cases.iter().map(person).collect();
    let numbers: BTreeMap<_, usize> =
        all.into_iter().enumerate().map(|(number, person)| (person, number)).collect();
    cases.iter().map(|case| numbers[&person(case)]).collect()
}
