//! The commands: each parses its options, calls the library, and prints the result.

pub(crate) mod atlas;
pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod datasets;
pub(crate) mod demo;
mod dry_run;
pub(crate) mod embed;
pub(crate) mod evaluate;
pub(crate) mod finetune;
mod fitting;
pub(crate) mod index;
mod inference;
pub(crate) mod landmarks;
pub(crate) mod list;
pub(crate) mod phantom;
pub(crate) mod predict;
pub(crate) mod preprocess;
pub(crate) mod pretrain;
pub(crate) mod probe;
pub(crate) mod register;
pub(crate) mod report;
pub(crate) mod runs;
mod session;
pub(crate) mod settings;
pub(crate) mod split;
pub(crate) mod study;
mod table;
pub(crate) mod templates;
pub(crate) mod view;
pub(crate) mod weights;

use std::path::Path;

use brainmvp_cohort::{Case, Cohort};

use crate::failure::{Advise as _, bad_input};

/// Reads the cohort that a command works on.
fn load_cohort(path: &Path) -> anyhow::Result<Cohort> {
    if path.is_dir() {
        let inside = path.join("cohort.json");
        let advice = if inside.is_file() {
            format!("did you mean {}?", inside.display())
        } else {
            format!("`brainmvp index {} --out cohort.json` makes one", path.display())
        };
        let error = bad_input(format!("{}: is a folder, not a cohort file", path.display()));
        return Err(error).advise(|_| advice);
    }
    let mut cohort = Cohort::load(path)
        .advise(|_| "`brainmvp index DIR --out cohort.json` makes a cohort file".to_owned())?;
    if cohort.cases.is_empty() {
        return Err(bad_input(format!("{}: the cohort has no cases", path.display())));
    }
    cohort.cases.iter_mut().for_each(shorten_paths);
    Ok(cohort)
}

/// `./a` as `a`: messages show paths as the user would type them.
fn shorten_paths(case: &mut Case) {
    for path in case.images.values_mut().chain(&mut case.label).chain(&mut case.brain_mask) {
        if let Ok(short) = path.strip_prefix(".") {
            *path = short.to_owned();
        }
    }
}

/// `1 case`, `2 cases`.
fn counted(count: usize, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}
