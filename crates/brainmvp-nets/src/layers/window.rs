//! Self-attention within windows of a volume (Swin transformer, Liu et al. 2021, in three dimensions).

use burn::module::{Module, Param};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Linear;
use crate::Init;

/// Added to the score of two tokens that are not neighbours in the volume.
const APART: f32 = -100.0;

/// Multi-head self-attention within windows, with a learnt bias for each offset between two tokens.
///
/// Volumes that are no multiple of the window are padded with zeros at their ends, and the padding takes part in the
/// attention. Where a volume is no larger than the window, the window is as large as the volume. Both as in MONAI.
#[derive(Module, Debug)]
pub struct WindowAttention {
    /// `[(2 window - 1)^3, heads]`: offsets along x, y and z, z fastest.
    pub relative_position_bias_table: Param<Tensor<2>>,
    /// Projects to the queries, keys and values of all heads at once.
    pub qkv: Linear,
    /// Mixes the heads.
    pub proj: Linear,
    #[module(skip)]
    window: usize,
    #[module(skip)]
    shift: usize,
    #[module(skip)]
    heads: usize,
}

impl WindowAttention {
    /// `heads` heads of `width / heads` channels each, in windows of `window`^3 that begin at `shift`.
    pub fn new(width: usize, heads: usize, [window, shift]: [usize; 2], init: &mut Init<'_>) -> Self {
        Self {
            relative_position_bias_table: init.normal([(2 * window - 1).pow(3), heads], 0.02),
            qkv: Linear::new(width, 3 * width, init),
            proj: Linear::new(width, width, init),
            window,
            shift,
            heads,
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to the same.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, d, h, w, channels] = x.dims();
        let grid = Grid::of([d, h, w], self.window, self.shift);
        let padded = (0..3).fold(x, |x, axis| pad_end(x, axis + 1, grid.padded[axis]));
        let shifted = (0..3).fold(padded, |x, axis| roll(x, axis + 1, grid.shift[axis]));
        let [wd, wh, ww] = grid.window;
        let [nd, nh, nw] = grid.counts();
        let split: Tensor<8> = shifted.reshape([batch, nd, wd, nh, wh, nw, ww, channels]);
        let windows = split.permute([0, 1, 3, 5, 2, 4, 6, 7]);
        let mixed = self.attend(windows.reshape([batch * nd * nh * nw, wd * wh * ww, channels]), &grid);
        let split: Tensor<8> = mixed.reshape([batch, nd, nh, nw, wd, wh, ww, channels]);
        let [pd, ph, pw] = grid.padded;
        let joined = split.permute([0, 1, 4, 2, 5, 3, 6, 7]).reshape([batch, pd, ph, pw, channels]);
        let back = |x, axis: usize| roll(x, axis + 1, grid.padded[axis] - grid.shift[axis]);
        (0..3).fold(joined, back).slice([0..batch, 0..d, 0..h, 0..w, 0..channels])
    }

    /// # Shapes
    /// `[B windows, tokens, C]` to the same.
    fn attend(&self, windows: Tensor<3>, grid: &Grid) -> Tensor<3> {
        let [count, tokens, channels] = windows.dims();
        let (heads, width) = (self.heads, channels / self.heads);
        let device = windows.device();
        let split: Tensor<5> = self.qkv.forward(windows).reshape([count, tokens, 3, heads, width]);
        // [3, windows, heads, tokens, width]
        let split = split.permute([2, 0, 3, 1, 4]);
        let part = |index: usize| -> Tensor<4> {
            split.clone().narrow(0, index, 1).reshape([count, heads, tokens, width])
        };
        let query = part(0) * (width as f32).powf(-0.5);
        let scores = query.matmul(part(1).swap_dims(2, 3)) + self.bias(grid, &device);
        let scores = match grid.mask(&device) {
            Some(mask) => {
                let of_case = mask.dims()[1];
                let scores: Tensor<5> = scores.reshape([count / of_case, of_case, heads, tokens, tokens]);
                (scores + mask).reshape([count, heads, tokens, tokens])
            }
            None => scores,
        };
        let mixed = softmax(scores, 3).matmul(part(2));
        self.proj.forward(mixed.swap_dims(1, 2).reshape([count, tokens, channels]))
    }

