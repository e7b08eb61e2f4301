//! Fine-tuning for segmentation.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_nets::heads::Segmented;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, Segmentation, SegmentationNetwork};
use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};

use super::copies::{Copies, disagreement};
use super::{Agreement, CopyLoss, CopyPlan, MixingConfig};
use crate::losses::{self, SegmentationTarget};
use crate::patch::{PatchSource, draw_any_start, draw_labelled_start};
use crate::{Evaluation, Moment, Objective, Scene};

/// What the values of a label map mean for a segmentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelMeaning {
    /// The values of each region; regions may overlap.
    pub regions: Vec<BTreeSet<u16>>,
    /// The values of voxels whose label is not known: they count in no loss.
    pub ignored: BTreeSet<u16>,
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct SegmentingPlan {
    /// The copies to make.
    pub copies: CopyPlan,
    /// The meaning of label values.
    pub labels: LabelMeaning,
    /// The same for data sets that number their labels differently.
    pub labels_by_data_set: BTreeMap<String, LabelMeaning>,
    /// Voxels of a patch along x, y and z.
    pub patch: [usize; 3],
    /// Share of the patches with a labelled voxel at their centre; the others have a uniformly random position in the
    /// image.
    pub labelled_share: f64,
}

/// A patch of one case.
pub struct SegmentingSample {
    pub(super) copies: Copies,
    /// Membership in regions, 0 or 1, regions fastest, then x.
    pub(super) members: Vec<f32>,
    /// 1 for voxels whose label is known, else 0; `None` where all are known.
    pub(super) known: Option<Vec<f32>>,
}

/// The network that is fine-tuned.
#[derive(Module, Debug)]
pub struct Segmenting {
    /// Pre-trained, except for its first layer.
    pub encoder: Encoder,
    /// Uses the features of all sizes.
    pub decoder: Segmentation,
    #[module(skip)]
    plan: SegmentingPlan,
}

impl Segmenting {
    /// Fine-tunes `network`, whose classes are the regions of the plan.
    pub fn new(network: SegmentationNetwork, plan: SegmentingPlan) -> Self {
        Self { encoder: network.encoder, decoder: network.decoder, plan }
    }

    /// The network in its current state.
    pub fn network(&self) -> SegmentationNetwork {
        SegmentationNetwork { encoder: self.encoder.clone(), decoder: self.decoder.clone() }
    }
}

/// The loss of the network's outputs for the copies of a batch (BrainMVP eqs. 6 and 7): for each copy, or for all as one
/// batch, the segmentation loss of the full output plus those of the coarse ones (deep supervision), plus the weighted
/// disagreement of two copies.
///
/// # Shapes
/// `outputs`: one or two; the target has as many classes as there are regions
///
/// The agreement compares two predictions and no labels, so that voxels of unknown label have a part in it.
pub fn segmentation_loss(
    outputs: &[Segmented],
    target: &SegmentationTarget,
    mixing: &MixingConfig,
) -> CopyLoss {
    let supervise = |copies: &[Segmented]| {
        let target = target.repeated(copies.len());
        let all = |pick: &dyn Fn(&Segmented) -> Tensor<5>| {
            losses::segmentation(Tensor::cat(copies.iter().map(pick).collect(), 0), &target)
        };
        let coarse = copies[0].coarse.len();
        (0..coarse).fold(all(&|output| output.logits.clone()), |sum, scale| {
            sum + all(&|output: &Segmented| output.coarse[scale].clone())
        })
    };
    let at = mixing.agreement;
    let disagree = |a: &Segmented, b: &Segmented| disagreement(agreeing(a, at), agreeing(b, at));
    mixing.loss(outputs, "loss_segmentation", supervise, disagree)
}

/// The values in which copies must agree.
fn agreeing(output: &Segmented, at: Agreement) -> Tensor<5> {
    match at {
        Agreement::Features => output.deepest.clone(),
        Agreement::Output => output.coarse.first().unwrap_or(&output.logits).clone(),
    }
}

/// Membership of voxels in regions, 0 or 1, regions fastest.
pub fn regions_of(labels: &[u16], regions: &[BTreeSet<u16>]) -> Vec<f32> {
    let member = |label: u16, region: &BTreeSet<u16>| f32::from(u8::from(region.contains(&label)));
    let highest = labels.iter().max().copied().unwrap_or(0);
    let rows: Vec<Vec<f32>> =
        (0..=highest).map(|label| regions.iter().map(|region| member(label, region)).collect()).collect();
    labels.iter().flat_map(|&label| rows[usize::from(label)].iter().copied()).collect()
}

