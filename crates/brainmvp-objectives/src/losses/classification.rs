//! Classification: cross-entropy.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

/// Cross-entropy of the class of each case, times the weight of the case; mean over the cases. A case of no known class
/// counts as 0.
///
/// Weights of mean 1 give the weighted cross-entropy of PyTorch, which divides by their sum.
///
/// # Shapes
/// - `logits`: `[B, classes]`; `classes` and `weights`: B of them; the result is `[1]`
pub fn classification(logits: Tensor<2>, classes: &[Option<usize>], weights: &[f32]) -> Tensor<1> {
    let [batch, count] = logits.dims();
    let mut weighted = vec![0.0; batch * count];
    for (case, (class, weight)) in classes.iter().zip(weights).enumerate() {
        if let Some(class) = class {
            weighted[case * count + class] = *weight;
        }
    }
    let weighted = Tensor::from_data(TensorData::new(weighted, [batch, count]), &logits.device());
    (log_softmax(logits, 1) * weighted).sum() / -(batch as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn by_hand() {
        // Softmax of (0, ln 3) is (1/4, 3/4).
        let logits = [[0.0, 3.0f32.ln()], [0.0, 3.0f32.ln()], [5.0, 1.0]];
        let logits = Tensor::from_data(TensorData::from(logits), &Device::flex());
        let loss: f32 = classification(logits, &[Some(0), Some(1), None], &[1.5, 0.5, 7.0]).into_scalar();
        let expected = (1.5 * 4.0f32.ln() + 0.5 * (4.0f32 / 3.0).ln()) / 3.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
    }
}