    /// The biases of all pairs of tokens of a window, `[1, heads, tokens, tokens]`.
    fn bias(&self, grid: &Grid, device: &Device) -> Tensor<4> {
        let index = grid.offsets(self.window);
        let tokens = grid.tokens();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [tokens * tokens]), device);
        let pairs = self.relative_position_bias_table.val().select(0, index);
        pairs.swap_dims(0, 1).reshape([1, self.heads, tokens, tokens])
    }
}

/// The row of the table of biases for each pair of tokens of a whole window, in MONAI's order of tokens: z fastest. The
/// published state dicts contain it.
pub(crate) fn published_offsets(window: usize) -> Vec<i64> {
    let places: Vec<[usize; 3]> = (0..window.pow(3)).map(|token| place(token, window)).collect();
    pairs(&places, window)
}

/// Where a token of a window stands, if the window is whole: x, y, z, with z fastest.
fn place(token: usize, window: usize) -> [usize; 3] {
    [token / (window * window), token / window % window, token % window]
}

/// The row of the table for each pair of places.
fn pairs(places: &[[usize; 3]], window: usize) -> Vec<i64> {
    let row = |from: [usize; 3], to: [usize; 3]| {
        (0..3).fold(0, |row, axis| row * (2 * window - 1) + from[axis] + window - 1 - to[axis]) as i64
    };
    places.iter().flat_map(|from| places.iter().map(move |to| row(*from, *to))).collect()
}

/// How a volume is divided into windows. All sizes are along D, H and W.
#[derive(Debug, PartialEq)]
struct Grid {
    window: [usize; 3],
    shift: [usize; 3],
    padded: [usize; 3],
}

impl Grid {
    fn of(size: [usize; 3], window: usize, shift: usize) -> Self {
        let fits = size.map(|size| size <= window);
        let windows: [usize; 3] = std::array::from_fn(|axis| if fits[axis] { size[axis] } else { window });
        Self {
            window: windows,
            shift: fits.map(|fits| if fits { 0 } else { shift }),
            padded: std::array::from_fn(|axis| size[axis].next_multiple_of(windows[axis])),
        }
    }

    /// Windows along each axis.
    fn counts(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.padded[axis] / self.window[axis])
    }

    /// Tokens of a window.
    fn tokens(&self) -> usize {
        self.window.iter().product()
    }

    /// The row of the table of biases for each pair of tokens.
    ///
    /// Where a window is smaller than the table's, MONAI takes the rows that its first tokens would have in a whole window,
    /// although they stand elsewhere there. Published weights were trained so.
    fn offsets(&self, window: usize) -> Vec<i64> {
        let [depth, height, width] = self.window;
        let mut places = Vec::with_capacity(self.tokens());
        for z in 0..depth {
            for y in 0..height {
                places.extend((0..width).map(|x| place((x * height + y) * depth + z, window)));
            }
        }
        pairs(&places, window)
    }

    /// What is added to the scores of tokens that are in one window only because the volume was rolled:
    /// `[1, windows, 1, tokens, tokens]`.
    fn mask(&self, device: &Device) -> Option<Tensor<5>> {
        if self.shift == [0; 3] {
            return None;
        }
        let (counts, tokens) = (self.counts(), self.tokens());
        let mut values = Vec::with_capacity(counts.iter().product::<usize>() * tokens * tokens);
        for window in 0..counts.iter().product() {
            let at = [window / (counts[1] * counts[2]), window / counts[2] % counts[1], window % counts[2]];
            let parts = self.parts(at);
            for from in &parts {
                values.extend(parts.iter().map(|to| if from == to { 0.0 } else { APART }));
            }
        }
        let shape = [1, counts.iter().product(), 1, tokens, tokens];
        Some(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// For each token of a window, whether it was rolled in from the beginning of the volume, along each axis.
    fn parts(&self, at: [usize; 3]) -> Vec<[bool; 3]> {
        let rolled = |axis: usize, step: usize| {
            at[axis] * self.window[axis] + step >= self.padded[axis] - self.shift[axis]
        };
        let mut parts = Vec::with_capacity(self.tokens());
        for z in 0..self.window[0] {
            for y in 0..self.window[1] {
                parts.extend((0..self.window[2]).map(|x| [rolled(0, z), rolled(1, y), rolled(2, x)]));
            }
        }
        parts
    }
}

/// Zeros at the end of an axis, up to this size.
fn pad_end(x: Tensor<5>, axis: usize, size: usize) -> Tensor<5> {
    let mut shape = x.dims();
    shape[axis] = size - shape[axis];
    if shape[axis] == 0 {
        return x;
    }
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![x, zeros], axis)
}

