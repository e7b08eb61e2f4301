//! Self-attention within windows of a volume (Swin transformer, Liu et al. 2021, in three dimensions).

use brainmvp_kernels::ops::{self, WindowOptions};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Linear;
use crate::Init;

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

    /// `onto` plus the attention of `x`.
    ///
    /// # Shapes
    /// `[B, D, H, W, C]` each, to the same.
    pub fn forward_onto(&self, onto: Tensor<5>, x: Tensor<5>) -> Tensor<5> {
        let [_, d, h, w, _] = x.dims();
        let windows = windows([d, h, w], self.window, self.shift);
        // The padding is zeros before the projection, and its bias after it.
        let (qkv, outside) = (self.qkv.forward(x), self.qkv.shift());
        let bias = self.bias(windows.window, &qkv.device());
        self.proj.forward_onto(onto, ops::window_attention(qkv, outside, bias, windows))
    }

    /// The biases of all pairs of tokens of a window, `[heads, tokens, tokens]`.
    fn bias(&self, window: [usize; 3], device: &Device) -> Tensor<3> {
        let index = offsets(window, self.window);
        let tokens = window.iter().product::<usize>();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [tokens * tokens]), device);
        let pairs = self.relative_position_bias_table.val().select(0, index);
        pairs.swap_dims(0, 1).reshape([self.heads, tokens, tokens])
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

/// The windows of a volume of these sizes along D, H and W.
fn windows(size: [usize; 3], window: usize, shift: usize) -> WindowOptions {
    let fits = size.map(|size| size <= window);
    WindowOptions {
        window: std::array::from_fn(|axis| if fits[axis] { size[axis] } else { window }),
        shift: fits.map(|fits| if fits { 0 } else { shift }),
    }
}

/// The row of the table of biases for each pair of tokens of a window of these sizes along D, H and W, x fastest.
///
/// Where a window is smaller than the table's, MONAI takes the rows that its first tokens would have in a whole window,
/// although they stand elsewhere there. Published weights were trained so.
fn offsets([depth, height, width]: [usize; 3], window: usize) -> Vec<i64> {
    let mut places = Vec::with_capacity(depth * height * width);
    for z in 0..depth {
        for y in 0..height {
            places.extend((0..width).map(|x| place((x * height + y) * depth + z, window)));
        }
    }
    pairs(&places, window)
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
        let small = windows([6, 6, 6], 7, 3);
        assert_eq!(small, WindowOptions { window: [6; 3], shift: [0; 3] });
        let offsets = offsets(small.window, 7);
        // The corners at the origin and opposite are the same in both orders of axes.
        assert_eq!(offsets[215], whole[215]);
        // One step along x is six tokens squared in MONAI's order, and one token in ours.
        assert_eq!(offsets[1], whole[36]);
        assert_eq!(offsets[36], whole[1]);
    }

    #[test]
    fn windows_are_no_larger_than_the_volume() {
        let expected = WindowOptions { window: [2, 4, 4], shift: [0, 2, 2] };
        assert_eq!(windows([2, 8, 8], 4, 2), expected);
    }
}
