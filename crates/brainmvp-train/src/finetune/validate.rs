//! Scores the network on the validation cases.

use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_infer::{Mirror, SlidingWindow, WindowSource, classify, segment};
use brainmvp_metrics::metrics::classification::{ClassificationScores, multiclass};
use brainmvp_metrics::{Metric, Region, RegionScores, SegmentationConfig};
use brainmvp_nets::layers::Pass;
use brainmvp_ssl::downstream::{Classifying, ClassifyingPlan, Inputs, Segmenting};
use brainmvp_ssl::patch::PatchSource;
use brainmvp_volume::LabelMap;
use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};

use super::regions::{RegionTable, label_decision};
use crate::batches::CaseSource;
use crate::trainer::Judge;
use crate::{Error, Result};

/// The channels of a case, read window by window.
pub struct CaseWindows<'a, S> {
    /// The case.
    pub case: &'a S,
    /// The channels to read.
    pub inputs: &'a Inputs,
}

impl<S: PatchSource> WindowSource for CaseWindows<'_, S>
where
    S::Error: std::error::Error + Send + Sync + 'static,
{
    fn shape(&self) -> [usize; 3] {
        self.case.shape()
    }

    fn channels(&self) -> usize {
        self.inputs.channels.len()
    }

    fn read(&self, channel: usize, start: [isize; 3], size: [usize; 3]) -> brainmvp_infer::Result<Vec<f32>> {
        let read = self.inputs.channel(self.case, channel, start, size);
        read.map(|channel| channel.voxels).map_err(brainmvp_infer::Error::source)
    }
}

/// Scores a segmentation by the Dice score of whole cases.
pub(super) struct SegmentationJudge<'a> {
    pub(super) cases: &'a [CaseSource],
    pub(super) inputs: &'a Inputs,
    pub(super) regions: &'a RegionTable,
    pub(super) window: &'a SlidingWindow,
    /// Without autodiff.
    pub(super) device: &'a Device,
}

impl Judge<Segmenting> for SegmentationJudge<'_> {
    fn judge(&self, objective: &Segmenting, stop: &AtomicBool) -> Result<Option<Vec<(String, f64)>>> {
        let network = objective.network().valid();
        let names: Vec<&str> = self.regions.regions.iter().map(Region::name).collect();
        let mut sums = vec![0.0; names.len()];
        for case in self.cases {
            let windows = CaseWindows { case, inputs: self.inputs };
            let network = |window: Tensor<5>| {
                if stop.load(Ordering::Relaxed) {
                    return Err(brainmvp_infer::Error::Stopped);
                }
                Ok(network.forward(window, &mut Pass::evaluation()).logits)
            };
            let none = Mirror::default();
            let blended = match segment(self.window, &none, &windows, names.len(), self.device, network) {
                Err(brainmvp_infer::Error::Stopped) => return Ok(None),
                other => other.map_err(|source| Error::Judge { case: case.id().to_owned(), source })?,
            };
            let dice = self.dice(case, &blended.classes)?;
            sums.iter_mut().zip(dice).for_each(|(sum, dice)| *sum += dice);
        }
        let means = sums.iter().map(|sum| sum / self.cases.len() as f64);
        let mean = sums.iter().sum::<f64>() / (names.len() * self.cases.len()) as f64;
        let of_regions = names.iter().zip(means).map(|(name, dice)| (format!("dice {name}"), dice));
        Ok(Some([("dice".to_owned(), mean)].into_iter().chain(of_regions).collect()))
    }
}

impl SegmentationJudge<'_> {
    /// The Dice score of each region, of the labels that its probabilities make: those that `predict` writes.
    fn dice(&self, case: &CaseSource, probabilities: &[Vec<f32>]) -> Result<Vec<f64>> {
        let (grid, shape) = (case.grid(), case.shape());
        let metric = Metric::named("dice").ok_or_else(|| Error::Config("no metric 'dice'".to_owned()))?;
        let config = SegmentationConfig { metrics: vec![metric], ..SegmentationConfig::default() };
        let probabilities: Vec<&[f32]> = probabilities.iter().map(Vec::as_slice).collect();
        let predicted = label_decision(&self.regions.regions)?.labels(&probabilities);
        #[expect(clippy::expect_used, reason = "cases without a label map are left out before")]
        let truth = case.labels([0; 3], shape)?.expect("a segmentation case has a label map");
        let (predicted, truth) = (LabelMap::new(grid, predicted), LabelMap::new(grid, truth));
        let regions = self.regions.pairs(case.data_set());
        let ignored = self.regions.of(case.data_set()).ignored;
        let scores = config.evaluate_as(&predicted, &truth, &regions, &ignored)?;
        #[expect(clippy::expect_used, reason = "the default rule for empty masks leaves nothing out")]
        let dice = |score: &RegionScores| {
            score.values[&metric].value().expect("Dice has a value by the default rule")
        };
        Ok(scores.iter().map(dice).collect())
    }
}

/// Scores a classification by the area under the ROC curve.
pub(super) struct ClassificationJudge<'a> {
    pub(super) cases: &'a [CaseSource],
    pub(super) plan: &'a ClassifyingPlan,
    /// Without autodiff.
    pub(super) device: &'a Device,
}

impl Judge<Classifying> for ClassificationJudge<'_> {
    fn judge(&self, objective: &Classifying, stop: &AtomicBool) -> Result<Option<Vec<(String, f64)>>> {
        let network = objective.network().valid();
        let (mut probabilities, mut classes) = (Vec::new(), Vec::new());
        for case in self.cases {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let known = |class| self.plan.classes.iter().position(|name| name == class);
            classes.extend(case.class().and_then(known));
            let [x, y, z] = self.plan.resized.patch;
            let inputs = &self.plan.copies.inputs;
            let centre = self.plan.resized.centre(case, inputs)?;
            let data = TensorData::new(centre, [1, z, y, x, inputs.channels.len()]);
            let logits = |centre: Tensor<5>| Ok(network.forward(centre, &mut Pass::evaluation()).logits);
            let of_classes = classify(&Mirror::default(), Tensor::from_data(data, self.device), logits)
                .map_err(|source| Error::Judge { case: case.id().to_owned(), source })?;
            probabilities.extend(of_classes.into_iter().map(f64::from));
        }
        let scores = multiclass(&probabilities, &classes, self.plan.classes.len())?;
        Ok(Some(named(&scores)))
    }
}

/// The area under the ROC curve first, if there are cases of every class; otherwise accuracy.
fn named(scores: &ClassificationScores) -> Vec<(String, f64)> {
    let all = [
        ("auc", scores.auc),
        ("accuracy", scores.accuracy),
        ("balanced_accuracy", scores.balanced_accuracy),
        ("f1_macro", scores.f1_macro),
    ];
    let defined = all.into_iter().filter_map(|(name, score)| Some((name.to_owned(), score.value()?)));
    defined.filter(|(_, value)| !value.is_nan()).collect()
}
