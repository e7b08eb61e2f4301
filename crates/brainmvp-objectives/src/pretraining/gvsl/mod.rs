//! GVSL (He et al., CVPR 2023), geometric visual similarity learning: the patches of two persons are brought together, and
//! one of them is restored.
//!
//! Both patches show the same place in the registered volumes in the same modality; all of it is deformed by one random map.
//! One of the two is distorted in its appearance. A head moves the other patch onto it, by the features of both; another
//! one restores it. Encoder and decoder are kept.
//!
//! The network sees one modality at a time: of a case with several of them, each is as likely as the others. The second
//! person is any other one who has it. If there is none, the case takes its own place: its patch with other intensities.

mod draw;
mod heads;
mod warp;

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, PresetName, Segmentation};
use brainmvp_nets::weights::Head;
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::heads::{Conventions, Matching, Restoration};
use super::tensors::{picture, volumes};
use super::{Kept, Method, MethodPreset, Pretraining, Setup, Training};
use crate::limits;
use crate::losses::{ReconstructionNorm, local_correlation, reconstruction, roughness};
use crate::patch::PatchSource;
use crate::{Evaluation, Moment, Objective, Scene};

pub use draw::{GvslPlan, GvslSample};

/// Side of the windows in which images are compared.
const WINDOW: usize = 9;

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GvslConfig {
    /// Weight of the disagreement of the two patches.
    pub weight_similarity: f32,
    /// Weight of the restoration.
    pub weight_restoration: f32,
    /// Weight of the roughness of the displacements.
    pub weight_smoothness: f32,
    /// Chance that the voxels of small boxes are shuffled.
    pub shuffle: f64,
    /// Number of these boxes.
    pub boxes: usize,
    /// Chance that intensities are mapped.
    pub intensity: f64,
    /// Largest rotation of the common map about each axis, in degrees.
    pub rotation: f64,
    /// Smallest and largest factor of the common map along each axis.
    pub scale: [f64; 2],
    /// Largest shear of the common map, in degrees.
    pub shear: f64,
    /// Largest shift of the common map, as a share of the patch.
    pub shift: f64,
    /// Largest strength of the elastic displacements of the common map.
    pub elastic: f64,
    /// Whether the head of the affine map is trained. In the released program no gradient reaches it.
    pub affine_gradient: bool,
    /// Whether displacements are read as in the released program, where one of 0 moves voxels by up to half a voxel.
    pub released_sampling: bool,
}

impl Default for GvslConfig {
    fn default() -> Self {
        Self {
            weight_similarity: 1.0,
            weight_restoration: 1.0,
            weight_smoothness: 1.0,
            shuffle: 0.8,
            boxes: 5000,
            intensity: 0.9,
            rotation: 20.0,
            scale: [0.75, 1.25],
            shear: 10.0,
            shift: 0.1,
            elastic: 512.0,
            affine_gradient: true,
            released_sampling: false,
        }
    }
}

impl Method for GvslConfig {
    const TITLE: &'static str = "GVSL (He et al.)";
    const ABOUT: &'static str = "patches of two persons are brought together, and one is restored";
    type Objective = Gvsl;

    /// The released program's ways of moving voxels are those of its preset.
    fn of(preset: MethodPreset) -> Self {
        let released = preset == MethodPreset::Released;
        Self { affine_gradient: !released, released_sampling: released, ..Self::default() }
    }

    fn network() -> PresetName {
        PresetName::known("unet3d-c")
    }

    /// The two of the method.
    fn views(&self) -> usize {
        2
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { batch_size: 2, learning_rate: 1e-4, weight_decay: 0.0, ..Training::default() }
    }

