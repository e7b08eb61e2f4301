//! What the pages are told of cases.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use brainmvp_cohort::{LabelScheme, Split};
use brainmvp_volume::Modality;
use serde::Serialize;

use crate::items::{Item, Items};
use crate::kind::Kind;

/// A case, put together of all that was opened.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Case {
    pub(crate) data_set: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) site: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) split: Option<Split>,
    /// Names of label values.
    pub(crate) labels: BTreeMap<u16, String>,
    pub(crate) groups: Vec<Group>,
    pub(crate) scores: Vec<Score>,
    /// What `report` marked.
    pub(crate) flags: BTreeSet<String>,
    /// Why it was left out of something.
    pub(crate) quarantined: BTreeSet<String>,
    /// Pictures that a report drew.
    pub(crate) pictures: Vec<String>,
}

/// Volumes of a case that are on one grid or belong together otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    /// Where they come from.
    pub(crate) title: String,
    pub(crate) stage: Stage,
    pub(crate) volumes: Vec<Shown>,
    /// What was done to them, for people.
    pub(crate) steps: Vec<String>,
}

/// How far volumes have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// As they are in their files.
    Original,
    /// As networks see them.
    Prepared,
    /// What a network says.
    Prediction,
}

/// A volume.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Where it is fetched.
    pub(crate) address: String,
    #[serde(skip)]
    pub(crate) item: Item,
}

/// What a volume shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Image,
    Label,
    BrainMask,
    Probability,
    /// 1: in the label map alone; 2: in the prediction alone; 3: in both with different values.
    Difference,
}

/// A score of a case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Score {
    /// What was scored: a file of scores, an arm of a study.
    pub(crate) of: String,
    pub(crate) region: String,
    pub(crate) metric: String,
    /// `None` where it is not defined.
    pub(crate) value: Option<f64>,
}

/// Something that was opened, or why it was not.
#[derive(Debug, Serialize)]
pub(crate) struct Opened {
    pub(crate) kind: &'static str,
    pub(crate) title: String,
    pub(crate) problem: Option<String>,
}

/// Where runs are: a run itself, or a folder of a study that gains runs.
#[derive(Debug, Clone)]
pub(crate) struct RunPlace {
    pub(crate) folder: PathBuf,
    /// What precedes the names of its runs.
    pub(crate) title: String,
}

/// All that was opened.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    pub(crate) cases: BTreeMap<String, Case>,
    pub(crate) opened: Vec<Opened>,
    pub(crate) runs: Vec<RunPlace>,
    /// Studies, and parts of them.
    pub(crate) studies: Vec<PathBuf>,
    /// What was recognised, in the order in which it was opened.
    pub(crate) contents: Vec<(Kind, PathBuf)>,
    /// Files that say what the collection consists of.
    pub(crate) witnesses: Vec<PathBuf>,
}

impl Collection {
    /// The case of this name, which is added if it is new.
    pub(crate) fn case(&mut self, id: &str) -> &mut Case {
        self.cases.entry(id.to_owned()).or_default()
    }

    /// The case of this name in a data set. If another data set has a case of this name, it is called after its data set too.
    pub(crate) fn case_of(&mut self, data_set: &str, id: &str) -> &mut Case {
        let is_taken = self.cases.get(id).and_then(|case| case.data_set.as_ref());
        let is_taken = is_taken.is_some_and(|other| other != data_set);
        let name = if is_taken { format!("{id} ({data_set})") } else { id.to_owned() };
        let case = self.cases.entry(name).or_default();
        case.data_set.get_or_insert_with(|| data_set.to_owned());
        case
    }

    /// What cannot be shown, each with the reason.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problem = |opened: &Opened| {
            let problem = opened.problem.as_ref()?;
            // Most reasons name the file already.
            let named = problem.starts_with(&opened.title);
            Some(if named { problem.clone() } else { format!("{}: {problem}", opened.title) })
        };
        self.opened.iter().filter_map(problem).collect()
    }

    /// Adds the differences between predictions and labels, once both are known.
    pub(crate) fn compare(&mut self, items: &Items) {
        for case in self.cases.values_mut() {
            let truth = case.groups.iter().filter(|group| group.stage == Stage::Original);
            let truth = truth.flat_map(|group| &group.volumes).find(|volume| volume.role == Role::Label);
            let Some(truth) = truth.map(|volume| volume.item.clone()) else { continue };
            for group in case.groups.iter_mut().filter(|group| group.stage == Stage::Prediction) {
                let prediction = group.volumes.iter().find(|volume| volume.role == Role::Label);
                let Some(prediction) = prediction.map(|volume| Box::new(volume.item.clone())) else {
                    continue;
                };
                let item = Item::Difference { truth: Box::new(truth.clone()), prediction };
                group.volumes.push(Shown::new("difference from the label", Role::Difference, item, items));
            }
        }
    }
}

impl Shown {
    pub(crate) fn new(name: impl Into<String>, role: Role, item: Item, items: &Items) -> Self {
        Self { name: name.into(), role, address: items.address(item.clone()), item }
    }
}

impl Case {
    /// Takes over names of label values.
    pub(crate) fn name_labels(&mut self, scheme: Option<&LabelScheme>) {
        let names = scheme.into_iter().flat_map(LabelScheme::values);
        self.labels.extend(names.map(|(value, name)| (value, name.to_owned())));
    }

    /// The lowest Dice of its regions, by what was scored; of several scores of a region (seeds, folds), the mean.
    pub(crate) fn dice(&self) -> BTreeMap<&str, f64> {
        let mut values: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
        for score in self.scores.iter().filter(|score| score.metric == "dice") {
            values.entry((&score.of, &score.region)).or_default().extend(score.value);
        }
        let mut lowest = BTreeMap::new();
        for ((of, _), values) in values.into_iter().filter(|(_, values)| !values.is_empty()) {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            lowest.entry(of).and_modify(|low: &mut f64| *low = low.min(mean)).or_insert(mean);
        }
        lowest
    }

    /// The modalities of its images.
    pub(crate) fn modalities(&self) -> BTreeSet<&str> {
        let volumes = self.groups.iter().flat_map(|group| &group.volumes);
        let images = volumes.filter(|volume| volume.role == Role::Image).map(|volume| volume.name.as_str());
        // Files that belong to no cohort are called otherwise.
        images.filter(|name| name.parse::<Modality>().is_ok()).collect()
    }
}
