//! Carries a study out, cell by cell.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brainmvp_prep::Shard;
use brainmvp_train::finetune::finetune;
use brainmvp_train::log::metrics::{StepMetrics, read_metrics};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::run::{RunFolder, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_volume::AtPath as _;
use serde::{Deserialize, Serialize};

use crate::arms::Beginning;
use crate::config::{StudyConfig, StudyKind};
use crate::data::{self, Cases};
use crate::folder::{Part, State, read, share_all, write};
use crate::plan::{Cell, Plan, Pretraining};
use crate::requests::{self, Work};
use crate::score::{Scored, Scoring, Unscored};
use crate::summary::Progressed;
use crate::{Error, Result};

/// A study and its work folder.
pub struct Study {
    /// What is asked.
    pub config: StudyConfig,
    /// What there is to do.
    pub plan: Plan,
    /// The folder of its cells and results.
    folder: PathBuf,
    /// The folder of cases and pre-trainings, which the parts of a file share.
    shared: PathBuf,
}

/// How it is carried out.
pub struct How<'a> {
    /// The share of this process.
    pub shard: Shard,
    /// Whether what failed before is done again.
    pub retry: bool,
    /// One of [`brainmvp_train::device::DEVICES`].
    pub device: &'a str,
    /// Memory for cases prepared at the same time, in bytes.
    pub memory_bytes: u64,
    /// Set to stop after the current step.
    pub stop: &'a AtomicBool,
}

/// Whoever follows a study.
pub trait Watcher: Sync {
    /// Cases are being prepared.
    fn prepared(&self, done: usize, total: usize);
    /// Something about the cases that must not be missed: one that is left out.
    fn warn(&self, text: &str);
    /// A part begins: its name, its number from 1 among those of this share, and how many there are.
    fn begins(&self, part: &str, number: usize, total: usize);
    /// A step of it is done.
    fn step(&self, metrics: &StepMetrics, last: u64);
    /// A part failed.
    fn failed(&self, part: &str, reason: &str);
    /// A part is done: the results so far may be written.
    fn done(&self, part: &str);
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Hash of all that decides it.
    pub identity: String,
    /// How much its pre-training computed, if it had one.
    pub pretraining: Option<Work>,
    /// Steps of fine-tuning.
    pub finetune_steps: u64,
    /// Seconds of its training steps and its scoring.
    pub seconds: f64,
    /// The scores.
    pub scored: Vec<Scored>,
}

/// What came of a pre-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PretrainingResult {
    identity: String,
    work: Work,
    seconds: f64,
}

/// Why a part came to nothing.
enum Trouble {
    Stopped,
    /// Another process is at it.
    Busy,
    Failed(String),
    /// Nothing can be written: the next one would fail too.
    NoRoom(String),
}

impl<E: std::error::Error + 'static> From<E> for Trouble {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        let mut is_room = !is_no_room(&error);
        while let Some(inner) = source {
            is_room &= !is_no_room(inner);
            let text = inner.to_string();
            if !reason.contains(&text) {
                reason.push_str(": ");
                reason.push_str(&text);
            }
            source = inner.source();
        }
        if is_room { Self::Failed(reason) } else { Self::NoRoom(reason) }
    }
}

/// Whether the system says that nothing can be written.
fn is_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem))
}

impl Study {
    /// A study in a work folder; if it has a name, its cells and results are in a folder of that name there.
    ///
    /// # Errors
    /// If arms cannot be made of it, or the settings of an arm make no sense.
    pub(crate) fn new(config: StudyConfig, work: &Path) -> Result<Self> {
        let plan = Plan::of(&config)?;
        let folder = if config.name.is_empty() { work.to_owned() } else { work.join(&config.name) };
        Ok(Self { config, plan, folder, shared: work.to_owned() })
    }

    /// The folder of its results.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The name of a cell: its folder in the work folder.
    pub fn name_of(&self, cell: &Cell) -> String {
        Path::new(&self.config.name).join(cell.folder(&self.plan.arms)).display().to_string()
    }

    /// The name of a pre-training: its folder in the work folder.
    pub fn name_of_pretraining(&self, pretraining: &Pretraining) -> String {
        Path::new("pretraining").join(&pretraining.folder).display().to_string()
    }

    /// The cache whose test cases a cell was scored on.
    pub(crate) fn data_of(&self, cell: &Cell) -> Result<PathBuf> {
        Ok(Cases::open(&self.config, &self.shared)?.without(cell.fold))
    }

