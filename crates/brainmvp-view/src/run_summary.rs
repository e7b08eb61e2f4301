//! What the files of a run say of it at a glance. The pages and `brainmvp runs` read runs here and nowhere else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use brainmvp_volume::{AtPath as _, FileError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// The record of the steps.
pub(crate) const METRICS: &str = "metrics.jsonl";
/// The record of the validations.
pub(crate) const VALIDATIONS: &str = "validation.jsonl";
const CONFIG: &str = "config.toml";
const STATUS: &str = "status.json";
const CHECKPOINTS: &str = "checkpoints";
/// Held by the process that writes a run, for as long as it does.
const LOCK: &str = ".lock";
/// The metadata of a weights file of this program.
const METADATA: &str = "brainmvp";

/// A run that has written for this time or less is taken to be running, unless its end is recorded: some file systems have
/// no locks.
const SILENT_SECONDS: u64 = 120;
/// Where the last line of a record is looked for.
const TAIL_BYTES: u64 = 1 << 16;
/// No header of a weights file is longer.
const MOST_HEADER_BYTES: u64 = 100 << 20;

/// A run at a glance.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RunSummary {
    /// The task or the pre-training method.
    pub kind: Option<String>,
    /// The network's name.
    pub network: Option<String>,
    /// Whether it trains, and how it ended.
    pub state: RunState,
    /// Why it failed, or what of it cannot be read.
    pub reason: Option<String>,
    /// Steps taken.
    pub step: Option<u64>,
    /// Steps that it is to take, if that is known.
    pub steps: Option<u64>,
    /// The loss of the last step.
    pub loss: Option<f64>,
    /// The best so far, as the run itself decides on its best weights.
    pub best: Option<Best>,
    /// When it was begun first, in seconds since 1970.
    pub started_unix_s: Option<u64>,
    /// Seconds since it wrote something.
    pub silent_seconds: Option<u64>,
}

/// Whether a run trains, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// A process writes it.
    Running,
    /// It came to its end.
    Done,
    /// It was told to stop, and can be continued.
    Stopped,
    /// It ended with an error.
    Failed,
    /// Its end is not recorded, nothing is written, and no process is seen at it: it was killed, or its computer went down.
    Silent,
    /// Its files are damaged, missing or closed to this user.
    #[default]
    Unreadable,
}

impl RunState {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Silent => "silent",
            Self::Unreadable => "unreadable",
        }
    }
}

/// What a run calls its best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Best {
    /// What was compared: the first score of its validations or, without validation, the mean loss between checkpoints.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Steps taken by then.
    pub step: u64,
}

/// What was found in and below a folder.
#[derive(Debug, Default)]
pub struct Found {
    /// The folders of runs, sorted.
    pub runs: Vec<PathBuf>,
    /// Folders that could not be looked into.
    pub problems: Vec<Error>,
}

/// Finds the runs in and below a folder. Hidden folders are passed over, and links are not followed.
pub fn find(folder: &Path) -> Found {
    let mut found = Found::default();
    add(folder, &mut found);
    found
}

fn add(folder: &Path, found: &mut Found) {
    if is_run(folder) {
        return found.runs.push(folder.to_owned());
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten(),
        Err(error) => return found.problems.push(FileError::new(folder, error).into()),
    };
    let is_shown = |entry: &std::fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let mut folders: Vec<PathBuf> = entries.filter(is_shown).map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders {
        add(&folder, found);
    }
}

/// Whether a folder is that of a run: it has two of its three marks, so that one that has lost a file is still known.
pub fn is_run(folder: &Path) -> bool {
    [CONFIG, METRICS, CHECKPOINTS].iter().filter(|name| folder.join(name).exists()).count() >= 2
}

/// The bytes of all files in and below a folder that can be looked at.
pub fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    bytes.sum()
}

