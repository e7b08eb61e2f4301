//! Upsampling without parameters.

use burn::tensor::{Tensor, TensorData};

/// Trilinear interpolation to `factor` times the size. The first and the last voxels of each axis stay where they are
/// (PyTorch's `align_corners`).
///
/// # Shapes
/// `[B, D, H, W, C]` to `[B, factor D, factor H, factor W, C]`
pub fn trilinear_upsample(x: Tensor<5>, factor: usize) -> Tensor<5> {
    let [_, d, h, w, _] = x.dims();
    trilinear_resize(x, [factor * d, factor * h, factor * w])
}

/// Trilinear interpolation to another size; see [`trilinear_upsample`].
///
/// # Shapes
/// `[B, D, H, W, C]` to `[B, size.., C]`
pub fn trilinear_resize(x: Tensor<5>, size: [usize; 3]) -> Tensor<5> {
    // The last axis first, so that the longer products are those of small volumes.
    [3, 2, 1].into_iter().fold(x, |x, axis| interpolate(x, axis, size[axis - 1]))
}

/// Linear interpolation along one axis, which is a product with the matrix of its weights.
fn interpolate(x: Tensor<5>, axis: usize, to: usize) -> Tensor<5> {
    let mut shape = x.dims();
    let size = shape[axis];
    let (before, after) = (shape[..axis].iter().product::<usize>(), shape[axis + 1..].iter().product());
    shape[axis] = to;
    let weights = TensorData::new(linear_weights(size, to), [1, to, size]);
    let weights = Tensor::<3>::from_data(weights, &x.device());
    weights.matmul(x.reshape([before, size, after])).reshape(shape)
}

/// The weights of `from` voxels in `to` positions, `[to, from]`.
fn linear_weights(from: usize, to: usize) -> Vec<f32> {
    let mut weights = vec![0.0; to * from];
    for (index, row) in weights.chunks_exact_mut(from.max(1)).enumerate() {
        let place = (index * (from - 1)) as f64 / (to - 1).max(1) as f64;
        let below = place as usize;
        let share = place - below as f64;
        row[below] += (1.0 - share) as f32;
        row[(below + 1).min(from - 1)] += share as f32;
    }
    weights
}

/// Every voxel becomes a block of eight.
///
/// # Shapes
/// `[B, D, H, W, C]` to `[B, 2D, 2H, 2W, C]`
pub fn nearest_upsample(x: Tensor<5>) -> Tensor<5> {
    [3, 2, 1].into_iter().fold(x, |x, axis| {
        let mut shape = x.dims();
        let (before, after) = (shape[..=axis].iter().product::<usize>(), shape[axis + 1..].iter().product());
        shape[axis] *= 2;
        let rows: Tensor<3> = x.reshape([before, 1, after]);
        Tensor::cat(vec![rows.clone(), rows], 1).reshape(shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    /// A linear function of the position stays linear: its corners stay, and its steps shrink.
    #[test]
    fn trilinear_keeps_linear_functions() {
        let device = Device::flex();
        let linear = |[d, h, w]: [usize; 3], [sd, sh, sw]: [f32; 3]| {
            let mut out = Vec::new();
            for z in 0..d {
                for y in 0..h {
                    for x in 0..w {
                        let value = 3.0 + sd * z as f32 - sh * y as f32 + 2.0 * sw * x as f32;
                        out.extend([value, -value]);
                    }
                }
            }
            Tensor::<5>::from_data(TensorData::new(out, [1, d, h, w, 2]), &device)
        };
        for factor in [2, 4] {
            let (small, large) = ([3, 5, 4], [3 * factor, 5 * factor, 4 * factor]);
            let step = |i: usize| (small[i] - 1) as f32 / (large[i] - 1) as f32;
            let got = values(trilinear_upsample(linear(small, [1.0; 3]), factor));
            let expected = values(linear(large, [step(0), step(1), step(2)]));
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn a_single_voxel_fills_all() {
        let one = Tensor::<5>::full([1, 1, 1, 1, 1], 7.0, &Device::flex());
        assert!(values(trilinear_upsample(one, 4)).iter().all(|&v| v == 7.0));
    }

    #[test]
    fn nearest_repeats_each_voxel() {
        let device = Device::flex();
        let x = Tensor::<5>::random([2, 3, 1, 4, 5], Distribution::Default, &device);
        let large = nearest_upsample(x.clone());
        assert_eq!(large.dims(), [2, 6, 2, 8, 5]);
        let (small, large) = (values(x), values(large));
        for (at, value) in large.iter().enumerate() {
            let (c, w, h, d, b) = (at % 5, at / 5 % 8, at / 40 % 2, at / 80 % 6, at / 480);
            assert_eq!(*value, small[(((b * 3 + d / 2) + h / 2) * 4 + w / 2) * 5 + c]);
        }
    }
}
