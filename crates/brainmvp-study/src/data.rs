//! The cases of a study: prepared once, divided once, and with each fold left out in turn. Studies of the same cases share
//! them.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::{Case, Cohort, Split, SplitOptions};
use brainmvp_phantom::write_cohort;
use brainmvp_prep::cache::{Cache, CaseEntry, Manifest};
use brainmvp_prep::{PrepConfig, PrepSettings, RunOptions, preprocess};
use brainmvp_train::config::DataConfig;
use brainmvp_train::finetune::{Part, parts};
use brainmvp_volume::AtPath as _;
use serde::Serialize;

use crate::config::{Shares, StudyConfig};
use crate::folder::{Lock, share};
use crate::run::Watcher;
use crate::{Error, Result};

/// By which cases are told from those of another study: where they are from, and how they are prepared.
///
/// # Errors
/// If a setting cannot be written.
fn key(config: &StudyConfig) -> Result<String> {
    hash(&(&config.data, &config.phantoms, &config.preprocess))
}

/// By which what is learnt and tested on is told from that of another study, but for the fold.
///
/// # Errors
/// If a setting cannot be written.
pub(crate) fn identity(config: &StudyConfig) -> Result<String> {
    let division = if config.folds > 0 { format!("{} folds", config.folds) } else { hash(&config.split)? };
    Ok(format!("{} {division}", key(config)?))
}

fn hash(of: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(of).map_err(|e| Error::Config(e.to_string()))?;
    Ok(blake3::hash(text.as_bytes()).to_hex()[..8].to_owned())
}

/// The prepared cases of a study.
pub(crate) struct Cases {
    /// The folder of what is made of them.
    folder: PathBuf,
    folds: usize,
    /// The cache with the test cases, if there are no folds.
    whole: PathBuf,
}

impl Cases {
    /// Prepares them in a folder that studies share, unless they are there. Another process that does so is waited for.
    ///
    /// # Errors
    /// If the cohort cannot be made, read, divided or prepared, or there is nothing to test on; `None` if stopped.
    pub(crate) fn prepare(
        config: &StudyConfig,
        shared: &Path,
        memory_bytes: u64,
        stop: &AtomicBool,
        watcher: &dyn Watcher,
    ) -> Result<Option<Self>> {
        let folder = shared.join("cases").join(key(config)?);
        std::fs::create_dir_all(&folder).at(&folder)?;
        let _lock = Lock::wait(&folder.join("data.lock"))?;
        let cache = match &config.data {
            Some(path) if path.is_dir() => path.clone(),
            _ => match prepared(config, &folder, memory_bytes, stop, watcher)? {
                Some(cache) => cache,
                None => return Ok(None),
            },
        };
        let cases = Cache::open(&cache)?;
        let whole = if config.folds > 0 { cache } else { divided(&cases, &config.split, &folder)? };
        let found = Self { folder, folds: config.folds, whole };
        for fold in config.tested_folds().into_iter().flatten() {
            leave_out(&cases, fold, config.folds, &found.without(Some(fold)))?;
        }
        Ok(Some(found))
    }

    /// Those that were prepared before.
    ///
    /// # Errors
    /// If a setting cannot be written.
    pub(crate) fn open(config: &StudyConfig, shared: &Path) -> Result<Self> {
        let folder = shared.join("cases").join(key(config)?);
        let prepared =
            config.data.clone().filter(|path| path.is_dir()).unwrap_or_else(|| folder.join("cache"));
        let split = split_in(&folder, &config.split)?;
        let whole = if config.folds == 0 && split.is_dir() { split } else { prepared };
        Ok(Self { folder, folds: config.folds, whole })
    }

    /// The cache in which a fold is the test set; without folds, that with the test cases of the cohort.
    pub(crate) fn without(&self, fold: Option<usize>) -> PathBuf {
        fold.map_or_else(
            || self.whole.clone(),
            |fold| self.folder.join(format!("fold-{fold}-of-{}", self.folds)),
        )
    }
}

/// Prepares the cases of a cohort.
fn prepared(
    config: &StudyConfig,
    folder: &Path,
    memory_bytes: u64,
    stop: &AtomicBool,
    watcher: &dyn Watcher,
) -> Result<Option<PathBuf>> {
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
    Ok((summary.not_begun == 0).then_some(cache))
}

/// How many cases of a cache are not for testing.
pub(crate) fn to_learn_from(cache: &Path) -> Result<usize> {
    let cases = Cache::open(cache)?;
    Ok(cases.cases().iter().filter(|entry| entry.case.split != Some(Split::Test)).count())
}

/// The cohort.
fn cohort(config: &StudyConfig, folder: &Path) -> Result<Cohort> {
    match (&config.phantoms, &config.data) {
        (Some(phantoms), _) => {
            let place = folder.join("phantoms");
            let file = place.join("cohort.json");
            if file.is_file() {
                return Ok(Cohort::load(&file)?);
            }
            phantoms.check()?;
            Ok(write_cohort(phantoms, &place, &|_| {})?)
        }
        (None, Some(file)) => Ok(Cohort::load(file)?),
        (None, None) => Err(Error::Config("give either data or [phantoms]".to_owned())),
    }
}

