//! MoCo v3 (Chen, Xie, He, ICCV 2021) in three dimensions: two views of one case are told from those of all others.
//!
//! Two boxes of a case are cut, brought to the size of a patch, and changed. The transformer makes a query of one view, its
//! teacher, which follows it, a key of the other. A query is to be like the key of its own case and unlike those of the
//! other persons of its step. A case takes part with any of its modalities, both views with the same one; how many it has
//! makes no difference.
//!
//! The negatives and the norms are those of a whole step, whatever number of batches it consists of and of ranks that share
//! them: before the first batch is
//! used, the features of all of them are computed without gradients ([`Objective::meet`]). In the forward pass of a batch its
//! own features take the place of those, and the loss is that of the step. The features are scaled so that the mean of the
//! gradients over the batches is the gradient of one batch of all samples. The price is another forward pass.

mod perceptron;
#[cfg(test)]
mod tests;
mod views;

use std::f64::consts::PI;
use std::sync::Arc;

use brainmvp_kernels::ops::ranks::{gather_rows, with_gradient_times};
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Network as _, NetworkConfig, PresetName, Unetr, UnetrConfig};
use brainmvp_nets::weights::{Head, follow};
use brainmvp_ranks::Ranks;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::perceptron::Perceptron;
use self::views::{MocoPlan, MocoSample};
use super::tensors::{picture, volumes};
use super::{Kept, KeptPart, Method, MethodPreset, Pretraining, Setup, Training, tokens};
use crate::limits;
use crate::losses::{Contrast, Identity, unit};
use crate::patch::PatchSource;
use crate::{Evaluation, Moment, Objective, Scene};

/// What of the transformer's output describes a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MocoFeature {
    /// A token that is added for pre-training, and dropped after it.
    #[default]
    Token,
    /// The mean of all tokens, which is what `embed`, `probe` and classification use.
    Mean,
}

/// The settings of the method. What has two values has one for each view.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MocoConfig {
    /// What of the output of the transformer describes a view.
    pub feature: MocoFeature,
    /// Whether the layer that makes tokens of voxels stays as it was drawn.
    pub frozen_embedding: bool,
    /// Share of the teacher that stays in the first step; it rises to 1 over the run, by half a cosine.
    pub momentum: f64,
    /// Temperature of the contrast.
    pub temperature: f32,
    /// Channels within the projector and the predictor.
    pub hidden: usize,
    /// Channels of queries and keys.
    pub width: usize,
    /// The smallest share of a case's voxels in a view; the largest is 1.
    pub smallest: f64,
    /// Chance that a view is mirrored along an axis.
    pub mirror: f64,
    /// Chance that its intensities are multiplied and shifted.
    pub intensity: f64,
    /// The largest deviation of that factor from 1.
    pub scale: f32,
    /// The largest of these shifts, as a multiple of the deviation of the voxels above 0.
    pub shift: f32,
    /// Chance that a view is blurred: for the first and for the second view.
    pub blur: [f64; 2],
    /// The smallest and the largest deviation of the blur, in voxels.
    pub blur_sigma: [f64; 2],
    /// Chance that what is brighter than 0.5 is mirrored at it: for the first and for the second view.
    pub solarise: [f64; 2],
}

impl MocoConfig {
    const DEFAULT: Self = Self {
        feature: MocoFeature::Token,
        frozen_embedding: true,
        momentum: 0.99,
        temperature: 0.2,
        hidden: 4096,
        width: 256,
        smallest: 0.2,
        mirror: 0.5,
        intensity: 0.8,
        scale: 0.4,
        shift: 0.4,
        blur: [1.0, 0.1],
        blur_sigma: [0.1, 2.0],
        solarise: [0.0, 0.2],
    };

    /// How much of the teacher stays in the step that begins now.
    fn momentum_at(&self, at: Moment) -> f64 {
        1.0 - (1.0 - self.momentum) * 0.5 * (1.0 + (PI * at.progress()).cos())
    }
}

impl Default for MocoConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The most channels of projector and predictor.
const MOST_CHANNELS: u64 = 16_384;

/// The largest deviation of a blur, in voxels.
const MOST_BLUR: f64 = 16.0;

impl Method for MocoConfig {
    const TITLE: &'static str = "MoCo v3 (Chen et al.)";
    const ABOUT: &'static str = "two views of a case, told from those of all others";
    type Objective = Moco;

    fn network() -> PresetName {
        PresetName::known("unetr")
    }

    /// The two that are told from all others.
    fn views(&self) -> usize {
        2
    }

    /// 256 cases in a step.
    fn training(_preset: MethodPreset) -> Training {
        Training {
            batch_size: 8,
            accumulate: 32,
            learning_rate: 1.5e-4,
            warmup_steps: 200,
            weight_decay: 0.1,
            ..Training::default()
        }
    }

