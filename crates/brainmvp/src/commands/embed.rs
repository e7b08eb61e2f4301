//! `brainmvp embed`

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use brainmvp_cohort::Split;
use brainmvp_prep::cache::{Cache, CaseEntry};
use brainmvp_train::batches::CaseSource;
use brainmvp_train::new_case::{CaseError, NewCase};
use brainmvp_volume::write_atomically;
use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::counted;
use super::inference::{Described, Encoder, EncoderOptions, Inputs, each};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::ui::Ui;

/// Write the encoder's features for every case
///
/// A pre-training run gives features for each modality, a fine-tuning run for all modalities together. A case is divided into windows; those without a voxel above 0 are ignored. Its features are the mean of the deepest
/// features over all windows. Cases are prepared in the same way as those of the run. A cache of prepared cases is used
/// as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp embed --model run --in cache --out features.csv
  brainmvp embed --model segmenter --in cohort.json --out features.safetensors

CSV: case,modality,f0,f1,...  safetensors: 'features' [rows, width], and the metadata 'rows', JSON with case and modality of
each row. Modalities that are used together are joined by +.
Exit codes: 0 the file has every case, 1 failed or interrupted, 2 some cases could not be used (it has the others), or bad input.")]
pub(crate) struct Embed {
    #[command(flatten)]
    encoder: EncoderOptions,
    /// Cache folder, cohort file, a folder of cases, or the images of one case: FILE, whose name contains its modality, or
    /// MODALITY=FILE
    #[arg(long = "in", value_name = "CACHE|COHORT|DIR|FILE", required = true, num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// Only the cases of one split of the cohort: training, validation or test
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// File to write: .csv or .safetensors
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How the features are written.
#[derive(Clone, Copy)]
enum Format {
    Csv,
    Safetensors,
}

/// The features of a case.
struct Row {
    case: String,
    /// The modalities used, joined by `+`.
    modality: String,
    features: Vec<f32>,
}

impl Embed {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let format = self.format()?;
        argument::prepare_output_file(&self.out)?;
        let (encoder, _) = Encoder::open(&self.encoder, ui)?;
        let (rows, failed) = match self.inputs.as_slice() {
            [cache] if cache.join("manifest.json").is_file() => {
                let cache = Cache::open(cache)?;
                let placer = encoder.placer(Some(cache.dir()));
                encoder.warn_of_differences(&cache, ui);
                let part = |entry: &&CaseEntry| self.split.is_none() || entry.case.split == self.split;
                let entries: Vec<&CaseEntry> = cache.cases().iter().filter(part).collect();
                each(ui, "embed", &entries, |entry| {
                    let case = cache.open_case(entry).map_err(|e| CaseError::Case(e.to_string()));
                    let rows = case
                        .and_then(|case| encoder.describe(CaseSource::new(entry, case), placer.as_ref(), ui));
                    of_case(entry.case.id.as_str(), rows)
                })?
            }
            typed => {
                let inputs = Inputs::read(typed, self.split, ui)?;
                let pipeline = encoder.pipeline(ui)?;
                let placer = encoder.placer(None);
                let (rows, failed) = each(ui, "embed", &inputs.cases, |case| {
                    let prepared = NewCase::new(case, &pipeline);
                    let rows = prepared
                        .and_then(|prepared| encoder.describe(prepared.source.clone(), placer.as_ref(), ui));
                    of_case(case.id.as_str(), rows)
                })?;
                let unusable = inputs.unusable.into_iter().map(|case| (case.case, case.reason));
                (rows, unusable.chain(failed).collect())
            }
        };
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        self.tell(&rows, &failed, format, ui)
    }

    fn format(&self) -> anyhow::Result<Format> {
        match self.out.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(Format::Csv),
            Some("safetensors") => Ok(Format::Safetensors),
            _ => Err(bad_input(format!("{}: name a .csv or .safetensors file", self.out.display()))),
        }
    }

    fn tell(&self, rows: &[Row], failed: &[(String, String)], format: Format, ui: &Ui) -> anyhow::Result<()> {
        for (case, reason) in failed {
            ui.alert(format!("warning: case '{case}' is left out: {}", without_error_numbers(reason)));
        }
        let Some(first) = rows.first() else { return Err(bad_input("no case could be used")) };
        let bytes = match format {
            Format::Csv => csv(rows)?,
            Format::Safetensors => tensors(rows)?,
        };
        write_atomically(&self.out, |file| file.write_all(&bytes))?;
        let (count, width, out) = (counted(rows.len(), "row"), first.features.len(), self.out.display());
        ui.result(format!("{out}: {count} of {width} features, {} left out", counted(failed.len(), "case")))?;
        if failed.is_empty() {
            return Ok(());
        }
        Err(bad_input(format!("{} could not be used", counted(failed.len(), "case"))))
            .advise(|_| format!("fix the files named above; {out} holds the other cases"))
    }
}

/// The rows of a case.
fn of_case(id: &str, described: Result<Vec<Described>, CaseError>) -> (String, Result<Vec<Row>, CaseError>) {
    let row = |Described { modality, features }| Row { case: id.to_owned(), modality, features };
    (id.to_owned(), described.map(|all| all.into_iter().map(row).collect()))
}

fn csv(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let width = rows.first().map_or(0, |row| row.features.len());
    let head = ["case", "modality"].into_iter().map(str::to_owned);
    writer.write_record(head.chain((0..width).map(|number| format!("f{number}"))))?;
    for row in rows {
        let names = [row.case.clone(), row.modality.clone()].into_iter();
        writer.write_record(names.chain(row.features.iter().map(f32::to_string)))?;
    }
    writer.into_inner().context("cannot write CSV")
}

fn tensors(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let width = rows.first().map_or(0, |row| row.features.len());
    let bytes: Vec<u8> = rows.iter().flat_map(|row| &row.features).flat_map(|f| f.to_le_bytes()).collect();
    let names: Vec<_> =
        rows.iter().map(|row| json!({ "case": row.case, "modality": row.modality })).collect();
    let metadata = HashMap::from([("rows".to_owned(), serde_json::to_string(&names)?)]);
    let features = TensorView::new(Dtype::F32, vec![rows.len(), width], &bytes)?;
    Ok(safetensors::serialize([("features", features)], Some(metadata))?)
}