/// The cache with test cases: this one if it has some, unless whole sites are asked for.
fn divided(cache: &Cache, shares: &Shares, folder: &Path) -> Result<PathBuf> {
    let Shares { test, validation, seed, test_sites } = shares;
    let mut cohort = facts_of(cache);
    let has_test = |cohort: &Cohort| cohort.cases.iter().any(|case| case.split == Some(Split::Test));
    if test_sites.is_empty() && has_test(&cohort) {
        return Ok(cache.dir().to_owned());
    }
    test_at(&mut cohort, test_sites)?;
    let test = if test_sites.is_empty() { *test } else { 0.0 };
    cohort.split(&SplitOptions { seed: *seed, validation: *validation, test, same_heads: Vec::new() })?;
    if !has_test(&cohort) {
        let reason =
            "has no test cases: divide the cohort with `brainmvp split`, raise split.test, or set folds";
        return Err(Error::folder(cache.dir(), reason));
    }
    let mut manifest = cache.manifest().clone();
    for (entry, case) in manifest.cases.iter_mut().zip(&cohort.cases) {
        entry.case.split = case.split;
    }
    let to = split_in(folder, shares)?;
    write(cache, manifest, &to)?;
    Ok(to)
}

/// The folder of a division.
fn split_in(folder: &Path, shares: &Shares) -> Result<PathBuf> {
    Ok(folder.join(format!("split-{}", hash(shares)?)))
}

/// What is said of the cases of a cache, without their files.
fn facts_of(cache: &Cache) -> Cohort {
    let case = |entry: &CaseEntry| {
        let facts = &entry.case;
        let mut case = Case::new(facts.id.clone(), facts.subject.clone(), facts.data_set.clone());
        case.site.clone_from(&facts.site);
        case.class.clone_from(&facts.class);
        case.split = facts.split;
        case
    };
    Cohort {
        name: String::new(),
        data_sets: std::collections::BTreeMap::new(),
        cases: cache.cases().iter().map(case).collect(),
    }
}

/// Makes the cases of some sites the test cases, and no others, if there are sites.
fn test_at(cohort: &mut Cohort, sites: &[String]) -> Result<()> {
    let of = |case: &Case, site: &String| case.site.as_ref() == Some(site);
    if let Some(site) = sites.iter().find(|site| !cohort.cases.iter().any(|case| of(case, site))) {
        return Err(Error::Config(format!("split.test_sites: the cohort has no case of site '{site}'")));
    }
    for case in cohort.cases.iter_mut().filter(|_| !sites.is_empty()) {
        let is_tested = sites.iter().any(|site| of(case, site));
        case.split = match case.split {
            _ if is_tested => Some(Split::Test),
            Some(Split::Test) => None,
            other => other,
        };
    }
    Ok(())
}

/// A cache of the same prepared cases, in which those of a fold are the test cases, and the cohort's own test cases are
/// not.
fn leave_out(cache: &Cache, fold: usize, folds: usize, to: &Path) -> Result<()> {
    let mut manifest: Manifest = cache.manifest().clone();
    manifest.cases.retain(|entry| entry.case.split != Some(Split::Test));
    let facts: Vec<_> = manifest.cases.iter().map(|entry| &entry.case).collect();
    let division = DataConfig { folds, fold: Some(fold), ..DataConfig::default() };
    let parts = parts(&facts, &division);
    if !parts.contains(&Part::Validation) {
        return Err(Error::Config(format!("fold {fold} of {folds} has no case: take fewer folds")));
    }
    for (entry, part) in manifest.cases.iter_mut().zip(parts) {
        entry.case.split = (part == Part::Validation).then_some(Split::Test);
    }
    write(cache, manifest, to)
}

/// A cache of the same prepared cases, with another manifest. The files are shared.
fn write(cache: &Cache, mut manifest: Manifest, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).at(to)?;
    for entry in &manifest.cases {
        share(&cache.dir().join(entry.file_name()), &to.join(entry.file_name()))?;
    }
    manifest.preparation = manifest.preparation.store(to)?;
    Ok(manifest.save(to)?)
}

#[cfg(test)]
mod tests {
    use brainmvp_cohort::{CaseId, DataSet};

    use super::*;

    #[test]
    fn whole_sites_are_tested() {
        let case = |(number, site, split): (usize, &str, Option<Split>)| {
            let mut case = Case::new(CaseId::new(format!("c{number}")).unwrap(), format!("s{number}"), "d");
            (case.site, case.split) = (Some(site.to_owned()), split);
            case
        };
        let cases =
            [(0, "A", Some(Split::Test)), (1, "B", None), (2, "A", None), (3, "B", Some(Split::Training))];
        let data_sets = [("d".to_owned(), DataSet::default())].into();
        let mut cohort = Cohort { name: "x".into(), data_sets, cases: cases.map(case).to_vec() };
        test_at(&mut cohort, &["B".to_owned()]).unwrap();
        let splits: Vec<_> = cohort.cases.iter().map(|case| case.split).collect();
        assert_eq!(splits, [None, Some(Split::Test), None, Some(Split::Test)]);
        let said = test_at(&mut cohort, &["C".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("site 'C'"), "{said}");
    }
}
