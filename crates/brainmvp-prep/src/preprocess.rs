//! A cohort to a cache: in parallel, within a budget of memory, resumable.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brainmvp_cohort::check::foreign_labels;
use brainmvp_cohort::{Case, CaseId, Cohort, LabelScheme};
use brainmvp_registration::StandardSpace;
use brainmvp_volume::{AtPath as _, Grid, Modality};
use rayon::prelude::*;

use crate::cache::{
    CASE_VERSION, CaseContents, CaseEntry, CaseFacts, CaseMetadata, GridRecord, Manifest, QuarantinedCase,
    write_case,
};
use crate::fingerprint::Fingerprint;
use crate::{CaseVolumes, Error, MemoryGate, Pipeline, PrepConfig, Preparation, Result, Shard, Space, input};

/// How a run behaves; what it makes is said by [`PrepConfig`] alone.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions<'a> {
    /// Memory that the cases at work share, by estimate. A case that needs more runs alone.
    pub memory_bytes: u64,
    /// Prepare every case again, and replace a manifest that cannot be read.
    pub force: bool,
    /// Once it is true, cases at work are finished and no further one is begun.
    pub stop: &'a AtomicBool,
}

/// Progress: a case that is done.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The case.
    pub id: &'a CaseId,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// How many cases are done, this one included.
    pub finished: usize,
    /// How many there are.
    pub total: usize,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was prepared.
    Prepared {
        /// How long that took.
        seconds: f64,
    },
    /// It was already there, made from the same files and configuration, and intact.
    Skipped,
    /// It could not be prepared.
    Quarantined {
        /// What is wrong; files are named by what they are (`t1`), not by their paths.
        reason: String,
    },
}

/// What a run did.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Cases prepared now.
    pub prepared: usize,
    /// Cases that were there already.
    pub skipped: usize,
    /// Cases that could not be prepared, sorted by id.
    pub quarantined: Vec<QuarantinedCase>,
    /// What is worth a look in cases prepared now, sorted by their ids.
    pub warnings: Vec<(CaseId, String)>,
    /// Cases not begun, because the run was stopped.
    pub not_begun: usize,
    /// How long the run took.
    pub seconds: f64,
}

/// How often the manifest is written at most. What a killed run had not yet noted is prepared again.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// Writing the manifest takes one part of this many: many shares of a large cohort wait for each other.
const SAVING_SHARE: u32 = 50;

/// Prepares every case of a cohort into the folder `out`, which then is a [`crate::cache::Cache`] of just that cohort.
///
/// Cases run side by side as far as the memory allows, on as many threads as the current rayon pool has. A case that is
/// in the cache already, by the hash of its files and of the configuration, is skipped; what the cohort says of it (split,
/// class, site) is brought up to date in the manifest. A case that fails is quarantined
/// with its reason in the manifest, and the others are processed.
///
/// # Errors
/// Where the configuration cannot be carried out, or `out` cannot be written (a full disk): nothing of one case
/// alone. What was prepared until then is kept.
pub fn preprocess(
    cohort: &Cohort,
    out: &Path,
    config: &PrepConfig,
    options: &RunOptions<'_>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Summary> {
    preprocess_shard(cohort, Shard::WHOLE, out, config, options, progress)
}

