//! `brainmvp report`

use std::path::{Path, PathBuf};

use brainmvp_cohort::{CaseId, Cohort};
use brainmvp_prep::Shard;
use brainmvp_prep::cache::Cache;
use brainmvp_quality::{CaseRecord, Options, Sources, Table, make_records, write_table};
use clap::Args;

use super::preprocess::half_of_free_memory;
use super::{counted, load_cohort};
use crate::argument;
use crate::failure::Advise as _;
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;

/// Report on image quality: a picture of every case, and a table with outliers marked
///
/// DIR/index.html is the table; it works offline. DIR/images.csv has the same, one row per image. DIR/cases has a
/// picture of every case: each image in three planes, original and prepared, with the outlines of the brain mask, the
/// atlas and the label. Pictures that are still up to date are kept. Cases that were left out, and files that cannot be
/// read, are named in the table.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp report cache --cohort cohort.json --out report
  brainmvp report cache --out report         # only the prepared images, if the files are gone
  brainmvp preprocess cohort.json --out cache --report report     # at once

Exit codes: 0 done, 1 failed or interrupted, 2 bad input or usage.")]
pub(crate) struct Report {
    /// Folder of prepared cases
    #[arg(value_name = "CACHE")]
    cache: PathBuf,
    /// Cohort file that the cache was made from, to find the original images
    #[arg(long, value_name = "COHORT")]
    cohort: Option<PathBuf>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Memory for all cases processed at the same time, e.g. 4G [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = argument::bytes)]
    memory: Option<u64>,
    /// Measure and draw every case again
    #[arg(long)]
    force: bool,
}

impl Report {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let cohort = self.cohort.as_deref().map(load_cohort).transpose()?;
        if cohort.is_none() {
            ui.note(
                "note: without --cohort the original images are not known; only the prepared ones are shown",
            );
        }
        let options = Options {
            shard: Shard::WHOLE,
            memory_bytes: self.memory.unwrap_or_else(half_of_free_memory),
            force: self.force,
            stop: interrupt::stop_flag(),
        };
        write(&self.cache, cohort.as_ref(), &self.out, &options, ui)
    }
}

/// Writes the pictures of a share of the cases or, for the whole, also the table; prints the outcome.
pub(super) fn write(
    cache: &Path,
    cohort: Option<&Cohort>,
    out: &Path,
    options: &Options<'_>,
    ui: &Ui,
) -> anyhow::Result<()> {
    let opened = Cache::open(cache)
        .advise(|_| "`brainmvp preprocess COHORT --out CACHE` makes a folder of prepared cases".to_owned())?;
    let sources = Sources { cache: &opened, cohort };
    let cases = sources.cases();
    let progress = Progress::new(ui, "report", "cases", options.shard.of(&cases).count());
    let summary = make_records(sources, out, options, &|done| progress.advance(done))?;
    progress.finish();
    summary.notes.iter().for_each(|note| ui.note(format!("note: {note}")));
    if summary.not_begun > 0 {
        let to_go = counted(summary.not_begun, "case");
        let error: anyhow::Result<()> = Err(anyhow::anyhow!("the report was interrupted with {to_go} to go"));
        return error.advise(|_| "run the same command again to continue".to_owned());
    }
    if options.shard.is_part() {
        let done = counted(summary.made + summary.kept, "case");
        ui.result(format!("{}: pictures of {done} of share {}", out.display(), options.shard))?;
        let (cache, out) = (cache.display(), out.display());
        ui.note(format!("once all shares are done: brainmvp report {cache} --cohort COHORT --out {out}"));
        return Ok(());
    }
    let record = |id| CaseRecord::load(out, id).ok_or(id);
    let records: Result<Vec<CaseRecord>, &CaseId> = cases.iter().map(record).collect();
    let records = records
        .map_err(|id| anyhow::anyhow!("{}: the record of case '{id}' is damaged or missing", out.display()))
        .advise(|_| "run the same command again to replace it".to_owned())?;
    let title = cohort.map_or_else(|| cache.display().to_string(), |cohort| cohort.name.clone());
    let table = Table::of(title, &records);
    write_table(&table, out)?;
    ui.result(format!(
        "{}: {} ({} drawn now), {}, {} with something unusual",
        out.join("index.html").display(),
        counted(records.len(), "case"),
        summary.made,
        counted(table.rows.len(), "row"),
        table.flagged()
    ))
}
