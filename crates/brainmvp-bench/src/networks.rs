//! The work after pre-training, on noise: a fine-tuning step and an inference window.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::time::Instant;

use brainmvp_kernels::in_pool;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{NetworkConfig, SegmentationNetwork};
use brainmvp_nets::weights::entries;
use brainmvp_objectives::downstream::{
    AugmentationConfig, CopyPlan, Inputs, LabelMeaning, Missing, MixingConfig, Segmenting, SegmentingPlan,
    SegmentingSample,
};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::{FrozenTemplates, Moment, Objective as _, Placement, Scene};
use brainmvp_train::device::device;
use brainmvp_train::optimizer::{NamedAdamW, OptimizerConfig};
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Distribution, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Error;
use crate::child::Sample;
use crate::memory::Memory;
use crate::work::Shape;

/// The modalities of a case, and the number of labels, as in the BraTS data sets.
const CHANNELS: [Modality; 4] = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];
const MODALITIES: usize = CHANNELS.len();
const CLASSES: usize = 3;

/// Steps of fine-tuning.
pub(crate) fn finetune(shape: &Shape, _: &Path) -> Result<Sample, Error> {
    let state = Finetuning::new(&shape.network(), shape.size, shape.batch, &device("cpu")?);
    let parameters = state.parameters();
    measure(shape, state, parameters, Finetuning::step)
}

/// Windows of inference.
pub(crate) fn inference(shape: &Shape, _: &Path) -> Result<Sample, Error> {
    let state = Inference::new(&shape.network(), shape.size, shape.batch, &device("cpu")?);
    let parameters = state.parameters();
    measure(shape, state, parameters, |state| {
        let result = state.run();
        (state, result)
    })
}

/// Times a piece of work repeatedly. The first time is a warm-up.
fn measure<T>(
    shape: &Shape,
    mut state: T,
    parameters: u64,
    run: impl Fn(T) -> (T, f32),
) -> Result<Sample, Error> {
    let mut seconds = Vec::new();
    for _ in 0..=shape.repetitions {
        let begun = Instant::now();
        let (next, result) = run(state);
        seconds.push(begun.elapsed().as_secs_f64());
        if !result.is_finite() {
            return Err(Error::NotFinite);
        }
        state = next;
    }
    Ok(Sample {
        seconds: seconds.split_off(1),
        peak_memory_bytes: Memory::peak_of_this_process(),
        parameters: Some(parameters),
        voxels_alike: None,
    })
}

/// A network for segmentation, fine-tuned on one batch repeatedly, as in `finetune`.
struct Finetuning {
    objective: Segmenting,
    samples: Vec<SegmentingSample>,
    optimizer: NamedAdamW,
    config: OptimizerConfig,
    rng: ChaCha8Rng,
    device: Device,
}

impl Finetuning {
    /// A network of these sizes, and cases of four modalities and `size` voxels along each axis.
    fn new(network: &NetworkConfig, size: usize, batch: usize, device: &Device) -> Self {
        let config = OptimizerConfig { weight_decay: network.weight_decay(), ..OptimizerConfig::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let case = NoiseCase { shape: [size; 3] };
        let volumes = CHANNELS.map(|modality| (modality, case.voxels(modality.index() as u64 + 8)));
        let templates = FrozenTemplates::new(case.shape, None, Some(1.0), volumes);
        let inputs =
            Inputs { channels: CHANNELS.to_vec(), missing: Missing::Template, templates: Some(templates) };
        let plan = SegmentingPlan {
            copies: CopyPlan {
                inputs,
                mixing: MixingConfig::default(),
                augmentation: AugmentationConfig::default(),
            },
            labels: LabelMeaning {
                regions: (1..=CLASSES as u16).map(|label| BTreeSet::from([label])).collect(),
                ignored: BTreeSet::new(),
            },
            labels_by_data_set: BTreeMap::new(),
            patch: case.shape,
            labelled_share: 0.0,
        };
        let draw = |_| match Segmenting::draw(&plan, Scene::of(&case), &mut rng) {
            Ok(sample) => sample,
            Err(never) => match never {},
        };
        let samples = (0..batch).map(draw).collect();
        let objective = Segmenting::new(segmenter(network, &device.clone().autodiff()), plan);
        let optimizer = NamedAdamW::of(&config, &objective);
        Self { objective, samples, optimizer, config, rng, device: device.clone() }
    }

    /// Parameters of the network.
    fn parameters(&self) -> u64 {
        parameters(&self.objective)
    }

    /// One step: two copies of each case, some modalities of each replaced by templates; losses at each scale and the
    /// agreement of the deepest features (BrainMVP eqs. 6 and 7); gradients; AdamW. Returns itself and the loss.
    fn step(mut self) -> (Self, f32) {
        in_pool(&self.device.clone(), || {
            let mut pass = Pass::training(&mut self.rng);
            let total = self.objective.forward(&self.samples, Moment::default(), &mut pass).total;
            let gradients = GradientsParams::from_grads(total.backward(), &self.objective);
            let rate = self.config.schedule.learning_rate;
            self.objective = self.optimizer.step(self.objective, gradients, rate, 1.0);
            (self, total.into_scalar())
        })
    }
}

/// A case of noise.
struct NoiseCase {
    shape: [usize; 3],
}

impl NoiseCase {
    fn voxels(&self, stream: u64) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        rng.set_stream(stream);
        (0..self.shape.iter().product()).map(|_| rng.random()).collect()
    }
}

