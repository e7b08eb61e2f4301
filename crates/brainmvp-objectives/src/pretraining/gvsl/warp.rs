//! Moving the voxels of a volume, with gradients to the volume and to the displacements.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Linear interpolation where each voxel's displacement points to; 0 outside. Displacements of 0 change no bit.
///
/// # Shapes
/// - `volume`: `[B, D, H, W, C]`
/// - `moves`: `[B, D H W, 3]`, along x, y and z, in voxels
/// - the result as the volume
pub(super) fn warp(volume: Tensor<5>, moves: Tensor<3>) -> Tensor<5> {
    let shape = volume.dims();
    let [batch, d, h, w, channels] = shape;
    let count = d * h * w;
    let device = volume.device();
    let rows: Tensor<2> = volume.reshape([batch * count, channels]);
    let at = moves + positions([d, h, w], &device);
    let low = at.clone().detach().floor();
    let share: Tensor<2> = (at - low.clone()).reshape([batch * count, 3]);
    let low: Tensor<2> = low.reshape([batch * count, 3]);
    let first_rows = (0..batch * count).map(|row| (row / count * count) as i64).collect::<Vec<_>>();
    let first_rows = Tensor::<1, Int>::from_data(TensorData::new(first_rows, [batch * count]), &device);
    // For each axis and each of its two neighbours: the weight (0 outside), and the distance in rows.
    let along = |axis: usize, high: usize, size: usize, step: usize| {
        let share = share.clone().narrow(1, axis, 1);
        let index = low.clone().narrow(1, axis, 1) + high as f32;
        let inside =
            index.clone().greater_equal_elem(0.0).float() * index.clone().lower_elem(size as f32).float();
        let weight = if high == 1 { share } else { -share + 1.0 };
        let row: Tensor<1, Int> = index.clamp(0.0, size as f32 - 1.0).int().squeeze_dim(1);
        (weight * inside, row * step as i64)
    };
    let [xs, ys, zs] = [(0, w, 1), (1, h, w), (2, d, h * w)]
        .map(|(axis, size, step)| [0, 1].map(|high| along(axis, high, size, step)));
    let mut sum = None;
    for (weight_z, z) in &zs {
        for (weight_y, y) in &ys {
            for (weight_x, x) in &xs {
                let row = first_rows.clone() + z.clone() + y.clone() + x.clone();
                let weight = weight_z.clone() * weight_y.clone() * weight_x.clone();
                let part = rows.clone().select(0, row) * weight;
                sum = Some(match sum {
                    Some(sum) => sum + part,
                    None => part,
                });
            }
        }
    }
    sum.unwrap_or(rows).reshape(shape)
}

/// The position of each voxel, `[1, D H W, 3]`, along x, y and z.
pub(super) fn positions([d, h, w]: [usize; 3], device: &Device) -> Tensor<3> {
    let position = |i: usize| [i % w, i / w % h, i / (h * w)].map(|at| at as f32);
    let values: Vec<f32> = (0..d * h * w).flat_map(position).collect();
    Tensor::from_data(TensorData::new(values, [1, d * h * w, 3]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    const SHAPE: [usize; 5] = [2, 4, 5, 3, 2];

    fn values(x: Tensor<5>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn without_displacements_no_bit_changes() {
        let device = Device::flex();
        let x = Tensor::random(SHAPE, Distribution::Default, &device);
        let same = warp(x.clone(), Tensor::zeros([2, 60, 3], &device));
        assert_eq!(values(same), values(x));
    }

    #[test]
    fn voxels_come_from_where_displacements_point_to() {
        let device = Device::flex();
        let x = Tensor::<5>::random(SHAPE, Distribution::Default, &device);
        let by = TensorData::new([0.5f32, 1.0, -1.0].repeat(120), [2, 60, 3]);
        let (moved, x) = (values(warp(x.clone(), Tensor::from_data(by, &device))), values(x));
        let at = |b: usize, z: i64, y: i64, x_: i64, c: usize| {
            let inside = (0..4).contains(&z) && (0..5).contains(&y) && (0..3).contains(&x_);
            if inside { x[(((b * 4 + z as usize) * 5 + y as usize) * 3 + x_ as usize) * 2 + c] } else { 0.0 }
        };
        for (i, moved) in moved.into_iter().enumerate() {
            let (c, w, h, d, b) = (i % 2, i / 2 % 3, i / 6 % 5, i / 30 % 4, i / 120);
            let (z, y, x) = (d as i64 - 1, h as i64 + 1, w as i64);
            let expected = 0.5 * (at(b, z, y, x, c) + at(b, z, y, x + 1, c));
            assert!((moved - expected).abs() < 1e-6);
        }
    }

    /// The gradient of a displacement is the slope of the image there.
    #[test]
    fn displacements_have_gradients() {
        let device = Device::flex().autodiff();
        let ramp: Vec<f32> = (0..27).map(|i| 2.0 * (i % 3) as f32 - 3.0 * (i / 9) as f32).collect();
        let ramp = Tensor::<5>::from_data(TensorData::new(ramp, [1, 3, 3, 3, 1]), &device);
        let moves = Tensor::<3>::full([1, 27, 3], 0.25, &device).require_grad();
        let gradients = warp(ramp, moves.clone()).sum().backward();
        let gradient: Vec<f32> = moves.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
        // The voxel (0, 0, 0), all of whose neighbours are inside.
        assert_eq!(gradient[..3], [2.0, 0.0, -3.0]);
    }
}
