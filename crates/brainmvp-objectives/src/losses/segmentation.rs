//! Segmentation: overlap and cross-entropy of each class.

use brainmvp_kernels::ops::ranks::sum;
use brainmvp_ranks::Ranks;
use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, softplus};

/// Share of the Dice loss; the rest is cross-entropy.
const DICE_SHARE: f32 = 0.7;
/// Added to both sides of the Dice ratio.
const SMOOTH: f32 = 1.0;

/// What a batch is compared with.
#[derive(Debug, Clone)]
pub struct SegmentationTarget {
    /// Membership in the classes, `[B, D, H, W, classes]`, 0 or 1; classes may overlap.
    pub members: Tensor<5>,
    /// 1 where the label is known and 0 where the voxel counts in no loss, `[B, D, H, W, 1]`; `None` where all are known.
    pub known: Option<Tensor<5>>,
    /// Those that share the batch.
    ranks: Ranks,
}

impl SegmentationTarget {
    /// A target of the voxels whose label is known, if not all are.
    pub fn new(members: Tensor<5>, known: Option<Tensor<5>>) -> Self {
        Self { members, known, ranks: Ranks::alone() }
    }

    /// The target of one rank's share of a batch. The losses are then those of the whole batch on each rank.
    #[must_use]
    pub fn shared_by(self, ranks: &Ranks) -> Self {
        Self { ranks: ranks.clone(), ..self }
    }

    /// The same target for `count` copies of the batch, one after the other.
    #[must_use]
    pub fn repeated(&self, count: usize) -> Self {
        let repeat = |x: &Tensor<5>| Tensor::cat(vec![x.clone(); count], 0);
        let known = self.known.as_ref().map(repeat);
        Self::new(repeat(&self.members), known).shared_by(&self.ranks)
    }

    /// `x` where the label is known, 0 elsewhere.
    fn where_known(&self, x: Tensor<5>) -> Tensor<5> {
        match &self.known {
            Some(known) => x * known.clone(),
            None => x,
        }
    }
}

impl From<Tensor<5>> for SegmentationTarget {
    /// A target that is known everywhere.
    fn from(members: Tensor<5>) -> Self {
        Self::new(members, None)
    }
}

/// 0.7 of [`dice`] and 0.3 of [`cross_entropy`], mean over the classes. Voxels without a known label have no part in it.
///
/// # Shapes
/// - `logits`: `[B, D, H, W, classes]`; the result is `[1]`
pub fn segmentation(logits: Tensor<5>, target: &SegmentationTarget) -> Tensor<1> {
    dice(logits.clone(), target) * DICE_SHARE + cross_entropy(logits, target) * (1.0 - DICE_SHARE)
}

/// `1 - (2 sum(p t) + 1) / (sum(p p) + sum(t t) + 1)` of the probabilities p and the target t of each class, over all
/// known voxels of the batch; mean over the classes. Squares as in V-Net (Milletari et al. 2016).
///
/// # Shapes
/// As [`segmentation`].
pub fn dice(logits: Tensor<5>, target: &SegmentationTarget) -> Tensor<1> {
    let probability: Tensor<2> = target.where_known(sigmoid(logits)).flatten(0, 3);
    let truth: Tensor<2> = target.where_known(target.members.clone()).flatten(0, 3);
    let product = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(0);
    let overlap = product(&probability, &truth) * 2.0;
    let volume = product(&probability, &probability) + product(&truth, &truth);
    let both = sum(Tensor::cat(vec![overlap, volume], 0), &target.ranks) + SMOOTH;
    (both.clone().narrow(0, 0, 1) / both.narrow(0, 1, 1)).mean() * -1.0 + 1.0
}

/// Binary cross-entropy, mean over known voxels and classes; 0 if no voxel is known.
///
/// # Shapes
/// As [`segmentation`].
pub fn cross_entropy(logits: Tensor<5>, target: &SegmentationTarget) -> Tensor<1> {
    // -t log(p) - (1 - t) log(1 - p), without the logarithm of a rounded probability.
    let entropy = softplus(logits.clone(), 1.0) - logits * target.members.clone();
    let [batch, d, h, w, classes] = entropy.dims();
    let known = match &target.known {
        Some(known) => known.clone().sum(),
        None if target.ranks.is_alone() => return entropy.mean(),
        None => Tensor::from_floats([(batch * d * h * w) as f32], &entropy.device()),
    };
    let ranks = target.ranks.count() as f32;
    let count = (sum(known, &target.ranks) * classes as f32).clamp_min(1.0);
    target.where_known(entropy).sum() * ranks / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn volume(values: &[f32]) -> Tensor<5> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len(), 1]), &Device::flex())
    }

    fn target(values: &[f32]) -> SegmentationTarget {
        volume(values).into()
    }

    #[test]
    fn voxels_of_unknown_label_count_nowhere() {
        let known = SegmentationTarget::new(volume(&[1.0, 0.0, 0.0]), Some(volume(&[1.0, 0.0, 1.0])));
        for loss in [segmentation, dice, cross_entropy] {
            let of = |logits: &[f32], target: &SegmentationTarget| -> f32 {
                loss(volume(logits), target).into_scalar()
            };
            let without = of(&[0.5, -1.0], &target(&[1.0, 0.0]));
            for odd in [-30.0, 0.0, 30.0] {
                let with = of(&[0.5, odd, -1.0], &known);
                assert!((with - without).abs() < 1e-6, "{odd}: {with} {without}");
            }
            let nothing = SegmentationTarget::new(volume(&[0.0]), Some(volume(&[0.0])));
            assert!(of(&[3.0], &nothing).abs() < 1e-6);
        }
    }

    #[test]
    fn voxels_of_unknown_label_have_no_gradient() {
        let device = Device::flex().autodiff();
        let on = |values: &[f32]| -> Tensor<5> {
            Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len(), 1]), &device)
        };
        let logits = on(&[0.5, 2.0, -1.0]).require_grad();
        let target = SegmentationTarget::new(on(&[1.0, 0.0, 0.0]), Some(on(&[1.0, 0.0, 1.0])));
        let gradients = segmentation(logits.clone(), &target).backward();
        let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        assert!(gradient[1] == 0.0 && gradient[0] < 0.0 && gradient[2] > 0.0, "{gradient:?}");
    }

    #[test]
    fn by_hand() {
        // Probabilities 1/2, 1/2 and targets 1, 0: (2 x 0.5 + 1) / (0.5 + 1 + 1).
        let (logits, target) = (volume(&[0.0, 0.0]), target(&[1.0, 0.0]));
        let loss: f32 = dice(logits.clone(), &target).into_scalar();
        assert!((loss - 0.2).abs() < 1e-6, "{loss}");
        let loss: f32 = cross_entropy(logits, &target).into_scalar();
        assert!((loss - 2.0f32.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn certain_answers_and_empty_targets_are_finite() {
        let some = target(&[1.0, 0.0, 1.0]);
        let right: f32 = segmentation(volume(&[200.0, -200.0, 200.0]), &some).into_scalar();
        let wrong: f32 = segmentation(volume(&[-200.0, 200.0, -200.0]), &some).into_scalar();
        assert!(right.abs() < 1e-6 && wrong > 50.0 && wrong.is_finite(), "{right} {wrong}");
        let empty: f32 = dice(volume(&[-200.0; 3]), &target(&[0.0; 3])).into_scalar();
        assert!(empty.abs() < 1e-6, "{empty}");
    }
}
