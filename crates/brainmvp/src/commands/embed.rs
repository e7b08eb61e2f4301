//! `brainmvp embed`

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::Split;
use brainmvp_infer::SlidingWindow;
use brainmvp_prep::cache::{Cache, CaseEntry};
use brainmvp_prep::{Pipeline, PrepConfig, Preparation};
use brainmvp_ssl::patch::PatchSource;
use brainmvp_train::about::Kind;
use brainmvp_train::batches::CaseSource;
use brainmvp_train::config::PatchConfig;
use brainmvp_train::finetune::{Laid, Model, Predictor};
use brainmvp_train::new_case::{CaseError, NewCase};
use brainmvp_train::placement::Placer;
use brainmvp_train::{PretrainedEncoder, device};
use brainmvp_volume::{Modality, write_atomically};
use clap::Args;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::counted;
use super::inference::{Inputs, ModelOptions, go_on, pipeline, reason, tell_laid};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
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
    /// Folder of a run of `pretrain` or `finetune`, or a file of pre-trained weights
    #[arg(long, value_name = "RUN|FILE")]
    model: PathBuf,
    #[command(flatten)]
    options: ModelOptions,
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
    /// Overlap of neighbouring windows, as a fraction from 0 to less than 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = argument::share)]
    overlap: f64,
    /// Where to compute: cpu, or a GPU that this build has: vulkan, wgpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
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

/// The network that computes features.
#[allow(clippy::large_enum_variant)] // there is one of them
enum Encoder {
    /// Uses one modality at a time.
    Pretrained(PretrainedEncoder, SlidingWindow),
    /// Uses all channels at once.
    Finetuned(Box<Predictor>),
}

