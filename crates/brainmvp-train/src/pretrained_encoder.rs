//! The encoder of a pre-training run, for the features of cases.

use brainmvp_infer::SlidingWindow;
use brainmvp_kernels::in_pool;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{ClassificationNetwork, Encoder, NetworkConfig};
use brainmvp_nets::weights::{FirstLayer, InputChannels, transfer};
use brainmvp_objectives::downstream::{Inputs, Missing};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_volume::Modality;
use burn::tensor::Device;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::about::About;
use crate::finetune::CaseWindows;
use crate::pretrained::Pretrained;
use crate::{Error, Result};

/// An encoder with one input channel.
pub struct PretrainedEncoder {
    /// What it is part of.
    pub about: About,
    /// For one channel.
    network: NetworkConfig,
    encoder: Encoder,
    device: Device,
}

impl PretrainedEncoder {
    /// Takes the encoder out of a network.
    ///
    /// # Errors
    /// [`Error::Network`] if a part of the encoder is missing.
    pub fn new(pretrained: Pretrained, device: &Device) -> Result<Self> {
        let network = pretrained.about.network.with_in_channels(1);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        // The head is not used, but needed to build the network.
        let new = ClassificationNetwork::new(&network, 2, &mut Init { device, rng: &mut rng });
        let (new, report) =
            transfer(&network, new, &pretrained.weights, InputChannels::One(FirstLayer::Repeat));
        let missing = report.skipped.iter().find(|(path, _)| path.starts_with("encoder."));
        match missing {
            None => {
                Ok(Self { about: pretrained.about, network, encoder: new.encoder, device: device.clone() })
            }
            Some((path, why)) => {
                let reason = format!("the encoder's '{path}' cannot be taken over: {why:?}");
                Err(Error::network(&pretrained.origin, reason))
            }
        }
    }

    /// Sizes of windows must be multiples of this.
    pub fn stride(&self) -> usize {
        self.network.stride()
    }

    /// The features of one modality of a prepared case. See [`brainmvp_infer::embed`].
    ///
    /// # Errors
    /// If the case cannot be read or the result is not finite; errors of `before`, which is called before every batch of
    /// windows.
    pub fn embed<S>(
        &self,
        windows: &SlidingWindow,
        case: &S,
        modality: Modality,
        before: impl Fn() -> brainmvp_infer::Result<()>,
    ) -> brainmvp_infer::Result<Vec<f32>>
    where
        S: PatchSource,
        S::Error: std::error::Error + Send + Sync + 'static,
    {
        let inputs = Inputs { channels: vec![modality], missing: Missing::Drop, templates: None };
        let source = CaseWindows { case, inputs: &inputs };
        brainmvp_infer::embed(windows, &source, &self.device, |window| {
            before()?;
            Ok(in_pool(&self.device, || self.encoder.forward(window, &mut Pass::evaluation()).deepest()))
        })
    }
}
