//! Reconstruction (BrainMVP eqs. 2 and 3).

use burn::tensor::Tensor;

/// Mean squared error over the whole patch, masked or not.
///
/// # Shapes
/// - both `[B, D, H, W, 1]`; the result is `[1]`
pub fn reconstruction(reconstructed: Tensor<5>, target: Tensor<5>) -> Tensor<1> {
    let difference = reconstructed - target;
    (difference.clone() * difference).mean()
}
