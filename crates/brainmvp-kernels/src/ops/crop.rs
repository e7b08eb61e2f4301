//! A part of a volume, normalised by the extremes of the whole, in Burn's own operations, and its gradient.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{IndexingUpdateOp, IntDType, Slice};

use super::{dims, reshape, scalar};

/// The part, and its normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CropOptions {
    /// First voxel along D, H and W.
    pub start: [usize; 3],
    /// Voxels along D, H and W.
    pub size: [usize; 3],
    /// The least divisor, used if the range of the volume's values is smaller.
    pub range_floor: f32,
}

impl CropOptions {
    fn slices(&self) -> [Slice; 3] {
        std::array::from_fn(|axis| Slice::from(self.start[axis]..self.start[axis] + self.size[axis]))
    }
}

pub(crate) fn reference<B: Backend>(x: FloatTensor<B>, options: CropOptions) -> FloatTensor<B> {
    let inside = B::float_slice(x.clone(), &options.slices());
    let (low, range) = low_and_range::<B>(x, options);
    B::float_div(B::float_sub(inside, low), range)
}

/// With y = (x - low) / range: the gradient of a voxel inside is g / range; the lowest voxel's is less by sum(g) / range,
/// and where the range is that of the volume, sum(g y) / range goes from the highest voxel to the lowest. Of several
/// voxels that are lowest or highest, the first counts.
pub(crate) fn reference_backward<B: Backend>(
    x: FloatTensor<B>,
    gradient: FloatTensor<B>,
    options: CropOptions,
) -> FloatTensor<B> {
    let shape = dims::<B>(&x);
    let len = shape.iter().product::<usize>();
    let (_, range) = low_and_range::<B>(x.clone(), options);
    let y = reference::<B>(x.clone(), options);
    let inside = B::float_div(gradient, range.clone());
    let all = B::float_sum(inside.clone());
    let along = B::float_sum(B::float_mul(inside.clone(), y));
    let flat = reshape::<B>(x, [len]);
    let spanned = B::float_sub(B::float_max(flat.clone()), B::float_min(flat.clone()));
    // Zero if the floor was the divisor.
    let spans = B::float_sub(reshape::<B>(range, [1]), reshape::<B>(spanned, [1]));
    let spans = B::float_clamp(
        B::float_add_scalar(B::float_neg(B::float_sign(spans)), scalar(1.0)),
        scalar(0.0),
        scalar(1.0),
    );
    let along = B::float_mul(reshape::<B>(along, [1]), spans);
    let lowest = B::float_sub(along.clone(), reshape::<B>(all, [1]));
    let zeros = B::float_mul_scalar(reshape::<B>(flat.clone(), shape.clone()), scalar(0.0));
    let mut total = reshape::<B>(B::float_slice_assign(zeros, &options.slices(), inside), [len]);
    let places = [
        (B::float_argmin(flat.clone(), 0, IntDType::I64), lowest),
        (B::float_argmax(flat, 0, IntDType::I64), B::float_neg(along)),
    ];
    for (place, value) in places {
        total = B::float_select_assign(total, 0, place, value, IndexingUpdateOp::Add);
    }
    reshape::<B>(total, shape)
}

/// The lowest value, and the divisor, `[1, 1, 1]` each.
fn low_and_range<B: Backend>(x: FloatTensor<B>, options: CropOptions) -> (FloatTensor<B>, FloatTensor<B>) {
    let low = B::float_min(x.clone());
    let range = B::float_clamp_min(B::float_sub(B::float_max(x), low.clone()), scalar(options.range_floor));
    (reshape::<B>(low, [1, 1, 1]), reshape::<B>(range, [1, 1, 1]))
}
