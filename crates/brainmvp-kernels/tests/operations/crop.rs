//! A part of a volume, normalised by the extremes of the whole.

use brainmvp_kernels::ops::{self, CropOptions};
use burn::tensor::Tensor;

use crate::assert_agree;

#[test]
fn a_part_is_normalised_by_the_extremes_of_the_whole() {
    let (whole, start, size) = ([5usize, 6, 7], [1, 0, 2], [3, 4, 5]);
    // The values span nearly 2: the floor divides in one case, the range in the other.
    for range_floor in [0.5, 3.0] {
        assert_agree(
            &[whole.iter().product()],
            |l| {
                let x: Tensor<3> = l[0].clone().reshape(whole);
                ops::normalized_crop(x, CropOptions { start, size, range_floor }).flatten(0, 2)
            },
            |l| {
                let x: Tensor<3> = l[0].clone().reshape(whole);
                let low = x.clone().min();
                let range = (x.clone().max() - low.clone()).clamp_min(range_floor);
                let part = x.slice([0, 1, 2].map(|axis: usize| start[axis]..start[axis] + size[axis]));
                ((part - low.unsqueeze()) / range.unsqueeze()).flatten(0, 2)
            },
        );
    }
}
