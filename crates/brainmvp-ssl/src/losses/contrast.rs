//! Contrast between the two views (BrainMVP eq. 4).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

/// Added to a logit, it leaves nothing of it in a softmax.
const LEFT_OUT: f32 = -1e9;

/// Symmetric cross-entropy of the cosine similarities between all first and all second views, each case's own pair
/// being the right answer. Negatives are the other cases: where a case is in the batch twice, its samples are not
/// held against each other. 0 for a batch of one case.
///
/// # Shapes
/// - `first`, `second`: deepest features `[B, D, H, W, C]`; `cases`: B names; the result is `[1]`
pub fn contrast<S: PartialEq>(
    first: Tensor<5>,
    second: Tensor<5>,
    cases: &[S],
    temperature: f32,
) -> Tensor<1> {
    let batch = cases.len();
    let logits = unit_rows(first).matmul(unit_rows(second).transpose()) / temperature;
    let left_out = |i: usize, j: usize| if i != j && cases[i] == cases[j] { LEFT_OUT } else { 0.0 };
    let offsets: Vec<f32> = (0..batch * batch).map(|pair| left_out(pair / batch, pair % batch)).collect();
    let logits =
        logits.clone() + Tensor::from_data(TensorData::new(offsets, [batch, batch]), &logits.device());
    let diagonal = Tensor::<2>::eye(batch, &logits.device());
    let agreement = |logits: Tensor<2>| (log_softmax(logits, 1) * diagonal.clone()).sum() / batch as f32;
    (agreement(logits.clone()) + agreement(logits.transpose())) * -0.5
}

/// Each sample as one vector of length 1.
fn unit_rows(features: Tensor<5>) -> Tensor<2> {
    let rows: Tensor<2> = features.flatten(1, 4);
    let length = (rows.clone() * rows.clone()).sum_dim(1).sqrt().clamp_min(1e-12);
    rows / length
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn features(batch: usize, device: &Device) -> Tensor<5> {
        Tensor::random([batch, 2, 2, 2, 8], Distribution::Normal(0.0, 1.0), device)
    }

    #[test]
    fn alone_there_is_nothing_to_tell_apart() {
        let device = Device::flex();
        let loss: f32 = contrast(features(1, &device), features(1, &device), &[0], 1.0).into_scalar();
        assert!(loss.abs() < 1e-6);
    }

    #[test]
    fn equal_views_agree_better_than_exchanged_ones() {
        let device = Device::flex();
        device.seed(5);
        let views = features(3, &device);
        let exchanged = views.clone().flip([0]);
        let same: f32 = contrast(views.clone(), views.clone(), &[0, 1, 2], 0.1).into_scalar();
        let wrong: f32 = contrast(views.clone(), exchanged.clone(), &[0, 1, 2], 0.1).into_scalar();
        assert!(same < 0.1 && wrong > 1.0, "{same} {wrong}");
        let alone: f32 = contrast(views, exchanged, &[7, 7, 7], 0.1).into_scalar();
        assert!(alone.abs() < 1e-6, "a case is no negative of itself: {alone}");
    }
}
