//! The network that computes features of cases.

use std::path::{Path, PathBuf};

use brainmvp_infer::SlidingWindow;
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_prep::cache::Cache;
use brainmvp_prep::{Pipeline, PrepConfig, Preparation};
use brainmvp_train::about::Kind;
use brainmvp_train::batches::CaseSource;
use brainmvp_train::config::PatchConfig;
use brainmvp_train::finetune::{Laid, Model, Predictor};
use brainmvp_train::new_case::CaseError;
use brainmvp_train::placement::Placer;
use brainmvp_train::{PretrainedEncoder, device};
use brainmvp_volume::Modality;
use clap::Args;

use super::{ModelOptions, go_on, pipeline, reason, tell_laid};
use crate::argument;
use crate::progress::Progress;
use crate::ui::Ui;

/// Which network, and how it is applied.
#[derive(Debug, Args)]
pub(crate) struct EncoderOptions {
    /// Folder of a run of `pretrain` or `finetune`, or a file of pre-trained weights
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) model: PathBuf,
    #[command(flatten)]
    options: ModelOptions,
    /// Overlap of neighbouring windows, as a fraction from 0 to less than 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = argument::share)]
    overlap: f64,
    /// Where to compute: cpu, or a GPU that this build has: vulkan, wgpu
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

/// The features that a case has for one modality, or for all together.
pub(crate) struct Described {
    /// The modalities used, joined by `+`.
    pub(crate) modality: String,
    pub(crate) features: Vec<f32>,
}

/// The network that computes features.
#[allow(clippy::large_enum_variant)] // there is one of them
pub(crate) enum Encoder {
    /// Uses one modality at a time.
    Pretrained(PretrainedEncoder, SlidingWindow),
    /// Uses all channels at once.
    Finetuned(Box<Predictor>),
}

impl Encoder {
    /// Opens the network, and prints which one it is. Returns where it is from, too.
    pub(crate) fn open(options: &EncoderOptions, ui: &Ui) -> anyhow::Result<(Self, String)> {
        let device = device::device(&options.device)?;
        let seen = |size| SlidingWindow {
            size,
            overlap: options.overlap,
            skip_empty: true,
            ..SlidingWindow::default()
        };
        let saved = options.options.open(&options.model, ui)?;
        let origin = saved.origin.clone();
        let patch = match saved.about.kind {
            Kind::FineTuning(_) => {
                let model = Model::new(saved, &device)?;
                let windows = seen(model.config.patch.size);
                windows.validate(model.numbers.stride())?;
                let mirror = brainmvp_infer::Mirror::default();
                let predictor = Predictor { model, windows, mirror, device };
                return Ok((Self::Finetuned(Box::new(predictor)), origin));
            }
            Kind::PreTraining { patch, .. } => patch,
            Kind::Unknown => PatchConfig::default().size,
        };
        let encoder = PretrainedEncoder::new(saved.into(), &device)?;
        let windows = seen(patch);
        windows.validate(encoder.stride())?;
        Ok((Self::Pretrained(encoder, windows), origin))
    }

    /// How the cases that it was trained on were prepared, if that is known.
    fn preparation(&self) -> Option<&Preparation> {
        match self {
            Self::Pretrained(encoder, _) => encoder.about.preparation.as_ref(),
            Self::Finetuned(predictor) => Some(&predictor.model.preparation),
        }
    }

    /// Reports differences between the preparation of a cache and that of the cases that it was trained on.
    pub(crate) fn warn_of_differences(&self, cache: &Cache, ui: &Ui) {
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
    pub(crate) fn pipeline(&self, ui: &Ui) -> anyhow::Result<Pipeline> {
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
    pub(crate) fn placer(&self, cache: Option<&Path>) -> Option<Placer<'_>> {
        match self {
            Self::Pretrained(..) => None,
            Self::Finetuned(predictor) => predictor.model.placer(cache),
        }
    }

    /// Whether all modalities of a case are used together.
    pub(crate) fn is_joint(&self) -> bool {
        matches!(self, Self::Finetuned(_))
    }

    /// The features of a case: of each of its modalities, or of all together.
    pub(crate) fn describe(
        &self,
        mut case: CaseSource,
        placer: Option<&Placer<'_>>,
        ui: &Ui,
    ) -> Result<Vec<Described>, CaseError> {
        match self {
            Self::Pretrained(encoder, windows) => {
                let of = |modality: &Modality| {
                    let features = encoder.embed(windows, &case, *modality, go_on)?;
                    Ok(Described { modality: modality.to_string(), features })
                };
                case.modalities().iter().map(of).collect()
            }
            Self::Finetuned(predictor) => {
                let channels = &predictor.model.inputs.channels;
                let has = |modality: &&Modality| case.modalities().contains(modality);
                let names: Vec<&str> = channels.iter().filter(has).map(|modality| modality.name()).collect();
                if names.is_empty() {
                    let reason = "it has none of the modalities that the network uses";
                    return Err(CaseError::Case(reason.to_owned()));
                }
                let modality = names.join("+");
                if let Some(placer) = placer.filter(|_| predictor.model.inputs.fills(case.modalities())) {
                    let laid = Laid::on(&mut case, placer)?;
                    tell_laid(&laid, case.id(), ui);
                }
                Ok(vec![Described { modality, features: predictor.embed(&case, go_on)? }])
            }
        }
    }
}

/// Cases without a result, each with the reason.
pub(crate) type Failed = Vec<(String, String)>;

/// Does `work` for every case, and returns what came of it and the cases that failed, each with the reason.
pub(crate) fn each<T, R>(
    ui: &Ui,
    what: &'static str,
    cases: &[T],
    mut work: impl FnMut(&T) -> (String, Result<R, CaseError>),
) -> anyhow::Result<(Vec<R>, Failed)> {
    let progress = Progress::new(ui, what, "cases", cases.len());
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        match work(case) {
            (_, Ok(result)) => done.push(result),
            (name, Err(error)) => failed.push((name, reason(error)?)),
        }
        progress.advance(number + 1);
    }
    progress.finish();
    Ok((done, failed))
}
