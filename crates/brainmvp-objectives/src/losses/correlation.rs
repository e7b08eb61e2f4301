//! How well two images agree, whatever their contrast; and how smooth a field of displacements is.

use burn::tensor::{Device, Tensor, TensorData};

/// Keeps the quotient finite where an image is constant.
const SMALLEST_PRODUCT: f32 = 1e-5;

/// One minus the mean squared correlation of two images within windows (Lee et al.; VoxelMorph): 0 if they are linear
/// functions of each other around each voxel, 1 if they have nothing to do with each other or are constant.
///
/// Outside of the images there are zeros.
///
/// # Shapes
/// - both `[B, D, H, W, 1]`; the windows are of `window`^3 voxels, odd; the result is `[1]`
pub fn local_correlation(a: Tensor<5>, b: Tensor<5>, window: usize) -> Tensor<1> {
    let count = window.pow(3) as f32;
    let sum = |x: Tensor<5>| window_sums(x, window);
    let (sum_a, sum_b) = (sum(a.clone()), sum(b.clone()));
    let cross = sum(a.clone() * b.clone()) - sum_a.clone() * sum_b.clone() / count;
    let variance = |x: Tensor<5>, sum_x: Tensor<5>| sum(x.clone() * x) - sum_x.clone() * sum_x / count;
    let variances = variance(a, sum_a) * variance(b, sum_b);
    let squared = cross.clone() * cross / (variances + SMALLEST_PRODUCT);
    -squared.mean() + 1.0
}

/// Sums over windows, which are products with a band matrix along each axis.
fn window_sums(x: Tensor<5>, window: usize) -> Tensor<5> {
    let shape = x.dims();
    let [batch, d, h, w, _] = shape;
    // Along the last axis the rows are many and short: they are one matrix.
    let x: Tensor<2> = x.reshape([batch * d * h, w]);
    let rows = band(w, window, &x.device());
    let x = x.matmul(rows);
    let along = |x: Tensor<3>, size| {
        let columns: Tensor<3> = band(size, window, &x.device()).unsqueeze();
        columns.matmul(x)
    };
    let x = along(x.reshape([batch * d, h, w]), h);
    along(x.reshape([batch, d, h * w]), d).reshape(shape)
}

/// 1 where two voxels of a line are in one window, which is symmetric; `[size, size]`.
fn band(size: usize, window: usize, device: &Device) -> Tensor<2> {
    let near = |i: usize| f32::from(u8::from((i / size).abs_diff(i % size) <= window / 2));
    Tensor::from_data(TensorData::new((0..size * size).map(near).collect::<Vec<f32>>(), [size, size]), device)
}

/// The mean squared change of a field from voxel to voxel: the mean over the three axes.
///
/// # Shapes
/// `[B, D, H, W, C]` to `[1]`
pub fn roughness(field: Tensor<5>) -> Tensor<1> {
    let along = |axis: usize| {
        let steps = field.dims()[axis] - 1;
        let change = field.clone().narrow(axis, 1, steps) - field.clone().narrow(axis, 0, steps);
        (change.clone() * change).mean()
    };
    (along(1) + along(2) + along(3)) / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 5] = [1, 12, 11, 10, 1];

    fn image(value: impl Fn(usize) -> f32) -> Tensor<5> {
        let values: Vec<f32> = (0..SHAPE.iter().product()).map(value).collect();
        Tensor::from_data(TensorData::new(values, SHAPE), &Device::flex())
    }

    fn waves(i: usize) -> f32 {
        (i as f32 * 0.7).sin() + 0.5 * (i as f32 * 0.011).cos()
    }

    fn loss(a: &Tensor<5>, b: &Tensor<5>) -> f32 {
        local_correlation(a.clone(), b.clone(), 9).into_scalar()
    }

    #[test]
    fn an_image_correlates_with_itself_whatever_its_contrast() {
        let a = image(waves);
        assert!(loss(&a, &a).abs() < 1e-4);
        assert!(loss(&a, &(a.clone() * -3.0)).abs() < 1e-4);
    }

    /// One voxel that every window sees, of such a value that both variances are 10: 1 - 100 / (100 + 1e-5).
    #[test]
    fn the_quotient_by_hand() {
        let value = (10.0f32 / (1.0 - 1.0 / 729.0)).sqrt();
        let one = Tensor::<5>::full([1, 1, 1, 1, 1], value, &Device::flex());
        let one = Tensor::cat(vec![one.zeros_like(), one.clone(), one.zeros_like()], 3);
        assert!((loss(&one, &one) - 1e-7).abs() < 1.5e-7);
        // With a variance of 1e-3 it is far from 1.
        let faint = one * 1e-2;
        assert!((loss(&faint, &faint) - (1.0 - 1e-6 / 1.1e-5)).abs() < 1e-3);
    }

    #[test]
    fn nothing_correlates_with_nothing() {
        let none = image(|_| 0.0);
        assert_eq!(loss(&none, &none), 1.0);
        assert_eq!(loss(&none, &image(waves)), 1.0);
    }

    /// The sums against those that are added up voxel by voxel.
    #[test]
    fn sums_are_those_of_windows() {
        let got: Vec<f32> = window_sums(image(waves), 5).into_data().try_to_vec().unwrap();
        let [_, d, h, w, _] = SHAPE;
        for (at, got) in got.iter().enumerate() {
            let centre = [at / (h * w), at / w % h, at % w];
            let near = |i: usize| {
                let voxel = [i / (h * w), i / w % h, i % w];
                (0..3).all(|axis| voxel[axis].abs_diff(centre[axis]) <= 2)
            };
            let expected: f32 = (0..d * h * w).filter(|&i| near(i)).map(waves).sum();
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }

    #[test]
    fn a_linear_field_is_as_rough_as_its_slope() {
        let device = Device::flex();
        assert_eq!(roughness(Tensor::full([1, 4, 4, 4, 3], 2.5, &device)).into_scalar::<f32>(), 0.0);
        // 0.6 x along x, and nothing along y and z: a square of 0.36 in one of three components, along one of three axes.
        let values: Vec<f32> = (0..64).flat_map(|i| [0.6 * (i % 4) as f32, 0.0, 0.0]).collect();
        let field = Tensor::from_data(TensorData::new(values, [1, 4, 4, 4, 3]), &device);
        assert!((roughness(field).into_scalar::<f32>() - 0.36 / 9.0).abs() < 1e-6);
    }
}