    fn problem(&self, _network: &NetworkConfig, _patch: [usize; 3]) -> Option<String> {
        let [least, most] = self.scale;
        if !(least > 0.0 && least <= most && most <= 10.0) {
            return Some(format!(
                "method.scale must be two factors from above 0 to 10, got {:?}",
                self.scale
            ));
        }
        if !(0.0..=80.0).contains(&self.shear) {
            return Some(format!("method.shear must lie in [0, 80] degrees, got {}", self.shear));
        }
        let shares = [
            ("method.shuffle", self.shuffle),
            ("method.intensity", self.intensity),
            ("method.shift", self.shift),
        ];
        limits::shares(&shares)
            .or_else(|| limits::at_most(&[("method.boxes", self.boxes as u64, 1_000_000)]))
            .or_else(|| {
                limits::not_negative(&[
                    ("method.rotation", self.rotation),
                    ("method.elastic", self.elastic),
                    ("method.weight_similarity", f64::from(self.weight_similarity)),
                    ("method.weight_restoration", f64::from(self.weight_restoration)),
                    ("method.weight_smoothness", f64::from(self.weight_smoothness)),
                ])
            })
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<Gvsl, S::Error> {
        Ok(Gvsl {
            encoder: setup.network.encoder(init),
            decoder: setup.network.segmentation(1, init),
            matching: Matching::new(setup.network, init),
            restoration: Restoration::new(setup.network, init),
            config: self.clone(),
            patch: setup.patch,
            device: init.device.clone(),
        })
    }
}

/// The network, and what is put on it.
#[derive(Module, Debug)]
pub struct Gvsl {
    /// Kept.
    pub encoder: Encoder,
    /// Kept; its last layer is never used.
    pub decoder: Segmentation,
    /// Brings two patches together; dropped.
    pub matching: Matching,
    /// Restores; dropped.
    pub restoration: Restoration,
    #[module(skip)]
    config: GvslConfig,
    #[module(skip)]
    patch: [usize; 3],
    #[module(skip)]
    device: Device,
}

impl Objective for Gvsl {
    type Plan = GvslPlan;
    type Sample = GvslSample;

    fn plan(&self) -> GvslPlan {
        GvslPlan { config: self.config.clone(), patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &GvslPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<GvslSample, S::Error> {
        plan.draw(scene, rng)
    }

    fn forward(&self, samples: &[GvslSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let stack = |of: fn(&GvslSample) -> &[f32]| volumes(samples.iter().map(of), self.patch, &self.device);
        let (moving, fixed) = (stack(|sample| &sample.moving), stack(|sample| &sample.fixed));
        let distorted = stack(|sample| &sample.distorted);
        let batch = samples.len();
        let features = self.encoder.forward(Tensor::cat(vec![moving.clone(), distorted.clone()], 0), pass);
        let decoded = self.decoder.forward(features, pass);
        let of_each = |x: Tensor<5>| [0, batch].map(|start| x.clone().narrow(0, start, batch));
        let finest = of_each(decoded.finest);
        let restored = self.restoration.forward(finest[1].clone());
        let GvslConfig { affine_gradient, released_sampling, .. } = self.config;
        let conventions = Conventions { affine_gradient, released_sampling };
        let matched = self.matching.forward(of_each(decoded.deepest), finest, moving.clone(), conventions);
        let similarity = local_correlation(matched.image.clone(), fixed.clone(), WINDOW);
        let restoration = reconstruction(restored.clone(), fixed.clone(), ReconstructionNorm::Squared);
        let smoothness = roughness(matched.flow);
        let total = similarity.clone() * self.config.weight_similarity
            + restoration.clone() * self.config.weight_restoration
            + smoothness.clone() * self.config.weight_smoothness;
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts: vec![
                ("loss_similarity", similarity),
                ("loss_restoration", restoration),
                ("loss_smoothness", smoothness),
            ],
            pictures: vec![
                ("target", picture(&fixed, 0)),
                ("input", picture(&distorted, 0)),
                ("restored", picture(&restored, 0)),
                ("other person", picture(&moving, 0)),
                ("other person, moved", picture(&matched.image, 0)),
            ],
        }
    }
}

impl Pretraining for Gvsl {
    fn kept() -> Kept {
        Kept::with_decoder(Head::Segmentation { classes: 1 })
    }
}
