//! Fine-tuning for regression: a number for every case.

use brainmvp_nets::layers::{Linear, Pass};
use brainmvp_nets::networks::{ClassificationNetwork, Classified, Encoder};
use burn::module::Module;
use burn::tensor::Tensor;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::copies::{Copies, agreement};
use super::{CopyPlan, Resized};
use crate::losses::{self, RegressionLoss};
use crate::patch::PatchSource;
use crate::{Evaluation, Moment, Objective, Scene};

/// The numbers of the training cases, by which all are standardised: the network learns deviations from the mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Their mean, in the unit of the column.
    pub mean: f64,
    /// Their standard deviation, above 0, in the unit of the column.
    pub deviation: f64,
}

impl Scale {
    /// The scale of some numbers; a deviation of 0 where they are all the same. `None` without any.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let deviation = (numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        (!numbers.is_empty()).then_some(Self { mean, deviation })
    }

    /// What the network learns of a number.
    pub fn standardised(&self, number: f64) -> f32 {
        ((number - self.mean) / self.deviation) as f32
    }

    /// What an output of the network means, in the unit of the column.
    pub fn number(&self, output: f32) -> f64 {
        self.mean + self.deviation * f64::from(output)
    }
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct RegressingPlan {
    /// The copies to make.
    pub copies: CopyPlan,
    /// The column of the numbers.
    pub target: String,
    /// How they are standardised.
    pub scale: Scale,
    /// How differences count.
    pub loss: RegressionLoss,
    /// How a case is brought to the size of the network's input.
    pub resized: Resized,
}

/// One case.
pub struct RegressingSample {
    pub(super) copies: Copies,
    /// Its number, standardised.
    pub(super) number: f32,
}

/// The network that is fine-tuned: an encoder and a linear layer with one output.
#[derive(Module, Debug)]
pub struct Regressing {
    /// Pre-trained, except for its first layer.
    pub encoder: Encoder,
    /// From the mean features to the standardised number.
    pub head: Linear,
    #[module(skip)]
    plan: RegressingPlan,
}

impl Regressing {
    /// Fine-tunes `network`, which has one output.
    pub fn new(network: ClassificationNetwork, plan: RegressingPlan) -> Self {
        Self { encoder: network.encoder, head: network.head, plan }
    }

    /// The network in its current state.
    pub fn network(&self) -> ClassificationNetwork {
        ClassificationNetwork { encoder: self.encoder.clone(), head: self.head.clone() }
    }
}

impl Objective for Regressing {
    type Plan = RegressingPlan;
    type Sample = RegressingSample;

    fn plan(&self) -> RegressingPlan {
        self.plan.clone()
    }

    fn draw<S: PatchSource>(
        plan: &RegressingPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<RegressingSample, S::Error> {
        let case = scene.case();
        let copies = plan.resized.draw(&plan.copies, case, rng)?;
        #[expect(clippy::expect_used, reason = "cases without a number are left out before")]
        let number = case.number(&plan.target).expect("a case that is regressed has a number");
        Ok(RegressingSample { copies, number: plan.scale.standardised(number) })
    }

    fn forward(&self, samples: &[RegressingSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let plan = &self.plan;
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let (outputs, image) = plan.resized.outputs(&plan.copies, &self.network(), &batch, pass);
        let truth: Vec<f32> = samples.iter().map(|sample| sample.number).collect();
        let supervise = |copies: &[Classified]| {
            let predicted = Tensor::cat(copies.iter().map(|output| output.logits.clone()).collect(), 0);
            losses::regression(predicted, &truth.repeat(copies.len()), plan.loss)
        };
        let mixing = &plan.copies.mixing;
        let disagree = |a: &Classified, b: &Classified| agreement(a, b, mixing.agreement);
        mixing.loss(&outputs, "loss_regression", supervise, disagree).evaluation([("image", image)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_their_unit() {
        let scale = Scale::of(&[20.0, 60.0, 100.0, 60.0]).unwrap();
        assert_eq!((scale.mean, scale.deviation), (60.0, 800.0_f64.sqrt()));
        for number in [-5.0, 60.0, 71.25] {
            assert!((scale.number(scale.standardised(number)) - number).abs() < 1e-4);
        }
        assert_eq!(Scale::of(&[3.0; 2]).unwrap().deviation, 0.0);
        assert_eq!(Scale::of(&[]), None);
    }
}