    fn problem(&self, network: &NetworkConfig, _patch: [usize; 3]) -> Option<String> {
        let [least, most] = self.blur_sigma;
        let shares = [
            ("method.momentum", self.momentum),
            ("method.smallest", self.smallest),
            ("method.mirror", self.mirror),
            ("method.intensity", self.intensity),
            ("method.scale", f64::from(self.scale)),
            ("method.blur", self.blur[0]),
            ("method.blur", self.blur[1]),
            ("method.solarise", self.solarise[0]),
            ("method.solarise", self.solarise[1]),
        ];
        let positive = [
            ("method.temperature", f64::from(self.temperature)),
            ("method.smallest", self.smallest),
            ("method.blur_sigma", least),
            ("method.blur_sigma", most),
        ];
        let counts = [
            ("method.hidden", self.hidden as u64, MOST_CHANNELS),
            ("method.width", self.width as u64, MOST_CHANNELS),
        ];
        tokens::network_problem(network)
            .or_else(|| limits::shares(&shares))
            .or_else(|| limits::positive(&positive))
            .or_else(|| limits::not_negative(&[("method.shift", f64::from(self.shift))]))
            .or_else(|| limits::counts(&counts))
            .or_else(|| {
                let fits = least <= most && most <= MOST_BLUR;
                (!fits).then(|| {
                    format!("method.blur_sigma must be two rising numbers up to {MOST_BLUR}, got {least} and {most}")
                })
            })
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<Moco, S::Error> {
        let network = tokens::unetr(setup.network);
        let student = Branch::new(network, self, init);
        let teacher = follow(Branch::new(network, self, init), &student, 0.0);
        let predictor = Perceptron::new(&[self.width, self.hidden, self.width], init);
        Ok(Moco { student, teacher, predictor, config: *self, patch: setup.patch })
    }
}

/// The network, its teacher, and what predicts the teacher's keys.
#[derive(Module, Debug)]
pub struct Moco {
    /// What is trained; its encoder is kept after pre-training.
    pub student: Branch,
    /// What follows it.
    pub teacher: Branch,
    /// From the student's projection to a query.
    pub predictor: Perceptron,
    #[module(skip)]
    config: MocoConfig,
    #[module(skip)]
    patch: [usize; 3],
}

/// An encoder with its projector.
#[derive(Module, Debug)]
pub struct Branch {
    /// The transformer.
    pub encoder: Unetr,
    /// Describes the view, if its tokens do not.
    pub token: Option<Param<Tensor<3>>>,
    /// On the feature.
    pub projector: Perceptron,
    #[module(skip)]
    frozen_embedding: bool,
}

impl Branch {
    fn new(network: &UnetrConfig, config: &MocoConfig, init: &mut Init<'_>) -> Self {
        let width = network.width;
        let has_token = config.feature == MocoFeature::Token;
        Self {
            encoder: network.encoder(init),
            token: has_token.then(|| init.normal([1, 1, width], 0.02)),
            projector: Perceptron::new(&[width, config.hidden, config.hidden, config.width], init),
            frozen_embedding: config.frozen_embedding,
        }
    }

    /// The feature of each view, `[N, D, H, W, 1]` to `[N, C]`.
    fn features(&self, views: Tensor<5>) -> Tensor<2> {
        let embedding = &self.encoder.patch_embedding;
        let tokens = embedding.project(views);
        let [batch, d, h, w, width] = tokens.dims();
        let tokens = if self.frozen_embedding { tokens.detach() } else { tokens };
        let tokens: Tensor<3> = (tokens + embedding.positions([d, h, w])).reshape([batch, d * h * w, width]);
        let encode = |tokens| self.encoder.blocks.iter().fold(tokens, |x, block| block.forward(x));
        let describing = match &self.token {
            Some(token) => {
                let token = token.val().expand([batch, 1, width]);
                encode(Tensor::cat(vec![token, tokens], 1)).narrow(1, 0, 1)
            }
            None => encode(tokens),
        };
        self.encoder.norm.forward(describing).mean_dim(1).reshape([batch, width])
    }
}

/// What the samples of a step know of each other. Of each matrix, the rows of all first views come first.
#[derive(Debug)]
struct Known {
    /// The student's features, `[2 N, C]`.
    features: TensorData,
    /// The teacher's keys, `[2 N, F]`.
    keys: TensorData,
    /// Whose the samples are, N.
    identities: Vec<Identity>,
}

/// What is known of a step, and which of its samples a batch begins with.
#[derive(Debug, Clone)]
struct WholeStep {
    known: Arc<Known>,
    first: usize,
}

/// What a loss is computed of. Rows as in [`Known`].
struct Compared {
    /// `[2 N, C]`.
    features: Tensor<2>,
    /// `[2 N, F]`.
    keys: Tensor<2>,
    identities: Vec<Identity>,
}

impl WholeStep {
    /// The step, with a batch's own features, `[2 B, C]`, in their places.
    fn with(&self, own: Tensor<2>) -> Compared {
        let (device, batch) = (own.device(), own.dims()[0] / 2);
        let Known { features, keys, identities } = &*self.known;
        let count = identities.len();
        // Each of the count / batch batches, of all ranks, has a gradient of its own rows alone, and their mean is taken.
        let own = with_gradient_times(own, count as f64 / batch as f64);
        let known = Tensor::<2>::from_data(features.clone(), &device);
        let width = own.dims()[1];
        let part = |from: usize, to: usize| known.clone().slice([from..to, 0..width]);
        let before = part(0, self.first);
        let between = part(self.first + batch, count + self.first);
        let after = part(count + self.first + batch, 2 * count);
        let [first, second] = halves(&own);
        let parts = [before, first, between, second, after].into_iter().filter(|part| part.dims()[0] > 0);
        Compared {
            features: Tensor::cat(parts.collect(), 0),
            keys: Tensor::from_data(keys.clone(), &device),
            identities: identities.clone(),
        }
    }
}

/// The sum of both directions: queries of the first views and keys of the second ones, and the reverse.
fn loss(queries: [Tensor<2>; 2], keys: [Tensor<2>; 2], of: &[Identity], temperature: f32) -> Tensor<1> {
    let contrast = Contrast { temperature, within_data_set: true };
    let ([first, second], [first_keys, second_keys]) = (queries, keys);
    let forth = contrast.towards(first, second_keys, of, None);
    let back = contrast.towards(second, first_keys, of, None);
    (forth + back) * (2.0 * temperature)
}

/// First and second half of the rows.
fn halves(rows: &Tensor<2>) -> [Tensor<2>; 2] {
    let count = rows.dims()[0] / 2;
    [0, count].map(|start| rows.clone().narrow(0, start, count))
}

impl Moco {
    fn device(&self) -> Device {
        self.predictor.layers[0].weight.val().device()
    }

