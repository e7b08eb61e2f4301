//! Chooses the cases of a run from a cache, and completes the configuration from them.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_cohort::LabelScheme;
use brainmvp_prep::cache::CaseFacts;
use brainmvp_ssl::downstream::Missing;
use brainmvp_ssl::patch::PatchSource;
use brainmvp_volume::Modality;

use super::regions::RegionTable;
use super::selection::{Part, parts};
use crate::batches::CaseSource;
use crate::config::{ClassWeights, FinetuneConfig, TaskConfig, TaskKind};
use crate::trainer::Observer;
use crate::{Error, Result};

/// The cases of a run.
pub(super) struct Data {
    pub(super) training: Vec<CaseSource>,
    pub(super) validation: Vec<CaseSource>,
    /// Segmentation: the meaning of label values.
    pub(super) regions: Option<RegionTable>,
}

impl Data {
    /// Chooses the cases, and fills in the modalities, regions or classes that the configuration leaves open. Cases
    /// that cannot be used are named and left out.
    ///
    /// # Errors
    /// If no cases are left to train on, or the data do not determine the regions or classes.
    pub(super) fn new(
        config: &mut FinetuneConfig,
        cases: Vec<CaseSource>,
        schemes: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let total = cases.len();
        let known = |case: &CaseSource| match config.task.kind {
            TaskKind::Segment => case.has_label(),
            TaskKind::Classify => case.class().is_some(),
        };
        let cases: Vec<CaseSource> = cases.into_iter().filter(known).collect();
        let wanted = match config.task.kind {
            TaskKind::Segment => "label map",
            TaskKind::Classify => "class",
        };
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
        let mut data = Self { training: of(Part::Training), validation: of(Part::Validation), regions: None };
        if data.training.is_empty() {
            let reason = format!(
                "no case is left to train on: of {} with a {wanted}, none is a training case",
                cases.len()
            );
            return Err(Error::Config(reason));
        }
        data.complete_modalities(&mut config.task);
        data.leave_out(observer, |case| Ok(channel_problem(&config.task, case)))?;
        match config.task.kind {
            TaskKind::Segment => {
                let all = data.training.iter().chain(&data.validation);
                let data_sets: BTreeSet<&str> = all.map(PatchSource::data_set).collect();
                let table = RegionTable::new(&config.task.regions, &data_sets, schemes)?;
                config.task.regions.clone_from(&table.regions);
                data.leave_out(observer, |case| table.problem(case))?;
                data.regions = Some(table);
            }
            TaskKind::Classify => {
                data.complete_classes(&mut config.task)?;
                data.leave_out(observer, |case| Ok(class_problem(&config.task, case)))?;
            }
        }
        if data.training.is_empty() {
            return Err(Error::Config("no case is left to train on".to_owned()));
        }
        data.tell(&config.task, observer);
        Ok(data)
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

    fn complete_classes(&self, task: &mut TaskConfig) -> Result<()> {
        if task.classes.is_empty() {
            let classes: BTreeSet<&str> = self.training.iter().filter_map(|case| case.class()).collect();
            task.classes = classes.into_iter().map(str::to_owned).collect();
        }
        if task.classes.len() < 2 {
            let found = task.classes.join(", ");
            return Err(Error::Config(format!(
                "a classification needs two classes or more; the training cases have: {found}"
            )));
        }
        Ok(())
    }

    /// Leaves out the cases that have a problem, by name.
    fn leave_out(
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

    /// The weight of each class in the loss.
    pub(super) fn class_weights(&self, task: &TaskConfig) -> Vec<f32> {
        let count =
            |class: &String| self.training.iter().filter(|case| case.class() == Some(class.as_str())).count();
        let weight = |class: &String| match task.class_weights {
            ClassWeights::None => 1.0,
            ClassWeights::Balanced => {
                self.training.len() as f32 / (task.classes.len() * count(class).max(1)) as f32
            }
        };
        task.classes.iter().map(weight).collect()
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

fn class_problem(task: &TaskConfig, case: &CaseSource) -> Option<String> {
    let class = case.class().unwrap_or_default();
    let known = task.classes.iter().any(|known| known == class);
    (!known).then(|| format!("its class '{class}' is not one of {}", task.classes.join(", ")))
}
