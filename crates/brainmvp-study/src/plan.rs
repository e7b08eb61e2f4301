//! From arms to cells: what is pre-trained, and what is fine-tuned and scored.

use std::path::{Path, PathBuf};

use brainmvp_objectives::pretraining::MethodName;
use brainmvp_prep::Shard;

use crate::arms::{Arm, Beginning};
use crate::config::StudyConfig;
use crate::{Result, requests};

/// A pre-training that cells begin with. Arms that differ only in fine-tuning share one.
#[derive(Debug, Clone, PartialEq)]
pub struct Pretraining {
    /// The first arm that needs it.
    pub arm: usize,
    /// The fold that is left out, if there are folds.
    pub fold: Option<usize>,
    /// Its seed.
    pub seed: u64,
    /// Its folder, among those of all pre-trainings.
    pub folder: PathBuf,
}

/// A cell: a network that is fine-tuned and scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The name of the task.
    pub task: String,
    /// The number of the arm.
    pub arm: usize,
    /// The share of the labels.
    pub fraction: f64,
    /// The fold that it is scored on, if there are folds.
    pub fold: Option<usize>,
    /// Its seed.
    pub seed: u64,
    /// The number of its pre-training.
    pub pretraining: Option<usize>,
}

/// All that there is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The arms.
    pub arms: Vec<Arm>,
    /// The pre-trainings.
    pub pretrainings: Vec<Pretraining>,
    /// The cells, in the order in which they are carried out: one seed after the other, so that there is a first table early.
    pub cells: Vec<Cell>,
}

impl Plan {
    /// The plan of a study.
    ///
    /// # Errors
    /// If its arms cannot be made, or the settings of one make no sense.
    pub fn of(config: &StudyConfig) -> Result<Self> {
        let arms = Arm::of(config)?;
        arms.iter().try_for_each(|arm| requests::check(config, arm))?;
        let name = |arm: &Arm| match arm.beginning {
            Beginning::Method(..) => requests::name_of_pretraining(config, arm).map(Some),
            _ => Ok(None),
        };
        let names = arms.iter().map(name).collect::<Result<Vec<_>>>()?;
        Ok(Self::new(config, arms, &names))
    }

    /// `pretrained` are the names of the pre-trainings, for the arms that begin with one.
    fn new(config: &StudyConfig, arms: Vec<Arm>, pretrained: &[Option<String>]) -> Self {
        let mut pretrainings: Vec<Pretraining> = Vec::new();
        let mut cells = Vec::new();
        for &seed in &config.seeds {
            for fold in config.tested_folds() {
                for (arm, name) in pretrained.iter().enumerate() {
                    let pretraining = name.as_ref().map(|name| {
                        let folder = fold_and_seed(PathBuf::from(name), fold, seed);
                        let same = |known: &Pretraining| known.folder == folder;
                        pretrainings.iter().position(same).unwrap_or_else(|| {
                            pretrainings.push(Pretraining { arm, fold, seed, folder });
                            pretrainings.len() - 1
                        })
                    });
                    for task in config.tasks.keys() {
                        let cell = |&fraction: &f64| Cell {
                            task: task.clone(),
                            arm,
                            fraction,
                            fold,
                            seed,
                            pretraining,
                        };
                        cells.extend(config.fractions.iter().map(cell));
                    }
                }
            }
        }
        Self { arms, pretrainings, cells }
    }

    /// The cells of a share of the study. Cells that begin with one pre-training are in one share, so that shares need not
    /// wait for each other.
    pub fn share(&self, shard: Shard) -> Vec<&Cell> {
        let mut units: Vec<Vec<&Cell>> = Vec::new();
        for cell in &self.cells {
            let same = |unit: &&mut Vec<&Cell>| {
                cell.pretraining.is_some() && unit[0].pretraining == cell.pretraining
            };
            match units.iter_mut().find(same) {
                Some(unit) => unit.push(cell),
                None => units.push(vec![cell]),
            }
        }
        shard.of(&units).flatten().copied().collect()
    }

    /// The arm that the others are tested against: the one that is asked for, or the first that BrainMVP pre-trains, or the
    /// first.
    pub fn reference(&self, config: &StudyConfig) -> usize {
        let named = |arm: &Arm| config.reference.as_ref() == Some(&arm.name);
        let ours =
            |arm: &Arm| matches!(arm.beginning, Beginning::Method(name, _) if name == MethodName::default());
        let place = |wanted: &dyn Fn(&Arm) -> bool| self.arms.iter().position(wanted);
        place(&named).or_else(|| place(&ours)).unwrap_or(0)
    }
}

impl Cell {
    /// Its folder in the work folder.
    pub fn folder(&self, arms: &[Arm]) -> PathBuf {
        let arm = Path::new("cells").join(&self.task).join(&arms[self.arm].name);
        fold_and_seed(arm.join(format!("labels-{}", self.fraction)), self.fold, self.seed)
    }
}

fn fold_and_seed(folder: PathBuf, fold: Option<usize>, seed: u64) -> PathBuf {
    let folder = fold.map_or(folder.clone(), |fold| folder.join(format!("fold-{fold}")));
    folder.join(format!("seed-{seed}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::config::tests::SMALL;

    fn plan(before: &str, kind: &str) -> Plan {
        let text = format!("{before}\n{}", SMALL.replace("comparison", kind));
        Plan::of(&StudyConfig::parse(&text, Path::new(".")).unwrap()).unwrap()
    }

    #[test]
    fn arms_that_differ_in_fine_tuning_share_a_pre_training() {
        let plan = plan("seeds = [1, 2]\nfolds = 3\nfractions = [0.5, 1.0]", "ablation");
        assert_eq!(plan.pretrainings.len(), 3 * 2 * 3);
        assert_eq!(plan.cells.len(), 6 * 2 * 3 * 2);
        let folders: BTreeSet<PathBuf> = plan.cells.iter().map(|cell| cell.folder(&plan.arms)).collect();
        assert_eq!(folders.len(), plan.cells.len(), "every cell has a folder of its own");
        assert!(folders.contains(Path::new("cells/segmentation/cmr+md/labels-0.5/fold-2/seed-1")));
    }

    #[test]
    fn shares_have_every_cell_once_and_keep_a_pre_training_together() {
        let plan = plan("seeds = [1, 2]\nfractions = [0.5, 1.0]", "comparison");
        let mut found = Vec::new();
        let mut homes: std::collections::BTreeMap<usize, usize> = std::collections::BTreeMap::new();
        for number in 1..=3 {
            for cell in plan.share(format!("{number}/3").parse().unwrap()) {
                found.push(cell.folder(&plan.arms));
                if let Some(pretraining) = cell.pretraining {
                    assert_eq!(*homes.entry(pretraining).or_insert(number), number);
                }
            }
        }
        found.sort();
        let mut all: Vec<PathBuf> = plan.cells.iter().map(|cell| cell.folder(&plan.arms)).collect();
        all.sort();
        assert_eq!(found, all);
    }
}
