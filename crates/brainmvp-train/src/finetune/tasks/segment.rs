//! Segmentation: a label for every voxel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_cohort::LabelScheme;
use brainmvp_infer::{LabelDecision, NativeSpace, segment};
use brainmvp_kernels::in_pool;
use brainmvp_metrics::{Metric, Region, RegionScores, SegmentationConfig};
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, SegmentationNetwork};
use brainmvp_nets::weights::Head;
use brainmvp_objectives::downstream::{CopyPlan, Segmenting, SegmentingPlan};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::{AtPath as _, Grid, LabelMap, Volume};
use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Applied, Before, Defaults, Output, Task};
use crate::batches::CaseSource;
use crate::config::{FinetuneConfig, TaskPatchConfig, repeated};
use crate::finetune::data::Data;
use crate::finetune::predictor::CaseWindows;
use crate::finetune::regions::{RegionTable, label_decision};
use crate::trainer::Observer;
use crate::{Error, Result};

/// The folder of probabilities within that of the predictions, so that they are not taken for label maps.
pub const PROBABILITIES: &str = "probabilities";

/// The task, with what label values mean in the data sets.
pub struct Segmentation(RegionTable);

/// The keys of a segmentation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Keys {
    /// Segmentation: the regions that are learnt, each a name and the label values that make it up; they may overlap.
    /// `[]` for those of the label scheme that the data sets declare.
    pub regions: Vec<Region>,
}

/// What is recorded of all predictions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The regions of the network.
    pub regions: Vec<Region>,
}

/// What is recorded of a case: files in the folder of predictions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Written {
    /// The label map.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_map: Option<PathBuf>,
    /// The probabilities of each region.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub probabilities: BTreeMap<String, PathBuf>,
}

/// The probability of each region in every voxel of a prepared case.
pub struct RegionProbabilities {
    volumes: Vec<Volume>,
    decision: LabelDecision,
}

impl RegionProbabilities {
    /// Those of each region, on the grid of the prepared case.
    pub fn prepared(&self) -> &[Volume] {
        &self.volumes
    }

    /// The label of every voxel of a grid, in the space of the prepared case ([`crate::new_case::NewCase::native`]).
    ///
    /// # Errors
    /// If there is no region.
    pub fn labels(&self, grid: Grid) -> Result<LabelMap> {
        Ok(NativeSpace::new(&self.volumes, grid)?.labels(&self.decision)?)
    }

    /// The probability of a region in every voxel of such a grid.
    ///
    /// # Errors
    /// If there is no region.
    ///
    /// # Panics
    /// If there is no region of this number.
    pub fn probability(&self, number: usize, grid: Grid) -> Result<Volume> {
        Ok(NativeSpace::new(&self.volumes, grid)?.probability(number))
    }
}

impl Task for Segmentation {
    const ABOUT: &'static str = "Segmentation: a label for every voxel";
    const NO_MAPS: Option<&'static str> = None;
    type Keys = Keys;
    type Network = SegmentationNetwork;
    type Objective = Segmenting;
    type Prediction = RegionProbabilities;
    /// The Dice score of each region.
    type Judgement = Vec<f64>;
    type Settings = Settings;
    type Written = Written;

    fn defaults(released: bool) -> Defaults {
        let (epochs, batch_size) = if released { (300, 2) } else { (500, 3) };
        Defaults { patch: [96; 3], epochs, batch_size, accumulate: 1 }
    }

    fn problem(keys: &Keys, _: &TaskPatchConfig) -> Option<String> {
        repeated(&keys.regions.iter().map(Region::name).collect::<Vec<_>>())
    }

    fn wanted(_: &Keys) -> String {
        "label map".to_owned()
    }

    fn is_known(_: &Keys, case: &CaseSource) -> bool {
        case.has_label()
    }

    fn new(
        keys: &mut Keys,
        data: &mut Data,
        schemes: &BTreeMap<String, LabelScheme>,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let all = data.training.iter().chain(&data.validation);
        let data_sets: BTreeSet<&str> = all.map(PatchSource::data_set).collect();
        let table = RegionTable::new(&keys.regions, &data_sets, schemes)?;
        keys.regions.clone_from(&table.regions);
        data.leave_out(observer, |case| table.problem(case))?;
        if table.regions.is_empty() {
            return Err(Error::Config("task.regions: there are none".to_owned()));
        }
        Ok(Self(table))
    }

    fn head(keys: &Keys) -> Head {
        Head::Segmentation { classes: keys.regions.len() }
    }

    fn network(keys: &Keys, numbers: &NetworkConfig, init: &mut Init<'_>) -> SegmentationNetwork {
        SegmentationNetwork::new(numbers, keys.regions.len(), init)
    }

    fn encoder(network: &SegmentationNetwork) -> &Encoder {
        &network.encoder
    }

    fn objective(
        &self,
        network: SegmentationNetwork,
        _: &Keys,
        config: &FinetuneConfig,
        copies: CopyPlan,
    ) -> Result<Segmenting> {
        let plan = SegmentingPlan {
            copies,
            labels: self.0.own(),
            labels_by_data_set: self.0.by_data_set.clone(),
            patch: config.patch.size,
            labelled_share: config.patch.labelled_share,
        };
        Ok(Segmenting::new(network, plan))
    }