    /// The folder of a cell's label maps of the test cases.
    pub(crate) fn predictions_of(&self, cell: &Cell) -> PathBuf {
        self.folder.join(cell.folder(&self.plan.arms)).join(PREDICTIONS)
    }

    /// A cell of another part that asks the same, with its result.
    fn twin(&self, identity: &str) -> Result<Option<(PathBuf, CellResult)>> {
        let Some(folder) = read::<PathBuf>(&self.place_of_twin(identity))? else { return Ok(None) };
        let result: Option<CellResult> = Part::new(self.shared.join(&folder)).result()?;
        Ok(result.filter(|result| result.identity == identity).map(|result| (folder, result)))
    }

    /// Lets other parts find a cell.
    fn note_twin(&self, identity: &str, cell: &Cell) -> Result<()> {
        write(&self.place_of_twin(identity), &self.name_of(cell))
    }

    fn place_of_twin(&self, identity: &str) -> PathBuf {
        self.shared.join("done").join(format!("{identity}.json"))
    }

    fn part(&self, cell: &Cell) -> Part {
        Part::new(self.folder.join(cell.folder(&self.plan.arms)))
    }

    fn part_of_pretraining(&self, number: usize) -> Part {
        Part::new(self.shared.join("pretraining").join(&self.plan.pretrainings[number].folder))
    }

