//! How alike two images on one grid are, voxel by voxel.

use std::iter::zip;

use rayon::prelude::*;

/// Pearson's correlation of the voxels where `mask` is true; 0 where either image has one value only.
///
/// It is blind to brightness and contrast: only the pattern counts.
pub fn correlation(a: &[f32], b: &[f32], mask: &[bool]) -> f64 {
    let pairs = || {
        let pairs = zip(zip(a, b), mask).filter(|(_, inside)| **inside);
        pairs.map(|((a, b), _)| [f64::from(*a), f64::from(*b)])
    };
    let (count, sums) = pairs()
        .fold((0usize, [0.0; 2]), |(count, sums), pair| (count + 1, [sums[0] + pair[0], sums[1] + pair[1]]));
    let means = sums.map(|sum| sum / count.max(1) as f64);
    let [mut squares_a, mut squares_b, mut products] = [0.0; 3];
    for pair in pairs() {
        let [a, b] = [pair[0] - means[0], pair[1] - means[1]];
        squares_a += a * a;
        squares_b += b * b;
        products += a * b;
    }
    let spread = (squares_a * squares_b).sqrt();
    if spread > 0.0 { products / spread } else { 0.0 }
}

/// The structural similarity index of Wang et al. (IEEE Transactions on Image Processing 13(4), 2004) in three dimensions,
/// with the paper's constants and window: a Gaussian of standard deviation 1.5 voxels, cut off at 11 voxels along each
/// axis; K1 = 0.01, K2 = 0.03. Where the window leaves the image, what lies inside is weighted up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StructuralSimilarity {
    /// What the intensities span, L of the paper.
    pub range: f64,
}

impl StructuralSimilarity {
    /// Voxels of the window along an axis.
    pub const WINDOW: usize = 2 * Self::RADIUS + 1;
    /// Standard deviation of the window's weights, in voxels.
    pub const SIGMA: f64 = 1.5;
    /// Keeps the comparison of means stable.
    pub const K1: f64 = 0.01;
    /// Keeps the comparison of contrasts stable.
    pub const K2: f64 = 0.03;
    const RADIUS: usize = 5;

    /// The mean of the index over the voxels where `mask` is true, from -1 to 1; `None` if there are none. Images of
    /// `shape` (x, y, z) voxels, x fastest.
    pub fn mean(self, a: &[f32], b: &[f32], shape: [usize; 3], mask: &[bool]) -> Option<f64> {
        let inside = || zip(self.map(a, b, shape), mask).filter(|(_, inside)| **inside);
        let (sum, count) =
            inside().fold((0.0, 0usize), |(sum, count), (value, _)| (sum + f64::from(value), count + 1));
        (count > 0).then(|| sum / count as f64)
    }

    /// The index of every voxel.
    pub fn map(self, a: &[f32], b: &[f32], shape: [usize; 3]) -> Vec<f32> {
        let count = shape.iter().product::<usize>();
        assert!(a.len() == count && b.len() == count, "images of {shape:?} voxels");
        let local =
            |value: fn(f32, f32) -> f32| windowed(zip(a, b).map(|(a, b)| value(*a, *b)).collect(), shape);
        let (mean_a, mean_b) = (local(|a, _| a), local(|_, b| b));
        let (square_a, square_b, product) = (local(|a, _| a * a), local(|_, b| b * b), local(|a, b| a * b));
        let [c1, c2] = [Self::K1, Self::K2].map(|k| (k * self.range).powi(2));
        let index = |voxel: usize| {
            let at = |values: &[f32]| f64::from(values[voxel]);
            let (a, b) = (at(&mean_a), at(&mean_b));
            let variances = (at(&square_a) - a * a).max(0.0) + (at(&square_b) - b * b).max(0.0);
            let covariance = at(&product) - a * b;
            let index =
                (2.0 * a * b + c1) * (2.0 * covariance + c2) / ((a * a + b * b + c1) * (variances + c2));
            index as f32
        };
        (0..count).into_par_iter().map(index).collect()
    }
}

/// The weighted mean of the window around every voxel.
fn windowed(values: Vec<f32>, shape: [usize; 3]) -> Vec<f32> {
    let radius = StructuralSimilarity::RADIUS as isize;
    let weights: Vec<f32> = (-radius..=radius)
        .map(|offset| (-0.5 * (offset as f64 / StructuralSimilarity::SIGMA).powi(2)).exp() as f32)
        .collect();
    (0..3).fold(values, |values, axis| along(&values, shape, axis, &weights))
}

