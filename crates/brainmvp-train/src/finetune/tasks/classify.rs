//! Classification: a class for every case.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_cohort::LabelScheme;
use brainmvp_infer::classify;
use brainmvp_kernels::in_pool;
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{ClassificationNetwork, Encoder, NetworkConfig};
use brainmvp_nets::weights::Head;
use brainmvp_objectives::downstream::{Classifying, ClassifyingPlan, CopyPlan};
use brainmvp_objectives::patch::PatchSource as _;
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Applied, Before, Defaults, Output, Task};
use crate::batches::CaseSource;
use crate::config::{FinetuneConfig, TaskPatchConfig, repeated};
use crate::finetune::data::Data;
use crate::trainer::Observer;
use crate::{Error, Result};

/// The task, with the weight of each class in the loss.
pub struct Classification(Vec<f32>);

/// The weights of classes of different frequency in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeights {
    /// Every case counts the same.
    #[default]
    None,
    /// Every class counts the same: a case is weighted by the inverse of its class's frequency among the training cases.
    Balanced,
}

/// The keys of a classification.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Keys {
    /// Classification: the classes; `[]` for all that the training cases have, sorted.
    pub classes: Vec<String>,
    /// Classification: the weights of classes in the loss.
    pub class_weights: ClassWeights,
}

/// What is recorded of all predictions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The classes of the network.
    pub classes: Vec<String>,
}

/// What is recorded of a case.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// The probability of each class.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub classes: BTreeMap<String, f32>,
}

impl Written {
    /// The class with the highest probability, the first of equally high ones.
    fn likeliest<'a>(&self, classes: &'a [String]) -> &'a str {
        let probability = |class: &str| self.classes[class];
        let better = |best: &'a str, class: &'a String| {
            if probability(class) > probability(best) { class.as_str() } else { best }
        };
        classes.iter().fold(classes.first().map_or("", String::as_str), better)
    }
}

impl Task for Classification {
    const ABOUT: &'static str = "Classification: a class for every case";
    const NO_MAPS: Option<&'static str> = Some("a classification writes its probabilities anyway");
    type Keys = Keys;
    type Network = ClassificationNetwork;
    type Objective = Classifying;
    /// The probabilities of the classes.
    type Prediction = Vec<f32>;
    /// These, and the place of the true class.
    type Judgement = (Vec<f32>, usize);
    type Settings = Settings;
    type Written = Written;

    fn defaults(_: bool) -> Defaults {
        Defaults::WHOLE_CASES
    }

    fn problem(keys: &Keys, patch: &TaskPatchConfig) -> Option<String> {
        if let Some(problem) = repeated(&keys.classes) {
            return Some(problem);
        }
        if keys.classes.len() == 1 {
            return Some("task.classes: a classification needs two or more".to_owned());
        }
        patch.resize_problem()
    }

    fn wanted(_: &Keys) -> String {
        "class".to_owned()
    }

    fn is_known(_: &Keys, case: &CaseSource) -> bool {
        case.class().is_some()
    }

    fn lacking(keys: &Keys, case: &CaseSource) -> Option<String> {
        let is_known = case.class().is_some_and(|class| keys.classes.iter().any(|known| known == class));
        (!is_known).then(|| "class that the network knows".to_owned())
    }

    fn new(
        keys: &mut Keys,
        data: &mut Data,
        _: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        if keys.classes.is_empty() {
            let classes: BTreeSet<&str> = data.training.iter().filter_map(|case| case.class()).collect();
            keys.classes = classes.into_iter().map(str::to_owned).collect();
        }
        if keys.classes.len() < 2 {
            let found = keys.classes.join(", ");
            return Err(Error::Config(format!(
                "a classification needs two classes or more; the training cases have: {found}"
            )));
        }
        data.leave_out(observer, |case| {
            let class = case.class().unwrap_or_default();
            let known = keys.classes.iter().any(|known| known == class);
            Ok((!known).then(|| format!("its class '{class}' is not one of {}", keys.classes.join(", "))))
        })?;
        Ok(Self(weights(keys, &data.training)))
    }

