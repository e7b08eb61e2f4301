//! Measurements in separate processes, so that each has its own peak of memory.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::work::{Shape, Work};

/// The measurements of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The time of each repetition.
    pub seconds: Vec<f64>,
    /// `None` if the system does not report it.
    pub peak_memory_bytes: Option<u64>,
    /// Of the network, if the work has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<u64>,
    /// The share of voxels equal to those of our own result, if a peer compares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voxels_alike: Option<f64>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The process could not be started.
    Start(io::Error),
    /// It failed, or its output is not an answer.
    Run(String),
    /// It was not started: nothing would be learnt from it.
    Skipped(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "cannot be started: {error}"),
            Self::Run(reason) => f.write_str(reason),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// How long it may take to notice that a process has ended.
const NOTICED_AFTER: Duration = Duration::from_millis(20);

/// Does our own work in another process of this program, which answers to `bench WORK --measure FOLDER`.
pub(crate) fn measure_ours(
    work: &Work,
    precision: &str,
    shape: &Shape,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Sample, Failure> {
    let program = std::env::current_exe().map_err(Failure::Start)?;
    let mut command = Command::new(program);
    command.args(["bench", work.what, "--precision", precision, "--measure"]).arg(folder);
    answer(with_arguments(&mut command, shape), folder, stop)
}

/// The options for the amount of work, the same for every program.
pub(crate) fn with_arguments<'a>(command: &'a mut Command, shape: &Shape) -> &'a mut Command {
    let options = [
        ("--size", shape.size),
        ("--batch", shape.batch),
        ("--repetitions", shape.repetitions),
        ("--threads", rayon::current_num_threads()),
    ];
    command.args(options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]));
    if let Some(model) = shape.model {
        command.args(["--model", model.name()]);
    }
    match &shape.file {
        Some(file) => command.arg("--file").arg(file),
        None => command,
    }
}

/// Runs a command to its end and reads the last line that it prints. If we are interrupted, so is the command.
pub(crate) fn answer<T: DeserializeOwned>(
    command: &mut Command,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<T, Failure> {
    let (stdout, stderr) = (folder.join("stdout"), folder.join("stderr"));
    command.stdin(Stdio::null());
    command.stdout(File::create(&stdout).map_err(Failure::Start)?);
    command.stderr(File::create(&stderr).map_err(Failure::Start)?);
    let mut child = command.spawn().map_err(Failure::Start)?;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(Failure::Start)? {
            break status;
        }
        if stop.load(Ordering::Relaxed) {
            // It may already have ended.
            drop(child.kill());
            drop(child.wait());
            return Err(Failure::Run("interrupted".to_owned()));
        }
        std::thread::sleep(NOTICED_AFTER);
    };
    if !status.success() {
        let said = last_line(&stderr);
        let said = said.strip_prefix("error: ").unwrap_or(&said);
        return Err(Failure::Run(if said.is_empty() {
            format!("ended by {status}")
        } else {
            said.to_owned()
        }));
    }
    let line = last_line(&stdout);
    serde_json::from_str(&line).map_err(|_| Failure::Run(format!("its output is not an answer: '{line}'")))
}

/// The last line with content, except hints, which are for the person who typed the command.
fn last_line(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| !line.starts_with("hint: ")).unwrap_or_default().to_owned()
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Result<Sample, String> {
        let folder = tempfile::tempdir().unwrap();
        answer(Command::new("sh").args(["-c", script]), folder.path(), &AtomicBool::new(false))
            .map_err(|e| e.to_string())
    }

    #[test]
    fn the_last_line_is_the_answer() {
        let sample = shell("echo loading; echo '{\"seconds\": [1.5], \"peak_memory_bytes\": null}'");
        assert_eq!(sample, Ok(Sample { seconds: vec![1.5], ..Sample::default() }));
    }

    #[test]
    fn failures_say_why() {
        assert_eq!(
            shell("echo 'error: no room' >&2; echo 'hint: make some' >&2; exit 3"),
            Err("no room".into())
        );
        assert!(shell("kill -9 $$").unwrap_err().contains("signal: 9"));
        assert!(shell("echo nothing").unwrap_err().contains("'nothing'"));
        let folder = tempfile::tempdir().unwrap();
        let absent = answer::<Sample>(&mut Command::new("/absent"), folder.path(), &AtomicBool::new(false));
        assert!(matches!(absent, Err(Failure::Start(_))), "{absent:?}");
    }
}
