//! Pooling of blocks of eight voxels, and of all.

use burn::tensor::Tensor;

/// The largest value of each block of 2^3 voxels.
///
/// # Shapes
/// `[B, D, H, W, C]`, D, H, W even, to `[B, D/2, H/2, W/2, C]`
pub fn max_pool(x: Tensor<5>) -> Tensor<5> {
    pool(x, |pairs| pairs.max_dim(1))
}

/// The mean of each block of 2^3 voxels. Shapes as in [`max_pool`].
pub fn average_pool(x: Tensor<5>) -> Tensor<5> {
    pool(x, |pairs| pairs.mean_dim(1))
}

/// The mean over all voxels.
///
/// # Shapes
/// `[B, D, H, W, C]` to `[B, C]`
pub fn mean_over_voxels(x: Tensor<5>) -> Tensor<2> {
    let [batch, d, h, w, channels] = x.dims();
    x.reshape([batch, d * h * w, channels]).mean_dim(1).reshape([batch, channels])
}

/// Joins pairs of neighbours along each axis: `[n, 2, m]` to `[n, 1, m]`.
fn pool(x: Tensor<5>, join: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<5> {
    [1, 2, 3].into_iter().fold(x, |x, axis| {
        let mut shape = x.dims();
        shape[axis] /= 2;
        let (before, after) = (shape[..=axis].iter().product::<usize>(), shape[axis + 1..].iter().product());
        join(x.reshape([before, 2, after])).reshape(shape)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn blocks_of_eight_become_one() {
        // Two channels: one counts up, the other down.
        let (d, h, w) = (2, 4, 6);
        let values: Vec<f32> = (0..d * h * w).flat_map(|i| [i as f32, -(i as f32)]).collect();
        let x = Tensor::<5>::from_data(TensorData::new(values, [1, d, h, w, 2]), &Device::flex());
        let of = |x: Tensor<5>| -> Vec<f32> {
            assert_eq!(x.dims(), [1, 1, 2, 3, 2]);
            x.into_data().try_to_vec().unwrap()
        };
        // The first voxel of each block; the last one is 31 further, their mean half of that.
        let first = [0, 2, 4, 12, 14, 16].map(|first| first as f32);
        let expected: Vec<f32> = first.iter().flat_map(|first| [first + 31.0, -first]).collect();
        assert_eq!(of(max_pool(x.clone())), expected);
        let expected: Vec<f32> = first.iter().flat_map(|first| [first + 15.5, -(first + 15.5)]).collect();
        assert_eq!(of(average_pool(x)), expected);
    }
}
