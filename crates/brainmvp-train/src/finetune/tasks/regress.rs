//! Regression: a number for every case.

use std::collections::BTreeMap;

use brainmvp_cohort::LabelScheme;
use brainmvp_kernels::in_pool;
use brainmvp_metrics::metrics::regression::regression;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{ClassificationNetwork, Encoder, NetworkConfig};
use brainmvp_nets::weights::Head;
use brainmvp_objectives::downstream::{CopyPlan, Regressing, RegressingPlan, Scale};
use brainmvp_objectives::losses::RegressionLoss;
use brainmvp_objectives::patch::PatchSource as _;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Applied, Before, Defaults, Output, Task, TaskOption};
use crate::batches::CaseSource;
use crate::config::{FinetuneConfig, TaskPatchConfig};
use crate::finetune::data::Data;
use crate::trainer::Observer;
use crate::{Error, Result};

/// The task.
pub struct Regression;

/// The keys of a regression.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Keys {
    /// Regression: the column of the cohort with the numbers (`--target`).
    pub target: String,
    /// Regression: how the difference of a prediction from its number counts.
    pub regression_loss: RegressionLoss,
    /// Regression: what numbers are standardised by; left out for the mean and the standard deviation of the training
    /// cases, which the run stores here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
}

/// What is recorded of all predictions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The column that the network has learnt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target: String,
}

/// What is recorded of a case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// The predicted number, in the unit of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<f32>,
}

impl Written {
    fn text(&self) -> String {
        self.number.map_or_else(String::new, |number| number.to_string())
    }
}

impl Keys {
    /// The scale, which training has completed.
    fn scale(&self) -> Result<Scale> {
        self.scale.ok_or_else(|| Error::Config("task.scale: there is none".to_owned()))
    }
}

impl Task for Regression {
    const ABOUT: &'static str = "Regression: a number for every case";
    const OPTIONS: &'static [TaskOption] = &[TaskOption {
        name: "target",
        key: "task.target",
        value: "COLUMN",
        help: "Column of the cohort with the numbers to learn; `brainmvp index --numbers` reads columns of a table",
    }];
    const NO_MAPS: Option<&'static str> = Some("a regression has no probabilities");
    type Keys = Keys;
    type Network = ClassificationNetwork;
    type Objective = Regressing;
    /// The number, in the unit of the column.
    type Prediction = f64;
    /// This, and the true number.
    type Judgement = (f64, f64);
    type Settings = Settings;
    type Written = Written;

    fn defaults(_: bool) -> Defaults {
        Defaults::WHOLE_CASES
    }

    fn problem(keys: &Keys, patch: &TaskPatchConfig) -> Option<String> {
        if keys.target.is_empty() {
            return Some(
                "task.target: name the column of the cohort with the numbers (--target COLUMN)".to_owned(),
            );
        }
        let is_odd =
            |scale: &Scale| !(scale.mean.is_finite() && scale.deviation.is_finite() && scale.deviation > 0.0);
        if let Some(Scale { mean, deviation }) = keys.scale.filter(is_odd) {
            return Some(format!(
                "task.scale: a finite mean and a deviation above 0, got {mean} and {deviation}"
            ));
        }
        patch.resize_problem()
    }

    fn wanted(keys: &Keys) -> String {
        format!("number '{}'", keys.target)
    }

    fn is_known(keys: &Keys, case: &CaseSource) -> bool {
        case.number(&keys.target).is_some()
    }

    fn new(
        keys: &mut Keys,
        data: &mut Data,
        _: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let numbers: Vec<f64> = data.training.iter().filter_map(|case| case.number(&keys.target)).collect();
        if keys.scale.is_none() {
            let scale =
                Scale::of(&numbers).filter(|scale| scale.deviation > 0.0 && scale.deviation.is_finite());
            let same =
                || Error::Config(format!("the training cases all have the same number '{}'", keys.target));
            keys.scale = Some(scale.ok_or_else(same)?);
        }
        let Scale { mean, deviation } = keys.scale()?;
        observer.note(&format!("{}: mean {mean:.4}, standard deviation {deviation:.4}", keys.target));
        Ok(Self)
    }

    fn head(_: &Keys) -> Head {
        Head::Regression
    }

    fn network(_: &Keys, numbers: &NetworkConfig, init: &mut Init<'_>) -> ClassificationNetwork {
        ClassificationNetwork::new(numbers, 1, init)
    }

    fn encoder(network: &ClassificationNetwork) -> &Encoder {
        &network.encoder
    }

    fn objective(
        &self,
        network: ClassificationNetwork,
        keys: &Keys,
        config: &FinetuneConfig,
        copies: CopyPlan,
    ) -> Result<Regressing> {
        let plan = RegressingPlan {
            copies,
            target: keys.target.clone(),
            scale: keys.scale()?,
            loss: keys.regression_loss,
            resized: config.patch.resized(),
        };
        Ok(Regressing::new(network, plan))
    }

    fn trained(objective: &Regressing) -> ClassificationNetwork {
        objective.network()
    }

    fn predict(
        network: &ClassificationNetwork,
        keys: &Keys,
        how: &Applied<'_>,
        case: &CaseSource,
        before: &mut Before<'_>,
    ) -> brainmvp_infer::Result<f64> {
        let outputs = brainmvp_infer::regress(how.mirror, how.whole(case)?, |case: Tensor<5>| {
            before(1)?;
            Ok(in_pool(how.device, || network.forward(case, &mut Pass::evaluation()).logits))
        })?;
        let scale = keys.scale().map_err(brainmvp_infer::Error::source)?;
        Ok(scale.number(outputs[0]))
    }

    fn judge(&self, keys: &Keys, case: &CaseSource, said: f64) -> Result<(f64, f64)> {
        #[expect(clippy::expect_used, reason = "cases without a number are left out before")]
        Ok((said, case.number(&keys.target).expect("a case with a number")))
    }

    /// The mean absolute error with a minus first: it has a value for any cases, and is what the default loss minimises.
    fn scores(&self, _: &Keys, judged: &[(f64, f64)]) -> Result<Vec<(String, f64)>> {
        let (said, truth): (Vec<f64>, Vec<f64>) = judged.iter().copied().unzip();
        let scores = regression(&said, &truth)?;
        let first = ("minus mae", scores.mae.value().map(|mae| -mae));
        let others = scores.named().map(|(name, _, score)| (name, score.value()));
        let all = std::iter::once(first).chain(others);
        let defined = all.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(defined.filter(|(_, value)| !value.is_nan()).collect())
    }

    fn settings(keys: &Keys) -> Settings {
        Settings { target: keys.target.clone() }
    }

    fn write(said: &f64, _: &Keys, _: &Output<'_>) -> Result<Written> {
        Ok(Written { number: Some(*said as f32) })
    }

    fn lacks(_: &Settings, written: &Written) -> Option<&'static str> {
        written.number.is_none().then_some("the number")
    }

    fn columns(settings: &Settings) -> Option<Vec<String>> {
        Some(vec![settings.target.clone()])
    }

    fn cells(_: &Settings, written: &Written) -> Vec<String> {
        vec![written.text()]
    }

    fn shown(settings: &Settings, written: &Written) -> String {
        format!("{} {}", settings.target, written.text())
    }
}