    fn trained(objective: &Segmenting) -> SegmentationNetwork {
        objective.network()
    }

    fn windows(how: &Applied<'_>, case: &CaseSource) -> usize {
        how.windows.count(case.shape())
    }

    fn predict(
        network: &SegmentationNetwork,
        keys: &Keys,
        how: &Applied<'_>,
        case: &CaseSource,
        before: &mut Before<'_>,
    ) -> brainmvp_infer::Result<RegionProbabilities> {
        let decision = label_decision(&keys.regions)?;
        let source = CaseWindows { case, inputs: how.inputs };
        let see = |window: Tensor<5>| {
            before(window.dims()[0])?;
            Ok(in_pool(how.device, || network.forward(window, &mut Pass::evaluation()).logits))
        };
        let blended = segment(how.windows, how.mirror, &source, keys.regions.len(), how.device, see)?;
        let volumes = blended.classes.into_iter().map(|values| Volume::new(case.grid(), values)).collect();
        Ok(RegionProbabilities { volumes, decision })
    }

    fn judge(&self, _: &Keys, case: &CaseSource, said: RegionProbabilities) -> Result<Vec<f64>> {
        let metric = Metric::named("dice").ok_or_else(|| Error::Config("no metric 'dice'".to_owned()))?;
        let config = SegmentationConfig { metrics: vec![metric], ..SegmentationConfig::default() };
        let probabilities: Vec<&[f32]> = said.volumes.iter().map(Volume::voxels).collect();
        // The labels that `predict` writes.
        let predicted = LabelMap::new(case.grid(), said.decision.labels(&probabilities));
        #[expect(clippy::expect_used, reason = "cases without a label map are left out before")]
        let truth = case.labels([0; 3], case.shape())?.expect("a segmentation case has a label map");
        let truth = LabelMap::new(case.grid(), truth);
        let regions = self.0.pairs(case.data_set());
        let ignored = self.0.of(case.data_set()).ignored;
        let scores = config.evaluate_as(&predicted, &truth, &regions, &ignored)?;
        #[expect(clippy::expect_used, reason = "the default rule for empty masks leaves nothing out")]
        let dice = |score: &RegionScores| {
            score.values[&metric].value().expect("Dice has a value by the default rule")
        };
        Ok(scores.iter().map(dice).collect())
    }

    /// Their mean, then those of each region.
    fn scores(&self, keys: &Keys, judged: &[Vec<f64>]) -> Result<Vec<(String, f64)>> {
        let mut sums = vec![0.0; keys.regions.len()];
        for dice in judged {
            sums.iter_mut().zip(dice).for_each(|(sum, dice)| *sum += dice);
        }
        let means = sums.iter().map(|sum| sum / judged.len() as f64);
        let mean = sums.iter().sum::<f64>() / (sums.len() * judged.len()) as f64;
        let of_regions = keys.regions.iter().map(|region| format!("dice {}", region.name())).zip(means);
        Ok([("dice".to_owned(), mean)].into_iter().chain(of_regions).collect())
    }

    fn settings(keys: &Keys) -> Settings {
        Settings { regions: keys.regions.clone() }
    }

    fn notes(keys: &Keys) -> Result<Vec<String>> {
        let decision = label_decision(&keys.regions)?;
        let told = decision.indistinguishable().iter().map(|group| {
            let values: Vec<String> = group.iter().map(u16::to_string).collect();
            let (first, all) = (&values[0], values.join(", "));
            format!(
                "the regions do not distinguish the label values {all}: {first} is written for all of them"
            )
        });
        Ok(told.collect())
    }

    /// The label map is written last: if it exists, so does everything else.
    fn write(said: &RegionProbabilities, keys: &Keys, to: &Output<'_>) -> Result<Written> {
        let (header, mut probabilities) = (&to.case.header, BTreeMap::new());
        if to.maps {
            let folder = to.folder.join(PROBABILITIES);
            std::fs::create_dir_all(&folder).at(&folder)?;
            for (number, region) in keys.regions.iter().enumerate() {
                let name = format!("{}_{}.nii.gz", to.id, file_name(region.name()));
                let file = Path::new(PROBABILITIES).join(name);
                let options = WriteOptions {
                    description: format!("brainmvp: probability of {}", region.name()),
                    geometry: header.geometry().cloned(),
                    ..WriteOptions::default()
                };
                let probability = said.probability(number, to.case.native)?.into_voxels();
                nifti::write(&to.folder.join(&file), &Volume::new(header.grid, probability), options)?;
                probabilities.insert(region.name().to_owned(), file);
            }
        }
        // Registration has moved the voxels for the prediction; in the file they keep their positions.
        let labels = LabelMap::new(header.grid, said.labels(to.case.native)?.into_voxels());
        let file = PathBuf::from(format!("{}.nii.gz", to.id));
        let place = to.folder.join(&file);
        nifti::write_labels_in(&place, &labels, "brainmvp: predicted labels", header.geometry())?;
        Ok(Written { label_map: Some(file), probabilities })
    }

    fn files(written: &Written) -> Vec<&Path> {
        written.label_map.iter().chain(written.probabilities.values()).map(PathBuf::as_path).collect()
    }
}

/// A name made safe for use in a file name.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '+') { c } else { '-' };
    name.chars().map(plain).collect()
}
