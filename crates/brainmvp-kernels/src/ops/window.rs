//! Attention within windows of a volume, in Burn's own operations, and its gradient.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::TensorData;

use super::{attention, dims, reshape};

/// Added to the score of two tokens of a window that are no neighbours in the volume.
pub(crate) const APART: f32 = -100.0;

/// How a volume is divided into windows.
///
/// The windows begin at `shift`; the voxels before it go to the end. Where the volume is no multiple of the window, voxels
/// are added at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowOptions {
    /// Voxels of a window along D, H and W.
    pub window: [usize; 3],
    /// The first voxel of the first window, less than the window.
    pub shift: [usize; 3],
}

impl WindowOptions {
    /// Tokens of a window.
    pub fn tokens(&self) -> usize {
        self.window.iter().product()
    }
}

/// The windows of a volume. Tokens of a window are numbered with x fastest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    size: [usize; 3],
    options: WindowOptions,
}

impl Windows {
    pub(crate) fn new(size: [usize; 3], options: WindowOptions) -> Self {
        Self { size, options }
    }

    /// Voxels of the volume.
    pub(crate) fn voxels(&self) -> usize {
        self.size.iter().product()
    }

    /// Tokens of a window.
    pub(crate) fn tokens(&self) -> usize {
        self.options.tokens()
    }

    /// Windows along each axis.
    fn counts(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.size[axis].div_ceil(self.options.window[axis]))
    }

    /// Windows of the volume.
    pub(crate) fn count(&self) -> usize {
        self.counts().iter().product()
    }

    /// The place of a window along each axis.
    fn place(&self, window: usize) -> [usize; 3] {
        let [_, height, width] = self.counts();
        [window / (height * width), window / width % height, window % width]
    }

    /// The voxel of each token of a window, or `None` beyond the end of the volume.
    pub(crate) fn voxels_of(&self, window: usize) -> Vec<Option<usize>> {
        let (counts, place) = (self.counts(), self.place(window));
        let WindowOptions { window: extent, shift } = self.options;
        let along = |axis: usize| -> Vec<Option<usize>> {
            let padded = counts[axis] * extent[axis];
            let voxel = |step| (place[axis] * extent[axis] + step + shift[axis]) % padded;
            (0..extent[axis]).map(|step| Some(voxel(step)).filter(|voxel| *voxel < self.size[axis])).collect()
        };
        let [depth, height, width] = [0, 1, 2].map(along);
        let mut voxels = Vec::with_capacity(self.tokens());
        for z in &depth {
            for y in &height {
                let row = z.zip(*y).map(|(z, y)| (z * self.size[1] + y) * self.size[2]);
                voxels.extend(width.iter().map(|x| row.zip(*x).map(|(row, x)| row + x)));
            }
        }
        voxels
    }

    /// For each token of a window, a number for the part of the volume that it comes from, if they come from several: those
    /// from before the shift are no neighbours of the others.
    pub(crate) fn parts_of(&self, window: usize) -> Option<Vec<f32>> {
        let (counts, place) = (self.counts(), self.place(window));
        let WindowOptions { window: extent, shift } = self.options;
        let along = |axis: usize| -> Vec<bool> {
            let last = place[axis] + 1 == counts[axis];
            (0..extent[axis]).map(|step| last && step + shift[axis] >= extent[axis]).collect()
        };
        let [depth, height, width] = [0, 1, 2].map(along);
        if ![&depth, &height, &width].into_iter().flatten().any(|rolled| *rolled) {
            return None;
        }
        let mut parts = Vec::with_capacity(self.tokens());
        for z in &depth {
            for y in &height {
                let part = |x: &bool| f32::from(u8::from(*z) * 4 + u8::from(*y) * 2 + u8::from(*x));
                parts.extend(width.iter().map(part));
            }
        }
        Some(parts)
    }
}

/// The windows of some cases, as rows of tables.
struct Gathering {
    batch: usize,
    windows: Windows,
    /// For each token, its row in a table of all voxels and one row more.
    rows: Vec<usize>,
}

