//! A level of a pyramid brought to the grid of the next finer one, in Burn's own terms, and its gradient.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::TensorData;

use super::{dims, reshape};

/// Voxels of the coarser level for `fine` voxels along an axis.
pub const fn coarser(fine: usize) -> usize {
    fine.div_ceil(2)
}

pub(crate) fn reference<B: Backend>(fine: FloatTensor<B>, coarse: FloatTensor<B>) -> FloatTensor<B> {
    let sizes = dims::<B>(&fine);
    // From the last axis, so that the longer products are of small volumes.
    let expanded = [2, 1, 0].into_iter().fold(coarse, |x, axis| {
        let weights = weights(sizes[axis]);
        along::<B>(x, axis, [sizes[axis], coarser(sizes[axis])], weights)
    });
    B::float_add(fine, expanded)
}

/// The gradient for the coarse level; that for the fine one is the gradient itself.
pub(crate) fn reference_backward<B: Backend>(gradient: FloatTensor<B>) -> FloatTensor<B> {
    let sizes = dims::<B>(&gradient);
    [0, 1, 2].into_iter().fold(gradient, |x, axis| {
        let (fine, coarse) = (sizes[axis], coarser(sizes[axis]));
        let weights = weights(fine);
        let turned = (0..coarse * fine).map(|at| weights[at % fine * coarse + at / fine]).collect();
        along::<B>(x, axis, [coarse, fine], turned)
    })
}

/// The product of a matrix, `[to, from]`, with the lines of a volume along one axis.
fn along<B: Backend>(
    x: FloatTensor<B>,
    axis: usize,
    [to, from]: [usize; 2],
    matrix: Vec<f32>,
) -> FloatTensor<B> {
    let mut shape = dims::<B>(&x);
    let (before, after): (usize, usize) =
        (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
    shape[axis] = to;
    let matrix = B::float_from_data(TensorData::new(matrix, [1, to, from]), &x.device());
    reshape::<B>(B::float_matmul(matrix, reshape::<B>(x, [before, from, after])), shape)
}

/// How much each of `fine` voxels has of each coarse one, `[fine, coarse]`: three quarters of the one that covers it and a
/// quarter of the one on its other side, or the same again at the edge.
fn weights(fine: usize) -> Vec<f32> {
    let coarse = coarser(fine);
    let mut weights = vec![0.0; fine * coarse];
    for (index, row) in weights.chunks_exact_mut(coarse.max(1)).enumerate() {
        let (near, far) = neighbours(index, coarse);
        row[near] += 0.75;
        row[far] += 0.25;
    }
    weights
}

/// The coarse voxel that covers a fine one, and that on its other side.
pub(crate) fn neighbours(fine: usize, coarse: usize) -> (usize, usize) {
    let near = fine / 2;
    let far = if fine.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(coarse - 1) };
    (near, far)
}