/// The first `steps` voxels of an axis go to its end.
fn roll(x: Tensor<5>, axis: usize, steps: usize) -> Tensor<5> {
    let size = x.dims()[axis];
    if steps.is_multiple_of(size) {
        return x;
    }
    Tensor::cat(vec![x.clone().narrow(axis, steps, size - steps), x.narrow(axis, 0, steps)], axis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_table_are_those_of_monai() {
        let whole = published_offsets(7);
        assert_eq!([whole[0], whole[1], whole[342], whole[342 * 343]], [1098, 1097, 0, 2196]);
        // In a window of 6^3 the last token has the place of the 215th of a whole one.
        assert_eq!(place(215, 7), [4, 2, 5]);
        let small = Grid::of([6, 6, 6], 7, 3);
        assert_eq!(small, Grid { window: [6; 3], shift: [0; 3], padded: [6; 3] });
        let offsets = small.offsets(7);
        // The corners at the origin and opposite are the same in both orders of axes.
        assert_eq!(offsets[215], whole[215]);
        // One step along x is six tokens squared in MONAI's order, and one token in ours.
        assert_eq!(offsets[1], whole[36]);
        assert_eq!(offsets[36], whole[1]);
    }

    #[test]
    fn only_tokens_from_both_ends_are_kept_apart() {
        let grid = Grid::of([2, 8, 8], 4, 2);
        assert_eq!(grid, Grid { window: [2, 4, 4], shift: [0, 2, 2], padded: [2, 8, 8] });
        let mask = grid.mask(&Device::flex()).unwrap();
        assert_eq!(mask.dims(), [1, 4, 1, 32, 32]);
        let values: Vec<f32> = mask.into_data().try_to_vec().unwrap();
        let apart =
            |window: usize| values[window * 1024..][..1024].iter().filter(|value| **value == APART).count();
        // The first window is whole, the next two are two halves each, the last is four quarters.
        assert_eq!([0, 1, 2, 3].map(apart), [0, 512, 512, 768]);
        assert!(Grid::of([4, 4, 2], 4, 2).mask(&Device::flex()).is_none());
    }

    #[test]
    fn volumes_come_back_from_their_windows() {
        let device = Device::flex();
        let x = Tensor::<5>::from_data(
            TensorData::new((0..60).map(|i| i as f32).collect::<Vec<_>>(), [1, 3, 4, 5, 1]),
            &device,
        );
        let rolled = roll(x.clone(), 3, 2);
        let first: Vec<f32> = rolled.clone().into_data().try_to_vec().unwrap();
        assert_eq!(first[..5], [2.0, 3.0, 4.0, 0.0, 1.0]);
        assert_eq!(roll(rolled, 3, 3).into_data(), x.clone().into_data());
        assert_eq!(pad_end(x, 2, 6).dims(), [1, 3, 6, 5, 1]);
    }
}