impl Embed {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let format = self.format()?;
        argument::prepare_output_file(&self.out)?;
        let encoder = Encoder::open(&self, ui)?;
        let (mut rows, mut failed) = (Vec::new(), Vec::new());
        match self.inputs.as_slice() {
            [cache] if cache.join("manifest.json").is_file() => {
                let cache = Cache::open(cache)?;
                let placer = encoder.placer(Some(cache.dir()));
                encoder.warn_of_differences(&cache, ui);
                let part = |entry: &&CaseEntry| self.split.is_none() || entry.case.split == self.split;
                let entries: Vec<&CaseEntry> = cache.cases().iter().filter(part).collect();
                Self::each(ui, &entries, &mut failed, |entry| {
                    let case = cache.open_case(entry).map_err(|e| CaseError::Case(e.to_string()));
                    let seen = case.and_then(|case| {
                        encoder.rows(CaseSource::new(entry, case), placer.as_ref(), ui, &mut rows)
                    });
                    (entry.case.id.to_string(), seen)
                })?;
            }
            typed => {
                let inputs = Inputs::read(typed, self.split, ui)?;
                failed.extend(inputs.unusable.into_iter().map(|case| (case.case, case.reason)));
                let pipeline = encoder.pipeline(ui)?;
                let placer = encoder.placer(None);
                Self::each(ui, &inputs.cases, &mut failed, |case| {
                    let prepared = NewCase::new(case, &pipeline);
                    let seen = prepared.and_then(|prepared| {
                        encoder.rows(prepared.source.clone(), placer.as_ref(), ui, &mut rows)
                    });
                    (case.id.to_string(), seen)
                })?;
            }
        }
        self.tell(&rows, &failed, format, ui)
    }

    fn format(&self) -> anyhow::Result<Format> {
        match self.out.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Ok(Format::Csv),
            Some("safetensors") => Ok(Format::Safetensors),
            _ => Err(bad_input(format!("{}: name a .csv or .safetensors file", self.out.display()))),
        }
    }

    /// Does `work` for every case, and records those that failed.
    fn each<T>(
        ui: &Ui,
        cases: &[T],
        failed: &mut Vec<(String, String)>,
        mut work: impl FnMut(&T) -> (String, Result<(), CaseError>),
    ) -> anyhow::Result<()> {
        let progress = Progress::new(ui, "embed", "cases", cases.len());
        for (number, case) in cases.iter().enumerate() {
            match work(case) {
                (_, Ok(())) => {}
                (name, Err(error)) => failed.push((name, reason(error)?)),
            }
            progress.advance(number + 1);
        }
        progress.finish();
        Ok(())
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

impl Encoder {
    fn open(options: &Embed, ui: &Ui) -> anyhow::Result<Self> {
        let device = device::device(&options.device)?;
        let seen = |size| SlidingWindow {
            size,
            overlap: options.overlap,
            skip_empty: true,
            ..SlidingWindow::default()
        };
        let saved = options.options.open(&options.model, ui)?;
        let patch = match saved.about.kind {
            Kind::FineTuning(_) => {
                let model = Model::new(saved, &device)?;
                let windows = seen(model.config.patch.size);
                windows.validate(model.numbers.stride())?;
                let mirror = brainmvp_infer::Mirror::default();
                return Ok(Self::Finetuned(Box::new(Predictor { model, windows, mirror, device })));
            }
            Kind::PreTraining { patch, .. } => patch,
            Kind::Unknown => PatchConfig::default().size,
        };
        let encoder = PretrainedEncoder::new(saved.into(), &device)?;
        let windows = seen(patch);
        windows.validate(encoder.stride())?;
        Ok(Self::Pretrained(encoder, windows))
    }

    /// How the cases that it was trained on were prepared, if that is known.
    fn preparation(&self) -> Option<&Preparation> {
        match self {
            Self::Pretrained(encoder, _) => encoder.about.preparation.as_ref(),
            Self::Finetuned(predictor) => Some(&predictor.model.preparation),
        }
    }

    /// Reports differences between the preparation of a cache and that of the cases that it was trained on.
    fn warn_of_differences(&self, cache: &Cache, ui: &Ui) {
        let Some(preparation) = self.preparation() else { return };
        let differences = preparation.config.differences(&cache.manifest().preparation.config);
        if !differences.is_empty() {
            let list = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            ui.alert(format!(
                "warning: {}: prepared in another way than the cases that the network was trained on: {list}",
                cache.dir().display()
            ));
        }
    }

    /// Prepares new cases in the same way as those that it was trained on.
    fn pipeline(&self, ui: &Ui) -> anyhow::Result<Pipeline> {
        let Some(preparation) = self.preparation() else {
            ui.note(
                "note: the weights do not say how their cases were prepared; these are as `brainmvp preprocess` does by \
                 default",
            );
            return Ok(Pipeline::new(&PrepConfig::default())?);
        };
        pipeline(preparation, ui)
    }

    /// Places templates on cases, if templates replace missing modalities.
    fn placer(&self, cache: Option<&Path>) -> Option<Placer<'_>> {
        match self {
            Self::Pretrained(..) => None,
            Self::Finetuned(predictor) => predictor.model.placer(cache),
        }
    }

    /// Adds the features of a case.
    fn rows(
        &self,
        mut case: CaseSource,
        placer: Option<&Placer<'_>>,
        ui: &Ui,
        rows: &mut Vec<Row>,
    ) -> Result<(), CaseError> {
        let id = case.id().to_owned();
        let row = |modality: String, features| Row { case: id.clone(), modality, features };
        match self {
            Self::Pretrained(encoder, windows) => {
                for modality in case.modalities() {
                    let features = encoder.embed(windows, &case, *modality, go_on)?;
                    rows.push(row(modality.to_string(), features));
                }
            }
            Self::Finetuned(predictor) => {
                let channels = &predictor.model.inputs.channels;
                let has = |modality: &&Modality| case.modalities().contains(modality);
                let names: Vec<&str> = channels.iter().filter(has).map(|modality| modality.name()).collect();
                if names.is_empty() {
                    let reason = "it has none of the modalities that the network uses";
                    return Err(CaseError::Case(reason.to_owned()));
                }
                let names = names.join("+");
                if let Some(placer) = placer.filter(|_| predictor.model.inputs.fills(case.modalities())) {
                    tell_laid(&Laid::on(&mut case, placer)?, &id, ui);
                }
                rows.push(row(names, predictor.embed(&case, go_on)?));
            }
        }
        Ok(())
    }
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
