//! `RUN/sessions.jsonl`: when, where and how a run was computed, a line for each time that a command worked on it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use brainmvp_view::run_summary::RunSummary;
use jiff::Timestamp;
use serde::Serialize;

use brainmvp_bench::machine::cpu;
use brainmvp_bench::memory::Memory;

const FILE_NAME: &str = "sessions.jsonl";

/// A time that is being spent on a run.
pub(crate) struct Session<'a> {
    run: &'a Path,
    device: &'a str,
    started: Timestamp,
    clock: Instant,
}

/// What is written of it.
#[derive(Serialize)]
struct Line<'a> {
    version: &'a str,
    started: String,
    seconds: f64,
    /// How far the run came.
    last_step: u64,
    cpu: String,
    threads: usize,
    device: &'a str,
    /// The largest resident size of the program so far; `None` where the system does not tell.
    peak_memory_bytes: Option<u64>,
}

impl<'a> Session<'a> {
    pub(crate) fn begin(run: &'a Path, device: &'a str) -> Self {
        Self { run, device, started: Timestamp::now(), clock: Instant::now() }
    }

    /// Adds the line of this session. The run does not depend on it, so that a line which cannot be written is no error.
    pub(crate) fn end(self) {
        let line = Line {
            version: env!("CARGO_PKG_VERSION"),
            started: self.started.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            seconds: self.clock.elapsed().as_secs_f64(),
            last_step: RunSummary::read(self.run).step.unwrap_or(0),
            cpu: cpu(),
            threads: rayon::current_num_threads(),
            device: self.device,
            peak_memory_bytes: Memory::peak_of_this_process(),
        };
        let Ok(mut text) = serde_json::to_string(&line) else { return };
        text.push('\n');
        let file = OpenOptions::new().create(true).append(true).open(self.run.join(FILE_NAME));
        drop(file.and_then(|mut file| file.write_all(text.as_bytes())));
    }
}
