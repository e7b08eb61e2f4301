//! A level of a pyramid on the grid of the next finer one.

use brainmvp_kernels::ops::{self, coarser};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::{assert_agree, values};

/// What each axis has of its coarse voxels, by the formula of linear interpolation between their centres.
fn interpolated(coarse: &[f32], small: [usize; 3], at: [usize; 3]) -> f32 {
    let places = [0, 1, 2].map(|axis| {
        let place = ((at[axis] as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, (small[axis] - 1) as f64);
        let below = place.floor() as usize;
        [(below, 1.0 - place.fract()), ((below + 1).min(small[axis] - 1), place.fract())]
    });
    let mut sum = 0.0;
    for (d, share_d) in places[0] {
        for (h, share_h) in places[1] {
            for (w, share_w) in places[2] {
                let value = f64::from(coarse[(d * small[1] + h) * small[2] + w]);
                sum += share_d * share_h * share_w * value;
            }
        }
    }
    sum as f32
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_level_is_interpolated_between_its_voxels_centres(size in prop::array::uniform3(1usize..9)) {
        let small = size.map(coarser);
        let device = Device::flex();
        let [fine, coarse] = [(size, 1), (small, 2)].map(|(size, salt)| values(size.iter().product(), salt));
        let tensor = |values: &[f32], size| Tensor::<3>::from_data(TensorData::new(values.to_vec(), size), &device);
        let sum = ops::expand_onto(tensor(&fine, size), tensor(&coarse, small)).into_data();
        let sum: Vec<f32> = sum.try_into_vec().unwrap();
        for (place, (sum, fine)) in sum.iter().zip(&fine).enumerate() {
            let at = [place / (size[1] * size[2]), place / size[2] % size[1], place % size[2]];
            let expected = fine + interpolated(&coarse, small, at);
            prop_assert!((sum - expected).abs() < 1e-5, "{at:?}: {sum}, expected {expected}");
        }
    }

    #[test]
    fn its_gradient_is_that_of_the_interpolation(size in prop::array::uniform3(1usize..7)) {
        let small = size.map(coarser);
        let count = |size: [usize; 3]| size.iter().product::<usize>();
        assert_agree(
            &[count(size), count(small)],
            |l| ops::expand_onto(l[0].clone().reshape(size), l[1].clone().reshape(small)).flatten(0, 2),
            |l| {
                // Both ends doubled, then the mean of neighbours, axis by axis.
                let expanded = [0, 1, 2].into_iter().fold(l[1].clone().reshape(small), |x: Tensor<3>, axis| {
                    let last = x.dims()[axis] - 1;
                    // The neighbours on one side; at the edge the voxel itself.
                    let beside = |parts: [(usize, usize); 2]| {
                        let parts = parts.into_iter().filter(|(_, length)| *length > 0);
                        let parts = parts.map(|(start, length)| x.clone().narrow(axis, start, length));
                        Tensor::cat(parts.collect(), axis)
                    };
                    let below = beside([(0, 1), (0, last)]);
                    let above = beside([(1, last), (last, 1)]);
                    let even = x.clone() * 0.75 + below * 0.25;
                    let odd = x * 0.75 + above * 0.25;
                    let mut shape = even.dims();
                    shape[axis] *= 2;
                    let both: Tensor<4> = Tensor::stack(vec![even, odd], axis + 1);
                    both.reshape(shape).narrow(axis, 0, size[axis])
                });
                let fine: Tensor<3> = l[0].clone().reshape(size);
                (fine + expanded).flatten(0, 2)
            },
        );
    }
}
