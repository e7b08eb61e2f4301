//! AdamW over the parameters of a module, by name.
//!
//! The arithmetic is an operation of the kernels; this is the bookkeeping for exact resuming: moments are stored under
//! the names of their parameters, as flat tensors, so that a checkpoint can contain them together with the weights.

use std::collections::BTreeMap;

use brainmvp_kernels::ops::{self, AdamWStep};
use brainmvp_nets::weights::Place;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleConfig;

/// Where weight decay acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// On the weights themselves (Loshchilov and Hutter).
    #[default]
    AdamW,
    /// On the gradients before their moments, as an L2 penalty does: PyTorch's `Adam` with `weight_decay`.
    Adam,
}

/// Adam or AdamW, and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Which of the two.
    pub kind: OptimizerKind,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Weight decay; templates have none.
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
            kind: OptimizerKind::default(),
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
    config: OptimizerConfig,
    /// Learning rates of the levels of the templates, as multiples of the network's; the finest first.
    template_rates: Vec<f64>,
    /// Moments by parameter name. A parameter that never had a gradient has none.
    pub moments: BTreeMap<String, Moments>,
}

impl NamedAdamW {
    /// An optimiser without moments. Each level of the templates, the finest first, has its own multiple of the network's
    /// learning rate.
    pub fn new(config: &OptimizerConfig, template_rates: Vec<f64>) -> Self {
        Self { config: *config, template_rates, moments: BTreeMap::new() }
    }

    /// Learning rate of a template's parameter, as a multiple of the network's.
    fn template_rate(&self, name: &str) -> Option<f64> {
        let place = name.strip_prefix("templates.")?;
        let level = match place.strip_prefix("coarser.") {
            Some(coarser) => 1 + coarser.split('.').next()?.parse::<usize>().ok()?,
            None => 0,
        };
        Some(self.template_rates.get(level).copied().unwrap_or(1.0))
    }

    /// How many steps have moved each parameter that has moments.
    pub fn updates(&self) -> BTreeMap<String, usize> {
        self.moments.iter().map(|(name, moments)| (name.clone(), moments.updates)).collect()
    }

    /// Updates every parameter that has a gradient. Parameters without one are unchanged, and so are their moments: a
    /// template whose modality was not in the batch is not touched.
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
                self.sum += f64::from(ops::sum_of_squares(gradient).into_scalar::<f32>());
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
        let OptimizerConfig { kind, weight_decay, beta1, beta2, epsilon, .. } = optimizer.config;
        let (weight_decay, rate) = match optimizer.template_rate(&name) {
            Some(factor) => (0.0, self.rate * factor),
            None => (weight_decay, self.rate),
        };
        let shape = gradient.dims();
        let gradient = gradient.reshape([shape.iter().product::<usize>()]);
        let Moments { updates, first, second } = optimizer.moments.remove(&name).unwrap_or_else(|| Moments {
            updates: 0,
            first: gradient.zeros_like(),
            second: gradient.zeros_like(),
        });
        let updates = updates + 1;
        let mut step = AdamWStep {
            rate,
            weight_decay,
            beta1,
            beta2,
            epsilon,
            gradient_scale: self.gradient_scale,
            number: i32::try_from(updates).unwrap_or(i32::MAX),
        };
        param.map(|value| {
            let value = value.inner().reshape(gradient.dims());
            let gradient = match kind {
                OptimizerKind::AdamW => gradient,
                OptimizerKind::Adam => {
                    let scaled = gradient * step.gradient_scale + value.clone() * weight_decay;
                    (step.gradient_scale, step.weight_decay) = (1.0, 0.0);
                    scaled
                }
            };
            let [value, first, second] = ops::adamw([value, gradient, first, second], step);
            optimizer.moments.insert(name, Moments { updates, first, second });
            Tensor::from_inner(value.reshape(shape)).require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    #[derive(Module, Debug)]
    struct One {
        weight: Param<Tensor<1>>,
    }

    /// A weight of 1 after one step of rate 0.1 with this gradient, scaled by 1/2, and a weight decay of 1.
    fn after_one_step(kind: OptimizerKind, gradient: f32) -> f32 {
        let device = Device::flex().autodiff();
        let tensor = |value, device| Tensor::<1>::from_data(TensorData::from([value]), device);
        let module = One { weight: Param::from_tensor(tensor(1.0, &device)) };
        let mut gradients = GradientsParams::new();
        gradients.register(module.weight.id, tensor(gradient, &device.clone().without_autodiff()));
        let config = OptimizerConfig { kind, weight_decay: 1.0, ..OptimizerConfig::default() };
        let module = NamedAdamW::new(&config, Vec::new()).step(module, gradients, 0.1, 0.5);
        module.weight.val().into_scalar()
    }

    #[test]
    fn adam_decays_through_its_moments() {
        // The first step is as long as the rate, in the direction of the gradient alone, and the weight shrinks by itself.
        assert!((after_one_step(OptimizerKind::AdamW, -1.0) - (1.0 - 0.1 + 0.1)).abs() < 1e-6);
        // The gradient with the decay is -1/2 + 1.
        assert!((after_one_step(OptimizerKind::Adam, -1.0) - (1.0 - 0.1)).abs() < 1e-6);
        assert!((after_one_step(OptimizerKind::Adam, -3.0) - (1.0 + 0.1)).abs() < 1e-6);
    }
}