impl Gathering {
    /// Of an activation `[B, D, H, W, ..]`.
    fn of<B: Backend>(x: &FloatTensor<B>, options: WindowOptions) -> Self {
        let shape = dims::<B>(x);
        let (batch, windows) = (shape[0], Windows::new([shape[1], shape[2], shape[3]], options));
        let mut rows = Vec::with_capacity(batch * windows.count() * windows.tokens());
        let (voxels, beyond) = (windows.voxels(), batch * windows.voxels());
        for case in 0..batch {
            for window in 0..windows.count() {
                let row = |voxel: Option<usize>| voxel.map_or(beyond, |voxel| case * voxels + voxel);
                rows.extend(windows.voxels_of(window).into_iter().map(row));
            }
        }
        Self { batch, windows, rows }
    }

    /// `[B, D, H, W, C]`, and `[C]` for the tokens beyond the end, as `[B windows, tokens, C]`.
    fn windows<B: Backend>(&self, x: FloatTensor<B>, outside: FloatTensor<B>) -> FloatTensor<B> {
        let channels = outside.shape().num_elements();
        let voxels = reshape::<B>(x, [self.batch * self.windows.voxels(), channels]);
        let table = B::float_cat(vec![voxels, reshape::<B>(outside, [1, channels])], 0);
        let index = ints::<B>(self.rows.iter().copied(), &table);
        let tokens = self.windows.tokens();
        let shape = [self.batch * self.windows.count(), tokens, channels];
        reshape::<B>(B::float_select(table, 0, index), shape)
    }

    /// `[B windows, tokens, C]` as `[B, D, H, W, C]`.
    fn volumes<B: Backend>(&self, x: FloatTensor<B>) -> FloatTensor<B> {
        let channels = dims::<B>(&x)[2];
        let mut tokens = vec![0; self.batch * self.windows.voxels() + 1];
        for (token, row) in self.rows.iter().enumerate() {
            tokens[*row] = token;
        }
        tokens.pop();
        let index = ints::<B>(tokens.into_iter(), &x);
        let table = reshape::<B>(x, [self.rows.len(), channels]);
        let [depth, height, width] = self.windows.size;
        reshape::<B>(B::float_select(table, 0, index), [self.batch, depth, height, width, channels])
    }

    /// The sum of `[B windows, tokens, C]` over the tokens beyond the end, `[C]`.
    fn beyond<B: Backend>(&self, x: FloatTensor<B>) -> FloatTensor<B> {
        let (channels, end) = (dims::<B>(&x)[2], self.batch * self.windows.voxels());
        let beyond: Vec<usize> = (0..self.rows.len()).filter(|token| self.rows[*token] == end).collect();
        if beyond.is_empty() {
            return B::float_from_data(TensorData::new(vec![0.0f32; channels], [channels]), &x.device());
        }
        let index = ints::<B>(beyond.into_iter(), &x);
        let table = reshape::<B>(x, [self.rows.len(), channels]);
        reshape::<B>(B::float_sum_dim(B::float_select(table, 0, index), 0), [channels])
    }

    /// What is added to the scores: `[1 or B windows, heads, tokens, tokens]`.
    fn added<B: Backend>(&self, bias: FloatTensor<B>) -> FloatTensor<B> {
        let shape = dims::<B>(&bias);
        let (heads, tokens, count) = (shape[0], shape[1], self.windows.count());
        let bias = reshape::<B>(bias, [1, heads, tokens, tokens]);
        let parts: Vec<_> = (0..count).map(|window| self.windows.parts_of(window)).collect();
        if parts.iter().all(Option::is_none) {
            return bias;
        }
        let mut mask = vec![0.0; count * tokens * tokens];
        for (mask, parts) in mask.chunks_exact_mut(tokens * tokens).zip(&parts) {
            let Some(parts) = parts else { continue };
            let pairs = parts.iter().flat_map(|from| parts.iter().map(move |to| from != to));
            mask.iter_mut().zip(pairs).filter(|(_, apart)| *apart).for_each(|(mask, _)| *mask = APART);
        }
        let device = bias.device();
        let mask = B::float_from_data(TensorData::new(mask, [count, 1, tokens, tokens]), &device);
        B::float_cat(vec![B::float_add(bias, mask); self.batch], 0)
    }
}

