//! Which cases are probed, and what is true of them.

use std::collections::BTreeSet;

use brainmvp_cohort::Split;
use brainmvp_prep::cache::{CaseEntry, CaseFacts};
use brainmvp_probe::{Features, Sample, Truth};
use brainmvp_train::config::DataConfig;
use brainmvp_train::finetune::{Part, parts};

use crate::commands::counted;
use crate::commands::evaluate::some;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// What is predicted.
pub(super) enum Target {
    /// One of these classes.
    Class(Vec<String>),
    /// The number of this column.
    Number(String),
}

/// What a case is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The models are fitted to it.
    Training,
    /// Their settings are chosen by it.
    Validation,
    /// It is scored.
    Test,
}

/// A case with its features.
pub(super) struct Case<'a> {
    pub(super) facts: &'a CaseFacts,
    pub(super) features: Features,
}

/// The cases by what they are used for.
pub(super) struct Parts<'a> {
    pub(super) training: Vec<Case<'a>>,
    pub(super) validation: Vec<Case<'a>>,
    pub(super) test: Vec<Case<'a>>,
}

impl Target {
    /// The truth of cases that have one.
    pub(super) fn truth(&self, cases: &[Case<'_>]) -> Truth {
        match self {
            Self::Class(classes) => {
                let class = |case: &Case<'_>| {
                    let place = classes.iter().position(|class| Some(class) == case.facts.class.as_ref());
                    place.unwrap_or(classes.len())
                };
                Truth::Classes { of: cases.iter().map(class).collect(), count: classes.len() }
            }
            Self::Number(column) => {
                Truth::Numbers(cases.iter().map(|case| case.facts.numbers[column]).collect())
            }
        }
    }

    /// The cases as the models see them.
    pub(super) fn sample<'a>(&self, cases: &'a [Case<'_>]) -> Sample<'a> {
        Sample { features: cases.iter().map(|case| &case.features).collect(), truth: self.truth(cases) }
    }

    /// What predicts without features.
    pub(super) fn baseline(&self) -> &'static str {
        match self {
            Self::Class(_) => "Class shares",
            Self::Number(_) => "Mean",
        }
    }
}

/// Chooses the cases, before anything is computed of them. Those without a truth are named.
pub(super) fn choose<'a>(
    cases: &'a [CaseEntry],
    target: &str,
    ui: &Ui,
) -> anyhow::Result<(Target, Vec<(Role, &'a CaseEntry)>)> {
    let is_class = target == "class";
    let has = |entry: &&CaseEntry| {
        if is_class { entry.case.class.is_some() } else { entry.case.numbers.contains_key(target) }
    };
    let (known, unknown): (Vec<&CaseEntry>, Vec<&CaseEntry>) = cases.iter().partition(has);
    let wanted = if is_class { "class".to_owned() } else { format!("number '{target}'") };
    if known.is_empty() {
        let columns: BTreeSet<&str> =
            cases.iter().flat_map(|entry| entry.case.numbers.keys()).map(String::as_str).collect();
        let columns = columns.into_iter().collect::<Vec<_>>().join(", ");
        let columns = if columns.is_empty() { "none".to_owned() } else { columns };
        return Err(bad_input(format!("none of the {} prepared cases has a {wanted}", cases.len())))
            .advise(|_| format!("the numbers of these cases: {columns}"));
    }
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|entry| entry.case.id.as_str()).collect();
        let (count, total) = (names.len(), cases.len());
        ui.note(format!(
            "note: {count} of {total} cases have no {wanted} and are left out: {}",
            some(&names)
        ));
    }
    let mut chosen = with_roles(&known, ui);
    let target = if is_class { classes(&mut chosen, ui)? } else { number(&chosen, target)? };
    if !chosen.iter().any(|(role, _)| *role != Role::Training) {
        return Err(bad_input("there are only training cases: none is left to be scored")).advise(|_| {
            "`brainmvp split` divides a cohort; prepare the cases again, which takes a moment".to_owned()
        });
    }
    Ok((target, chosen))
}

