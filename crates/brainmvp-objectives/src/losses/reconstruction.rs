//! Reconstruction (BrainMVP eqs. 2 and 3).

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a reconstruction is from its target, over the whole patch, masked or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReconstructionNorm {
    /// Mean squared error.
    #[default]
    Squared,
    /// The equations as printed: the L2 norm of the difference, a sum over voxels under a root, and its mean over cases. It
    /// grows with the patch: a patch of 96^3 gives 940 times the root of its mean squared error.
    Unsquared,
}

/// Keeps the root differentiable if a reconstruction is perfect.
const SMALLEST_SQUARE: f32 = 1e-12;

/// How far reconstructions are from their targets.
///
/// # Shapes
/// - both `[B, D, H, W, 1]`; the result is `[1]`
pub fn reconstruction(reconstructed: Tensor<5>, target: Tensor<5>, norm: ReconstructionNorm) -> Tensor<1> {
    let difference = reconstructed - target;
    let squares = difference.clone() * difference;
    match norm {
        ReconstructionNorm::Squared => squares.mean(),
        ReconstructionNorm::Unsquared => {
            let by_case: Tensor<2> = squares.flatten(1, 4);
            (by_case.sum_dim(1) + SMALLEST_SQUARE).sqrt().mean()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn the_norm_is_the_root_of_the_sum_for_each_case() {
        let device = Device::flex();
        // Two cases of 8 voxels, off by 3 and by 1 everywhere.
        let off = |by: f32| Tensor::<5>::full([1, 2, 2, 2, 1], by, &device);
        let (reconstructed, target) =
            (Tensor::cat(vec![off(3.0), off(1.0)], 0), Tensor::zeros([2, 2, 2, 2, 1], &device));
        let loss = |norm| reconstruction(reconstructed.clone(), target.clone(), norm).into_scalar::<f32>();
        assert!((loss(ReconstructionNorm::Squared) - 5.0).abs() < 1e-6);
        assert!((loss(ReconstructionNorm::Unsquared) - 2.0 * 8f32.sqrt()).abs() < 1e-5);
    }

    #[test]
    fn a_perfect_reconstruction_has_a_gradient() {
        let device = Device::flex().autodiff();
        let x = Tensor::<5>::ones([1, 2, 2, 2, 1], &device).require_grad();
        let loss = reconstruction(x.clone(), x.clone().detach(), ReconstructionNorm::Unsquared);
        let gradient = x.grad(&loss.backward()).map(|g| g.abs().max().into_scalar::<f32>());
        assert_eq!(gradient, Some(0.0));
    }
}