/// As [`preprocess`], but one share of the cohort. Others may be at work on theirs, here or on other machines that see
/// `out`: the manifest then has the cases of all, and after the last run is that of one run over the whole cohort.
///
/// # Errors
/// Those of [`preprocess`], and if the file system cannot lock files.
pub fn preprocess_shard(
    cohort: &Cohort,
    shard: Shard,
    out: &Path,
    config: &PrepConfig,
    options: &RunOptions<'_>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Summary> {
    let started = Instant::now();
    let pipeline = Pipeline::new(config)?;
    std::fs::create_dir_all(out).at(out)?;
    let preparation = Preparation::of(config.clone()).store(out)?;
    let mut manifest = previous(out, &preparation, options.force)?;
    let cases: Vec<&Case> = shard.of(&cohort.cases).collect();
    let ours: HashSet<&CaseId> = cases.iter().map(|case| &case.id).collect();
    manifest.cases.retain(|entry| ours.contains(&entry.case.id));
    manifest.quarantined.retain(|case| ours.contains(&case.id));
    let schemes = cohort
        .data_sets
        .iter()
        .filter_map(|(name, data_set)| Some((name.clone(), data_set.label_scheme.clone()?)));
    manifest.label_schemes = schemes.collect();
    let ids = cohort.cases.iter().map(|case| &case.id).filter(|id| !ours.contains(id)).collect();
    let others = Others { is_part: shard.is_part(), ids };
    others.save(&mut manifest, out)?;

    let threads = rayon::current_num_threads();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| Error::config(format!("cannot start {threads} threads: {e}")))?;
    let run = Run {
        cohort,
        cases,
        others,
        out,
        pipeline,
        config,
        options,
        progress,
        pool,
        gate: MemoryGate::new(options.memory_bytes),
        next: AtomicUsize::new(0),
        state: Mutex::new(State {
            manifest,
            saved: Instant::now(),
            saving: Duration::ZERO,
            prepared: 0,
            skipped: 0,
            quarantined: 0,
            warnings: Vec::new(),
            failed: None,
        }),
    };
    // Threads of their own wait for memory, so that the threads of the pool never do: one that waited inside the pool
    // could hold up the very case that it waits for.
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(|| run.work()))));
    run.finish(started)
}

/// The cases of a share that need more memory than all cases may have together, with what each needs in bytes, the largest
/// first: each will run alone. By estimate from the headers of their files, so that it can be told before hours are
/// spent; a case whose headers cannot be read is not among them.
pub fn larger_than<'a>(
    memory_bytes: u64,
    cohort: &'a Cohort,
    shard: Shard,
    pipeline: &Pipeline,
) -> Vec<(&'a CaseId, u64)> {
    let cases: Vec<&Case> = shard.of(&cohort.cases).collect();
    let estimates =
        cases.par_iter().filter_map(|case| Some((&case.id, input::estimate_bytes(case, pipeline).ok()?)));
    let mut larger: Vec<_> = estimates.filter(|(_, bytes)| *bytes > memory_bytes).collect();
    larger.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    larger
}

/// Reads one case and runs it through the pipeline, ready to be stored. Its labels must be values of `scheme`, if there is
/// one.
///
/// # Errors
/// Where a file cannot be read, the case is unfit by the rules of [`brainmvp_cohort::check`], or a step cannot treat it.
pub fn prepare_case(
    case: &Case,
    scheme: Option<&LabelScheme>,
    pipeline: &Pipeline,
    content_hash: String,
) -> Result<CaseContents> {
    let input = input::read(case, scheme, pipeline.config().register)?;
    let mut volumes = input.volumes;
    let grids: Vec<_> =
        volumes.images.iter().map(|(m, image)| (*m, GridRecord::from(image.grid()))).collect();
    let mut provenance = vec![input.record];
    provenance.extend(pipeline.run(&mut volumes)?);
    let grid = volumes.common_grid("end of the pipeline")?;
    let reference = volumes.reference_modality();
    let original = grids.iter().find(|(modality, _)| Some(*modality) == reference);
    let original = original.map_or(GridRecord::from(&grid), |(_, grid)| *grid);
    let of_files = || StandardSpace::of(&Grid::from(&original)).map_or(Space::Native, Space::Standard);
    let metadata = CaseMetadata {
        version: CASE_VERSION,
        id: case.id.clone(),
        grid: GridRecord::from(&grid),
        uncropped: GridRecord::from(&volumes.uncropped.unwrap_or(grid)),
        original,
        space: volumes.space.clone().unwrap_or_else(of_files),
        crop_offset: volumes.crop_offset,
        provenance,
        label_values: input.label_values,
        fingerprints: fingerprints(&volumes),
        content_hash,
    };
    Ok(CaseContents {
        case: CaseFacts::from(case),
        metadata,
        images: volumes.images.into_iter().collect(),
        label: volumes.label,
        brain_mask: volumes.brain_mask.map(|mask| mask.map(|inside| u8::from(inside > 0))),
    })
}

