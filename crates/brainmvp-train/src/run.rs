//! The folder of a run.
//!
//! ```text
//! RUN/config.toml                       the configuration as resolved
//! RUN/metrics.jsonl                     one line per step
//! RUN/validation.jsonl                  one line per validation; fine-tuning
//! RUN/status.json                       its last step, and whether it is running, done, stopped or failed, with the reason
//! RUN/identities.csv                    persons who are in several data sets; pre-training, if given
//! RUN/templates.safetensors             the templates that replace modalities; fine-tuning
//! RUN/files/<hash>-<name>               what the preparation of its cases needs (the atlas), by content
//! RUN/events.out.tfevents.*             the same and pictures for TensorBoard
//! RUN/checkpoints/step-00000500.safetensors
//! RUN/checkpoints/best.safetensors      fine-tuning: the best validation; without validation, the lowest mean loss
//! ```
//!
//! [`source`](crate::source) decides which of the checkpoints is used. The one with the lowest mean loss is only used if
//! it is chosen explicitly.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use brainmvp_ranks::Ranks;
use brainmvp_volume::{AtPath as _, FileError};

use crate::config::RunConfig;
use crate::{Error, Result};

/// The folder of a run, locked against a second process.
pub struct RunFolder {
    path: PathBuf,
    /// Held for the duration of the run; the system releases it when the process ends, however it ends.
    _lock: Option<std::fs::File>,
}

/// No longer does a look at the lock take.
const LOOKED_AT: Duration = Duration::from_millis(100);

/// What to do with a folder that already contains a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Refuse it.
    Refuse,
    /// Continue from its last checkpoint.
    Resume,
}

/// The request for a run.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// Folder of prepared cases.
    pub data: PathBuf,
    /// Folder of the run.
    pub out: PathBuf,
    /// A TOML text; `None` for the defaults, or for the stored configuration of a run that is resumed.
    pub config: Option<String>,
    /// `key=value` settings over it.
    pub settings: Vec<String>,
    /// What to do if the folder contains a run.
    pub existing: Existing,
    /// One of [`crate::device::DEVICES`].
    pub device: String,
    /// Those that train together. Each of them asks for the same.
    pub ranks: Ranks,
}

impl RunRequest {
    /// The configuration of the run to continue, if there is one that has reached a checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn stored_config<C: RunConfig>(&self) -> Result<Option<C>> {
        match self.existing {
            Existing::Resume => RunFolder::stored_config(&self.out),
            Existing::Refuse => Ok(None),
        }
    }

    /// The configuration asked for, as text, before the settings.
    pub(crate) fn text(&self, stored: Option<&impl RunConfig>) -> Result<String> {
        let stored = stored.map(RunConfig::to_toml).transpose()?;
        Ok(self.config.clone().or(stored).unwrap_or_default())
    }

    /// Refuses to continue a run with another configuration than it started with. Only its length, checkpoints, logging
    /// and the number of loader threads may differ.
    pub(crate) fn refuse_change<C: RunConfig>(&self, config: &C, stored: &C) -> Result<()> {
        let mut same = config.clone();
        let mut stored = stored.clone();
        let (train, checkpoint, log) = same.changeable();
        let (stored_train, stored_checkpoint, stored_log) = stored.changeable();
        (train.max_steps, train.workers) = (stored_train.max_steps, stored_train.workers);
        checkpoint.clone_from(stored_checkpoint);
        log.clone_from(stored_log);
        if same == stored {
            return Ok(());
        }
        let reason = "was started with another configuration (see its config.toml); only train.max_steps, train.workers, \
                      checkpoint.* and log.* may change when it is resumed";
        Err(Error::run_folder(&self.out, reason))
    }
}

/// The path of the templates of a fine-tuning run in its folder.
pub(crate) fn templates_in(folder: &Path) -> PathBuf {
    folder.join("templates.safetensors")
}

