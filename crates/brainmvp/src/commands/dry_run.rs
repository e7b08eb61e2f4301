//! `--dry-run` of the commands that train: how much time, memory and disk space a run will take on this machine.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_prep::cache::Cache;
use brainmvp_train::estimate::Estimate;
use brainmvp_train::log::metrics::StepMetrics;
use brainmvp_train::run::RunRequest;
use brainmvp_train::trainer::Observer;
use brainmvp_view::text::{duration, size};

use super::counted;
use super::table::columns;
use crate::interrupt;
use crate::scratch::Scratch;
use crate::ui::Ui;
use brainmvp_bench::memory::Memory;

/// Estimates a kind of training, with a temporary folder to write to.
type MeasureRun = fn(&RunRequest, &Path, &AtomicBool, &dyn Observer) -> brainmvp_train::Result<Estimate>;

/// Estimates a run and prints the estimate. The folder of the run is not touched.
pub(super) fn tell(request: &RunRequest, estimate: MeasureRun, ui: &Ui) -> anyhow::Result<()> {
    let scratch = Scratch::beside(None)?;
    ui.note("measuring a few steps");
    let found = estimate(request, scratch.path(), interrupt::stop_flag(), &Listener(ui))?;
    if interrupt::stop_flag().load(Ordering::Relaxed) {
        return Err(anyhow::anyhow!("interrupted"));
    }
    ui.result(columns(&rows(request, &found)?))?;
    ui.note("this was a dry run: nothing was written");
    Ok(())
}

/// The estimate, as lines.
fn rows(request: &RunRequest, found: &Estimate) -> anyhow::Result<Vec<[String; 2]>> {
    let modalities: Vec<String> =
        found.modalities.iter().map(|(modality, count)| format!("{modality} {count}")).collect();
    let mut rows = vec![
        row("cases", format!("{} ({})", found.cases, modalities.join(", "))),
        row("cache", size(cache_bytes(&request.data)?)),
        row("steps", steps(found)),
        row("a step", format!("{:.3} s (median of {})", found.seconds_per_step, found.measured_steps)),
    ];
    if let Some(validation) = &found.validation {
        let each = validation.cases as f64 * validation.seconds_per_case;
        let times =
            if validation.times == 1 { "once".to_owned() } else { format!("{} times", validation.times) };
        let cases = counted(validation.cases, "case");
        rows.push(row("validation", format!("{times} {cases}, {} each", duration(each))));
    }
    rows.push(row("time", duration(found.seconds())));
    let memory = Memory::peak_of_this_process().map_or_else(|| "not known on this system".to_owned(), size);
    rows.push(row("memory", memory));
    let disk = &found.disk;
    let checkpoints = counted(disk.checkpoints as usize, "checkpoint");
    rows.push(row(
        "disk",
        format!(
            "{} ({checkpoints} of {}, the best weights {}, logs {}, other {}; while a checkpoint is written, {} more)",
            size(disk.total()),
            size(disk.checkpoint),
            size(disk.best),
            size(disk.logs),
            size(disk.other),
            size(disk.checkpoint),
        ),
    ));
    Ok(rows)
}

fn row(name: &str, value: String) -> [String; 2] {
    [name.to_owned(), value]
}

fn steps(found: &Estimate) -> String {
    let Estimate { done_steps, last_step, total_steps, .. } = found;
    let mut text = found.steps().to_string();
    if *done_steps > 0 {
        let _ = write!(text, ", after {done_steps} that are done");
    }
    if last_step < total_steps {
        let _ = write!(text, ", of the {total_steps} of the schedule");
    }
    text
}

/// The size of the prepared cases.
fn cache_bytes(data: &Path) -> anyhow::Result<u64> {
    let cache = Cache::open(data)?;
    let files = cache.cases().iter().map(|entry| data.join(entry.file_name()));
    Ok(files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len()).sum())
}

/// Passes on notes and warnings.
struct Listener<'a>(&'a Ui);

impl Observer for Listener<'_> {
    fn step(&self, _: &StepMetrics, _: u64) {}

    fn note(&self, text: &str) {
        self.0.note(format!("note: {text}"));
    }

    fn warn(&self, text: &str) {
        self.0.alert(format!("warning: {text}"));
    }
}
