//! `brainmvp report`

use std::path::{Path, PathBuf};

use brainmvp_cohort::{CaseId, Cohort};
use brainmvp_prep::Shard;
use brainmvp_prep::cache::Cache;
use brainmvp_quality::{CaseRecord, Options, Sources, Table, make_records, write_table};
use brainmvp_view::report::{has_results, write_report};
use brainmvp_view::text::size;
use clap::Args;

use super::preprocess::half_of_free_memory;
use super::{counted, load_cohort};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::progress::Progress;
use crate::ui::Ui;

/// Report on the quality of images, or on results: runs, templates, predictions, scores and studies
///
/// Of a folder of prepared cases, a folder is written: DIR/index.html is a table of all images with outliers marked; it works
/// offline. DIR/images.csv has the same, one row per image. DIR/cases has a picture of every case: each image in three planes,
/// original and prepared, with the outlines of the brain mask, the atlas and the label. Pictures that are still up to date are
/// kept. Cases that were left out, and files that cannot be read, are named in the table.
///
/// Of results, one page is written: what was run on what data, curves, tables with intervals, templates, reconstructions, the
/// best, the median and the worst case with outlines, time and memory. It needs no other file, and prints on A4. Name several
/// paths, or a folder that they are in; with the cohort among them, there are pictures of cases.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp report cache --cohort cohort.json --out report
  brainmvp report cache --out report         # only the prepared images, if the files are gone
  brainmvp preprocess cohort.json --out cache --report report     # at once
  brainmvp report run --out report.html
  brainmvp report cohort.json run segmenter predictions metrics.json --out report.html --figures figures
  brainmvp report study --out study.html

Exit codes: 0 done, 1 failed or interrupted, 2 bad input or usage.")]
pub(crate) struct Report {
    /// Folder of prepared cases; or runs, templates, predictions, scores, studies, the cohort, or folders of them
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Prepared cases: the cohort file that they were made from, to find the original images
    #[arg(long, value_name = "COHORT")]
    cohort: Option<PathBuf>,
    /// Prepared cases: folder to write to. Results: HTML file to write
    #[arg(long, value_name = "DIR|FILE")]
    out: PathBuf,
    /// Results: folder to write the figures to, too, as PNG and SVG
    #[arg(long, value_name = "DIR", conflicts_with_all = ["cohort", "memory", "force"])]
    figures: Option<PathBuf>,
    /// Prepared cases: memory for all cases processed at the same time, e.g. 4G [default: half of the free memory]
    #[arg(long, value_name = "SIZE", value_parser = argument::bytes)]
    memory: Option<u64>,
    /// Prepared cases: measure and draw every case again
    #[arg(long)]
    force: bool,
}

impl Report {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        match &self.paths[..] {
            [cache] if self.figures.is_none() && !has_results(cache) => self.on_images(cache, ui),
            _ => self.on_results(ui),
        }
    }

    /// Reports on prepared cases.
    fn on_images(&self, cache: &Path, ui: &Ui) -> anyhow::Result<()> {
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
        write(cache, cohort.as_ref(), &self.out, &options, ui)
    }

    /// Reports on everything else.
    fn on_results(&self, ui: &Ui) -> anyhow::Result<()> {
        if self.cohort.is_some() || self.memory.is_some() || self.force {
            return Err(bad_input("--cohort, --memory and --force are for a folder of prepared cases"))
                .advise(|_| "name the cohort as another PATH".to_owned());
        }
        if self.out.is_dir() {
            return Err(bad_input(format!(
                "{}: is a folder; a report on results is one file",
                self.out.display()
            )))
            .advise(|_| format!("--out {}", self.out.join("report.html").display()));
        }
        argument::prepare_output_file(&self.out)?;
        let written = write_report(&self.paths, &self.out, self.figures.as_deref())?;
        for problem in &written.problems {
            ui.alert(format!("warning: {problem}"));
        }
        if let Some(figures) = &self.figures {
            ui.result(format!("{}: {}", figures.display(), counted(written.figures.len(), "figure")))?;
        }
        let sections = counted(written.sections, "section");
        ui.result(format!("{}: {sections}, {}", self.out.display(), size(written.bytes)))
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
