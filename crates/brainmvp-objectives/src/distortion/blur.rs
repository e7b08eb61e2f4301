//! Smoothing by a Gaussian.

/// The weights of a Gaussian up to four deviations, from the middle on; all of them together are 1.
pub(super) fn gaussian(sigma: f64) -> Vec<f64> {
    let half: Vec<f64> =
        (0..=(4.0 * sigma).ceil() as usize).map(|i| (-0.5 * (i as f64 / sigma).powi(2)).exp()).collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    half.into_iter().map(|weight| weight / sum).collect()
}

/// A patch smoothed by a Gaussian of deviation `sigma` voxels. Outside it is as at its border.
pub fn blur(voxels: &[f32], size: [usize; 3], sigma: f64) -> Vec<f32> {
    let weights: Vec<f32> = gaussian(sigma).into_iter().map(|weight| weight as f32).collect();
    (0..3).fold(voxels.to_vec(), |voxels, axis| along(&voxels, size, axis, &weights))
}

/// Weighted sums along one axis.
fn along(voxels: &[f32], size: [usize; 3], axis: usize, weights: &[f32]) -> Vec<f32> {
    let step: usize = size[..axis].iter().product();
    let (length, reach) = (size[axis] * step, weights.len() - 1);
    let mut out = vec![0.0; voxels.len()];
    let mut wide = Vec::with_capacity(length + 2 * reach * step);
    for (lines, out) in voxels.chunks_exact(length).zip(out.chunks_exact_mut(length)) {
        wide.clear();
        (0..reach).for_each(|_| wide.extend_from_slice(&lines[..step]));
        wide.extend_from_slice(lines);
        (0..reach).for_each(|_| wide.extend_from_slice(&lines[length - step..]));
        for place in 0..=2 * reach {
            let weight = weights[place.abs_diff(reach)];
            let shifted = &wide[place * step..][..length];
            out.iter_mut().zip(shifted).for_each(|(sum, value)| *sum += weight * value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_becomes_a_gaussian() {
        let (size, sigma) = ([17, 19, 21], 1.3);
        let mut point = vec![0.0; size.iter().product()];
        point[(10 * 19 + 9) * 17 + 8] = 1.0;
        let smooth = blur(&point, size, sigma);
        let density = |r2: f64| (-0.5 * r2 / sigma / sigma).exp();
        let norm: f64 = (-12..=12).map(|i: i32| density(f64::from(i * i))).sum::<f64>().powi(3);
        for (i, value) in smooth.iter().enumerate() {
            let at = [i % 17, i / 17 % 19, i / (17 * 19)];
            let r2: f64 = at.into_iter().zip([8.0, 9.0, 10.0]).map(|(a, b)| (a as f64 - b).powi(2)).sum();
            assert!((f64::from(*value) - density(r2) / norm).abs() < 1e-5, "{at:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_equal_everywhere_stays(value in -2.0f32..2.0, sigma in 0.1f64..3.0, size in prop::array::uniform3(1usize..6)) {
            let voxels = vec![value; size.iter().product()];
            prop_assert!(blur(&voxels, size, sigma).iter().all(|v| (v - value).abs() < 1e-5));
        }
    }
}