    /// The cells with how far they are and what came of them.
    ///
    /// # Errors
    /// If a result is damaged.
    pub fn progress(&self) -> Result<Vec<Progressed<'_>>> {
        let of = |cell| {
            let part = self.part(cell);
            let state = part.state()?;
            // A result of other settings is none.
            let result = if matches!(state, State::Failed(_)) { None } else { part.result()? };
            Ok(Progressed { cell, state, result })
        };
        self.plan.cells.iter().map(of).collect()
    }

    /// How far the pre-trainings are, with the seconds of those that are done.
    ///
    /// # Errors
    /// If a result is damaged.
    pub fn pretrainings(&self) -> Result<Vec<(State, Option<f64>)>> {
        let of = |number| {
            let part = self.part_of_pretraining(number);
            let result: Option<PretrainingResult> = part.result()?;
            Ok((part.state()?, result.map(|result| result.seconds)))
        };
        (0..self.plan.pretrainings.len()).map(of).collect()
    }

    /// Does what is left of a share. What fails is recorded, and the rest goes on. Returns whether it came to the end.
    ///
    /// # Errors
    /// If the cases cannot be prepared or the folder cannot be written.
    pub fn run(&self, how: &How<'_>, watcher: &dyn Watcher) -> Result<bool> {
        let prepared = Cases::prepare(&self.config, &self.shared, how.memory_bytes, how.stop, watcher)?;
        let Some(prepared) = prepared else { return Ok(false) };
        let cells = self.plan.share(how.shard);
        let mut turns = Vec::with_capacity(cells.len());
        let mut places: BTreeMap<Option<usize>, Place> = BTreeMap::new();
        for (number, &cell) in cells.iter().enumerate() {
            if let Entry::Vacant(free) = places.entry(cell.fold) {
                let data = prepared.without(cell.fold);
                free.insert(Place { cases: data::to_learn_from(&data)?, data });
            }
            turns.push((number + 1, cell));
        }
        let turn = |(number, cell): (usize, &'_ Cell)| Turn {
            study: self,
            how,
            watcher,
            place: &places[&cell.fold],
            number,
            total: cells.len(),
        };
        // Results of other questions are found before anything is computed: they must not stand in a table meanwhile.
        for &(number, cell) in &turns {
            let part = self.part(cell);
            if let Some(result) = part.result::<CellResult>()? {
                match turn((number, cell)).identity(cell) {
                    Ok(identity) if identity == result.identity => part.forget_failure()?,
                    Ok(_) => part.fail(OTHER_SETTINGS)?,
                    Err(error) => part.fail(&error.to_string())?,
                }
            }
        }
        for &(number, cell) in &turns {
            let part = self.part(cell);
            let name = self.name_of(cell);
            match part.state()? {
                State::Done | State::Running => continue,
                State::Failed(_) if !how.retry && part.result::<CellResult>()?.is_none() => continue,
                State::Failed(_) | State::Left => {}
            }
            match turn((number, cell)).cell(cell, &part, &name) {
                Ok(()) => watcher.done(&name),
                Err(Trouble::Stopped) => return Ok(false),
                Err(Trouble::Busy) => {}
                Err(Trouble::NoRoom(reason)) => return Err(Error::NoRoom { cell: name, reason }),
                Err(Trouble::Failed(reason)) => {
                    part.fail(&reason)?;
                    watcher.failed(&name, &reason);
                }
            }
            if how.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Prepared cases.
struct Place {
    data: PathBuf,
    /// How many of them may be learnt from.
    cases: usize,
}

/// A cell whose turn it is.
struct Turn<'a> {
    study: &'a Study,
    how: &'a How<'a>,
    watcher: &'a dyn Watcher,
    place: &'a Place,
    number: usize,
    total: usize,
}

impl Turn<'_> {
    /// By which the result of a cell is told from those of other questions. Where the work folder is plays no part.
    fn identity(&self, cell: &Cell) -> Result<String> {
        let Study { config, plan, .. } = self.study;
        let arm = &plan.arms[cell.arm];
        let beginning = match (cell.pretraining, &arm.beginning) {
            (Some(_), _) => requests::pretraining(config, arm, cell.seed, self.place.cases)?.0.identity(""),
            (None, Beginning::Weights(path)) => path.display().to_string(),
            _ => String::new(),
        };
        let subsets = config.kind == StudyKind::Subsets;
        let cases = data::identity(config)?;
        let more = format!("{cases} {:?} {beginning} {:?} {subsets}", cell.fold, config.scoring());
        Ok(requests::finetuning(config, arm, cell)?.identity(&more))
    }

    fn cell(&self, cell: &Cell, part: &Part, name: &str) -> std::result::Result<(), Trouble> {
        let Study { config, plan, .. } = self.study;
        let Some(_lock) = part.begin()? else { return Err(Trouble::Busy) };
        let identity = self.identity(cell)?;
        if part.result::<CellResult>()?.is_some() {
            // Those of this question are done, and have no turn.
            return Err(Trouble::Failed(OTHER_SETTINGS.to_owned()));
        }
        if let Some((twin, result)) = self.study.twin(&identity)? {
            part.log(&format!("the same as {}, whose result is taken", twin.display()));
            let kept = self.study.shared.join(&twin).join(PREDICTIONS);
            share_all(&kept, &self.study.predictions_of(cell))?;
            part.finish(&result)?;
            return Ok(());
        }
        let arm = &plan.arms[cell.arm];
        let (source, pretraining) = match (cell.pretraining, &arm.beginning) {
            (Some(number), _) => {
                let (run, result) = self.pretraining(number)?;
                (Some(run), Some(result))
            }
            (None, Beginning::Weights(path)) => (Some(path.clone()), None),
            _ => (None, None),
        };
        part.forget_failure()?;
        self.watcher.begins(name, self.number, self.total);
        let (run, device) = (part.run(), self.how.device);
        let settings = requests::finetuning(config, arm, cell)?;
        let request = settings.request(source.as_deref(), [&self.place.data, &run], device);
        let listener = Listener { part, watcher: self.watcher };
        self.train(&request, &identity, part, finetune, &listener)?;
        let started = Instant::now();
        let scoring = Scoring {
            data: &self.place.data,
            run: &run,
            predictions: &self.study.predictions_of(cell),
            rules: &config.scoring(),
            subsets: config.kind == StudyKind::Subsets,
            mixing: requests::mixing(&arm.finetune)?,
            device,
            stop: self.how.stop,
            observer: &listener,
        };
        let scored = scoring.run().map_err(|error| match error {
            Unscored::Stopped => Trouble::Stopped,
            Unscored::Failed(reason) => Trouble::Failed(reason),
        })?;
        let (steps, seconds) = trained(&run)?;
        self.study.note_twin(&identity, cell)?;
        part.finish(&CellResult {
            identity,
            pretraining: pretraining.map(|result| result.work),
            finetune_steps: steps,
            seconds: seconds + started.elapsed().as_secs_f64(),
            scored,
        })?;
        slim(&run)
    }

    /// The run of a pre-training, done now unless it was before.
    fn pretraining(&self, number: usize) -> std::result::Result<(PathBuf, PretrainingResult), Trouble> {
        let Study { config, plan, .. } = self.study;
        let pretraining = &plan.pretrainings[number];
        let part = self.study.part_of_pretraining(number);
        // Another part of the study, in another process, may be at it.
        let _lock = loop {
            match part.begin()? {
                Some(lock) => break lock,
                None if self.how.stop.load(Ordering::Relaxed) => return Err(Trouble::Stopped),
                None => std::thread::sleep(BETWEEN_LOOKS),
            }
        };
        let (arm, run) = (&plan.arms[pretraining.arm], part.run());
        let (settings, work) = requests::pretraining(config, arm, pretraining.seed, self.place.cases)?;
        let identity = settings.identity(&data::identity(config)?);
        if let Some(result) = part.result::<PretrainingResult>()? {
            same(&result.identity, &identity)?;
            return Ok((run, result));
        }
        let failed = |reason: &str| Trouble::Failed(format!("its pre-training failed: {reason}"));
        match part.failure()? {
            Some(reason) if !self.how.retry => return Err(failed(&reason)),
            _ => part.forget_failure()?,
        }
        let name = self.study.name_of_pretraining(pretraining);
        self.watcher.begins(&name, self.number, self.total);
        let request = settings.request(None, [&self.place.data, &run], self.how.device);
        let listener = Listener { part: &part, watcher: self.watcher };
        match self.train(&request, &identity, &part, pretrain, &listener) {
            Err(Trouble::Failed(reason)) => {
                part.fail(&reason)?;
                return Err(failed(&reason));
            }
            other => other?,
        }
        let (_, seconds) = trained(&run)?;
        let result = PretrainingResult { identity, work, seconds };
        part.finish(&result)?;
        Ok((run, result))
    }

    /// Trains to the end, or goes on with a run that was begun with the same settings.
    fn train(
        &self,
        request: &RunRequest,
        identity: &str,
        part: &Part,
        train: fn(&RunRequest, &AtomicBool, &dyn Observer) -> brainmvp_train::Result<Ended>,
        listener: &Listener<'_>,
    ) -> std::result::Result<(), Trouble> {
        let mut request = request.clone();
        let begun = request.out.join("config.toml").is_file()
            && !RunFolder::open(&request.out)?.checkpoints()?.is_empty();
        if begun {
            same(&part.asked()?.unwrap_or_default(), identity)?;
            // The run has its configuration; what it began with is in its checkpoint.
            (request.config, request.settings) = (None, Vec::new());
        } else {
            part.ask(identity)?;
        }
        match train(&request, self.how.stop, listener)? {
            Ended::Finished => Ok(()),
            Ended::Stopped => Err(Trouble::Stopped),
        }
    }
}