impl RunSummary {
    /// Reads the files of a run. A run that cannot be read has the state [`RunState::Unreadable`] and the reason.
    pub fn read(folder: &Path) -> Self {
        let silent_seconds = silence(folder);
        let read = read(folder, silent_seconds)
            .unwrap_or_else(|error| Self { reason: Some(error.to_string()), ..Self::default() });
        Self { started_unix_s: started(folder), silent_seconds, ..read }
    }
}

/// What a run recorded of itself.
#[derive(Deserialize)]
struct Status {
    state: RunState,
    last_step: u64,
    reason: Option<String>,
}

/// The parts that may be missing or damaged.
fn read(folder: &Path, silent_seconds: Option<u64>) -> Result<RunSummary> {
    let config = config(folder)?;
    let text = |section: &str, key: &str| Some(config.get(section)?.get(key)?.as_str()?.to_owned());
    let last = last_line(&folder.join(METRICS))?;
    let number = |key: &str| last.as_ref()?.get(key)?.as_f64();
    let step = number("step").map(|step| step as u64);
    let status = status(folder)?;
    let steps = status.as_ref().map(|status| status.last_step).or_else(|| steps(&config));
    let state = match &status {
        _ if is_locked(folder) => RunState::Running,
        Some(status) if status.state != RunState::Running => status.state,
        None if step.zip(steps).is_some_and(|(step, steps)| step >= steps) => RunState::Done,
        _ if silent_seconds.is_some_and(|seconds| seconds <= SILENT_SECONDS) => RunState::Running,
        _ => RunState::Silent,
    };
    Ok(RunSummary {
        kind: text("task", "kind").or_else(|| text("method", "name")),
        network: text("model", "preset"),
        state,
        reason: status.filter(|status| status.state == state).and_then(|status| status.reason),
        step,
        steps,
        loss: number("loss"),
        best: best(folder)?,
        ..RunSummary::default()
    })
}

/// The configuration of a run, as resolved.
pub(crate) fn config(folder: &Path) -> Result<toml::Table> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).at(&path)?;
    text.parse().map_err(|error: toml::de::Error| Error::content(&path, error.message()))
}

/// The steps that a configuration says itself; it may give epochs instead.
fn steps(config: &toml::Table) -> Option<u64> {
    let count = |key: &str| {
        let count = config.get("train")?.get(key)?.as_integer()?;
        u64::try_from(count).ok().filter(|count| *count > 0)
    };
    count("max_steps").into_iter().chain(count("steps")).min()
}

/// The content of a file that need not be there.
fn optional(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => Ok(read.map(Some).at(path)?),
    }
}

fn status(folder: &Path) -> Result<Option<Status>> {
    let path = folder.join(STATUS);
    let damaged = |error: serde_json::Error| Error::content(&path, error.to_string());
    optional(&path)?.map(|text| serde_json::from_slice(&text).map_err(damaged)).transpose()
}

/// Whether a process holds the lock of the run. It is taken for an instant, shared with others that look; a run that
/// begins tries again.
fn is_locked(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    matches!(lock.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// The last complete line of a record; `None` if there is none yet.
fn last_line(path: &Path) -> Result<Option<Value>> {
    let fail = |error| FileError::new(path, error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fail)?,
    };
    let length = file.metadata().map_err(fail)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).map_err(fail)?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).map_err(fail)?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
    let line = tail[..end].rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let damaged = |error: serde_json::Error| Error::content(path, format!("its last line: {error}"));
    serde_json::from_slice(line).map(Some).map_err(damaged)
}

/// A line of the record of validations.
#[derive(Deserialize)]
struct Validated {
    step: u64,
    best: bool,
    scores: Map<String, Value>,
}

