//! AdamW over the parameters of a module, by name.
//!
//! The arithmetic is Burn's; what is here is the bookkeeping that exact resuming needs: moments live under the names of
//! their parameters, as flat tensors, so that a checkpoint can hold them beside the weights.

use std::collections::BTreeMap;

use brainmvp_nets::weights::Place;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, GradientsParams, Optimizer};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleConfig;

/// AdamW (Loshchilov and Hutter) and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Decoupled weight decay; templates have none.
    pub weight_decay: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Gradients are scaled down to this L2 norm over all parameters; 0 for no clipping.
    pub clip_norm: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            schedule: ScheduleConfig::default(),
            weight_decay: 1e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: 0.0,
        }
    }
}

/// The moments of one parameter.
#[derive(Clone)]
pub struct Moments {
    /// Updates so far.
    pub updates: usize,
    /// First moment, flat.
    pub first: Tensor<1>,
    /// Second moment, flat.
    pub second: Tensor<1>,
}

/// The optimiser of a run.
pub struct NamedAdamW {
    decayed: AdamW,
    undecayed: AdamW,
    /// Parameters below this name have no weight decay and a learning rate of their own.
    templates: &'static str,
    template_factor: f64,
    /// Moments by parameter name. A parameter that never had a gradient has none.
    pub moments: BTreeMap<String, Moments>,
}

impl NamedAdamW {
    /// An optimiser without moments. The learning rate of templates is `template_factor` times the others'.
    pub fn new(config: &OptimizerConfig, template_factor: f64) -> Self {
        let adamw = |weight_decay| {
            AdamWConfig::new()
                .with_beta_1(config.beta1)
                .with_beta_2(config.beta2)
                .with_epsilon(config.epsilon)
                .with_weight_decay(weight_decay)
                .build()
        };
        Self {
            decayed: adamw(config.weight_decay),
            undecayed: adamw(0.0),
            templates: "templates.",
            template_factor,
            moments: BTreeMap::new(),
        }
    }

    /// Moves every parameter that has a gradient. Parameters without one stay, and so do their moments: a template
    /// whose modality was not in the batch is not touched.
    pub fn step<M: Module>(
        &mut self,
        module: M,
        gradients: GradientsParams,
        rate: f64,
        gradient_scale: f64,
    ) -> M {
        module.map(&mut Step { optimizer: self, gradients, rate, gradient_scale, place: Place::default() })
    }
}

/// L2 norm of all gradients together.
pub fn gradient_norm<M: Module>(module: &M, gradients: &GradientsParams) -> f64 {
    struct Squares<'a> {
        gradients: &'a GradientsParams,
        sum: f64,
    }
    impl ModuleVisitor for Squares<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.sum += f64::from((gradient.clone() * gradient).sum().into_scalar::<f32>());
            }
        }
    }
    let mut squares = Squares { gradients, sum: 0.0 };
    module.visit(&mut squares);
    squares.sum.sqrt()
}

struct Step<'a> {
    optimizer: &'a mut NamedAdamW,
    gradients: GradientsParams,
    rate: f64,
    gradient_scale: f64,
    place: Place,
}

impl ModuleMapper for Step<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let name = self.place.path();
        let optimizer = &mut *self.optimizer;
        let (adamw, rate) = if name.starts_with(optimizer.templates) {
            (&optimizer.undecayed, self.rate * optimizer.template_factor)
        } else {
            (&optimizer.decayed, self.rate)
        };
        let state = optimizer.moments.remove(&name).map(|moments| AdamWState {
            momentum: AdaptiveMomentumState::new(moments.updates, moments.first, moments.second),
        });
        let shape = gradient.dims();
        let count = shape.iter().product::<usize>();
        let gradient = gradient.reshape([count]);
        let gradient = if self.gradient_scale == 1.0 { gradient } else { gradient * self.gradient_scale };
        param.map(|value| {
            let (moved, state) = adamw.step(rate, value.inner().reshape([count]), gradient, state);
            if let Some(AdamWState { momentum }) = state {
                let AdaptiveMomentumState { time, moment_1, moment_2, .. } = momentum;
                optimizer.moments.insert(name, Moments { updates: time, first: moment_1, second: moment_2 });
            }
            Tensor::from_inner(moved.reshape(shape)).require_grad()
        })
    }
}