    fn head(keys: &Keys) -> Head {
        Head::Classification { classes: keys.classes.len() }
    }

    fn network(keys: &Keys, numbers: &NetworkConfig, init: &mut Init<'_>) -> ClassificationNetwork {
        ClassificationNetwork::new(numbers, keys.classes.len(), init)
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
    ) -> Result<Classifying> {
        let plan = ClassifyingPlan {
            copies,
            classes: keys.classes.clone(),
            class_weights: self.0.clone(),
            resized: config.patch.resized(),
        };
        Ok(Classifying::new(network, plan))
    }

    fn trained(objective: &Classifying) -> ClassificationNetwork {
        objective.network()
    }

    fn predict(
        network: &ClassificationNetwork,
        _: &Keys,
        how: &Applied<'_>,
        case: &CaseSource,
        before: &mut Before<'_>,
    ) -> brainmvp_infer::Result<Vec<f32>> {
        classify(how.mirror, how.whole(case)?, |case: Tensor<5>| {
            before(1)?;
            Ok(in_pool(how.device, || network.forward(case, &mut Pass::evaluation()).logits))
        })
    }

    fn judge(&self, keys: &Keys, case: &CaseSource, said: Vec<f32>) -> Result<(Vec<f32>, usize)> {
        let place = keys.classes.iter().position(|known| Some(known.as_str()) == case.class());
        #[expect(clippy::expect_used, reason = "cases of other classes are left out before")]
        Ok((said, place.expect("a case of a known class")))
    }

    /// The area under the ROC curve first, if there are cases of every class; otherwise accuracy.
    fn scores(&self, keys: &Keys, judged: &[(Vec<f32>, usize)]) -> Result<Vec<(String, f64)>> {
        let probabilities: Vec<f64> =
            judged.iter().flat_map(|(said, _)| said.iter().copied().map(f64::from)).collect();
        let classes: Vec<usize> = judged.iter().map(|(_, class)| *class).collect();
        let scores: ClassificationScores = multiclass(&probabilities, &classes, keys.classes.len())?;
        let all = [
            ("auc", scores.auc),
            ("accuracy", scores.accuracy),
            ("balanced_accuracy", scores.balanced_accuracy),
            ("f1_macro", scores.f1_macro),
        ];
        let defined = all.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score.value()?)));
        Ok(defined.filter(|(_, value)| !value.is_nan()).collect())
    }

    fn settings(keys: &Keys) -> Settings {
        Settings { classes: keys.classes.clone() }
    }

    fn write(said: &Vec<f32>, keys: &Keys, _: &Output<'_>) -> Result<Written> {
        Ok(Written { classes: keys.classes.iter().cloned().zip(said.iter().copied()).collect() })
    }

    fn lacks(settings: &Settings, written: &Written) -> Option<&'static str> {
        let has = |class: &String| written.classes.contains_key(class);
        (!settings.classes.iter().all(has)).then_some("the probability of a class")
    }

    fn columns(settings: &Settings) -> Option<Vec<String>> {
        let of_classes = settings.classes.iter().map(|class| format!("p({class})"));
        Some(["class".to_owned()].into_iter().chain(of_classes).collect())
    }

    fn cells(settings: &Settings, written: &Written) -> Vec<String> {
        let probabilities = settings.classes.iter().map(|class| written.classes[class].to_string());
        [written.likeliest(&settings.classes).to_owned()].into_iter().chain(probabilities).collect()
    }

    fn shown(settings: &Settings, written: &Written) -> String {
        let class = written.likeliest(&settings.classes);
        format!("{class} ({:.3})", written.classes[class])
    }
}

/// The weight of each class in the loss.
fn weights(keys: &Keys, training: &[CaseSource]) -> Vec<f32> {
    let count = |class: &String| training.iter().filter(|case| case.class() == Some(class.as_str())).count();
    let weight = |class: &String| match keys.class_weights {
        ClassWeights::None => 1.0,
        ClassWeights::Balanced => training.len() as f32 / (keys.classes.len() * count(class).max(1)) as f32,
    };
    keys.classes.iter().map(weight).collect()
}
