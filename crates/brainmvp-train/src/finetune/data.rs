//! Chooses the cases of a run from a cache, and completes the configuration from them.

use std::collections::BTreeMap;

use brainmvp_cohort::LabelScheme;
use brainmvp_objectives::downstream::Missing;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_prep::cache::CaseFacts;
use brainmvp_volume::Modality;

use super::selection::{Part, parts};
use super::tasks::{Listed, TaskConfig};
use crate::batches::CaseSource;
use crate::config::FinetuneConfig;
use crate::trainer::Observer;
use crate::{Error, Result};

/// The cases of a run.
pub struct Data {
    pub(super) training: Vec<CaseSource>,
    pub(super) validation: Vec<CaseSource>,
}

impl Data {
    /// Chooses the cases, and fills in what the configuration leaves open: the modalities, and keys of the task. Cases
    /// that cannot be used are named and left out.
    ///
    /// # Errors
    /// If no cases are left to train on, or the data do not determine what is left open.
    pub(super) fn new<T: Listed>(
        config: &mut FinetuneConfig,
        cases: Vec<CaseSource>,
        schemes: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<(Self, T)> {
        let total = cases.len();
        let keys = T::keys(&config.task);
        let cases: Vec<CaseSource> = cases.into_iter().filter(|case| T::is_known(keys, case)).collect();
        let wanted = T::wanted(keys);
        if cases.is_empty() {
            return Err(Error::Config(format!("none of the {total} prepared cases has a {wanted}")));
        }
        if cases.len() < total {
            observer.note(&format!("{} of {total} cases have no {wanted}", total - cases.len()));
        }
        let facts: Vec<&CaseFacts> = cases.iter().map(CaseSource::facts).collect();
        let parts = parts(&facts, &config.data);
        let of = |part: Part| {
            let chosen = cases.iter().zip(&parts).filter(|(_, of)| **of == part);
            chosen.map(|(case, _)| case.clone()).collect::<Vec<_>>()
        };
        let mut data = Self { training: of(Part::Training), validation: of(Part::Validation) };
        if data.training.is_empty() {
            let reason = format!(
                "no case is left to train on: of {} with a {wanted}, none is a training case",
                cases.len()
            );
            return Err(Error::Config(reason));
        }
        data.complete_modalities(&mut config.task);
        data.leave_out(observer, |case| Ok(channel_problem(&config.task, case)))?;
        let task = T::new(T::keys_mut(&mut config.task), &mut data, schemes, observer)?;
        if data.training.is_empty() {
            return Err(Error::Config("no case is left to train on".to_owned()));
        }
        data.tell(&config.task, observer);
        Ok((data, task))
    }

    /// The modalities that any training case has, or those that all have if a missing one means that there is no channel.
    fn complete_modalities(&self, task: &mut TaskConfig) {
        if task.modalities.is_empty() {
            let has = |modality: &Modality| {
                let mut have = self.training.iter().map(|case| case.modalities().contains(modality));
                if task.missing == Missing::Drop { have.all(|has| has) } else { have.any(|has| has) }
            };
            task.modalities = Modality::ALL.into_iter().filter(has).collect();
        }
    }

    /// Leaves out the cases that have a problem, by name.
    pub(super) fn leave_out(
        &mut self,
        observer: &dyn Observer,
        problem: impl Fn(&CaseSource) -> Result<Option<String>>,
    ) -> Result<()> {
        for cases in [&mut self.training, &mut self.validation] {
            let mut kept = Vec::new();
            for case in cases.drain(..) {
                match problem(&case)? {
                    Some(reason) => observer.warn(&format!("case '{}' is left out: {reason}", case.id())),
                    None => kept.push(case),
                }
            }
            *cases = kept;
        }
        Ok(())
    }

    /// Reports the number of cases, and the modalities that they lack.
    fn tell(&self, task: &TaskConfig, observer: &dyn Observer) {
        let (training, validation) = (self.training.len(), self.validation.len());
        observer.note(&format!("{training} training and {validation} validation cases"));
        let lacking = |modality: &Modality| {
            let count = self.training.iter().filter(|case| !case.modalities().contains(modality)).count();
            (count > 0).then(|| format!("{modality} ({count})"))
        };
        let lacking: Vec<String> = task.modalities.iter().filter_map(lacking).collect();
        if !lacking.is_empty() {
            let filled = match task.missing {
                Missing::Template => "replaced by templates, or 0 if there is none",
                Missing::Zero | Missing::Drop => "replaced by 0",
            };
            observer.note(&format!("training cases lack {}: {filled}", lacking.join(", ")));
        }
    }

    /// Changes when the cases, their content or what the cohort says of them change.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (part, cases) in [(0, &self.training), (1, &self.validation)] {
            hasher.update(&[part]);
            for case in cases {
                case.hash_into(&mut hasher);
            }
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Why the network cannot use a case, if so.
fn channel_problem(task: &TaskConfig, case: &CaseSource) -> Option<String> {
    let lacks: Vec<&str> = task
        .modalities
        .iter()
        .filter(|modality| !case.modalities().contains(modality))
        .map(|modality| modality.name())
        .collect();
    if lacks.len() == task.modalities.len() {
        return Some(format!("it has none of the modalities {}", lacks.join(", ")));
    }
    (task.missing == Missing::Drop && !lacks.is_empty())
        .then(|| format!("it lacks {}, which is not replaced (task.missing = \"drop\")", lacks.join(", ")))
}
