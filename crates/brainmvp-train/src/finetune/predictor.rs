//! A fine-tuned network applied to cases.

use brainmvp_infer::{Blended, Error, Mirror, SlidingWindow};
use brainmvp_nets::layers::Pass;
use brainmvp_ssl::downstream::Resized;
use brainmvp_ssl::patch::PatchSource;
use burn::tensor::{Device, Tensor, TensorData};

use super::{CaseWindows, Model, TaskNetwork};

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

/// The prediction for a case.
pub enum Prediction {
    /// Probabilities of the regions in every voxel.
    Regions(Blended),
    /// Probabilities of the classes.
    Classes(Vec<f32>),
}

impl Predictor {
    /// How often the network is applied to a case.
    fn passes<S: PatchSource>(&self, case: &S) -> usize {
        let windows = match self.model.network {
            TaskNetwork::Segmentation(_) => self.windows.count(case.shape()),
            TaskNetwork::Classification(_) => 1,
        };
        windows * self.mirror.passes()
    }

    /// The prediction for a prepared case. `before` is called before each batch of windows, with the number done and
    /// the total, and may stop the work.
    ///
    /// # Errors
    /// If the case cannot be read or the result is not finite; errors of `before`.
    pub fn predict<S>(
        &self,
        case: &S,
        mut before: impl FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<Prediction, Error>
    where
        S: PatchSource,
        S::Error: std::error::Error + Send + Sync + 'static,
    {
        let (mut done, total) = (0, self.passes(case));
        let mut count = |windows: usize| {
            done += windows;
            before(done - windows, total)
        };
        match &self.model.network {
            TaskNetwork::Segmentation(network) => {
                let classes = self.model.config.task.regions.len();
                let source = CaseWindows { case, inputs: &self.model.inputs };
                let see = |window: Tensor<5>| {
                    count(window.dims()[0])?;
                    Ok(network.forward(window, &mut Pass::evaluation()).logits)
                };
                let windows = &self.windows;
                brainmvp_infer::segment(windows, &self.mirror, &source, classes, &self.device, see)
                    .map(Prediction::Regions)
            }
            TaskNetwork::Classification(network) => {
                let patch = &self.model.config.patch;
                let resized = Resized { whole: patch.resize, patch: patch.size };
                let centre = resized.centre(case, &self.model.inputs).map_err(Error::source)?;
                let [x, y, z] = resized.patch;
                let data = TensorData::new(centre, [1, z, y, x, self.model.inputs.channels.len()]);
                let see = |case: Tensor<5>| {
                    count(1)?;
                    Ok(network.forward(case, &mut Pass::evaluation()).logits)
                };
                brainmvp_infer::classify(&self.mirror, Tensor::from_data(data, &self.device), see)
                    .map(Prediction::Classes)
            }
        }
    }

    /// The features of a prepared case, all channels at once. See [`brainmvp_infer::embed`].
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn embed<S>(&self, case: &S, before: impl Fn() -> Result<(), Error>) -> Result<Vec<f32>, Error>
    where
        S: PatchSource,
        S::Error: std::error::Error + Send + Sync + 'static,
    {
        let encoder = match &self.model.network {
            TaskNetwork::Segmentation(network) => &network.encoder,
            TaskNetwork::Classification(network) => &network.encoder,
        };
        let source = CaseWindows { case, inputs: &self.model.inputs };
        brainmvp_infer::embed(&self.windows, &source, &self.device, |window| {
            before()?;
            Ok(encoder.forward(window, &mut Pass::evaluation()).deepest())
        })
    }
}
