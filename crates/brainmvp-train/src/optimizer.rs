//! AdamW over the parameters of a module, by name.
//!
//! The arithmetic is an operation of the kernels; this is the bookkeeping for exact resuming: moments are stored under
//! the names of their parameters, as flat tensors, so that a checkpoint can contain them together with the weights.

use std::collections::BTreeMap;

use brainmvp_kernels::ops::{self, AdamWStep};
use brainmvp_nets::weights::{Place, entries};
use brainmvp_objectives::{Group, Objective};
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schedule::ScheduleConfig;

/// Where weight decay acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// On the weights themselves (Loshchilov and Hutter).
    #[default]
    AdamW,
    /// On the gradients before their moments, as an L2 penalty does: PyTorch's `Adam` with `weight_decay`.
    Adam,
}

/// Adam or AdamW, and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Where weight decay acts.
    pub kind: OptimizerKind,
    /// The learning rate over the run.
    pub schedule: ScheduleConfig,
    /// Weight decay. Parameters that a method exempts, such as templates, have none.
    pub weight_decay: f32,
    /// Whether norms and biases decay too, as in PyTorch if nothing else is said.
    pub decay_norms_and_biases: bool,
    /// Decay of the first moment of AdamW.
    pub beta1: f32,
    /// Decay of the second moment of AdamW.
    pub beta2: f32,
    /// Added to the root of the second moment of AdamW.
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
            decay_norms_and_biases: true,
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
    /// How parameters are moved, by name; those that are not here as all others.
    groups: BTreeMap<String, Group>,
    /// Moments by parameter name. A parameter that never had a gradient has none.
    pub moments: BTreeMap<String, Moments>,
}

impl NamedAdamW {
    /// An optimiser without moments that moves all parameters alike.
    pub fn new(config: &OptimizerConfig) -> Self {
        Self { config: *config, groups: BTreeMap::new(), moments: BTreeMap::new() }
    }

    /// An optimiser without moments that moves each parameter of `objective` as its group says.
    pub fn of<O: Objective>(config: &OptimizerConfig, objective: &O) -> Self {
        let mut groups = BTreeMap::new();
        entries(objective, |entry| {
            let group = objective.group(entry);
            // Norms and biases are vectors.
            let decays = group.decays && (config.decay_norms_and_biases || entry.shape.len() > 1);
            let group = Group { decays, ..group };
            if group != Group::default() {
                groups.insert(entry.path.to_owned(), group);
            }
        });
        Self { config: *config, groups, moments: BTreeMap::new() }
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
        let group = optimizer.groups.get(&name).copied().unwrap_or_default();
        let (weight_decay, rate) = (if group.decays { weight_decay } else { 0.0 }, self.rate * group.rate);
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
    use brainmvp_nets::layers::Pass;
    use brainmvp_nets::weights::Entry;
    use brainmvp_objectives::patch::PatchSource;
    use brainmvp_objectives::{Evaluation, Moment, Scene};
    use burn::tensor::{Device, TensorData};
    use rand::Rng;

    use super::*;

    /// A vector and a matrix of one number each.
    #[derive(Module, Debug)]
    struct Two {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
        #[module(skip)]
        of_weight: Group,
    }

    impl Objective for Two {
        type Plan = ();
        type Sample = ();

        fn plan(&self) {}

        fn draw<S: PatchSource>((): &(), _: Scene<'_, S>, _: &mut dyn Rng) -> Result<(), S::Error> {
            Ok(())
        }

        fn forward(&self, _: &[()], _: Moment, _: &mut Pass<'_>) -> Evaluation {
            let total = self.weight.val().sum();
            Evaluation { quality: total.clone(), total, parts: Vec::new(), pictures: Vec::new() }
        }

        fn group(&self, entry: Entry<'_>) -> Group {
            if entry.path == "weight" { self.of_weight } else { Group::default() }
        }
    }

    /// Weight and bias, of 1, after one step of rate 0.1 with this gradient, scaled by 1/2, and a weight decay of 1.
    fn after_one_step(config: &OptimizerConfig, of_weight: Group, gradient: f32) -> [f32; 2] {
        let device = Device::flex().autodiff();
        let weight = Param::from_tensor(Tensor::from_data(TensorData::from([[1.0_f32]]), &device));
        let bias = Param::from_tensor(Tensor::from_data(TensorData::from([1.0_f32]), &device));
        let module = Two { weight, bias, of_weight };
        let mut gradients = GradientsParams::new();
        let inner = device.without_autodiff();
        gradients.register(module.weight.id, Tensor::<2>::from_data(TensorData::from([[gradient]]), &inner));
        gradients.register(module.bias.id, Tensor::<1>::from_data(TensorData::from([gradient]), &inner));
        let config = OptimizerConfig { weight_decay: 1.0, ..*config };
        let module = NamedAdamW::of(&config, &module).step(module, gradients, 0.1, 0.5);
        [module.weight.val().into_scalar(), module.bias.val().into_scalar()]
    }

    fn assert_near(found: [f32; 2], expected: [f32; 2]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, not {expected:?}");
    }

    #[test]
    fn adam_decays_through_its_moments() {
        let adamw = OptimizerConfig::default();
        let adam = OptimizerConfig { kind: OptimizerKind::Adam, ..adamw };
        // The first step is as long as the rate, in the direction of the gradient alone, and the weight shrinks by itself.
        assert_near(after_one_step(&adamw, Group::default(), -1.0), [1.0 - 0.1 + 0.1; 2]);
        // The gradient with the decay is -1/2 + 1.
        assert_near(after_one_step(&adam, Group::default(), -1.0), [1.0 - 0.1; 2]);
        assert_near(after_one_step(&adam, Group::default(), -3.0), [1.0 + 0.1; 2]);
    }

    #[test]
    fn groups_have_their_own_rate_and_decay() {
        let config = OptimizerConfig::default();
        let slow = Group { rate: 0.5, decays: false };
        assert_near(after_one_step(&config, slow, -1.0), [1.0 + 0.05, 1.0 - 0.1 + 0.1]);
        let frozen = Group { rate: 0.0, decays: true };
        assert_near(after_one_step(&config, frozen, -1.0), [1.0, 1.0]);
        let kernels = OptimizerConfig { decay_norms_and_biases: false, ..config };
        assert_near(after_one_step(&kernels, Group::default(), -1.0), [1.0, 1.0 + 0.1]);
    }
}
