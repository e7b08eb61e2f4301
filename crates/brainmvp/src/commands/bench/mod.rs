//! `brainmvp bench`

mod child;
mod downstream;
mod kernels;
mod machine;
mod peer;
mod report;
mod step;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use brainmvp_kernels::{NoBf16, Precision, set_precision};
use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use serde_json::{Map, Value};

use crate::argument;
use crate::failure::bad_input;
use crate::interrupt;
use crate::ui::Ui;

use child::{Sample, measure_ours};
use machine::Machine;
use peer::Peer;
use report::{Measured, Row};

/// Measure this machine: operations, training steps and inference, beside PyTorch where there is one
///
/// A time is the median of some repetitions after one that warms up; memory is the largest resident size of a process
/// that does nothing else, in GB of 10^9 bytes (on Linux). Times differ from machine to machine and from hour to hour:
/// compare the ratios of one run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp bench
  brainmvp bench step --size 32
  brainmvp bench step --peers venv/bin/python --json step.json

What is measured:
  kernels    every operation of the networks, forward and backward, as a share of this machine's peak
  step       one step of pre-training: UniFormer-S, two views of each case, forward, backward, AdamW
  finetune   one step of fine-tuning: UniFormer-S that segments, two copies of each case, deep supervision
  inference  one window through the same network

--peers does the same work in PyTorch: plain fp32, fp32 at its best (channels last, fused attention
and optimiser), and the latter with bf16 autocast. It takes a Python that has torch:
  python3 -m venv venv && venv/bin/pip install torch

--json: `step` and `finetune` write seconds_per_step, peak_memory_gb, precision, threads, cpu,
version and peers, `inference` seconds_per_window and the like, `kernels` a list of operations;
`all` writes all of them, under their names.")]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_name = "WHAT", default_value = ALL, value_parser = choices())]
    what: String,
    /// Write everything that was measured as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure PyTorch beside it, with this Python
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Voxels along an axis of a patch; volumes and templates grow with it
    #[arg(long, visible_alias = "crop", value_name = "N", default_value_t = 96, value_parser = size)]
    size: usize,
    /// Cases of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    batch: usize,
    /// In which numbers our matrix products multiply [default: fp32, then bf16 where the processor has it]
    #[arg(long, value_name = "PRECISION", value_parser = argument::choice(PRECISIONS))]
    precision: Option<Precision>,
    /// Times that each work is measured [default: 5; kernels 7, peers 2]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: Option<usize>,
    /// Measure in this process, with files in this folder, and answer in JSON
    #[arg(long, value_name = "DIR", hide = true)]
    measure: Option<PathBuf>,
}

const ALL: &str = "all";
const KERNELS: &str = "kernels";

/// Some work that is done by us and by peers, each time in a process of its own.
struct Work {
    name: &'static str,
    title: &'static str,
    /// What is done once in each repetition.
    unit: &'static str,
    /// What it works on.
    input: fn(&Shape) -> String,
    /// Does the work in this process, with files in a folder.
    measure: fn(&Shape, &Path) -> anyhow::Result<Sample>,
}

/// All work; more is a line here, and a function of the same name in `peer.py`.
static WORKS: &[Work] = &[
    Work {
        name: "step",
        title: "pre-training step",
        unit: "step",
        input: |Shape { size, batch, .. }| format!("cases {batch}, two {size}^3 views each"),
        measure: step::measure,
    },
    Work {
        name: "finetune",
        title: "fine-tuning step",
        unit: "step",
        input: |Shape { size, batch, .. }| {
            format!("cases {batch}, two {size}^3 copies of four modalities each")
        },
        measure: downstream::finetune,
    },
    Work {
        name: "inference",
        title: "inference",
        unit: "window",
        input: |Shape { size, batch, .. }| format!("windows of {size}^3, four modalities, {batch} at once"),
        measure: downstream::inference,
    },
];

/// How much work.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Voxels along an axis of a patch.
    size: usize,
    /// Cases of a batch.
    batch: usize,
    /// Times that it is measured.
    repetitions: usize,
}

/// What our own program can compute in, in the order of measuring.
const PRECISIONS: &[(&str, Precision)] = &[("fp32", Precision::Fp32), ("bf16", Precision::Bf16)];

