//! 2^3 stride-2 convolutions: with the voxels of each block side by side, they become matrix products.

use super::buffer::build;
use super::linear;

/// Sizes of an activation of whole blocks of 2^3 voxels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    /// Blocks along each axis: half the voxels.
    pub(crate) depth: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels per voxel.
    pub(crate) channels: usize,
}

impl Sizes {
    fn blocks(self) -> usize {
        self.batch * self.depth * self.height * self.width
    }

    /// Floats of a row of voxels along W.
    fn row(self) -> usize {
        2 * self.width * self.channels
    }

    /// Floats of the activation.
    fn len(self) -> usize {
        8 * self.blocks() * self.channels
    }

    /// The layer that a block is the input or the output of.
    fn linear(self, inputs: usize, outputs: usize) -> linear::Sizes {
        linear::Sizes { rows: self.blocks(), inputs, outputs }
    }

    /// The starts of the four rows of voxels that make up a row of blocks, counted over batch, depth and height.
    fn rows_of_voxels(self, row: usize) -> [usize; 4] {
        let (slab, h) = (row / self.height, row % self.height);
        [0, 1, 2, 3].map(|part| {
            let (d, h) = (2 * slab + part / 2, 2 * h + part % 2);
            (d * 2 * self.height + h) * self.row()
        })
    }
}

/// `[B, 2D, 2H, 2W, C]` to `[B, D, H, W, 8 C]`.
fn to_blocks(x: &[f32], sizes: Sizes) -> Vec<f32> {
    assert_eq!(x.len(), sizes.len());
    let pair = 2 * sizes.channels;
    // SAFETY: the four rows of voxels fill the row of blocks; each pair of voxels lies in `x`, by its length.
    let [blocks] = unsafe {
        build(x.len(), 4 * sizes.row(), |row, [to], _| {
            for (part, start) in sizes.rows_of_voxels(row).into_iter().enumerate() {
                for w in 0..sizes.width {
                    let from = x.as_ptr().add(start + w * pair);
                    to.add((4 * w + part) * pair).copy_from_nonoverlapping(from, pair);
                }
            }
        })
    };
    blocks
}

/// The inverse of [`to_blocks`].
fn to_voxels(blocks: &[f32], sizes: Sizes) -> Vec<f32> {
    assert_eq!(blocks.len(), sizes.len());
    let pair = 2 * sizes.channels;
    // Two slabs of voxels make one of blocks.
    let chunk = 4 * sizes.height * sizes.row();
    // SAFETY: the rows of voxels of a slab of blocks fill the chunk; each pair of voxels lies in `blocks`.
    let [x] = unsafe {
        build(blocks.len(), chunk, |slab, [to], _| {
            for row in slab * sizes.height..(slab + 1) * sizes.height {
                let from = blocks.as_ptr().add(row * 4 * sizes.row());
                for (part, start) in sizes.rows_of_voxels(row).into_iter().enumerate() {
                    for w in 0..sizes.width {
                        let to = to.add(start - slab * chunk + w * pair);
                        to.copy_from_nonoverlapping(from.add((4 * w + part) * pair), pair);
                    }
                }
            }
        })
    };
    x
}

/// Each block of voxels to one voxel: `weight` is `[8 C, outputs]`. `sizes` are those of the input.
pub(crate) fn downsample(x: &[f32], weight: &[f32], bias: &[f32], sizes: Sizes) -> Vec<f32> {
    linear::forward(&to_blocks(x, sizes), weight, bias, None, sizes.linear(8 * sizes.channels, bias.len()))
}

/// The gradients of [`downsample`], given that for its output.
pub(crate) fn downsample_backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    (sizes, outputs): (Sizes, usize),
) -> linear::Gradients {
    let layer = sizes.linear(8 * sizes.channels, outputs);
    let gradients = linear::backward(&to_blocks(x, sizes), weight, gradient, layer);
    linear::Gradients { input: to_voxels(&gradients.input, sizes), ..gradients }
}

/// Each voxel to a block of voxels: `weight` is `[inputs, 8 C]`. `sizes` are those of the output.
pub(crate) fn upsample(x: &[f32], weight: &[f32], (inputs, sizes): (usize, Sizes)) -> Vec<f32> {
    to_voxels(&linear::forward(x, weight, &[], None, sizes.linear(inputs, 8 * sizes.channels)), sizes)
}

/// The gradients of [`upsample`], given that for its output. There is no bias.
pub(crate) fn upsample_backward(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    (inputs, sizes): (usize, Sizes),
) -> linear::Gradients {
    let layer = sizes.linear(inputs, 8 * sizes.channels);
    linear::backward(x, weight, &to_blocks(gradient, sizes), layer)
}