/// The folder of a cell with the label maps of the test cases.
const PREDICTIONS: &str = "predictions";

/// How often it is looked whether another process has finished a pre-training.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

const OTHER_SETTINGS: &str = "it was begun with other settings than the study has now; delete its folder to do it again, or \
                              choose another work folder";

/// Refuses what was made by other settings.
fn same(found: &str, asked: &str) -> std::result::Result<(), Trouble> {
    if found == asked { Ok(()) } else { Err(Trouble::Failed(OTHER_SETTINGS.to_owned())) }
}

/// The steps of a run and the seconds that they took.
fn trained(run: &Path) -> brainmvp_train::Result<(u64, f64)> {
    let metrics = read_metrics(&run.join("metrics.jsonl"))?;
    let seconds = metrics.iter().map(|step| step.seconds).filter(|seconds| seconds.is_finite()).sum();
    Ok((metrics.last().map_or(0, |step| step.step), seconds))
}

/// Deletes the checkpoints that a run would be continued from, if there are weights to predict with.
fn slim(run: &Path) -> std::result::Result<(), Trouble> {
    let folder = RunFolder::open(run)?;
    if !folder.validations().is_file() || !folder.best().is_file() {
        return Ok(());
    }
    for step in folder.checkpoints()? {
        let path = folder.checkpoint(step);
        std::fs::remove_file(&path).at(&path)?;
    }
    Ok(())
}

/// Writes what a run says into the log of its part.
struct Listener<'a> {
    part: &'a Part,
    watcher: &'a dyn Watcher,
}

impl Observer for Listener<'_> {
    fn step(&self, metrics: &StepMetrics, last: u64) {
        self.watcher.step(metrics, last);
    }

    fn note(&self, text: &str) {
        self.part.log(&format!("note: {text}"));
    }

    fn warn(&self, text: &str) {
        self.part.log(&format!("warning: {text}"));
    }
}