/// The last validation that was better than all before it or, if there is none, the lowest mean loss between checkpoints.
fn best(folder: &Path) -> Result<Option<Best>> {
    let path = folder.join(VALIDATIONS);
    let text = optional(&path)?.unwrap_or_default();
    let mut best = None;
    // An unfinished last line has no line feed.
    for line in text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let damaged = |error: serde_json::Error| Error::content(&path, error.to_string());
        let validated: Validated = serde_json::from_slice(line).map_err(damaged)?;
        if validated.best {
            best = Some(validated);
        }
    }
    let Some(Validated { step, scores, .. }) = best else { return lowest_loss(folder) };
    // The first score is the one by which the run compares.
    let first = scores.into_iter().next();
    Ok(first.and_then(|(metric, value)| Some(Best { metric, value: value.as_f64()?, step })))
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Description {
    checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
struct Checkpoint {
    step: u64,
    best_loss: Option<f64>,
}

/// What the file of the best weights says of itself.
fn lowest_loss(folder: &Path) -> Result<Option<Best>> {
    let path = folder.join(CHECKPOINTS).join("best.safetensors");
    let fail = |error| FileError::new(&path, error);
    let damaged = |error: serde_json::Error| Error::content(&path, error.to_string());
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(fail)?,
    };
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(fail)?;
    let length = u64::from_le_bytes(length);
    if length > MOST_HEADER_BYTES {
        return Err(Error::content(&path, "is no safetensors file"));
    }
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text).map_err(fail)?;
    let header: Header = serde_json::from_slice(&text).map_err(damaged)?;
    let Some(description) = header.metadata.get(METADATA) else { return Ok(None) };
    let described: Description = serde_json::from_str(description).map_err(damaged)?;
    let best = described.checkpoint.and_then(|Checkpoint { step, best_loss }| {
        Some(Best { metric: "mean loss".to_owned(), value: best_loss?, step })
    });
    Ok(best)
}

/// Seconds since anything of a run was written.
fn silence(folder: &Path) -> Option<u64> {
    let changed = |name: &str| std::fs::metadata(folder.join(name)).and_then(|found| found.modified()).ok();
    let names = [METRICS, VALIDATIONS, STATUS, CONFIG, CHECKPOINTS];
    let last: SystemTime = names.into_iter().filter_map(changed).max()?;
    Some(last.elapsed().map_or(0, |elapsed| elapsed.as_secs()))
}

