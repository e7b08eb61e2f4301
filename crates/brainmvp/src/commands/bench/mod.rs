//! `brainmvp bench`

mod kernels;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use brainmvp_bench::machine::{self, Machine};
use brainmvp_bench::peer::{MONAI, PYTORCH, Peer};
use brainmvp_bench::report::{self, Row};
use brainmvp_bench::rows::{Measuring, Named, Watcher};
use brainmvp_bench::work::{GIVEN, PREPARATION, Shape, WORKS, Work};
use brainmvp_kernels::{NoBf16, Precision, set_precision};
use brainmvp_nets::networks::{NetworkConfig, PresetName};
use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use serde_json::{Map, Value};

use crate::argument;
use crate::commands::table;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::scratch::Scratch;
use crate::ui::Ui;

/// Measure this machine: operations, training steps, inference and preprocessing, next to PyTorch and MONAI if installed
///
/// A time is the median of several repetitions after a warm-up; memory is the largest resident size of a process that
/// does nothing else, in GB of 10^9 bytes (on Linux). Times differ between machines and from hour to hour: compare only
/// the ratios within one run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp bench
  brainmvp bench step --size 32
  brainmvp bench step --peers venv/bin/python --json step.json
  brainmvp bench finetune --model unetr,swin-unetr,unet3d

What is measured:
  kernels    every operation of the networks, forward and backward, as a share of this machine's peak
  step       one step of pre-training by BrainMVP: two views of each case, forward, backward, AdamW
  finetune   one step of fine-tuning for segmentation: two copies of each case, losses at all scales, AdamW
  inference  one window through the same network
  preprocess one volume from its file to [0, 1]: RAS, 1 mm, percentiles, crop; of a raw clinical
             series (256x224x26) and of a registered one (240x240x155), or of --file

--model names the networks of the three: UniFormer-S if it is not given; `brainmvp list networks` shows all. Each is
measured in a process of its own, with four modalities and three regions (pre-training: one modality).

--peers does the same work in PyTorch: plain fp32, fp32 at its best (channels last, fused attention
and optimiser), and the latter with bf16 autocast, if the processor supports bf16 products, for uniformer-small, unetr,
swin-unetr and unet3d (pre-training: uniformer-small and unet3d); the numbers of parameters must be ours;
preprocess is done in MONAI, whose voxels are compared with ours. The Python needs these packages:
  python3 -m venv venv && venv/bin/pip install torch monai nibabel

--json: `step` and `finetune` write seconds_per_step, peak_memory_gb, precision, threads, cpu,
version and peers, `inference` seconds_per_window and the like, `preprocess` seconds_per_volume for each, `kernels` a list of operations;
`all` writes all of them, under their names. If several networks are measured, each has such an object under its name.")]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_name = "WHAT", default_value = ALL, value_parser = choices())]
    what: String,
    /// Write all measurements to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also measure PyTorch and MONAI, with this Python
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
    /// Networks to measure, or `all` published sizes: step, finetune, inference [default: uniformer-small]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = models())]
    model: Vec<String>,
    /// Voxels along an axis of a patch; volumes and templates grow with it
    #[arg(long, visible_alias = "crop", value_name = "N", default_value_t = 96, value_parser = size)]
    size: usize,
    /// Cases per batch (preprocess takes one volume at a time)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=64))]
    batch: usize,
    /// Precision of our matrix products [default: fp32, then bf16 if the processor supports it]
    #[arg(long, value_name = "PRECISION", value_parser = argument::choice(PRECISIONS))]
    precision: Option<Precision>,
    /// Number of repetitions [default: 5, peers 2; kernels 7; preprocess 20, peers 5]
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    repetitions: Option<usize>,
    /// Prepare this file (.nii.gz) instead of generated ones: preprocess
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Measure in this process, with files in this folder, and answer in JSON
    #[arg(long, value_name = "DIR", hide = true)]
    measure: Option<PathBuf>,
}

const ALL: &str = "all";
const KERNELS: &str = "kernels";

