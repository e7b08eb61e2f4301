//! Fine-tuning for segmentation.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_nets::heads::Segmented;
use brainmvp_nets::networks::{Encoder, Segmentation, SegmentationNetwork};
use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use super::copies::{Copies, disagreement, shown};
use super::{Agreement, CopyPlan, MixingConfig};
use crate::losses;
use crate::objectives::{Evaluation, Objective};
use crate::patch::{PatchSource, draw_labelled_start, draw_start};

/// What loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct SegmentingPlan {
    /// The copies that the network sees.
    pub copies: CopyPlan,
    /// The label values of each region; regions may overlap.
    pub regions: Vec<BTreeSet<u16>>,
    /// The same for the data sets that number their labels in another way.
    pub regions_by_data_set: BTreeMap<String, Vec<BTreeSet<u16>>>,
    /// Voxels of a patch along x, y and z.
    pub patch: [usize; 3],
    /// Share of the patches with a labelled voxel at their centre; the others are centred on any voxel of the image.
    pub labelled_share: f64,
}

/// A patch of one case.
pub struct SegmentingSample {
    copies: Copies,
    /// Membership in regions, 0 or 1, regions fastest, then x.
    members: Vec<f32>,
}

/// The network that is fine-tuned.
#[derive(Module, Debug)]
pub struct Segmenting {
    /// Pre-trained, but for its first layer.
    pub encoder: Encoder,
    /// Sees the features of all sizes.
    pub decoder: Segmentation,
    #[module(skip)]
    plan: SegmentingPlan,
}

impl Segmenting {
    /// Fine-tunes `network`, whose classes are the regions of the plan.
    pub fn new(network: SegmentationNetwork, plan: SegmentingPlan) -> Self {
        Self { encoder: network.encoder, decoder: network.decoder, plan }
    }

    /// The network as it is now.
    pub fn network(&self) -> SegmentationNetwork {
        SegmentationNetwork { encoder: self.encoder.clone(), decoder: self.decoder.clone() }
    }
}

/// Deep supervision adds the loss of each coarse output to that of the full one. All copies are one batch for it.
fn loss(outputs: &[Segmented], target: &Tensor<5>) -> Tensor<1> {
    let all = |pick: &dyn Fn(&Segmented) -> Tensor<5>| {
        let logits = Tensor::cat(outputs.iter().map(pick).collect(), 0);
        losses::segmentation(logits, target.clone())
    };
    let coarse = outputs[0].coarse.len();
    (0..coarse).fold(all(&|output| output.logits.clone()), |sum, scale| {
        sum + all(&|output: &Segmented| output.coarse[scale].clone())
    })
}

/// Where copies are held together.
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

impl Objective for Segmenting {
    type Plan = SegmentingPlan;
    type Sample = SegmentingSample;

    fn plan(&self) -> SegmentingPlan {
        self.plan.clone()
    }

    fn draw<S: PatchSource>(
        plan: &SegmentingPlan,
        case: &S,
        rng: &mut dyn Rng,
    ) -> Result<SegmentingSample, S::Error> {
        let (patch, inputs) = (plan.patch, &plan.copies.inputs);
        let labelled =
            if rng.random_bool(plan.labelled_share) { draw_labelled_start(case, patch, rng)? } else { None };
        let modalities = case.modalities();
        let seen = inputs.channels.iter().find(|channel| modalities.contains(channel));
        let start = match labelled {
            Some(start) => start,
            None => draw_start(case, *seen.unwrap_or(&modalities[0]), patch, rng)?,
        };
        let channels = inputs.read(case, start, patch)?;
        let template = |modality| inputs.template(case, modality, start, patch);
        let copies = plan.copies.draw(channels, template, patch, rng);
        #[expect(clippy::expect_used, reason = "cases without a label map are left out before")]
        let mut labels = case.labels(start, patch)?.expect("a case that is segmented has a label map");
        copies.change.mirror(&mut labels, patch);
        let regions = plan.regions_by_data_set.get(case.data_set()).unwrap_or(&plan.regions);
        Ok(SegmentingSample { copies, members: regions_of(&labels, regions) })
    }

    fn forward(&self, samples: &[SegmentingSample], _epoch: usize, rng: &mut dyn Rng) -> Evaluation {
        let plan = &self.plan;
        #[expect(clippy::expect_used, reason = "every network has parameters")]
        let device = self.devices().into_iter().next().expect("parameters are on a device");
        let network = self.network();
        let batch: Vec<&Copies> = samples.iter().map(|sample| &sample.copies).collect();
        let inputs = plan.copies.tensors(&batch, plan.patch, &device);
        let image = inputs.first().cloned();
        let outputs: Vec<Segmented> =
            inputs.into_iter().map(|copy| network.forward(copy, &mut Some(&mut *rng))).collect();
        let members: Vec<&[f32]> = samples.iter().map(|sample| sample.members.as_slice()).collect();
        let [x, y, z] = plan.patch;
        let shape = [samples.len(), z, y, x, plan.regions.len()];
        let target = Tensor::<5>::from_data(TensorData::new(members.concat(), shape), &device);
        let loss = loss(&outputs, &Tensor::cat(vec![target.clone(); outputs.len()], 0));
        let (mut total, mut parts) = (loss.clone(), vec![("loss_segmentation", loss)]);
        if let [first, second] = outputs.as_slice() {
            let MixingConfig { agreement: at, weight_agreement: weight, .. } = plan.copies.mixing;
            let apart = disagreement(agreeing(first, at), agreeing(second, at));
            total = total + apart.clone() * weight;
            parts.push(("loss_agreement", apart));
        }
        let predicted = outputs.into_iter().next().map(|output| sigmoid(output.logits));
        let pictures = [("image", image), ("target", Some(target)), ("prediction", predicted)];
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts,
            pictures: pictures.into_iter().filter_map(|(name, x)| Some((name, shown(x?)))).collect(),
        }
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
}
