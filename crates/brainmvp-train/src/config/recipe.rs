//! A recipe: the settings of several stages in one TOML file.
//!
//! ```toml
//! [preprocess]
//! percentiles = [5, 95]
//! [pretrain.train]
//! epochs = 400
//! [finetune.task]
//! modalities = ["t1", "flair"]
//! ```
//!
//! Each stage takes its table. A file without such tables is the settings of one stage.

use std::fmt;

use toml::{Table, Value};

use super::layers;
use crate::{Error, Result};

/// What a table of a recipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Preparing cases.
    Preprocess,
    /// Pre-training.
    Pretrain,
    /// Fine-tuning.
    Finetune,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 3] = [Self::Preprocess, Self::Pretrain, Self::Finetune];

    /// The name of its table, which is that of its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocess",
            Self::Pretrain => "pretrain",
            Self::Finetune => "finetune",
        }
    }

    /// The settings for this stage in a TOML text: its table in a recipe, or the whole text if there is no table of any
    /// stage.
    ///
    /// # Errors
    /// If the text is not TOML, has tables for other stages but not for this one, or has keys outside the tables.
    pub fn of(self, text: &str) -> Result<String> {
        let mut table: Table = layers::asked(text, &[])?;
        let (stages, others): (Vec<&str>, Vec<&str>) = table
            .keys()
            .map(String::as_str)
            .partition(|key| Self::ALL.iter().any(|stage| stage.name() == *key));
        if stages.is_empty() {
            return Ok(text.to_owned());
        }
        let tables = stages.iter().map(|name| format!("[{name}]")).collect::<Vec<_>>().join(", ");
        if let Some(other) = others.first() {
            return Err(Error::Config(format!(
                "'{other}' is outside the tables {tables}; in a recipe with stages, write it in the table of its stage"
            )));
        }
        match table.remove(self.name()) {
            Some(Value::Table(own)) => toml::to_string(&own).map_err(|e| Error::Config(e.to_string())),
            Some(_) => Err(Error::Config(format!("{self} must be a table: [{self}]"))),
            None => Err(Error::Config(format!("the recipe has {tables}, but no [{self}]"))),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_takes_its_table() {
        let recipe =
            "[preprocess]\nspacing_mm = 2\n[finetune]\npreset = 'paper'\n[finetune.train]\nepochs = 3\n";
        assert_eq!(Stage::Preprocess.of(recipe).unwrap(), "spacing_mm = 2\n");
        let own: Table = Stage::Finetune.of(recipe).unwrap().parse().unwrap();
        assert_eq!(own, "preset = 'paper'\ntrain.epochs = 3".parse().unwrap());
        let message = |text: &str, stage: Stage| stage.of(text).unwrap_err().to_string();
        assert!(message(recipe, Stage::Pretrain).contains("has [finetune], [preprocess], but no [pretrain]"));
        assert!(message(&format!("seed = 1\n{recipe}"), Stage::Finetune).contains("'seed' is outside"));
        assert!(message("finetune = 3", Stage::Finetune).contains("must be a table"));
        assert!(message("[finetune\n", Stage::Finetune).contains("line 1"));
    }

    #[test]
    fn a_file_of_one_stage_is_taken_whole() {
        for text in ["", "[train]\nepochs = 3\n", "preset = 'paper'"] {
            for stage in Stage::ALL {
                assert_eq!(stage.of(text).unwrap(), text);
            }
        }
    }
}
