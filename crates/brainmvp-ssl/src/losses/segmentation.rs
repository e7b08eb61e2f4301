//! Segmentation: overlap and cross-entropy of each class.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, softplus};

/// Share of the Dice loss; the rest is cross-entropy.
const DICE_SHARE: f32 = 0.7;
/// Added to both sides of the Dice ratio.
const SMOOTH: f32 = 1.0;

/// 0.7 of [`dice`] and 0.3 of [`cross_entropy`], mean over the classes.
///
/// # Shapes
/// - both `[B, D, H, W, classes]`, the target 0 or 1; classes may overlap; the result is `[1]`
pub fn segmentation(logits: Tensor<5>, target: Tensor<5>) -> Tensor<1> {
    dice(logits.clone(), target.clone()) * DICE_SHARE + cross_entropy(logits, target) * (1.0 - DICE_SHARE)
}

/// `1 - (2 sum(p t) + 1) / (sum(p p) + sum(t t) + 1)` of the probabilities p and the target t of each class, over all
/// voxels of the batch; mean over the classes. Squares as in V-Net (Milletari et al. 2016).
///
/// # Shapes
/// As [`segmentation`].
pub fn dice(logits: Tensor<5>, target: Tensor<5>) -> Tensor<1> {
    let probability: Tensor<2> = sigmoid(logits).flatten(0, 3);
    let target: Tensor<2> = target.flatten(0, 3);
    let sum = |a: &Tensor<2>, b: &Tensor<2>| (a.clone() * b.clone()).sum_dim(0);
    let overlap = sum(&probability, &target) * 2.0 + SMOOTH;
    let volume = sum(&probability, &probability) + sum(&target, &target) + SMOOTH;
    (overlap / volume).mean() * -1.0 + 1.0
}

/// Binary cross-entropy, mean over voxels and classes.
///
/// # Shapes
/// As [`segmentation`].
pub fn cross_entropy(logits: Tensor<5>, target: Tensor<5>) -> Tensor<1> {
    // -t log(p) - (1 - t) log(1 - p), without the logarithm of a rounded probability.
    (softplus(logits.clone(), 1.0) - logits * target).mean()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn volume(values: &[f32]) -> Tensor<5> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, values.len(), 1]), &Device::flex())
    }

    #[test]
    fn by_hand() {
        // Probabilities 1/2, 1/2 and targets 1, 0: (2 x 0.5 + 1) / (0.5 + 1 + 1).
        let (logits, target) = (volume(&[0.0, 0.0]), volume(&[1.0, 0.0]));
        let loss: f32 = dice(logits.clone(), target.clone()).into_scalar();
        assert!((loss - 0.2).abs() < 1e-6, "{loss}");
        let loss: f32 = cross_entropy(logits, target).into_scalar();
        assert!((loss - 2.0f32.ln()).abs() < 1e-6, "{loss}");
    }

    #[test]
    fn certain_answers_and_empty_targets_are_finite() {
        let target = volume(&[1.0, 0.0, 1.0]);
        let right: f32 = segmentation(volume(&[200.0, -200.0, 200.0]), target.clone()).into_scalar();
        let wrong: f32 = segmentation(volume(&[-200.0, 200.0, -200.0]), target).into_scalar();
        assert!(right.abs() < 1e-6 && wrong > 50.0 && wrong.is_finite(), "{right} {wrong}");
        let empty: f32 = dice(volume(&[-200.0; 3]), volume(&[0.0; 3])).into_scalar();
        assert!(empty.abs() < 1e-6, "{empty}");
    }
}