/// Those of the images that show enough.
fn fingerprints(volumes: &CaseVolumes) -> BTreeMap<Modality, Fingerprint> {
    let images: Vec<_> = volumes.images.iter().collect();
    images
        .into_par_iter()
        .filter_map(|(modality, image)| Some((*modality, Fingerprint::of(image)?)))
        .collect()
}

/// The manifest that a run continues with: that of the folder if it was made in the same way.
fn previous(out: &Path, preparation: &Preparation, force: bool) -> Result<Manifest> {
    match Manifest::load(out) {
        Ok(manifest) if manifest.preparation == *preparation => Ok(manifest),
        Err(Error::Cache { path, reason }) if !force => {
            let reason = format!("{reason}. To replace it, use force or another folder");
            Err(Error::Request { path, reason })
        }
        Err(Error::File(error)) if error.source.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(Manifest::new(preparation.config.clone())),
    }
}

/// The cases of the cohort that other runs prepare.
struct Others<'a> {
    is_part: bool,
    ids: HashSet<&'a CaseId>,
}

impl Others<'_> {
    /// Writes the manifest, with what others have noted of their cases since.
    fn save(&self, ours: &mut Manifest, out: &Path) -> Result<()> {
        if !self.is_part {
            return ours.save(out);
        }
        let path = out.join("manifest.lock");
        let lock = File::create(&path).at(&path)?;
        lock.lock().at(&path)?;
        let mut merged = previous(out, &ours.preparation, false)?;
        merged.cases.retain(|entry| self.ids.contains(&entry.case.id));
        merged.quarantined.retain(|case| self.ids.contains(&case.id));
        merged.label_schemes.clone_from(&ours.label_schemes);
        merged.cases.extend(ours.cases.iter().cloned());
        merged.quarantined.extend(ours.quarantined.iter().cloned());
        // The lock goes with its file, at the end.
        merged.save(out)
    }
}

/// What the threads of a run share.
struct Run<'a> {
    cohort: &'a Cohort,
    /// Those of the share.
    cases: Vec<&'a Case>,
    others: Others<'a>,
    out: &'a Path,
    pipeline: Pipeline,
    config: &'a PrepConfig,
    options: &'a RunOptions<'a>,
    progress: &'a (dyn Fn(Progress<'_>) + Sync),
    pool: rayon::ThreadPool,
    gate: MemoryGate,
    next: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    manifest: Manifest,
    saved: Instant,
    /// How long that took.
    saving: Duration,
    prepared: usize,
    skipped: usize,
    quarantined: usize,
    warnings: Vec<(CaseId, String)>,
    /// The error that ends the run.
    failed: Option<Error>,
}

/// What became of a case that has volumes.
enum Treated {
    /// They were there already.
    Kept(CaseEntry),
    /// They were made now.
    Prepared(CaseEntry),
}

/// Whose fault an error is.
enum Failure {
    /// The case's: it is quarantined.
    Case(Error),
    /// The cache folder's: the run ends.
    Run(Error),
}