impl PatchSource for NoiseCase {
    type Error = Infallible;

    fn id(&self) -> &'static str {
        "noise"
    }

    fn data_set(&self) -> &'static str {
        "noise"
    }

    fn person(&self) -> &'static str {
        "noise"
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn placement(&self) -> Option<Placement> {
        Some(Placement::Shift([0; 3]))
    }

    fn modalities(&self) -> &[Modality] {
        &CHANNELS
    }

    /// A patch is as large as the case, or one voxel of it.
    fn patch(&self, modality: Modality, _: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        let mut voxels = self.voxels(modality.index() as u64);
        voxels.truncate(size.iter().product());
        Ok(voxels)
    }

    fn labels(&self, _: [isize; 3], _: [usize; 3]) -> Result<Option<Vec<u16>>, Infallible> {
        let label = |value: f32| (value * (CLASSES + 1) as f32) as u16;
        Ok(Some(self.voxels(16).into_iter().map(label).collect()))
    }
}

/// A network for segmentation, applied to one batch of windows repeatedly.
struct Inference {
    network: SegmentationNetwork,
    windows: Tensor<5>,
}

impl Inference {
    /// A network of these sizes, and windows of four modalities and `size` voxels along each axis.
    fn new(network: &NetworkConfig, size: usize, batch: usize, device: &Device) -> Self {
        let shape = [batch, size, size, size, MODALITIES];
        let windows = Tensor::random(shape, Distribution::Uniform(0.0, 1.0), device);
        Self { network: segmenter(network, device), windows }
    }

    /// Parameters of the network.
    fn parameters(&self) -> u64 {
        parameters(&self.network)
    }

    /// Computes the logits, and returns their mean, so that they are really computed.
    fn run(&self) -> f32 {
        in_pool(&self.windows.device(), || {
            self.network.forward(self.windows.clone(), &mut Pass::evaluation()).logits.mean().into_scalar()
        })
    }
}

fn segmenter(network: &NetworkConfig, device: &Device) -> SegmentationNetwork {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let init = &mut Init { device, rng: &mut rng };
    SegmentationNetwork::new(&network.with_in_channels(MODALITIES), CLASSES, init)
}

/// Parameters of a network that reconstructs.
pub(crate) fn pretraining_parameters(network: &NetworkConfig, device: &Device) -> u64 {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let init = &mut Init { device, rng: &mut rng };
    parameters(&network.encoder(init)) + parameters(&network.reconstruction(init))
}

/// Without the statistics of batch norms.
fn parameters(module: &impl Module) -> u64 {
    let mut total = 0;
    entries(module, |entry| {
        if !entry.path.contains("running_") {
            total += entry.shape.iter().product::<usize>() as u64;
        }
    });
    total
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::PresetName;

    use super::*;

    #[test]
    fn steps_lower_the_loss() {
        let network = PresetName::known("tiny").network();
        let mut finetuning = Finetuning::new(&network, 16, 1, &Device::flex());
        let mut losses = Vec::new();
        for _ in 0..6 {
            let (next, loss) = finetuning.step();
            finetuning = next;
            losses.push(loss);
        }
        assert!(losses.iter().all(|loss| loss.is_finite()) && losses[5] < losses[0], "{losses:?}");
        assert!(Inference::new(&network, 16, 2, &Device::flex()).run().is_finite());
    }

    #[test]
    fn parameters_are_those_of_the_published_network() {
        let (network, device) = (PresetName::default().network(), Device::flex());
        assert_eq!(Inference::new(&network, 16, 1, &device).parameters(), 34_323_593);
        assert_eq!(pretraining_parameters(&network, &device), 23_775_233);
    }
}
