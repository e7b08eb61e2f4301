//! The loss of one case: how alike crops are says how much they overlap.

use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};

/// Added to what a logarithm is taken of, and to what is divided by.
const SMALL: f32 = 1e-6;

/// The terms of the loss, `[1]` each.
pub(super) struct Terms {
    /// Random crops and base crops that overlap are as alike as they overlap.
    pub(super) overlapping: Tensor<1>,
    /// Those that do not overlap are not alike.
    pub(super) apart: Tensor<1>,
    /// Base crops are not alike.
    pub(super) bases: Tensor<1>,
}

/// How alike two sets of rows of length 1 are: their cosines, those below 0 as 0.
pub(super) fn likeness(first: Tensor<2>, second: Tensor<2>) -> Tensor<2> {
    relu(first.matmul(second.transpose()))
}

/// The terms that compare random crops with base crops.
///
/// # Shapes
/// - `likeness`: `[crops, bases]`; `overlaps`: as many
pub(super) fn of_crops(likeness: Tensor<2>, overlaps: &[f32]) -> [Tensor<1>; 2] {
    let (shape, device) = (likeness.dims(), likeness.device());
    let tensor = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, shape), &device);
    let sum: f32 = overlaps.iter().sum();
    let without: Vec<f32> = overlaps.iter().map(|q| f32::from(u8::from(*q == 0.0))).collect();
    let count = without.iter().sum::<f32>().max(1.0);
    let shares = tensor(overlaps.to_vec());
    let agreement = (shares.clone() - likeness.clone()).abs() * -1.0 + (1.0 + SMALL);
    // A cosine may exceed 1 by rounding.
    let overlapping = (agreement.clamp_min(SMALL).log() * shares).sum() / -(sum + SMALL);
    let apart = (likeness.clone() * likeness * tensor(without)).sum() / count;
    [overlapping, apart]
}

/// The mean squared likeness of all pairs of rows, `[bases, F]`. `detached`: of each pair, only the first has a gradient.
pub(super) fn of_bases(rows: Tensor<2>, detached: bool) -> Tensor<1> {
    let (count, device) = (rows.dims()[0], rows.device());
    let pair = |index: usize| f32::from(u8::from(index / count < index % count));
    let pairs: Vec<f32> = (0..count * count).map(pair).collect();
    let pairs = Tensor::<2>::from_data(TensorData::new(pairs, [count, count]), &device);
    let second = if detached { rows.clone().detach() } else { rows.clone() };
    let likeness = likeness(rows, second);
    (likeness.clone() * likeness * pairs).sum() / ((count * (count - 1)) as f32 / 2.0).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn terms<const N: usize>(overlaps: [f32; N], likeness: [f32; N]) -> [f32; 2] {
        let likeness = Tensor::from_data(TensorData::from([likeness]), &Device::flex());
        of_crops(likeness, &overlaps).map(Tensor::into_scalar)
    }

    #[test]
    fn crops_by_hand() {
        let [overlapping, apart] = terms([1.0, 0.0], [1.0, 0.0]);
        assert!(overlapping.abs() < 2e-6 && apart == 0.0, "{overlapping} {apart}");
        let [overlapping, apart] = terms([0.5, 0.5], [0.5, 0.0]);
        assert!((overlapping - 0.346_572).abs() < 1e-6 && apart == 0.0, "{overlapping} {apart}");
        let [_, apart] = terms([1.0, 0.0, 0.0], [1.0, 0.5, 0.1]);
        assert!((apart - 0.13).abs() < 1e-6, "{apart}");
        // The worst is finite.
        let [overlapping, _] = terms([1.0], [-0.000_01]);
        assert!((overlapping - 1e6f32.ln()).abs() < 0.01, "{overlapping}");
    }

    #[test]
    fn bases_that_are_alike_are_punished() {
        let device = Device::flex();
        let of = |rows: [[f32; 2]; 3], detached| -> f32 {
            of_bases(Tensor::from_data(TensorData::from(rows), &device), detached).into_scalar()
        };
        for detached in [false, true] {
            assert!((of([[1.0, 0.0]; 3], detached) - 1.0).abs() < 1e-6);
            assert_eq!(of([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], detached), 0.0);
        }
    }

    #[test]
    fn the_second_of_a_detached_pair_has_no_gradient() {
        let device = Device::flex().autodiff();
        let slopes = |detached| -> Vec<f32> {
            let rows = [[1.0, 0.0], [0.6, 0.8]];
            let rows = Tensor::<2>::from_data(TensorData::from(rows), &device).require_grad();
            let gradients = of_bases(rows.clone(), detached).backward();
            rows.grad(&gradients).unwrap().into_data().try_to_vec().unwrap()
        };
        // The slope of (a b)^2 is 2 (a b) b for a.
        let expected = [1.2 * 0.6, 1.2 * 0.8, 1.2, 0.0];
        let near =
            |found: &[f32], expected: &[f32]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(near(&slopes(false), &expected));
        assert!(near(&slopes(true), &[expected[0], expected[1], 0.0, 0.0]));
    }
}