/// The weighted mean of the neighbours of every voxel along one axis, itself in the middle.
fn along(values: &[f32], shape: [usize; 3], axis: usize, weights: &[f32]) -> Vec<f32> {
    let [width, height, _] = shape;
    let stride = [1, width, width * height][axis] as isize;
    let mut means = vec![0.0; values.len()];
    means.par_chunks_mut(width.max(1)).enumerate().for_each(|(row, means)| {
        for (x, mean) in means.iter_mut().enumerate() {
            let place = [x, row % height, row / height][axis] as isize;
            let voxel = (row * width + x) as isize;
            let first = -(weights.len() as isize / 2);
            let (mut sum, mut total) = (0.0, 0.0);
            for (offset, weight) in (first..).zip(weights) {
                if (0..shape[axis] as isize).contains(&(place + offset)) {
                    sum += weight * values[(voxel + offset * stride) as usize];
                    total += weight;
                }
            }
            *mean = sum / total;
        }
    });
    means
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIMILARITY: StructuralSimilarity = StructuralSimilarity { range: 1.0 };

    fn image(shape: [usize; 3], seed: u32) -> Vec<f32> {
        let count = shape.iter().product::<usize>() as u32;
        (0..count)
            .map(|i| ((i + seed * 7919).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32)
            .collect()
    }

    #[test]
    fn constant_images_differ_by_the_comparison_of_means_alone() {
        let (shape, everywhere) = ([4, 5, 6], [true; 120]);
        let [a, b] = [0.3f32, 0.5].map(|value| vec![value; 120]);
        let expected = (2.0 * 0.3 * 0.5 + 1e-4) / (0.09 + 0.25 + 1e-4);
        let index = SIMILARITY.mean(&a, &b, shape, &everywhere).unwrap();
        assert!((index - expected).abs() < 1e-4, "{index}, expected {expected}");
        assert_eq!(correlation(&a, &b, &everywhere), 0.0);
    }

    /// A line of two voxels, worked out by hand: each window has the weights 1 and exp(-1 / 4.5), divided by their sum.
    #[test]
    fn two_voxels_by_hand() {
        let (a, b) = ([0.2f32, 0.6], [0.4f32, 0.5]);
        let far = (-1.0f64 / 4.5).exp();
        let (near, far) = (1.0 / (1.0 + far), far / (1.0 + far));
        let first = |[x, y]: [f64; 2]| near * x + far * y;
        let (mean_a, mean_b) = (first([0.2, 0.6]), first([0.4, 0.5]));
        let variance = |x: [f64; 2], mean: f64| first(x.map(|x| (x - mean).powi(2)));
        let (variance_a, variance_b) = (variance([0.2, 0.6], mean_a), variance([0.4, 0.5], mean_b));
        let covariance = first([(0.2 - mean_a) * (0.4 - mean_b), (0.6 - mean_a) * (0.5 - mean_b)]);
        let expected = (2.0 * mean_a * mean_b + 1e-4) * (2.0 * covariance + 9e-4)
            / ((mean_a.powi(2) + mean_b.powi(2) + 1e-4) * (variance_a + variance_b + 9e-4));
        for shape in [[2, 1, 1], [1, 2, 1], [1, 1, 2]] {
            let index = f64::from(SIMILARITY.map(&a, &b, shape)[0]);
            assert!((index - expected).abs() < 1e-4, "{index}, expected {expected}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn an_image_is_like_itself_and_likeness_is_mutual(
            shape in prop::array::uniform3(1usize..9), seed in 1u32..1000, shift in 0.05f32..0.5, gain in 0.1f32..3.0,
        ) {
            let (a, b) = (image(shape, seed), image(shape, seed + 1));
            let everywhere = vec![true; a.len()];
            let of = |a: &[f32], b: &[f32]| SIMILARITY.mean(a, b, shape, &everywhere).unwrap();
            prop_assert!((of(&a, &a) - 1.0).abs() < 1e-3);
            prop_assert!((of(&a, &b) - of(&b, &a)).abs() < 1e-6);
            // Another brightness lowers the index and leaves the correlation.
            let shifted: Vec<f32> = a.iter().map(|value| gain * value + shift).collect();
            let raised: Vec<f32> = a.iter().map(|value| value + shift).collect();
            prop_assert!(of(&a, &raised) < 1.0 - 1e-4);
            if a.len() > 1 {
                prop_assert!((correlation(&a, &shifted, &everywhere) - 1.0).abs() < 1e-5);
                prop_assert!((correlation(&a, &b, &everywhere) - correlation(&b, &a, &everywhere)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_mask_leaves_out_the_rest() {
        let (a, b) = ([1.0, 2.0, 3.0, 9.0], [2.0, 4.0, 6.0, -50.0]);
        assert!((correlation(&a, &b, &[true, true, true, false]) - 1.0).abs() < 1e-12);
        assert_eq!(SIMILARITY.mean(&a, &b, [4, 1, 1], &[false; 4]), None);
    }
}