/// Row numbers, where a tensor is.
fn ints<B: Backend>(rows: impl Iterator<Item = usize>, beside: &FloatTensor<B>) -> IntTensor<B> {
    let rows: Vec<i64> = rows.map(|row| row as i64).collect();
    let count = rows.len();
    B::int_from_data(TensorData::new(rows, [count]), &beside.device())
}

/// The output, and the logarithms of the sums of the softmaxes, `[B windows, heads, tokens]`.
pub(crate) fn reference<B: Backend>(
    qkv: FloatTensor<B>,
    outside: FloatTensor<B>,
    bias: FloatTensor<B>,
    options: WindowOptions,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (heads, gathering) = (dims::<B>(&bias)[0], Gathering::of::<B>(&qkv, options));
    let tokens = gathering.windows::<B>(qkv, outside);
    let (mixed, log_sums) = attention::with_bias::<B>(tokens, heads, Some(gathering.added::<B>(bias)));
    (gathering.volumes::<B>(mixed), log_sums)
}

/// Gradients for queries, keys and values, for those beyond the end, and for the bias.
pub(crate) fn reference_backward<B: Backend>(
    [qkv, outside, bias]: [FloatTensor<B>; 3],
    [output, log_sums]: [FloatTensor<B>; 2],
    gradient: FloatTensor<B>,
    options: WindowOptions,
) -> [FloatTensor<B>; 3] {
    let (shape, gathering) = (dims::<B>(&bias), Gathering::of::<B>(&qkv, options));
    let channels = dims::<B>(&gradient)[4];
    let nothing = B::float_from_data(TensorData::new(vec![0.0f32; channels], [channels]), &qkv.device());
    let qkv = gathering.windows::<B>(qkv, outside);
    let [output, gradient] = [output, gradient].map(|x| gathering.windows::<B>(x, nothing.clone()));
    let added = Some(gathering.added::<B>(bias));
    let (qkv, scores) =
        attention::with_bias_backward::<B>((qkv, added), [output, log_sums], gradient, shape[0]);
    let bias = reshape::<B>(B::float_sum_dim(scores, 0), shape);
    [gathering.volumes::<B>(qkv.clone()), gathering.beyond::<B>(qkv), bias]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: [usize; 3], window: [usize; 3], shift: [usize; 3]) -> Windows {
        Windows::new(size, WindowOptions { window, shift })
    }

    #[test]
    fn only_tokens_from_both_ends_are_kept_apart() {
        let windows = windows([2, 8, 8], [2, 4, 4], [0, 2, 2]);
        assert_eq!((windows.count(), windows.tokens()), (4, 32));
        let apart = |window: usize| {
            let parts = windows.parts_of(window).unwrap_or_else(|| vec![0.0; 32]);
            parts.iter().flat_map(|from| parts.iter().filter(move |to| *to != from)).count()
        };
        // The first window is whole, the next two are two halves each, the last is four quarters.
        assert_eq!([0, 1, 2, 3].map(apart), [0, 512, 512, 768]);
        assert!(windows.parts_of(0).is_none());
    }

    #[test]
    fn windows_begin_at_the_shift_and_end_beyond_the_volume() {
        let windows = windows([1, 1, 5], [1, 1, 3], [0, 0, 1]);
        assert_eq!(windows.voxels_of(0), [Some(1), Some(2), Some(3)]);
        assert_eq!(windows.voxels_of(1), [Some(4), None, Some(0)]);
        assert_eq!(windows.parts_of(1), Some(vec![0.0, 0.0, 1.0]));
    }
}