impl Bench {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        if let Some(folder) = &self.measure {
            return self.measure_here(folder, ui);
        }
        if self.what == KERNELS && self.peers.is_some() {
            return Err(bad_input(
                "--peers: the kernels have no peer; measure the others, e.g. `bench step`",
            ));
        }
        if let Some(json) = &self.json {
            argument::prepare_output_file(json)?;
        }
        let precisions = self.precisions()?;
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let peer = self.peers.as_deref().map(|python| Peer::find(python, scratch.path())).transpose()?;
        let machine = Machine::measured();
        ui.result(&machine)?;
        let mut found = Map::new();
        if self.wants(KERNELS) {
            let operations = kernels::measure(&precisions, &self.shape(7), &machine, ui)?;
            found.insert(KERNELS.to_owned(), operations);
        }
        for work in WORKS.iter().filter(|work| self.wants(work.name)) {
            let rows = self.rows(work, &precisions, peer.as_ref(), scratch.path(), ui)?;
            let input = (work.input)(&self.shape(5));
            ui.result(format!("\n{}: {input}\n{}", work.title, report::table(work, &rows)))?;
            found.insert(work.name.to_owned(), report::json(work, &machine, &rows));
            stop_if_asked()?;
            if let Some(Err(reason)) = rows.first().map(|row| &row.outcome) {
                anyhow::bail!("the {} could not be measured: {reason}", work.title);
            }
        }
        let Some(json) = &self.json else { return Ok(()) };
        let found = if self.what == ALL { Some(found.into()) } else { found.remove(&self.what) };
        save(json, &found.unwrap_or_default())
    }

    /// What a child process does.
    fn measure_here(&self, folder: &Path, ui: &Ui) -> anyhow::Result<()> {
        let work = WORKS.iter().find(|work| work.name == self.what);
        let work = work.ok_or_else(|| bad_input("--measure takes one work"))?;
        let (_, precision) = self.precisions()?[0];
        set_precision(precision).map_err(|NoBf16| no_bf16())?;
        let sample = (work.measure)(&self.shape(5), folder)?;
        ui.result(serde_json::to_string(&sample)?)
    }

    /// Measures one work: ours first, then every setting of the peer. What fails is named and the rest goes on.
    fn rows(
        &self,
        work: &Work,
        precisions: &[Named],
        peer: Option<&Peer>,
        scratch: &Path,
        ui: &Ui,
    ) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut add =
            |key, program: String, precision, measure: &dyn Fn(&Path) -> Result<Sample, child::Failure>| {
                if interrupt::stop_flag().load(Ordering::Relaxed) {
                    return anyhow::Ok(());
                }
                ui.note(format!("measuring {}: {program}, {precision}", work.title));
                let folder = scratch.join(work.name);
                std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
                let outcome = measure(&folder).map(|sample| Measured::of(&sample)).map_err(|e| e.to_string());
                if let Err(reason) = &outcome {
                    ui.alert(format!("warning: {program}, {precision}: {reason}"));
                }
                // A work may leave large files.
                drop(std::fs::remove_dir_all(&folder));
                rows.push(Row { peer: key, program, precision, outcome });
                Ok(())
            };
        let ours = self.shape(5);
        for (name, _) in precisions {
            add(None, "brainmvp".to_owned(), name, &|folder| measure_ours(work, name, &ours, folder))?;
        }
        for setting in peer.into_iter().flat_map(|_| peer::SETTINGS) {
            let Some(peer) = peer else { continue };
            let theirs = self.shape(2);
            add(Some(setting.key), peer.program(setting), setting.precision, &|folder| {
                peer.measure(work, setting, &theirs, folder)
            })?;
        }
        Ok(rows)
    }

    /// Those asked for, or all that there are.
    fn precisions(&self) -> anyhow::Result<Vec<Named>> {
        let wanted = |(_, precision): &&Named| {
            self.precision.map_or(precision.is_available(), |only| only == *precision)
        };
        if self.precision.is_some_and(|precision| !precision.is_available()) {
            return Err(no_bf16());
        }
        Ok(PRECISIONS.iter().filter(wanted).copied().collect())
    }

    fn wants(&self, name: &str) -> bool {
        self.what == ALL || self.what == name
    }

    fn shape(&self, repetitions: usize) -> Shape {
        let repetitions = self.repetitions.unwrap_or(repetitions);
        Shape { size: self.size, batch: self.batch, repetitions }
    }
}

/// A precision and its name.
type Named = (&'static str, Precision);

fn no_bf16() -> anyhow::Error {
    bad_input("--precision bf16: this processor has no bfloat16 products (AVX-512 BF16)")
}

/// What can be measured.
fn choices() -> PossibleValuesParser {
    let works = WORKS.iter().map(|work| work.name);
    PossibleValuesParser::new([KERNELS].into_iter().chain(works).chain([ALL]))
}

/// Voxels that the network can take.
fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (16..=512).contains(size) && size % 16 == 0);
    size.ok_or_else(|| "must be a multiple of 16 from 16 to 512".to_owned())
}

fn stop_if_asked() -> anyhow::Result<()> {
    if interrupt::stop_flag().load(Ordering::Relaxed) {
        anyhow::bail!("interrupted; what is missing above was not measured");
    }
    Ok(())
}

fn save(path: &Path, found: &Value) -> anyhow::Result<()> {
    let mut text = serde_json::to_vec_pretty(found)?;
    text.push(b'\n');
    Ok(brainmvp_volume::write_atomically(path, |file| file.write_all(&text))?)
}
