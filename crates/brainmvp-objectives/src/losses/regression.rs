//! Regression: the difference of numbers.

use burn::tensor::{Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a difference counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RegressionLoss {
    /// Its absolute value: what the mean absolute error measures. A few extreme cases do not outweigh the others.
    #[default]
    Absolute,
    /// Its square.
    Squared,
}

/// The mean loss of the cases.
///
/// # Shapes
/// - `predicted`: `[B, 1]`; `truth`: B numbers; the result is `[1]`
pub fn regression(predicted: Tensor<2>, truth: &[f32], loss: RegressionLoss) -> Tensor<1> {
    let truth = TensorData::new(truth.to_vec(), [truth.len(), 1]);
    let truth = Tensor::from_data(truth, &predicted.device());
    let difference = predicted - truth;
    match loss {
        RegressionLoss::Absolute => difference.abs().mean(),
        RegressionLoss::Squared => (difference.clone() * difference).mean(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn by_hand() {
        let predicted = || Tensor::from_data(TensorData::from([[1.0f32], [-2.0]]), &Device::flex());
        let of = |loss| regression(predicted(), &[0.5, 1.0], loss).into_scalar::<f32>();
        assert!((of(RegressionLoss::Absolute) - 1.75).abs() < 1e-6);
        assert!((of(RegressionLoss::Squared) - 4.625).abs() < 1e-6);
    }
}
