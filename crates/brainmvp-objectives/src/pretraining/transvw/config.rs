//! The settings of TransVW, and how a run begins.

use brainmvp_nets::Init;
use brainmvp_nets::networks::{NetworkConfig, PresetName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::discovery::Discovery;
use super::{Classifier, TransVw, Words};
use crate::limits;
use crate::patch::PatchSource;
use crate::pretraining::{Method, MethodPreset, Setup, Training};

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TransVwConfig {
    /// Places, each of which is a class.
    pub classes: usize,
    /// Cases of each place.
    pub instances: usize,
    /// Side of the cube around a place, in voxels; at most two thirds of the volumes.
    pub cube: usize,
    /// The smallest share of voxels above 0 in a cube where it is found.
    pub foreground: f64,
    /// The smallest distance between two places, in voxels.
    pub apart: f64,
    /// How similar cases are found.
    pub discovery: DiscoveryConfig,
    /// Chance that the cube is cut in another size and a little beside.
    pub vary: f64,
    /// Strength of the elastic displacements, within the x-y plane.
    pub elastic: f64,
    /// Weight of the restoration.
    pub weight_restoration: f32,
    /// Weight of the recognition.
    pub weight_classification: f32,
}

/// How similar cases are found; only needed if there are more cases than instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// By what cases are compared; only needed if there are more cases than instances.
    pub features: Features,
    /// Voxels of the whole volumes for that, along x, y and z.
    pub size: [usize; 3],
    /// Steps of the auto-encoder, of one volume each.
    pub steps: usize,
}

/// By what cases are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Features {
    /// The means of the deepest features of an auto-encoder that is trained for it.
    #[default]
    AutoEncoder,
    /// The volumes themselves at an eighth of that size: no training.
    Image,
}

impl Default for TransVwConfig {
    fn default() -> Self {
        Self {
            classes: 50,
            instances: 200,
            cube: 64,
            foreground: 0.5,
            apart: 5.0,
            discovery: DiscoveryConfig::default(),
            vary: 2.0 / 3.0,
            elastic: 991.0,
            weight_restoration: 1.0,
            weight_classification: 0.01,
        }
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { features: Features::default(), size: [128, 128, 64], steps: 300 }
    }
}

impl Method for TransVwConfig {
    const TITLE: &'static str = "TransVW (Haghighi et al.)";
    const ABOUT: &'static str = "recognition of places of the head, and restoration of distorted patches";
    const NOTICE: Option<&'static str> = Some(
        "the authors of TransVW (Arizona State University) say that patents on it are pending; whether your use of it needs \
         their licence is for you to find out",
    );
    type Objective = TransVw;

    fn network() -> PresetName {
        PresetName::known("unet3d-b")
    }

    fn training(_preset: MethodPreset) -> Training {
        Training { batch_size: 12, learning_rate: 1e-3, weight_decay: 0.0, ..Training::default() }
    }

    fn problem(&self, network: &NetworkConfig, _patch: [usize; 3]) -> Option<String> {
        let (size, stride) = (self.discovery.size, network.stride());
        if size.iter().any(|n| *n == 0 || *n > 512 || n % stride != 0) {
            return Some(format!(
                "method.discovery.size must be multiples of {stride} up to 512, got {size:?}"
            ));
        }
        limits::counts(&[
            ("method.classes", self.classes as u64, 10_000),
            ("method.instances", self.instances as u64, 1_000_000),
            ("method.cube", self.cube as u64, 512),
            ("method.discovery.steps", self.discovery.steps as u64, 1_000_000),
        ])
        .or_else(|| limits::shares(&[("method.foreground", self.foreground), ("method.vary", self.vary)]))
        .or_else(|| {
            limits::not_negative(&[
                ("method.apart", self.apart),
                ("method.elastic", self.elastic),
                ("method.weight_restoration", f64::from(self.weight_restoration)),
                ("method.weight_classification", f64::from(self.weight_classification)),
            ])
        })
    }

    /// The first stage is a part of this: it finds the places, and the cases in which they are. A run that is continued has
    /// them in its checkpoint.
    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<TransVw, S::Error> {
        let encoder = setup.network.encoder(init);
        let decoder = setup.network.segmentation(1, init);
        let classifier = Classifier::new(setup.network.deepest_width(), self.classes, init);
        let grid = setup.frame.grid(None).shape;
        let sides = grid.map(|n| self.cube.min(2 * n / 3).max(1));
        let words = Words::new(self.classes, self.instances.min(setup.cases.len()), init.device);
        if setup.is_new {
            words.set(&Discovery { config: self, setup, grid, sides }.run(init)?);
        }
        Ok(TransVw {
            encoder,
            decoder,
            classifier,
            words,
            config: self.clone(),
            patch: setup.patch,
            grid,
            sides,
            device: init.device.clone(),
        })
    }
}