impl Run<'_> {
    /// Takes one case after the other until there is none, or the run is stopped.
    fn work(&self) {
        while !self.options.stop.load(Ordering::Relaxed) && self.state().failed.is_none() {
            let Some(case) = self.cases.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let result = self.treat(case);
            self.note(case, result);
        }
    }

    /// The entry of a case: the existing one if its volumes can stay as they are.
    fn treat(&self, case: &Case) -> std::result::Result<Treated, Failure> {
        let started = Instant::now();
        let scheme = self.cohort.label_scheme(case);
        let hash = self.pool.install(|| input::content_hash(case, self.config)).map_err(Failure::Case)?;
        if let Some(entry) = self.intact(case, &hash).filter(|_| !self.options.force) {
            // A scheme may have been declared since.
            if let Some(reason) = scheme.and_then(|scheme| foreign_labels(&entry.label_values, scheme)) {
                return Err(Failure::Case(Error::Unfit { reason }));
            }
            return Ok(Treated::Kept(CaseEntry { case: CaseFacts::from(case), ..entry }));
        }
        let bytes = input::estimate_bytes(case, &self.pipeline).map_err(Failure::Case)?;
        let _permit = self.gate.acquire(bytes);
        self.pool.install(|| {
            let contents = prepare_case(case, scheme, &self.pipeline, hash).map_err(Failure::Case)?;
            let entry = write_case(self.out, &contents, self.config.dtype).map_err(Failure::Run)?;
            let warnings = entry.warnings.iter().map(|warning| (case.id.clone(), warning.clone()));
            self.state().warnings.extend(warnings);
            Ok(Treated::Prepared(CaseEntry { seconds: started.elapsed().as_secs_f64(), ..entry }))
        })
    }

    /// The entry of a case that the cache has, made from this content, with every byte as it was written.
    fn intact(&self, case: &Case, content_hash: &str) -> Option<CaseEntry> {
        let entry = self.state().manifest.case(&case.id).cloned();
        let entry = entry.filter(|entry| entry.content_hash == content_hash)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(self.out.join(entry.file_name())).ok()?).ok()?;
        (hasher.finalize().to_hex().as_str() == entry.file_hash).then_some(entry)
    }

    fn note(&self, case: &Case, result: std::result::Result<Treated, Failure>) {
        let mut state = self.state();
        let outcome = match result {
            Ok(Treated::Kept(entry)) => {
                state.replace(entry);
                Outcome::Skipped
            }
            Ok(Treated::Prepared(entry)) => {
                let seconds = entry.seconds;
                state.replace(entry);
                Outcome::Prepared { seconds }
            }
            Err(Failure::Case(error)) => {
                let reason = case.without_paths(&error.to_string());
                state.forget(&case.id);
                state
                    .manifest
                    .quarantined
                    .push(QuarantinedCase { id: case.id.clone(), reason: reason.clone() });
                Outcome::Quarantined { reason }
            }
            Err(Failure::Run(error)) => {
                state.failed.get_or_insert(error);
                return;
            }
        };
        match outcome {
            Outcome::Prepared { .. } => state.prepared += 1,
            Outcome::Skipped => state.skipped += 1,
            Outcome::Quarantined { .. } => state.quarantined += 1,
        }
        if state.saved.elapsed() > SAVE_EVERY.max(SAVING_SHARE * state.saving) {
            let begun = Instant::now();
            if let Err(error) = self.others.save(&mut state.manifest, self.out) {
                state.failed.get_or_insert(error);
            }
            state.saved = Instant::now();
            state.saving = begun.elapsed();
        }
        let finished = state.prepared + state.skipped + state.quarantined;
        // The lock is kept, so that reports come one at a time and in order.
        (self.progress)(Progress { id: &case.id, outcome: &outcome, finished, total: self.cases.len() });
    }

    fn finish(self, started: Instant) -> Result<Summary> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.others.save(&mut state.manifest, self.out)?;
        if let Some(error) = state.failed {
            return Err(error);
        }
        let done = state.prepared + state.skipped + state.quarantined;
        state.warnings.sort();
        Ok(Summary {
            prepared: state.prepared,
            skipped: state.skipped,
            quarantined: state.manifest.quarantined,
            warnings: state.warnings,
            not_begun: self.cases.len() - done,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is whole before anything else may fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts the entry of a case in the place of what the manifest says of it.
    fn replace(&mut self, entry: CaseEntry) {
        self.forget(&entry.case.id);
        self.manifest.cases.push(entry);
    }

    /// Drops what the manifest says of a case.
    fn forget(&mut self, id: &CaseId) {
        self.manifest.cases.retain(|entry| entry.case.id != *id);
        self.manifest.quarantined.retain(|case| case.id != *id);
    }
}
