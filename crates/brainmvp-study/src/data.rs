//! The cases of a study: prepared once, divided once, and with each fold left out in turn.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::phantom::write_cohort;
use brainmvp_cohort::{Cohort, Split, SplitOptions};
use brainmvp_prep::cache::{Cache, Manifest};
use brainmvp_prep::{PrepConfig, PrepSettings, RunOptions, preprocess};
use brainmvp_train::config::DataConfig;
use brainmvp_train::finetune::{Part, parts};

use crate::config::StudyConfig;
use crate::folder::Lock;
use crate::run::Watcher;
use crate::{Error, Result};

/// Prepares the cases in the work folder, unless they are there. Another process that does so is waited for.
///
/// # Errors
/// If the cohort cannot be made, read, divided or prepared, or there is nothing to test on; `None` if stopped.
pub(crate) fn prepare(
    config: &StudyConfig,
    folder: &Path,
    memory_bytes: u64,
    stop: &AtomicBool,
    watcher: &dyn Watcher,
) -> Result<Option<PathBuf>> {
    let _lock = Lock::wait(&folder.join("data.lock"))?;
    let given = config.data.as_deref();
    let cache = match given {
        Some(path) if path.is_dir() => path.to_owned(),
        _ => {
            let cohort = cohort(config, folder)?;
            let cache = folder.join("cache");
            let settings: PrepSettings = toml::Value::Table(config.preprocess.clone())
                .try_into()
                .map_err(|e| Error::Config(format!("[preprocess]: {e}")))?;
            let prep: PrepConfig = settings.config()?;
            let options = RunOptions { memory_bytes, force: false, stop };
            let total = cohort.cases.len();
            let summary = preprocess(&cohort, &cache, &prep, &options, &|progress| {
                watcher.prepared(progress.finished, total);
            })?;
            for case in &summary.quarantined {
                watcher.warn(&format!("case '{}' is left out: {}", case.id, case.reason));
            }
            for (case, warning) in &summary.warnings {
                watcher.warn(&format!("case '{case}': {warning}"));
            }
            if summary.not_begun > 0 {
                return Ok(None);
            }
            cache
        }
    };
    let cases = Cache::open(&cache)?;
    let has_test = cases.cases().iter().any(|entry| entry.case.split == Some(Split::Test));
    if config.folds == 0 && !has_test {
        let reason =
            "has no test cases: divide the cohort with `brainmvp split`, raise split.test, or set folds";
        return Err(Error::folder(&cache, reason));
    }
    for fold in 0..config.folds {
        leave_out(&cases, fold, config.folds, &fold_of(folder, fold))?;
    }
    Ok(Some(cache))
}

/// How many cases of a cache are not for testing.
pub(crate) fn to_learn_from(cache: &Path) -> Result<usize> {
    let cases = Cache::open(cache)?;
    Ok(cases.cases().iter().filter(|entry| entry.case.split != Some(Split::Test)).count())
}

/// The cache in which a fold is the test set.
pub(crate) fn fold_of(folder: &Path, fold: usize) -> PathBuf {
    folder.join(format!("cache-fold-{fold}"))
}

/// The cohort, with test cases.
fn cohort(config: &StudyConfig, folder: &Path) -> Result<Cohort> {
    let mut cohort = match (&config.phantoms, &config.data) {
        (Some(phantoms), _) => {
            let place = folder.join("phantoms");
            let file = place.join("cohort.json");
            if file.is_file() {
                Cohort::load(&file)?
            } else {
                phantoms.check()?;
                write_cohort(phantoms, &place, &|_| {})?
            }
        }
        (None, Some(file)) => Cohort::load(file)?,
        (None, None) => return Err(Error::Config("give either data or [phantoms]".to_owned())),
    };
    let is_divided = cohort.cases.iter().any(|case| case.split == Some(Split::Test));
    if !is_divided && config.folds == 0 {
        let shares = config.split;
        cohort.split(&SplitOptions {
            seed: shares.seed,
            validation: shares.validation,
            test: shares.test,
            same_heads: Vec::new(),
        })?;
    }
    Ok(cohort)
}

/// A cache of the same prepared cases, in which those of a fold are the test cases, and the cohort's own test cases are
/// not. The files are shared.
fn leave_out(cache: &Cache, fold: usize, folds: usize, to: &Path) -> Result<()> {
    let mut manifest: Manifest = cache.manifest().clone();
    manifest.cases.retain(|entry| entry.case.split != Some(Split::Test));
    let facts: Vec<_> = manifest.cases.iter().map(|entry| &entry.case).collect();
    let division = DataConfig { folds, fold: Some(fold), ..DataConfig::default() };
    let parts = parts(&facts, &division);
    if !parts.contains(&Part::Validation) {
        return Err(Error::Config(format!("fold {fold} of {folds} has no case: take fewer folds")));
    }
    std::fs::create_dir_all(to).map_err(|e| Error::io(to, e))?;
    for (entry, part) in manifest.cases.iter_mut().zip(parts) {
        entry.case.split = (part == Part::Validation).then_some(Split::Test);
        share(&cache.dir().join(entry.file_name()), &to.join(entry.file_name()))?;
    }
    manifest.preparation = manifest.preparation.store(to)?;
    Ok(manifest.save(to)?)
}

/// One file under two names; a copy where the file system cannot do that.
fn share(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        return Ok(());
    }
    std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(drop)).map_err(|e| Error::io(to, e))
}