/// Cases for training and validation as in fine-tuning, and the test cases.
fn with_roles<'a>(known: &[&'a CaseEntry], ui: &Ui) -> Vec<(Role, &'a CaseEntry)> {
    let facts: Vec<&CaseFacts> = known.iter().map(|entry| &entry.case).collect();
    let (mut chosen, mut others) = (Vec::new(), Vec::new());
    for (entry, part) in known.iter().zip(parts(&facts, &DataConfig::default())) {
        match (part, entry.case.split) {
            (Part::Training, _) => chosen.push((Role::Training, *entry)),
            (Part::Validation, _) => chosen.push((Role::Validation, *entry)),
            (Part::Unused, Some(Split::Test)) => chosen.push((Role::Test, *entry)),
            (Part::Unused, _) => others.push(entry.case.id.as_str()),
        }
    }
    if !others.is_empty() {
        let count = counted(others.len(), "case");
        ui.note(format!(
            "note: {count} of subjects with test cases, which are no test cases, left out: {}",
            some(&others)
        ));
    }
    chosen
}

/// The classes of the training cases. Cases of other classes are named and left out.
fn classes(chosen: &mut Vec<(Role, &CaseEntry)>, ui: &Ui) -> anyhow::Result<Target> {
    let training = chosen.iter().filter(|(role, _)| *role == Role::Training);
    let classes: BTreeSet<String> = training.filter_map(|(_, entry)| entry.case.class.clone()).collect();
    if classes.len() < 2 {
        let found = classes.into_iter().collect::<Vec<_>>().join(", ");
        return Err(bad_input(format!(
            "a classification needs two classes or more; the training cases have: {found}"
        )));
    }
    chosen.retain(|(_, entry)| {
        let class = entry.case.class.as_deref().unwrap_or_default();
        if !classes.contains(class) {
            let id = &entry.case.id;
            ui.alert(format!("warning: case '{id}' is left out: no training case has its class '{class}'"));
        }
        classes.contains(class)
    });
    Ok(Target::Class(classes.into_iter().collect()))
}

/// The column, if its numbers differ.
fn number(chosen: &[(Role, &CaseEntry)], column: &str) -> anyhow::Result<Target> {
    let training = chosen.iter().filter(|(role, _)| *role == Role::Training);
    let mut numbers = training.map(|(_, entry)| entry.case.numbers[column]);
    let first = numbers.next();
    if numbers.all(|number| Some(number) == first) {
        return Err(bad_input(format!("the training cases all have the same number '{column}'")));
    }
    Ok(Target::Number(column.to_owned()))
}

impl<'a> Parts<'a> {
    /// Cases that have no features that the training cases have are named and left out.
    pub(super) fn of(cases: Vec<(Role, Case<'a>)>, ui: &Ui) -> Self {
        let mut parts = Self { training: Vec::new(), validation: Vec::new(), test: Vec::new() };
        for (role, case) in cases {
            match role {
                Role::Training => parts.training.push(case),
                Role::Validation => parts.validation.push(case),
                Role::Test => parts.test.push(case),
            }
        }
        let blocks: BTreeSet<&String> = parts.training.iter().flat_map(|case| case.features.keys()).collect();
        for cases in [&mut parts.validation, &mut parts.test] {
            cases.retain(|case| {
                let is_known = case.features.keys().any(|block| blocks.contains(block));
                if !is_known {
                    let id = &case.facts.id;
                    ui.alert(format!(
                        "warning: case '{id}' is left out: no training case has one of its modalities"
                    ));
                }
                is_known
            });
        }
        parts
    }

    /// The cases that are scored, and what they are.
    pub(super) fn scored(&self) -> anyhow::Result<(&'static str, &[Case<'a>])> {
        match (self.test.is_empty(), self.validation.is_empty()) {
            (false, _) => Ok(("test", &self.test)),
            (true, false) => Ok(("validation", &self.validation)),
            (true, true) => Err(bad_input("no case is left to be scored")),
        }
    }

    /// The cases that settings are chosen by, which are not scored; none if there are no others than training cases.
    pub(super) fn held(&self) -> &[Case<'a>] {
        if self.test.is_empty() { &[] } else { &self.validation }
    }
}