/// 1 for voxels whose label is known, 0 for the ignored ones; `None` if there are none of these.
fn known_of(labels: &[u16], ignored: &BTreeSet<u16>) -> Option<Vec<f32>> {
    let is_known = |label: &u16| f32::from(u8::from(!ignored.contains(label)));
    let some = !ignored.is_empty() && labels.iter().any(|label| ignored.contains(label));
    some.then(|| labels.iter().map(is_known).collect())
}

/// The target of a batch of patches.
fn target_of(samples: &[SegmentingSample], plan: &SegmentingPlan, device: &Device) -> SegmentationTarget {
    let [x, y, z] = plan.patch;
    let tensor = |voxels: Vec<f32>, channels: usize| {
        Tensor::from_data(TensorData::new(voxels, [samples.len(), z, y, x, channels]), device)
    };
    let members: Vec<&[f32]> = samples.iter().map(|sample| sample.members.as_slice()).collect();
    let known = samples.iter().any(|sample| sample.known.is_some()).then(|| {
        let all = vec![1.0; plan.patch.iter().product()];
        let known: Vec<&[f32]> =
            samples.iter().map(|sample| sample.known.as_deref().unwrap_or(&all)).collect();
        tensor(known.concat(), 1)
    });
    SegmentationTarget::new(tensor(members.concat(), plan.labels.regions.len()), known)
}

impl Objective for Segmenting {
    type Plan = SegmentingPlan;
    type Sample = SegmentingSample;

    fn plan(&self) -> SegmentingPlan {
        self.plan.clone()
    }

    fn draw<S: PatchSource>(
        plan: &SegmentingPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<SegmentingSample, S::Error> {
        let case = scene.case();
        let patch = plan.patch;
        let meaning = plan.labels_by_data_set.get(case.data_set()).unwrap_or(&plan.labels);
        let labelled = if rng.random_bool(plan.labelled_share) {
            draw_labelled_start(case, patch, &meaning.ignored, rng)?
        } else {
            None
        };
        let start = labelled.unwrap_or_else(|| draw_any_start(case.shape(), patch, rng));
        let channels = plan.copies.inputs.read(case, start, patch)?;
        let filling = |modality| plan.copies.filling(case, modality, start, patch);
        let copies = plan.copies.draw(channels, filling, patch, rng);
        #[expect(clippy::expect_used, reason = "cases without a label map are left out before")]
        let mut labels = case.labels(start, patch)?.expect("a case that is segmented has a label map");
        copies.change.mirror(&mut labels, patch);
        let members = regions_of(&labels, &meaning.regions);
        Ok(SegmentingSample { copies, members, known: known_of(&labels, &meaning.ignored) })
    }

    fn forward(&self, samples: &[SegmentingSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let plan = &self.plan;
        #[expect(clippy::expect_used, reason = "every network has parameters")]
        let device = self.devices().into_iter().next().expect("parameters are on a device");
        let network = self.network();
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let inputs = plan.copies.tensors(&batch, plan.patch, &device);
        let image = inputs.first().cloned();
        let outputs: Vec<Segmented> = inputs.into_iter().map(|copy| network.forward(copy, pass)).collect();
        let target = target_of(samples, plan, &device).shared_by(&pass.ranks);
        let loss = segmentation_loss(&outputs, &target, &plan.copies.mixing);
        // Of what is shown alone, since few steps have pictures.
        let shown = |output: Segmented| sigmoid(output.logits.detach().narrow(0, 0, 1).narrow(4, 0, 1));
        let predicted = outputs.into_iter().next().map(shown);
        loss.evaluation([("image", image), ("target", Some(target.members)), ("prediction", predicted)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_may_overlap_and_other_labels_are_in_none() {
        let regions = [BTreeSet::from([1, 3]), BTreeSet::from([3])];
        assert_eq!(regions_of(&[0, 1, 3, 7], &regions), [0., 0., 1., 0., 1., 1., 0., 0.]);
    }

    #[test]
    fn ignored_labels_are_not_known() {
        let ignored = BTreeSet::from([9]);
        assert_eq!(known_of(&[0, 9, 1], &ignored), Some(vec![1.0, 0.0, 1.0]));
        assert_eq!(known_of(&[0, 1, 1], &ignored), None, "nothing to leave out");
        assert_eq!(known_of(&[0, 9, 1], &BTreeSet::new()), None);
    }
}
