//! `brainmvp study`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use brainmvp_prep::Shard;
use brainmvp_study::plan::Plan;
use brainmvp_study::report::write_report;
use brainmvp_study::status::Status;
use brainmvp_study::studies::{Studies, StudyFile};
use brainmvp_study::{How, Study, Watcher};
use brainmvp_train::log::metrics::StepMetrics;
use clap::Args;

use super::counted;
use super::preprocess::half_of_free_memory;
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;

/// Compare methods, networks and shares of labels under equal conditions, with tables, tests and curves
///
/// A TOML file says what is compared on which cases (docs/studies.md). Each cell of the study is a run of fine-tuning from
/// random or pre-trained weights, scored on the test cases. The work folder shows what is done, running, failed and left;
/// the same command goes on where it stopped, on several machines with --shard. Results and tables are brought up to date
/// after each cell.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp study --config configs/study-smoke.toml --out study
  brainmvp study --config study.toml --out study --plan                 # what would be done?
  brainmvp study --out study --status                                   # what is done, and how long will the rest take?
  brainmvp study --out study --retry                                    # once more what failed
  sbatch --array=1-8 --wrap 'brainmvp study --config study.toml --out study --shard auto'
  brainmvp study --out study --report                                   # only the tables, of what there is

Results: DIR/tables (Markdown, LaTeX, CSV), DIR/curves (SVG), DIR/results.csv (a row for each case, region and
cell), DIR/study.json (means, intervals, p-values, ranks). `brainmvp list systems` shows what a comparison compares.")]
pub(crate) struct StudyCommand {
    /// What is compared [default: study.toml in the work folder]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Work folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Do share I of N, e.g. 2/8; auto takes it from a Slurm array or a Kubernetes job
    #[arg(long, value_name = "I/N", value_parser = argument::shard)]
    shard: Option<Shard>,
    /// Do again what failed before
    #[arg(long)]
    retry: bool,
    /// Print the cells and stop
    #[arg(long, conflicts_with_all = ["status", "report", "retry"])]
    plan: bool,
    /// Print what is done, running, failed and left, and stop
    #[arg(long, conflicts_with_all = ["report", "retry"])]
    status: bool,
    /// Write the tables of what there is, and stop
    #[arg(long, conflicts_with = "retry")]
    report: bool,
    /// Where to compute: cpu, or a GPU that this build has: vulkan, wgpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Memory for all cases prepared at the same time, e.g. 4G [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = argument::bytes)]
    memory: Option<u64>,
}

impl StudyCommand {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        if self.plan {
            return self.tell_plan(ui);
        }
        if self.status {
            return tell_status(&Studies::open(&self.out)?, ui);
        }
        if self.report {
            return tell_tables(&Studies::open(&self.out)?, ui);
        }
        let studies = match self.file()? {
            Some(file) => Studies::new(file, &self.out)?,
            None => Studies::open(&self.out).advise(|_| "name a TOML file with --config".to_owned())?,
        };
        brainmvp_train::device::device(&self.device)?;
        let how = How {
            shard: self.shard.unwrap_or(Shard::WHOLE),
            retry: self.retry,
            device: &self.device,
            memory_bytes: self.memory.unwrap_or_else(half_of_free_memory),
            stop: interrupt::stop_flag(),
        };
        for study in &studies.all {
            let follower = Follower { ui, study, shown: Mutex::default() };
            let came_to_end = study.run(&how, &follower)?;
            follower.finish();
            if !came_to_end {
                return Err(anyhow::anyhow!("interrupted; the state is saved in {}", self.out.display()))
                    .advise(|_| "continue with the same command".to_owned());
            }
        }
        tell_tables(&studies, ui)?;
        judge(&studies)
    }

    /// The studies of `--config`.
    fn file(&self) -> anyhow::Result<Option<StudyFile>> {
        let Some(path) = &self.config else { return Ok(None) };
        let text = argument::read_text(path)?;
        let folder = std::path::absolute(path).with_context(|| path.display().to_string())?;
        let folder = folder.parent().unwrap_or(Path::new(""));
        let file =
            StudyFile::parse(&text, folder).map_err(|e| bad_input(format!("{}: {e}", path.display())))?;
        Ok(Some(file))
    }

    /// Prints what would be done, without touching the work folder.
    fn tell_plan(&self, ui: &Ui) -> anyhow::Result<()> {
        let configs = match self.file()? {
            Some(file) => file.0,
            None => Studies::open(&self.out)?.all.into_iter().map(|study| study.config).collect(),
        };
        let (mut asked, mut all, mut pretrainings) = (0, 0, BTreeSet::new());
        for config in &configs {
            let plan = Plan::of(config)?;
            let cells = plan.share(self.shard.unwrap_or(Shard::WHOLE));
            for cell in &cells {
                ui.result(Path::new(&config.name).join(cell.folder(&plan.arms)).display())?;
            }
            (asked, all) = (asked + cells.len(), all + plan.cells.len());
            pretrainings.extend(plan.pretrainings.into_iter().map(|pretraining| pretraining.folder));
        }
        ui.result(format!(
            "{} of {all}; {} in all",
            counted(asked, "cell"),
            counted(pretrainings.len(), "pre-training")
        ))
    }
}

