//! The shared part of commands that apply a network to new cases: the cases, their preparation, and the windows.

mod encoder;
mod inputs;
mod model;

use std::path::Path;
use std::sync::atomic::Ordering;

use brainmvp_infer::{Blending, Error, Mirror, SlidingWindow};
use brainmvp_kernels::Precision;
use brainmvp_objectives::downstream::Missing;
use brainmvp_train::about::Kind;
use brainmvp_train::device;
use brainmvp_train::finetune::{Laid, Model, Predictor};
use brainmvp_train::new_case::CaseError;
use clap::Args;

pub(super) use encoder::{Described, Encoder, EncoderOptions, Failed, each};
pub(super) use inputs::Inputs;
pub(super) use model::{ModelOptions, pipeline};

use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::ui::Ui;

/// How a fine-tuned network is applied.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    model: ModelOptions,
    /// Overlap of neighbouring windows, as a fraction from 0 to less than 1 [default: as in the run's validation, 0.5]
    #[arg(long, value_name = "SHARE", requires = "model", value_parser = argument::share)]
    overlap: Option<f64>,
    /// Weights where windows overlap: the same for all voxels of a window, or higher in its middle [default: as in the
    /// run's validation, gaussian]
    #[arg(long, requires = "model", value_parser = argument::choice(
        &[("constant", Blending::Constant), ("gaussian", Blending::Gaussian)]))]
    blending: Option<Blending>,
    /// Average over mirror images along these axes; each axis doubles the work
    #[arg(long, value_name = "AXES", requires = "model", num_args = 0..=1, default_missing_value = "x,y,z")]
    mirror: Option<Mirror>,
    /// Number of windows processed at once [default: as in the run's validation, 1]
    #[arg(long, value_name = "N", requires = "model")]
    batch: Option<usize>,
    /// Where to compute: cpu, or a GPU that this build has: vulkan, wgpu [default: cpu]
    #[arg(long, value_name = "DEVICE", requires = "model")]
    device: Option<String>,
    /// Precision of matrix products on the CPU: fp32, or bf16 with fp32 sums if the processor supports it [default: fp32]
    #[arg(long, requires = "model", value_parser = argument::choice(
        &[("fp32", Precision::Fp32), ("bf16", Precision::Bf16)]))]
    precision: Option<Precision>,
}

impl Options {
    /// Opens a network to predict with it.
    pub(crate) fn open(&self, model: &Path, missing: Option<Missing>, ui: &Ui) -> anyhow::Result<Predictor> {
        let saved = self.model.open(model, ui)?;
        if let Kind::PreTraining { .. } = saved.about.kind {
            let error =
                bad_input(format!("{}: this is a pre-training run, which cannot predict", model.display()));
            return Err(error).advise(|_| {
                format!(
                    "`brainmvp finetune segment --data CACHE --init {} --out RUN2` makes a run that can",
                    model.display()
                )
            });
        }
        let name = self.device.as_deref().unwrap_or("cpu");
        let device = device::device(name)?;
        device::set_precision(self.precision.unwrap_or(Precision::Fp32), name)?;
        let mut model = Model::new(saved, &device)?;
        model.inputs.missing = missing.unwrap_or(model.inputs.missing);
        let of_run = model.config.inference.clone();
        let windows = SlidingWindow {
            overlap: self.overlap.unwrap_or(of_run.overlap),
            blending: self.blending.unwrap_or(of_run.blending),
            batch: self.batch.unwrap_or(of_run.batch),
            ..of_run
        };
        windows.validate(model.numbers.stride())?;
        Ok(Predictor { model, windows, mirror: self.mirror.clone().unwrap_or_default(), device })
    }

    /// The name of the precision, for the record.
    pub(crate) fn precision(&self) -> String {
        self.precision.unwrap_or(Precision::Fp32).to_string()
    }
}

/// Ends the work if the user has interrupted it.
pub(super) fn go_on() -> Result<(), Error> {
    if interrupt::stop_flag().load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
}

/// Warns of a case whose missing modalities are not replaced by templates.
pub(super) fn tell_laid(laid: &Laid, case: &str, ui: &Ui) {
    if let Laid::Nowhere(reason) = laid {
        ui.alert(format!("warning: case '{case}': missing modalities are replaced by 0: {reason}"));
    }
}

/// Why a case has no result; what affects the other cases too is the error of the command.
pub(super) fn reason(error: CaseError) -> anyhow::Result<String> {
    match error {
        CaseError::Case(reason) => Ok(reason),
        CaseError::Stopped => Err(anyhow::anyhow!("interrupted")),
        CaseError::Run(error) => Err(error.into()),
    }
}
