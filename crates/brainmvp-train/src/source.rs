//! Which weights to use: one of the checkpoints of a run, or a file. Every command that uses a trained network decides by
//! this module, so that all choose in the same way.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::run::RunFolder;
use crate::{Error, Result};

/// One of the checkpoints of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Typed", into = "Typed")]
pub enum CheckpointChoice {
    /// The one with the highest validation score; without validation, that with the lowest mean loss.
    Best,
    /// The newest; of a finished run, the final one.
    Last,
    /// The one of this step.
    Step(u64),
}

/// A choice as it is written in a configuration: `"best"`, `"last"`, or the number of a step.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "best, last, or the number of a step")]
enum Typed {
    Step(u64),
    Word(String),
}

impl TryFrom<Typed> for CheckpointChoice {
    type Error = String;

    fn try_from(typed: Typed) -> std::result::Result<Self, String> {
        match typed {
            Typed::Step(step) => Ok(Self::Step(step)),
            Typed::Word(word) => word.parse(),
        }
    }
}

impl From<CheckpointChoice> for Typed {
    fn from(choice: CheckpointChoice) -> Self {
        match choice {
            CheckpointChoice::Step(step) => Self::Step(step),
            word => Self::Word(word.to_string()),
        }
    }
}

impl FromStr for CheckpointChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "last" => Ok(Self::Last),
            step => step
                .parse()
                .map(Self::Step)
                .map_err(|_| format!("'{step}': write best, last, or the number of a step")),
        }
    }
}

impl fmt::Display for CheckpointChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Last => f.write_str("last"),
            Self::Step(step) => write!(f, "{step}"),
        }
    }
}

/// Where to open a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The folder of a run, or a file of weights.
    pub path: PathBuf,
    /// Which checkpoint of the run. By default, the one with the best validation score, or the last one of a run without
    /// validation, such as pre-training: a lower mean loss at an earlier step is no reason to prefer it, because the
    /// learning rate falls and further losses are added during the run.
    pub checkpoint: Option<CheckpointChoice>,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Source {
    fn from(path: &P) -> Self {
        Self { path: path.as_ref().to_owned(), checkpoint: None }
    }
}

/// A file that was chosen.
pub(crate) struct Chosen {
    pub(crate) path: PathBuf,
    /// The folder with everything that belongs to it: that of its run, or that of the file.
    pub(crate) folder: PathBuf,
    /// Which of the checkpoints of its run it is, if it was chosen among them.
    pub(crate) why: Option<String>,
}

impl Source {
    /// Finds the file.
    ///
    /// # Errors
    /// If the run has no such checkpoint, or if a checkpoint is chosen but the path is that of a file.
    pub(crate) fn choose(&self) -> Result<Chosen> {
        if self.path.is_dir() {
            return RunFolder::open(&self.path)?.choose(self.checkpoint);
        }
        if let Some(choice) = self.checkpoint {
            let reason = format!("is a file: checkpoint {choice} can only be chosen in the folder of a run");
            return Err(Error::checkpoint(&self.path, reason));
        }
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let run = folder.parent().filter(|run| run.join("config.toml").is_file());
        let folder =
            run.filter(|_| folder.ends_with("checkpoints")).map_or_else(|| folder.clone(), Path::to_owned);
        Ok(Chosen { path: self.path.clone(), folder, why: None })
    }
}

impl RunFolder {
    /// The chosen checkpoint: see [`Source::checkpoint`].
    ///
    /// # Errors
    /// If it does not exist or, if the choice depends on it, `best` cannot be read.
    pub(crate) fn choose(&self, choice: Option<CheckpointChoice>) -> Result<Chosen> {
        let steps = self.checkpoints()?;
        let best = self.best().is_file().then(|| Checkpoint::open(&self.best())).transpose();
        let is_validated = |best: &Checkpoint| best.state().validated > 0;
        let choice = match (choice, &best) {
            (Some(choice), _) => choice,
            (None, Ok(Some(best))) if is_validated(best) => CheckpointChoice::Best,
            (None, Ok(_)) => CheckpointChoice::Last,
            (None, Err(_)) => CheckpointChoice::Best,
        };
        let of_how_many = match steps.len() {
            1 => "the only checkpoint".to_owned(),
            count => format!("of {count} checkpoints"),
        };
        let (path, why) = match choice {
            CheckpointChoice::Best => match best? {
                Some(best) if is_validated(&best) => (self.best(), "the best validation".to_owned()),
                Some(_) => (self.best(), "the lowest mean loss".to_owned()),
                None => return Err(self.lacks("best", &steps)),
            },
            CheckpointChoice::Last => match steps.last() {
                Some(last) if steps.len() == 1 => (self.checkpoint(*last), of_how_many),
                Some(last) => (self.checkpoint(*last), format!("the last {of_how_many}")),
                None => return Err(self.lacks("any", &steps)),
            },
            CheckpointChoice::Step(step) if steps.contains(&step) => (self.checkpoint(step), of_how_many),
            CheckpointChoice::Step(step) => return Err(self.lacks(&format!("step {step}"), &steps)),
        };
        Ok(Chosen { path, folder: self.path().to_owned(), why: Some(why) })
    }

    /// An error that there is no such checkpoint, with the existing ones.
    fn lacks(&self, wanted: &str, steps: &[u64]) -> Error {
        let best = Checkpoint::open(&self.best()).map(|best| format!("best (step {})", best.state().step));
        let there: Vec<String> = steps.iter().map(ToString::to_string).chain(best).collect();
        let reason = match there.as_slice() {
            [] => "has no checkpoint yet; let the run reach one".to_owned(),
            there => format!("has no checkpoint '{wanted}'; there are: {}", there.join(", ")),
        };
        Error::run_folder(self.path(), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_words_or_steps() {
        for (text, choice) in [
            ("best", CheckpointChoice::Best),
            ("last", CheckpointChoice::Last),
            ("600", CheckpointChoice::Step(600)),
        ] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
            let json = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<CheckpointChoice>(&json).unwrap(), choice);
        }
        assert!("newest".parse::<CheckpointChoice>().unwrap_err().contains("best, last"));
        assert!(serde_json::from_str::<CheckpointChoice>("-1").is_err());
    }
}