/// When a run was begun: the name of a TensorBoard file has the second in which it was created.
fn started(folder: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let second = |name: &str| name.strip_prefix("events.out.tfevents.")?.split('.').next()?.parse().ok();
    let logged = entries.filter_map(|entry| second(entry.file_name().to_str()?)).min();
    let configured = || {
        let changed = std::fs::metadata(folder.join(CONFIG)).and_then(|found| found.modified()).ok()?;
        Some(changed.duration_since(UNIX_EPOCH).ok()?.as_secs())
    };
    logged.or_else(configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run that has taken 2 of 3 steps.
    fn run(folder: &Path) {
        std::fs::create_dir_all(folder.join(CHECKPOINTS)).unwrap();
        let config = "[task]\nkind = \"segment\"\n[model]\npreset = \"tiny\"\n[train]\nsteps = 3\n";
        std::fs::write(folder.join(CONFIG), config).unwrap();
        std::fs::write(folder.join(METRICS), "{\"step\":1,\"loss\":3.0}\n{\"step\":2,\"loss\":2.0}\n")
            .unwrap();
    }

    /// Nothing has been written for an hour.
    fn silence_for_an_hour(folder: &Path) {
        let then = SystemTime::now() - std::time::Duration::from_hours(1);
        for name in [METRICS, VALIDATIONS, STATUS, CONFIG, CHECKPOINTS] {
            if let Ok(file) = File::open(folder.join(name)) {
                file.set_modified(then).unwrap();
            }
        }
    }

    #[test]
    fn the_state_is_the_recorded_one_unless_a_process_holds_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let run_folder = folder.path().join("run");
        run(&run_folder);
        let state = || RunSummary::read(&run_folder).state;
        assert_eq!(state(), RunState::Running);
        silence_for_an_hour(&run_folder);
        let summary = RunSummary::read(&run_folder);
        assert_eq!((summary.state, summary.step, summary.steps), (RunState::Silent, Some(2), Some(3)));
        assert_eq!((summary.kind.as_deref(), summary.network.as_deref()), (Some("segment"), Some("tiny")));
        assert!((3590..3700).contains(&summary.silent_seconds.unwrap()));
        let record = |text: &str| std::fs::write(run_folder.join(STATUS), text).unwrap();
        record("{\"state\":\"failed\",\"last_step\":9,\"reason\":\"the loss is not finite\"}");
        let failed = RunSummary::read(&run_folder);
        assert_eq!((failed.state, failed.steps), (RunState::Failed, Some(9)));
        assert_eq!(failed.reason.as_deref(), Some("the loss is not finite"));
        // It ended before its last step, since its scores no longer rose.
        record("{\"state\":\"done\",\"last_step\":9}");
        assert_eq!(state(), RunState::Done);
        let lock = File::create(run_folder.join(LOCK)).unwrap();
        lock.lock().unwrap();
        silence_for_an_hour(&run_folder);
        assert_eq!(state(), RunState::Running);
        drop(lock);
        assert_eq!(state(), RunState::Done);
    }

    #[test]
    fn the_best_is_the_run_s_own_choice_with_its_name_and_step() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path());
        assert_eq!(RunSummary::read(folder.path()).best, None);
        let weights = |best: &str| {
            let about =
                format!("{{\"version\":2,\"checkpoint\":{{\"step\":7,\"best_loss\":{best},\"more\":[]}}}}");
            let header = serde_json::json!({ "__metadata__": { "brainmvp": about }, "w": { "shape": [0] } });
            let header = header.to_string();
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
            std::fs::write(folder.path().join("checkpoints/best.safetensors"), bytes).unwrap();
        };
        weights("null");
        assert_eq!(RunSummary::read(folder.path()).best, None);
        weights("0.25");
        let lowest = Best { metric: "mean loss".to_owned(), value: 0.25, step: 7 };
        assert_eq!(RunSummary::read(folder.path()).best, Some(lowest));
        // The last validation is not the best one, and the first score, not the first by name, is compared.
        let lines = "{\"step\":4,\"best\":true,\"scores\":{\"dice\":0.5,\"auc\":0.1}}\n\
                     {\"step\":6,\"best\":false,\"scores\":{\"dice\":0.4,\"auc\":0.9}}\n{\"step\":8,\"be";
        std::fs::write(folder.path().join(VALIDATIONS), lines).unwrap();
        let best = Best { metric: "dice".to_owned(), value: 0.5, step: 4 };
        assert_eq!(RunSummary::read(folder.path()).best, Some(best));
    }

    #[test]
    fn runs_that_have_lost_or_damaged_files_are_found_and_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in
            ["study/cells/a/labels-1/seed-1/run", "b", "no-config", "bad-config", "bad-record", ".hidden"]
        {
            run(&path(name));
        }
        std::fs::create_dir_all(path("not-a-run/checkpoints")).unwrap();
        std::fs::remove_file(path("no-config/config.toml")).unwrap();
        std::fs::write(path("bad-config/config.toml"), "[train\n").unwrap();
        std::fs::write(path("bad-record/metrics.jsonl"), "{\"step\":1}\nnonsense\n").unwrap();
        let found = find(folder.path());
        assert!(found.problems.is_empty());
        let names: Vec<_> =
            found.runs.iter().map(|run| run.strip_prefix(folder.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            ["b", "bad-config", "bad-record", "no-config", "study/cells/a/labels-1/seed-1/run"]
        );
        for (name, reason) in
            [("no-config", "config.toml"), ("bad-config", "config.toml"), ("bad-record", "metrics.jsonl")]
        {
            let summary = RunSummary::read(&path(name));
            assert_eq!(summary.state, RunState::Unreadable, "{name}");
            assert!(summary.reason.unwrap().contains(reason), "{name}");
        }
        assert!(matches!(&find(&path("nowhere")).problems[..], [Error::File(_)]));
        assert_eq!(
            bytes_below(&path("no-config")),
            std::fs::metadata(path("no-config/metrics.jsonl")).unwrap().len()
        );
    }
}