/// The precisions of our own program, in the order of measuring.
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
        self.refuse_misplaced()?;
        if let Some(json) = &self.json {
            argument::prepare_output_file(json)?;
        }
        let precisions = self.precisions()?;
        let scratch = Scratch::beside(self.json.as_deref())?;
        let peers = self.peers(scratch.path())?;
        let measuring = Measuring {
            scratch: scratch.path(),
            precisions: &precisions,
            stop: interrupt::stop_flag(),
            watcher: &Told(ui),
        };
        let machine = Machine::measured();
        ui.result(&machine)?;
        let mut found = Map::new();
        if self.wants(KERNELS) {
            let operations = kernels::measure(&precisions, &self.shape(7), &machine, ui)?;
            found.insert(KERNELS.to_owned(), operations);
        }
        for work in self.works() {
            let peer = peers.iter().find(|peer| std::ptr::eq(peer.program, work.peer));
            let json = self.work(work, peer, &measuring, &machine, ui)?;
            match work.part {
                None => drop(found.insert(work.what.to_owned(), json)),
                Some(part) => {
                    let parts = found.entry(work.what).or_insert_with(|| Map::new().into());
                    parts[part] = json;
                }
            }
        }
        let Some(json) = &self.json else { return Ok(()) };
        let found = if self.what == ALL { Some(found.into()) } else { found.remove(&self.what) };
        #[expect(
            clippy::expect_used,
            reason = "--what names something to measure, and all of it was measured"
        )]
        let found = found.expect("what was asked for was measured");
        save(json, &found)
    }

    /// Measures and prints one work.
    fn work(
        &self,
        work: &Work,
        peer: Option<&Peer>,
        measuring: &Measuring<'_>,
        machine: &Machine,
        ui: &Ui,
    ) -> anyhow::Result<Value> {
        let mut shape = self.shape(work.repetitions[0]);
        if work.what != PREPARATION.what {
            shape.file = None;
        }
        if let Some(write) = work.write {
            let file = measuring.scratch.join(format!("{}.nii.gz", work.part.unwrap_or(work.what)));
            write(&shape, &file)?;
            shape.file = Some(file);
        }
        let peer = peer.map(|peer| (peer, self.shape(work.repetitions[1]).repetitions));
        let mut rows = Vec::new();
        for model in self.models(work) {
            shape.model = model;
            rows.extend(measuring.rows(work, &shape, peer)?);
        }
        let input = (work.input)(&shape);
        let (lines, below) = report::table(work, &rows);
        let lines = table::columns(&lines);
        ui.result(format!("\n{}: {input}\n{lines}{below}", work.title))?;
        stop_if_asked()?;
        refuse_unmeasured(work, &rows)?;
        Ok(report::json(work, machine, &rows))
    }

    /// What a child process does.
    fn measure_here(&self, folder: &Path, ui: &Ui) -> anyhow::Result<()> {
        let work = WORKS.iter().find(|work| work.what == self.what);
        let work = work.ok_or_else(|| bad_input("--measure takes one work"))?;
        let (_, precision) = self.precisions()?[0];
        set_precision(precision).map_err(|NoBf16| no_bf16())?;
        let model = self.models(work).into_iter().next().flatten();
        let shape = Shape { model, ..self.shape(work.repetitions[0]) };
        let sample = (work.measure)(&shape, folder)?;
        ui.result(serde_json::to_string(&sample)?)
    }

    /// The requested ones, or all.
    fn precisions(&self) -> anyhow::Result<Vec<Named>> {
        let wanted = |(_, precision): &&Named| {
            self.precision.map_or(precision.is_available(), |only| only == *precision)
        };
        if self.precision.is_some_and(|precision| !precision.is_available()) {
            return Err(no_bf16());
        }
        Ok(PRECISIONS.iter().filter(wanted).copied().collect())
    }

    /// The networks to measure a work with, or none if it has none.
    fn models(&self, work: &Work) -> Vec<Option<PresetName>> {
        if !work.products {
            return vec![None];
        }
        let mut wanted = Vec::new();
        for name in &self.model {
            let named = NetworkConfig::presets().into_iter().filter(|(known, _, network)| {
                if name == ALL { network.published_preset().name() == *known } else { name == known }
            });
            wanted.extend(named.filter_map(|(known, ..)| PresetName::named(known)));
        }
        if self.model.is_empty() {
            wanted.push(PresetName::default());
        }
        wanted.dedup();
        wanted.into_iter().map(Some).collect()
    }

    fn wants(&self, name: &str) -> bool {
        self.what == ALL || self.what == name
    }

    /// The requested work.
    fn works(&self) -> impl Iterator<Item = &'static Work> {
        WORKS.iter().filter(|work| {
            let right_file = work.what == PREPARATION.what && self.file.is_some();
            self.wants(work.what) && (work.part == Some(GIVEN)) == right_file
        })
    }

    /// Refuses options that have no effect on the requested work.
    fn refuse_misplaced(&self) -> anyhow::Result<()> {
        const PREPROCESS: &str = PREPARATION.what;
        if self.file.is_some() && !self.wants(PREPROCESS) {
            return Err(bad_input("--file: only `bench preprocess` reads a file"));
        }
        if !self.model.is_empty() && !self.works().any(|work| work.products) {
            return Err(bad_input("--model: only step, finetune and inference have a network"));
        }
        for model in self.works().flat_map(|work| self.models(work)).flatten() {
            let stride = model.network().stride();
            if !self.size.is_multiple_of(stride) {
                let (size, name) = (self.size, model.name());
                return Err(bad_input(format!("--size {size}: {name} takes multiples of {stride}")));
            }
        }
        if let Some(file) = &self.file {
            brainmvp_volume::nifti::read_header(file)?;
        }
        if self.what == PREPROCESS && (self.batch != 1 || self.precision.is_some()) {
            return Err(bad_input(
                "preprocess takes one volume at a time, in fp32: leave out --batch and --precision",
            ));
        }
        Ok(())
    }

    /// The peers for the requested work.
    fn peers(&self, scratch: &Path) -> anyhow::Result<Vec<Peer>> {
        let Some(python) = &self.peers else { return Ok(Vec::new()) };
        let programs = [&PYTORCH, &MONAI].into_iter();
        let wanted = programs.filter(|program| self.works().any(|work| std::ptr::eq(work.peer, *program)));
        let bf16 = machine::multiplies_bf16();
        let find = |program| match Peer::find(program, python, scratch, bf16, interrupt::stop_flag()) {
            Err(error) => {
                let wrong = format!("--peers {error}");
                match error {
                    brainmvp_bench::Error::Peer { advice, .. } => Err(bad_input(wrong)).advise(|_| advice),
                    other => Err(other.into()),
                }
            }
            Ok(peer) => Ok(peer),
        };
        wanted.map(find).collect()
    }

    fn shape(&self, repetitions: usize) -> Shape {
        let repetitions = self.repetitions.unwrap_or(repetitions);
        Shape { model: None, size: self.size, batch: self.batch, repetitions, file: self.file.clone() }
    }
}

