//! Contrast between groups: what belongs together is alike, everything else is not (Khosla et al., NeurIPS 2020).

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use super::contrast::LEFT_OUT;

/// Cross-entropy of the cosines between each row and all others, the rows of its own group being the right answers, each as
/// good as the other; mean over the rows that have any. 0 if none has.
///
/// Where the groups are the two views of each sample, this is NT-Xent (Chen et al., ICML 2020).
///
/// # Shapes
/// - `rows`: vectors of length 1, `[N, F]`; `groups`: N, the group of each; the result is `[1]`
pub fn supervised_contrast(rows: Tensor<2>, groups: &[usize], temperature: f32) -> Tensor<1> {
    let (count, device) = (groups.len(), rows.device());
    let others = |row: usize| (0..count).filter(move |&other| other != row && groups[other] == groups[row]);
    let positives: Vec<usize> = (0..count).map(|row| others(row).count()).collect();
    let anchors = positives.iter().filter(|&&count| count > 0).count();
    let (mut weights, mut offsets) = (vec![0.0_f32; count * count], vec![0.0_f32; count * count]);
    for row in 0..count {
        offsets[row * count + row] = LEFT_OUT;
        for other in others(row) {
            weights[row * count + other] = 1.0 / (positives[row] * anchors) as f32;
        }
    }
    let square = |values| Tensor::<2>::from_data(TensorData::new(values, [count, count]), &device);
    let logits = rows.clone().matmul(rows.transpose()) / temperature + square(offsets);
    (log_softmax(logits, 1) * square(weights)).sum() * -1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn loss<const N: usize>(rows: [[f32; 2]; N], groups: [usize; N]) -> f32 {
        let rows = Tensor::from_data(TensorData::from(rows), &Device::flex());
        supervised_contrast(rows, &groups, 0.5).into_scalar()
    }

    const E1: [f32; 2] = [1.0, 0.0];
    const E2: [f32; 2] = [0.0, 1.0];

    #[test]
    fn two_views_of_two_samples() {
        // First all first views, then all second ones.
        assert!((loss([E1, E2, E1, E2], [0, 1, 0, 1]) - 0.239_545).abs() < 1e-6);
        assert!((loss([E1; 4], [0, 1, 0, 1]) - 3.0f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn rows_without_another_of_their_group_are_left_out() {
        assert!((loss([E1, E1, E2], [0, 0, 1]) - 0.126_928).abs() < 1e-6);
        assert_eq!(loss([E1, E2, E2], [0, 1, 2]), 0.0);
        assert_eq!(loss([E1], [0]), 0.0);
    }

    #[test]
    fn all_of_a_group_count_alike() {
        // Three of a group, one of them opposite to the others: each has a near and a far answer, or two far ones.
        let far = [-1.0, 0.0];
        let e = |x: f32| x.exp();
        let near_and_far =
            -f32::midpoint((e(2.0) / (e(2.0) + e(-2.0))).ln(), (e(-2.0) / (e(2.0) + e(-2.0))).ln());
        let expected = (2.0 * near_and_far + 2.0f32.ln()) / 3.0;
        assert!((loss([E1, E1, far], [4, 4, 4]) - expected).abs() < 1e-5);
    }
}
