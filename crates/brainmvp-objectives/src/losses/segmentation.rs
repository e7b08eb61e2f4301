//! Segmentation: overlap and cross-entropy of each class.

use brainmvp_kernels::ops::overlap_sums;
use brainmvp_kernels::ops::ranks::sum;
use brainmvp_ranks::Ranks;
use burn::tensor::Tensor;

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

    /// What the losses of logits are made of.
    fn sums(&self, logits: Tensor<5>) -> Sums {
        let members = match &self.known {
            // -1 where it is not.
            Some(known) => self.members.clone() * known.clone() + (known.clone() - 1.0),
            None => self.members.clone(),
        };
        Sums(overlap_sums(logits, members))
    }

    /// Voxels of all ranks whose label is known, `[1]`.
    fn known_voxels(&self) -> Tensor<1> {
        let [batch, d, h, w, _] = self.members.dims();
        let known = match &self.known {
            Some(known) => known.clone().sum(),
            None => Tensor::from_floats([(batch * d * h * w) as f32], &self.members.device()),
        };
        sum(known, &self.ranks)
    }
}

/// For each class, the sums over known voxels that [`overlap_sums`] makes, `[4, classes]`.
struct Sums(Tensor<2>);

impl Sums {
    fn dice(&self, target: &SegmentationTarget) -> Tensor<1> {
        let both = sum(self.0.clone().narrow(0, 0, 3), &target.ranks);
        let of = |row: usize| both.clone().narrow(0, row, 1);
        let ratio = (of(0) * 2.0 + SMOOTH) / (of(1) + of(2) + SMOOTH);
        ratio.mean() * -1.0 + 1.0
    }

    fn cross_entropy(&self, target: &SegmentationTarget) -> Tensor<1> {
        let entropy = self.0.clone().narrow(0, 3, 1);
        let classes = entropy.dims()[1] as f32;
        let count = (target.known_voxels() * classes).clamp_min(1.0);
        entropy.sum() * target.ranks.count() as f32 / count
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
    let sums = target.sums(logits);
    sums.dice(target) * DICE_SHARE + sums.cross_entropy(target) * (1.0 - DICE_SHARE)
}

/// `1 - (2 sum(p t) + 1) / (sum(p p) + sum(t t) + 1)` of the probabilities p and the target t of each class, over all
/// known voxels of the batch; mean over the classes. Squares as in V-Net (Milletari et al. 2016).
///
/// # Shapes
/// As [`segmentation`].
pub fn dice(logits: Tensor<5>, target: &SegmentationTarget) -> Tensor<1> {
    target.sums(logits).dice(target)
}

/// Binary cross-entropy, mean over known voxels and classes; 0 if no voxel is known.
///
/// # Shapes
/// As [`segmentation`].
pub fn cross_entropy(logits: Tensor<5>, target: &SegmentationTarget) -> Tensor<1> {
    target.sums(logits).cross_entropy(target)
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
