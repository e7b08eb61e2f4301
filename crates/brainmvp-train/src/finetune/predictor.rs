//! A fine-tuned network applied to cases.

use brainmvp_cohort::Case;
use brainmvp_infer::{Error, Mirror, SlidingWindow, WindowSource};
use brainmvp_kernels::in_pool;
use brainmvp_nets::layers::Pass;
use brainmvp_objectives::downstream::{Inputs, Missing};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_prep::Pipeline;
use brainmvp_volume::Modality;
use burn::tensor::Device;

use super::Model;
use super::tasks::{Applied, Prediction};
use crate::batches::CaseSource;
use crate::new_case::{CaseError, NewCase};
use crate::placement::{How, Placed, Placer};

/// A fine-tuned network, and the settings for applying it.
pub struct Predictor {
    /// The network, on `device`.
    pub model: Model,
    /// The windows for segmentation and for features.
    pub windows: SlidingWindow,
    /// The mirror images that predictions are averaged over.
    pub mirror: Mirror,
    /// Without autodiff.
    pub device: Device,
}

/// The channels of a case, read window by window.
pub struct CaseWindows<'a, S> {
    /// The case.
    pub case: &'a S,
    /// The channels to read.
    pub inputs: &'a Inputs,
}

impl<S: PatchSource> WindowSource for CaseWindows<'_, S>
where
    S::Error: std::error::Error + Send + Sync + 'static,
{
    fn shape(&self) -> [usize; 3] {
        self.case.shape()
    }

    fn channels(&self) -> usize {
        self.inputs.channels.len()
    }

    fn read(&self, channel: usize, start: [isize; 3], size: [usize; 3]) -> brainmvp_infer::Result<Vec<f32>> {
        let read = self.inputs.channel(self.case, channel, start, size);
        read.map(|channel| channel.voxels).map_err(brainmvp_infer::Error::source)
    }
}

impl Predictor {
    fn how(&self) -> Applied<'_> {
        Applied {
            inputs: &self.model.inputs,
            patch: &self.model.config.patch,
            windows: &self.windows,
            mirror: &self.mirror,
            device: &self.device,
        }
    }

    /// The prediction for a prepared case. `before` is called before each batch of windows, with the number done and
    /// the total, and may stop the work.
    ///
    /// # Errors
    /// If the case cannot be read or the result is not finite; errors of `before`.
    pub fn predict(
        &self,
        case: &CaseSource,
        mut before: impl FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<Prediction, Error> {
        let (how, network) = (self.how(), &self.model.network);
        let (mut done, total) = (0, network.windows(&how, case) * self.mirror.passes());
        let mut count = |windows: usize| {
            done += windows;
            before(done - windows, total)
        };
        network.predict(&self.model.config.task, &how, case, &mut count)
    }

    /// The features of a prepared case, all channels at once. See [`brainmvp_infer::embed`].
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn embed(
        &self,
        case: &CaseSource,
        before: impl Fn() -> Result<(), Error>,
    ) -> Result<Vec<f32>, Error> {
        let encoder = self.model.network.encoder();
        let source = CaseWindows { case, inputs: &self.model.inputs };
        brainmvp_infer::embed(&self.windows, &source, &self.device, |window| {
            before()?;
            Ok(in_pool(&self.device, || encoder.forward(window, &mut Pass::evaluation()).deepest()))
        })
    }
}

/// A fine-tuned network for new cases, from their files to predictions.
pub struct CasePredictor<'a> {
    predictor: &'a Predictor,
    pipeline: &'a Pipeline,
    /// If there are templates.
    placer: Option<Placer<'a>>,
}

/// What a network says of a new case. [`Prediction::write`] writes it.
pub struct CasePrediction {
    /// The case, prepared.
    pub case: NewCase,
    /// The channels that it lacks.
    pub missing: Vec<Modality>,
    /// How the templates that replace them were placed, if any do.
    pub templates: Option<Laid>,
    /// What the network says of it.
    pub prediction: Prediction,
}

/// What came of placing templates on a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Laid {
    /// They were placed.
    At(How),
    /// They were not, for this reason: missing modalities are replaced by 0.
    Nowhere(String),
}

impl std::fmt::Display for Laid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(how) => how.fmt(f),
            Self::Nowhere(reason) => write!(f, "none: {reason}"),
        }
    }
}

impl Laid {
    /// Lays templates on a case, whatever modalities it has.
    ///
    /// # Errors
    /// [`CaseError::Case`] if the case cannot be read, or the rule of the templates refuses it.
    pub fn on(case: &mut CaseSource, placer: &Placer<'_>) -> Result<Self, CaseError> {
        match placer.place(case).map_err(|e| CaseError::Case(e.to_string()))? {
            Placed::At(placement, how) => {
                case.place(placement);
                Ok(Self::At(how))
            }
            Placed::Nowhere(reason) => Ok(Self::Nowhere(reason)),
            Placed::Refused(reason) => {
                Err(CaseError::Case(format!("{reason} (templates.placement = \"refuse\")")))
            }
        }
    }
}

impl<'a> CasePredictor<'a> {
    /// Cases go through `pipeline`, which is that of the network's training cases
    /// ([`crate::finetune::Model::preparation`]).
    pub fn new(predictor: &'a Predictor, pipeline: &'a Pipeline) -> Self {
        Self { predictor, pipeline, placer: predictor.model.placer(None) }
    }

    /// Prepares a case and predicts it. `before` as in [`Predictor::predict`].
    ///
    /// # Errors
    /// [`CaseError::Case`] if the case cannot be used; [`CaseError::Stopped`] if `before` says so.
    pub fn predict(
        &self,
        case: &Case,
        before: impl FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<CasePrediction, CaseError> {
        let missing = self.missing(case)?;
        let mut case = NewCase::new(case, self.pipeline)?;
        let source = &mut case.source;
        let placer = self.placer.as_ref().filter(|_| self.predictor.model.inputs.fills(source.modalities()));
        let templates = placer.map(|placer| Laid::on(source, placer)).transpose()?;
        let prediction = self.predictor.predict(&case.source, before)?;
        Ok(CasePrediction { case, missing, templates, prediction })
    }

    /// The channels that a case lacks; an error if it cannot be used at all.
    fn missing(&self, case: &Case) -> Result<Vec<Modality>, CaseError> {
        let inputs = &self.predictor.model.inputs;
        let lacks = |modality: &Modality| !case.images.contains_key(modality);
        let missing: Vec<Modality> = inputs.channels.iter().copied().filter(lacks).collect();
        let names = missing.iter().map(|modality| modality.name()).collect::<Vec<_>>().join(", ");
        if missing.len() == inputs.channels.len() {
            let reason = format!("it has none of the modalities that the network uses: {names}");
            return Err(CaseError::Case(reason));
        }
        if inputs.missing == Missing::Drop && !missing.is_empty() {
            let reason = format!(
                "it lacks {names}, and the run was trained without substitutes for missing modalities; see --missing"
            );
            return Err(CaseError::Case(reason));
        }
        Ok(missing)
    }
}