    /// All first views of a batch, then all second ones, `[2 B, D, H, W, 1]`.
    fn views(&self, samples: &[MocoSample]) -> Tensor<5> {
        let of = |index: usize| samples.iter().map(move |sample| sample.views[index].as_slice());
        volumes(of(0).chain(of(1)), self.patch, &self.device())
    }

    /// The teacher's keys of its features. They have no gradient.
    fn keys(&self, features: Tensor<2>) -> Tensor<2> {
        unit(self.teacher.projector.forward(features)).detach()
    }
}

impl Objective for Moco {
    type Plan = MocoPlan;
    type Sample = MocoSample;

    const WHOLE_STEPS: bool = true;

    fn plan(&self) -> MocoPlan {
        MocoPlan { config: self.config, patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &MocoPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<MocoSample, S::Error> {
        plan.draw(scene, rng)
    }

    fn meet(&self, batches: &mut [&mut [MocoSample]], ranks: &Ranks) {
        let of_all = |branch: &Branch| -> Tensor<2> {
            let features = batches.iter().map(|batch| halves(&branch.features(self.views(batch)).detach()));
            let (first, second): (Vec<_>, Vec<_>) = features.map(Into::into).unzip();
            Tensor::cat(
                vec![gather_rows(Tensor::cat(first, 0), ranks), gather_rows(Tensor::cat(second, 0), ranks)],
                0,
            )
        };
        let own: Vec<Identity> =
            batches.iter().flat_map(|batch| batch.iter().map(|sample| sample.identity)).collect();
        let known = Arc::new(Known {
            features: of_all(&self.student).into_data(),
            keys: self.keys(of_all(&self.teacher)).into_data(),
            identities: Identity::gather(&own, ranks),
        });
        let mut first = ranks.rank() * own.len();
        for batch in batches {
            for sample in batch.iter_mut() {
                sample.step = Some(WholeStep { known: Arc::clone(&known), first });
            }
            first += batch.len();
        }
    }

    fn forward(&self, samples: &[MocoSample], _at: Moment, _pass: &mut Pass<'_>) -> Evaluation {
        let views = self.views(samples);
        let own = self.student.features(views.clone());
        let Compared { features, keys, identities } =
            match samples.first().and_then(|sample| sample.step.as_ref()) {
                Some(step) => step.with(own),
                None => Compared {
                    features: own,
                    keys: self.keys(self.teacher.features(views.clone())),
                    identities: samples.iter().map(|sample| sample.identity).collect(),
                },
            };
        let queries = unit(self.predictor.forward(self.student.projector.forward(features)));
        let total = loss(halves(&queries), halves(&keys), &identities, self.config.temperature);
        let pictures =
            vec![("first view", picture(&views, 0)), ("second view", picture(&views, samples.len()))];
        Evaluation::of(total, pictures)
    }

    /// The teacher follows before the next step, in which it makes the keys.
    fn after_step(self, at: Moment) -> Self {
        let momentum = self.config.momentum_at(Moment { step: at.step + 1, ..at });
        let teacher = follow(self.teacher, &self.student, momentum);
        Self { teacher, ..self }
    }
}

impl Pretraining for Moco {
    fn kept() -> Kept {
        Kept {
            head: Head::None,
            parts: vec![KeptPart::new("student.encoder.", "encoder.")],
            by_modality: false,
        }
    }
}