impl RunFolder {
    /// Opens the folder of a run to read it.
    ///
    /// # Errors
    /// If it does not contain a run.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join("config.toml").is_file() {
            return Err(Error::run_folder(path, "is not a run: there is no config.toml in it"));
        }
        Ok(Self { path: path.to_owned(), _lock: None })
    }

    /// Creates or reopens the folder of a run for writing.
    ///
    /// # Errors
    /// If it contains a run and `existing` is to refuse it, another process writes it, or it cannot be made.
    pub fn create(path: &Path, existing: Existing) -> Result<Self> {
        let checkpoints = path.join("checkpoints");
        std::fs::create_dir_all(&checkpoints).at(&checkpoints)?;
        let lock_path = path.join(".lock");
        // Who holds it has written its number there, which must stay.
        let opened =
            std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&lock_path);
        let mut lock = opened.at(&lock_path)?;
        // File systems without locks go without.
        let is_taken = || matches!(lock.try_lock(), Err(std::fs::TryLockError::WouldBlock));
        // Who looks at a run takes the lock for an instant.
        if is_taken() && {
            std::thread::sleep(LOOKED_AT);
            is_taken()
        } {
            let mut who = String::new();
            // Some systems let nobody read a locked file.
            drop(lock.read_to_string(&mut who));
            let who = if who.is_empty() { "another process" } else { who.trim_end() };
            return Err(Error::run_folder(path, format!("{who} is writing this run")));
        }
        // The lock counts, not its text.
        drop(lock.set_len(0).and_then(|()| writeln!(lock, "process {}{}", std::process::id(), on_host())));
        let folder = Self { path: path.to_owned(), _lock: Some(lock) };
        let holds_run = folder.metrics().exists() || !folder.checkpoints()?.is_empty();
        if existing == Existing::Refuse && holds_run {
            return Err(Error::run_folder(
                path,
                "already contains a run; continue it with --resume or choose another folder",
            ));
        }
        Ok(folder)
    }

    /// The folder of a run of several ranks: the first one [creates](Self::create) it, the others read it.
    ///
    /// # Errors
    /// Those of [`RunFolder::create`].
    pub(crate) fn shared(request: &RunRequest) -> Result<Self> {
        let RunRequest { out, existing, ranks, .. } = request;
        let folder = if ranks.is_first() {
            Self::create(out, *existing)?
        } else {
            Self { path: out.clone(), _lock: None }
        };
        ranks.meet();
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the metrics are.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Where the scores of validations are.
    pub fn validations(&self) -> PathBuf {
        self.path.join("validation.jsonl")
    }

    /// The path of the templates that replace modalities.
    pub fn templates(&self) -> PathBuf {
        templates_in(&self.path)
    }

    /// Where the persons who are in several data sets are.
    pub fn identities(&self) -> PathBuf {
        self.path.join("identities.csv")
    }

    /// Where the weights of the best validation are or, without validation, those of the lowest mean loss.
    pub fn best(&self) -> PathBuf {
        self.path.join("checkpoints/best.safetensors")
    }

    /// Where the checkpoint of a step is.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(format!("checkpoints/step-{step:08}.safetensors"))
    }

    /// The steps of the existing checkpoints, ascending.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<u64>> {
        let folder = self.path.join("checkpoints");
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(FileError::new(&folder, e).into()),
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.at(&folder)?.file_name();
            let step = name.to_str().and_then(|n| n.strip_prefix("step-")?.strip_suffix(".safetensors"));
            steps.extend(step.and_then(|digits| digits.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Like [`RunFolder::checkpoints`], for a folder that may not be a run.
    pub(crate) fn stored_checkpoints(path: &Path) -> Result<Vec<u64>> {
        Self { path: path.to_owned(), _lock: None }.checkpoints()
    }

    /// Renames a damaged checkpoint, so that it is not counted among those that are kept.
    ///
    /// # Errors
    /// If that is impossible.
    pub(crate) fn set_aside(&self, step: u64) -> Result<()> {
        let path = self.checkpoint(step);
        let aside = path.with_extension("safetensors.damaged");
        Ok(std::fs::rename(&path, aside).at(&path)?)
    }

    /// Deletes all checkpoints except the newest `keep`.
    ///
    /// # Errors
    /// If a file cannot be deleted.
    pub fn prune(&self, keep: usize) -> Result<()> {
        let steps = self.checkpoints()?;
        for step in &steps[..steps.len().saturating_sub(keep.max(1))] {
            let path = self.checkpoint(*step);
            std::fs::remove_file(&path).at(&path)?;
        }
        Ok(())
    }

    /// The configuration of the run in a folder, if it has come as far as a checkpoint.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn stored_config<C: RunConfig>(path: &Path) -> Result<Option<C>> {
        let folder = Self { path: path.to_owned(), _lock: None };
        if folder.checkpoints()?.is_empty() {
            return Ok(None);
        }
        let path = path.join("config.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => C::parse(&text).map(Some).map_err(|e| Error::run_folder(&path, e.to_string())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(FileError::new(&path, e).into()),
        }
    }

    /// Stores the configuration.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn store_config(&self, config: &impl RunConfig) -> Result<()> {
        let text = config.to_toml()?;
        brainmvp_volume::write_atomically(&self.path.join("config.toml"), |file| {
            file.write_all(text.as_bytes())
        })?;
        Ok(())
    }
}

/// Where this process runs, for those who share a file system with it.
fn on_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { String::new() } else { format!(" on {}", name.trim()) }
}
