//! Turns the arguments of `--in` into cases.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{self, IndexOptions};
use brainmvp_cohort::{Case, CaseId, Split};
use brainmvp_volume::{Modality, Role};

use crate::commands::load_cohort;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// The input cases.
pub(crate) struct Inputs {
    pub(crate) cases: Vec<Case>,
    /// Cases of a folder that cannot be used.
    pub(crate) unusable: Vec<Unusable>,
}

/// A case that cannot be used, and why.
pub(crate) struct Unusable {
    pub(crate) case: String,
    pub(crate) reason: String,
}

impl Inputs {
    /// The cases of a cohort file, of a folder (indexed as by `brainmvp index`), or the one case whose images are
    /// given: `FILE`, whose name contains the modality, or `MODALITY=FILE`.
    /// With a `split`, only the cases in it.
    pub(crate) fn read(typed: &[PathBuf], split: Option<Split>, ui: &Ui) -> anyhow::Result<Self> {
        let mut inputs = match typed {
            [path] if path.is_dir() => Self::of_folder(path, ui)?,
            [path] if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) => {
                Self { cases: load_cohort(path)?.cases, unusable: Vec::new() }
            }
            files => Self { cases: vec![one_case(files)?], unusable: Vec::new() },
        };
        if split.is_some() {
            inputs.cases.retain(|case| case.split == split);
            if inputs.cases.is_empty() {
                return Err(bad_input(
                    "--split: no case is in this split; `brainmvp split` divides a cohort",
                ));
            }
        }
        Ok(inputs)
    }

    fn of_folder(folder: &Path, ui: &Ui) -> anyhow::Result<Self> {
        let indexed = layouts::index(folder, "auto", &IndexOptions::default())
            .advise(|_| "`brainmvp index` has options for other layouts and names".to_owned())?;
        for warning in &indexed.warnings {
            ui.note(format!("note: {warning}"));
        }
        for file in &indexed.refused {
            ui.note(format!("note: {}: {}", file.path.display(), file.finding.decision()));
        }
        let unusable = indexed.rejected.into_iter();
        Ok(Self {
            cases: indexed.cohort.cases,
            unusable: unusable.map(|r| Unusable { case: r.case, reason: r.reason }).collect(),
        })
    }
}

/// The case of some image files.
fn one_case(files: &[PathBuf]) -> anyhow::Result<Case> {
    let aliases = Aliases::default();
    let mut names = BTreeSet::new();
    let mut images: Vec<(Modality, PathBuf)> = Vec::new();
    let mut brain_mask = None;
    for typed in files {
        let (role, path) = if let Some((modality, path)) = named(typed) {
            (Role::Image(modality), path)
        } else {
            let (role, name) = layouts::read_name(typed, &aliases).ok_or_else(|| unknown(typed))?;
            names.insert(name.to_owned());
            (role, typed.clone())
        };
        match role {
            Role::Image(modality) => match images.iter().find(|(known, _)| *known == modality) {
                None => images.push((modality, path)),
                Some((_, first)) => {
                    let (a, b) = (first.display(), path.display());
                    return Err(bad_input(format!("two files are {modality}: {a} and {b}")));
                }
            },
            Role::BrainMask => brain_mask = Some(path),
            Role::Label | Role::Ignored => {
                let path = path.display();
                return Err(bad_input(format!(
                    "{path}: its name is not that of an image of a known modality"
                )));
            }
        }
    }
    let Some((_, first)) = images.first() else { return Err(bad_input("--in: no image is given")) };
    let name = match names.first() {
        Some(name) if names.len() == 1 && !name.is_empty() => name.clone(),
        _ => folder_name(first),
    };
    let mut case = Case::new(CaseId::new(&name)?, name, "files");
    case.images = images.into_iter().collect();
    case.brain_mask = brain_mask;
    Ok(case)
}

/// `MODALITY=FILE`, unless there is a file with exactly that name.
fn named(typed: &Path) -> Option<(Modality, PathBuf)> {
    let (modality, path) = typed.to_str()?.split_once('=').filter(|_| !typed.exists())?;
    Some((crate::argument::modality(modality).ok()?, path.into()))
}

fn unknown(path: &Path) -> anyhow::Error {
    let path = path.display();
    bad_input(format!("{path}: its name does not contain the modality; write MODALITY={path}"))
}

/// The name of the folder that contains a file.
fn folder_name(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute.parent().and_then(Path::file_name);
    folder.map_or_else(|| "case".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(files: &[&str]) -> anyhow::Result<Case> {
        one_case(&files.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn files_are_a_case() {
        let found = case(&["a/p1_t1ce.nii.gz", "a/p1_flair.nii", "t2=a/odd=name.nii"]).unwrap();
        assert_eq!(found.id.as_str(), "p1");
        let expected = [Modality::Flair, Modality::T1c, Modality::T2];
        assert_eq!(found.images.keys().copied().collect::<Vec<_>>(), expected);
        assert_eq!(found.images[&Modality::T2], Path::new("a/odd=name.nii"));
        assert_eq!(case(&["case7/t1.nii.gz", "case7/t2.nii.gz"]).unwrap().id.as_str(), "case7");
    }

    #[test]
    fn what_is_no_image_is_said() {
        for (files, word) in [
            (&["a/scan.nii.gz"][..], "MODALITY="),
            (&["a_t1.nii", "b_t1.nii"], "two files are t1"),
            (&["a_seg.nii"], "not that of an image"),
            (&["a_brain_mask.nii"], "no image"),
        ] {
            assert!(case(files).unwrap_err().to_string().contains(word), "{files:?}");
        }
    }
}
