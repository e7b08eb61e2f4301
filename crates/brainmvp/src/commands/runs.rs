//! `brainmvp runs`

use std::cmp::Reverse;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use brainmvp_view::run_summary::{self, RunState, RunSummary};
use brainmvp_view::text::{number, size};
use brainmvp_volume::write_atomically;
use clap::Args;
use serde::Serialize;

use super::table;
use crate::argument;
use crate::failure::bad_input;
use crate::ui::Ui;

/// List the runs in and below folders: what they are, how far they have come, and what they came to
///
/// A run is running (a process writes it), done, stopped (it can be continued with --resume), failed, silent (its end is not
/// recorded, but nothing has been written for two minutes and no process is seen at it: it was killed), or unreadable (its files are damaged;
/// the reason is printed below). The loss is that of the last step. The best is what the run itself takes for its best weights: the
/// first score of its best validation or, in pre-training, the lowest mean loss between two checkpoints, of the terms that it
/// has from its first step on. Runs of studies are found as well. Nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp runs                               # in and below the current folder
  brainmvp runs study --sort name             # those of a study
  brainmvp runs old new --json runs.json
  watch -n 10 brainmvp runs study

--json: a list of objects with path, name, kind (task or method), network, state, reason, step, steps, loss, best (metric, value, step),
started_unix_s, silent_seconds (since something was written) and bytes; what is not known is null.

Exit codes: 0 listed, whatever the states, 1 failed, 2 bad input or usage.")]
pub(crate) struct Runs {
    /// Folders to look in
    #[arg(value_name = "DIR", default_value = ".")]
    folders: Vec<PathBuf>,
    /// Order of the runs: newest (what has written last comes first), started, name or size
    #[arg(long, value_name = "ORDER", default_value = "newest", value_parser = argument::choice(&ORDERS))]
    sort: Order,
    /// Write the list to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// An order of runs.
#[derive(Debug, Clone, Copy)]
enum Order {
    Newest,
    Started,
    Name,
    Size,
}

static ORDERS: [(&str, Order); 4] =
    [("newest", Order::Newest), ("started", Order::Started), ("name", Order::Name), ("size", Order::Size)];

/// A run in the list.
#[derive(Serialize)]
struct Listed {
    path: PathBuf,
    /// The path below the folder that was named.
    name: String,
    #[serde(flatten)]
    summary: RunSummary,
    bytes: u64,
}

impl Runs {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        if let Some(folder) = self.folders.iter().find(|folder| !folder.is_dir()) {
            let what = if folder.exists() { "is a file, not a folder" } else { "there is no such folder" };
            return Err(bad_input(format!("{}: {what}", folder.display())));
        }
        if let Some(json) = &self.json {
            argument::prepare_output_file(json)?;
        }
        let mut listed = self.listed(ui);
        sort(&mut listed, self.sort);
        if let Some(json) = &self.json {
            let mut text = serde_json::to_vec_pretty(&listed)?;
            text.push(b'\n');
            write_atomically(json, |file| file.write_all(&text))
                .with_context(|| json.display().to_string())?;
        }
        if listed.is_empty() {
            ui.note("no runs here; `brainmvp pretrain` and `brainmvp finetune` make them");
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let head = HEAD.map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(listed.iter().map(|run| row(run, now))).collect();
        ui.result(table::columns(&rows))?;
        for Listed { name, summary, .. } in &listed {
            match &summary.reason {
                // A file of the run is at fault, which is named anyway.
                Some(reason) if summary.state == RunState::Unreadable => {
                    ui.alert(format!("warning: {reason}"));
                }
                Some(reason) => ui.note(format!("{name} {}: {reason}", summary.state.name())),
                None => {}
            }
        }
        Ok(())
    }

    /// What is there, read once. Folders that cannot be looked into are named.
    fn listed(&self, ui: &Ui) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        for folder in &self.folders {
            let found = run_summary::find(folder);
            for problem in found.problems {
                ui.alert(format!("warning: {problem}"));
            }
            for path in found.runs {
                // Of two folders, one may be in the other.
                if listed.iter().any(|known| known.path == path) {
                    continue;
                }
                let name =
                    if self.folders.len() > 1 { path.display().to_string() } else { name(folder, &path) };
                let (summary, bytes) = (RunSummary::read(&path), run_summary::bytes_below(&path));
                listed.push(Listed { path, name, summary, bytes });
            }
        }
        listed
    }
}

/// The path below the folder that was named; that folder itself under its own name.
fn name(folder: &Path, run: &Path) -> String {
    let within = run.strip_prefix(folder).unwrap_or(run);
    let shown = if within.as_os_str().is_empty() { folder } else { within };
    shown.display().to_string()
}

/// Puts runs in an order; those that are alike, by name.
fn sort(listed: &mut [Listed], order: Order) {
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    match order {
        Order::Name => {}
        Order::Newest => listed.sort_by_key(|run| run.summary.silent_seconds.unwrap_or(u64::MAX)),
        Order::Started => listed.sort_by_key(|run| Reverse(run.summary.started_unix_s)),
        Order::Size => listed.sort_by_key(|run| Reverse(run.bytes)),
    }
}

const HEAD: [&str; 10] =
    ["name", "kind", "network", "state", "step", "loss", "best", "written", "started", "size"];

/// The cells of a run; times are counted back from `now`, in seconds since 1970.
fn row(run: &Listed, now: u64) -> [String; 10] {
    let RunSummary { kind, network, state, step, steps, loss, best, started_unix_s, silent_seconds, .. } =
        &run.summary;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let ago = |seconds: u64| format!("{} ago", rough(seconds));
    let step = match (step, steps) {
        (step, Some(steps)) => Some(format!("{}/{steps}", step.unwrap_or(0))),
        (step, None) => step.map(|step| step.to_string()),
    };
    let best = best.as_ref().map(|best| format!("{} {} at {}", best.metric, number(best.value), best.step));
    [
        run.name.clone(),
        or_dash(kind.clone()),
        or_dash(network.clone()),
        state.name().to_owned(),
        or_dash(step),
        or_dash(loss.map(number)),
        or_dash(best),
        or_dash(silent_seconds.map(ago)),
        or_dash(started_unix_s.map(|started| ago(now.saturating_sub(started)))),
        size(run.bytes),
    ]
}

/// A time in its largest unit: `5 s`, `12 min`, `3 h`, `21 days`.
fn rough(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &str, silent_seconds: u64, started_unix_s: Option<u64>, bytes: u64) -> Listed {
        let summary =
            RunSummary { silent_seconds: Some(silent_seconds), started_unix_s, ..RunSummary::default() };
        Listed { path: name.into(), name: name.to_owned(), summary, bytes }
    }

    #[test]
    fn runs_are_put_in_order() {
        let mut runs =
            [listed("c", 3, Some(70), 10), listed("a", 500, None, 30), listed("b", 3, Some(90), 20)];
        for (order, names) in
            [(Order::Newest, "bca"), (Order::Started, "bca"), (Order::Name, "abc"), (Order::Size, "abc")]
        {
            sort(&mut runs, order);
            let sorted: String = runs.iter().map(|run| run.name.as_str()).collect();
            assert_eq!(sorted, names, "{order:?}");
        }
    }

    #[test]
    fn a_row_has_dashes_for_what_is_not_known() {
        let cells = row(&listed("a", 3700, Some(0), 2000), 200_000);
        assert_eq!(cells, ["a", "-", "-", "unreadable", "-", "-", "-", "1 h ago", "2 days ago", "2.0 kB"]);
    }
}