/// Prints how far the studies are.
fn tell_status(studies: &Studies, ui: &Ui) -> anyhow::Result<()> {
    for study in &studies.all {
        if !study.config.name.is_empty() {
            ui.result(format!("## {}\n", study.config.name))?;
        }
        ui.result(Status::of(study, &study.progress()?)?.markdown())?;
    }
    Ok(())
}

/// Writes the results so far and prints the tables.
fn tell_tables(studies: &Studies, ui: &Ui) -> anyhow::Result<()> {
    for study in &studies.all {
        for table in write_report(study)? {
            ui.result(table)?;
        }
        ui.result(format!("{}: results.csv, study.json, tables, status.md", study.folder().display()))?;
    }
    Ok(())
}

/// Whether every cell came to something.
fn judge(studies: &Studies) -> anyhow::Result<()> {
    let (mut failed, mut total) = (0, 0);
    for study in &studies.all {
        let status = Status::of(study, &study.progress()?)?;
        (failed, total) = (failed + status.cells.failed, total + status.cells.total());
    }
    if failed == 0 {
        return Ok(());
    }
    Err(anyhow::anyhow!("{failed} of {} failed", counted(total, "cell"))).advise(|_| {
        let out = studies.folder().display();
        format!("`brainmvp study --out {out} --status` says why; --retry does them again")
    })
}

/// Prints how a study goes on, and writes its results after each cell.
struct Follower<'a> {
    ui: &'a Ui,
    study: &'a Study,
    shown: Mutex<Shown>,
}

/// The progress that is shown now.
#[derive(Default)]
struct Shown {
    preparing: Option<Progress>,
    steps: Option<Progress>,
}

impl Follower<'_> {
    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the progress that is shown.
    fn finish(&self) {
        let mut shown = self.shown();
        let Shown { preparing, steps } = std::mem::take(&mut *shown);
        preparing.into_iter().chain(steps).for_each(Progress::finish);
    }
}

impl Watcher for Follower<'_> {
    fn prepared(&self, done: usize, total: usize) {
        let mut shown = self.shown();
        let new = || Progress::new(self.ui, "preprocess", "cases", total);
        shown.preparing.get_or_insert_with(new).advance(done);
    }

    fn warn(&self, text: &str) {
        self.ui.alert(format!("warning: {text}"));
    }

    fn begins(&self, part: &str, number: usize, total: usize) {
        self.finish();
        self.ui.note(format!("[{number}/{total}] {part}"));
    }

    fn step(&self, metrics: &StepMetrics, last: u64) {
        let mut shown = self.shown();
        let before = metrics.step as usize - 1;
        let new = || Progress::resume(self.ui, "train", "steps", before, last as usize);
        let progress = shown.steps.get_or_insert_with(new);
        progress.message(format!("loss {:.4}", metrics.loss));
        progress.advance(metrics.step as usize);
    }

    fn failed(&self, part: &str, reason: &str) {
        self.finish();
        self.ui.alert(format!("warning: {part}: {reason}"));
    }

    fn done(&self, _part: &str) {
        self.finish();
        if let Err(error) = write_report(self.study) {
            self.ui.alert(format!("warning: the results so far could not be written: {error}"));
        }
    }
}