/// Prints what is measured.
struct Told<'a>(&'a Ui);

impl Watcher for Told<'_> {
    fn note(&self, text: &str) {
        self.0.note(text);
    }

    fn warn(&self, text: &str) {
        self.0.alert(format!("warning: {text}"));
    }
}

fn no_bf16() -> anyhow::Error {
    bad_input("--precision bf16: this processor has no bfloat16 products (AVX-512 BF16)")
}

/// The words for what can be measured.
fn choices() -> PossibleValuesParser {
    let mut works: Vec<_> = WORKS.iter().map(|work| work.what).collect();
    works.dedup();
    PossibleValuesParser::new([KERNELS].into_iter().chain(works).chain([ALL]))
}

/// The words for networks.
fn models() -> PossibleValuesParser {
    let presets = NetworkConfig::presets().into_iter().map(|(name, ..)| name);
    PossibleValuesParser::new(presets.chain([ALL]))
}

/// Voxels that the network can take.
fn size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (16..=512).contains(size) && size % 16 == 0);
    size.ok_or_else(|| "must be a multiple of 16 from 16 to 512".to_owned())
}

/// Refuses rows of ours that are failures.
fn refuse_unmeasured(work: &Work, rows: &[Row]) -> anyhow::Result<()> {
    for row in rows.iter().filter(|row| row.peer.is_none()) {
        if let Err(reason) = &row.outcome {
            let name = row.model.map_or_else(String::new, |model| format!(" of {}", model.name()));
            anyhow::bail!("{}{name} could not be measured: {reason}", work.title);
        }
    }
    Ok(())
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
