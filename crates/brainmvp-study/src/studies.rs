//! A study of several parts: studies of their own questions, which share cases and pre-trainings.

use std::path::{Path, PathBuf};

use brainmvp_train::config::merge;
use brainmvp_volume::FileError;
use toml::{Table, Value};

use crate::config::{StudyConfig, name_problem};
use crate::folder::write_text;
use crate::run::Study;
use crate::{Error, Result};

const PARTS: &str = "parts";

/// What a work folder has besides parts.
const OTHER_FOLDERS: [&str; 7] = ["cases", "pretraining", "cells", "done", "tables", "curves", "pictures"];

/// The studies of a file, in its order: one without a name, or several parts.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyFile(pub Vec<StudyConfig>);

impl StudyFile {
    /// Reads a TOML text. Paths in it are relative to `folder`. Each of its `[[parts]]` is a study with a name, whose keys
    /// are put over those outside the parts.
    ///
    /// # Errors
    /// If a key is unknown, a value has the wrong type, or the whole makes no sense.
    pub fn parse(text: &str, folder: &Path) -> Result<Self> {
        let mut shared: Table =
            text.parse().map_err(|e: toml::de::Error| Error::Config(e.to_string().trim().to_owned()))?;
        let parts = match shared.remove(PARTS) {
            None => return StudyConfig::parse(text, folder).map(|only| Self(vec![only])),
            Some(Value::Array(parts)) if !parts.is_empty() => parts,
            Some(_) => return Err(Error::Config("parts: expected tables, [[parts]]".to_owned())),
        };
        let mut all: Vec<StudyConfig> = Vec::with_capacity(parts.len());
        for part in parts {
            let Value::Table(part) = part else {
                return Err(Error::Config("parts: expected tables, [[parts]]".to_owned()));
            };
            let mut table = shared.clone();
            merge(&mut table, part);
            let name = table.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            if let Some(problem) = part_problem(&name, &all) {
                return Err(Error::Config(problem));
            }
            let within = |error| match error {
                Error::Config(reason) => Error::Config(format!("part {name}: {reason}")),
                other => other,
            };
            all.push(StudyConfig::of(table, folder).map_err(within)?);
        }
        Ok(Self(all))
    }

    /// Writes it, with every key.
    fn to_toml(&self) -> Result<String> {
        match &self.0[..] {
            [only] if only.name.is_empty() => only.to_toml(),
            parts => {
                let fail = |e: toml::ser::Error| Error::Config(e.to_string());
                let tables = parts.iter().map(Value::try_from).collect::<std::result::Result<Vec<_>, _>>();
                let whole: Table =
                    [(PARTS.to_owned(), Value::Array(tables.map_err(fail)?))].into_iter().collect();
                toml::to_string_pretty(&whole).map_err(fail)
            }
        }
    }
}

fn part_problem(name: &str, before: &[StudyConfig]) -> Option<String> {
    if before.iter().any(|other| other.name == name) {
        return Some(format!("part '{name}' is given twice"));
    }
    if OTHER_FOLDERS.contains(&name) {
        return Some(format!("part '{name}': the work folder has another folder of that name"));
    }
    name_problem("part", name)
}

/// The studies of a file and their work folder.
pub struct Studies {
    /// In the order of the file.
    pub all: Vec<Study>,
    folder: PathBuf,
}

impl Studies {
    /// Those of a file, in a work folder, which is made.
    ///
    /// # Errors
    /// If arms cannot be made of them, or the settings of an arm make no sense.
    pub fn new(file: StudyFile, folder: &Path) -> Result<Self> {
        let text = file.to_toml()?;
        let studies = Self::of(file, folder)?;
        write_text(&stored(folder), &text)?;
        Ok(studies)
    }

    /// Those of a work folder.
    ///
    /// # Errors
    /// If there are none.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = stored(folder);
        let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::folder(folder, "is not a work folder: there is no study.toml in it")
            }
            _ => FileError::new(&path, e).into(),
        })?;
        Self::of(StudyFile::parse(&text, Path::new(""))?, folder)
    }

    fn of(file: StudyFile, folder: &Path) -> Result<Self> {
        let all = file.0.into_iter().map(|config| Study::new(config, folder)).collect::<Result<_>>()?;
        Ok(Self { all, folder: folder.to_owned() })
    }

    /// The work folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn stored(folder: &Path) -> PathBuf {
    folder.join("study.toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::SMALL;

    fn parse(text: &str) -> Result<StudyFile> {
        StudyFile::parse(text, Path::new("/studies"))
    }

    #[test]
    fn parts_are_put_over_what_they_share() {
        assert_eq!(parse(SMALL).unwrap().0[0].name, "");
        let text = format!(
            "{SMALL}[[parts]]\nname = 'b'\nseeds = [1, 2]\ncompute.finetune_steps = 7\n\
             [[parts]]\nname = 'a'\nkind = 'labels'\n[parts.tasks.grade]\ntask.kind = 'classify'\n"
        );
        let file = parse(&text).unwrap();
        let names: Vec<&str> = file.0.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["b", "a"], "the order of the file");
        assert_eq!(file.0[0].seeds, [1, 2]);
        assert_eq!(file.0[0].compute.pretrain_voxels, file.0[1].compute.pretrain_voxels);
        assert_eq!(file.0[1].tasks.len(), 2);
        assert_eq!(parse(&file.to_toml().unwrap()).unwrap(), file, "what is written is read back");
    }

    #[test]
    fn mistakes_are_named() {
        for (after, expected) in [
            ("[[parts]]\nseeds = [1]", "part '': names"),
            ("[[parts]]\nname = 'a'\n[[parts]]\nname = 'a'", "part 'a' is given twice"),
            ("[[parts]]\nname = 'cells'", "another folder"),
            ("[[parts]]\nname = 'a'\nfolds = 1", "part a: folds"),
            ("[parts]\nname = 'a'", "[[parts]]"),
        ] {
            let said = parse(&format!("{SMALL}{after}\n")).unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
