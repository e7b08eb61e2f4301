//! Dense 3^3 convolution of stride 1, and its gradients, by Winograd's minimal filtering F(2 x 4 x 4, 3 x 3 x 3)
//! (Lavin and Gray, CVPR 2016, section 4; in three dimensions Jia et al., PPoPP 2018).
//!
//! A tile of 2 x 4 x 4 voxels of the output depends on 4 x 6 x 6 voxels of the input. Along each axis these voxels, and
//! the three taps, are transformed to as many positions ([`points`]), at which the convolution is a product of matrices
//! `[tiles, inputs]` and `[inputs, outputs]`: 144 products for 32 voxels instead of 864. A plane of 36 positions is
//! processed at a time, for as many tiles as fit into a core's second-level cache. The partition of the work depends
//! only on the sizes.

mod points;
mod tiles;
mod weights;

use rayon::prelude::*;

use super::buffer::{Shared, build_scattered};
use super::conv::Sizes;
use super::panels::Panels;
use super::product::{Product, multiply};
use super::simd::InstructionSet;
use tiles::{PackedPositions, Positions, Source, Tiles, carry_gradient, carry_input, collect};
use weights::Weight;

/// Positions along D, one for each plane.
const PLANES: usize = 4;
/// Positions along H and along W.
const SIDE: usize = 6;
/// Positions of a plane, which the products of a block of tiles are made for at a time.
const PLANE: usize = SIDE * SIDE;
const POSITIONS: usize = PLANES * PLANE;
/// Taps of the kernel.
const TAPS: usize = 27;

/// Whether a convolution is faster this way, in fp32, than tap by tap, even with bfloat16 products.
pub(crate) fn suits(sizes: Sizes) -> bool {
    /// With fewer channels than this, the transform costs more than the products save.
    const CHANNELS: usize = 4;
    /// With fewer tiles than this, transforming the weight is not worth it.
    const TILES: usize = 32;
    let channels = sizes.inputs.min(sizes.outputs);
    (sizes.kernel, sizes.stride) == (3, 1) && channels >= CHANNELS && Tiles::new(sizes).count() >= TILES
}

/// The convolution: `weight` is `[3, 3, 3, inputs, outputs]`.
pub(crate) fn forward(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let set = InstructionSet::detect().in_fp32();
    let panels = weights::pack(set, Weight::new(weight, sizes));
    convolve(set, x, &panels, (Tiles::new(sizes), (sizes.inputs, sizes.outputs)))
}

/// The gradient for the input, given that for the output: a convolution with the weight reversed and transposed.
pub(crate) fn backward_input(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let set = InstructionSet::detect().in_fp32();
    let panels = weights::pack(set, Weight::new(weight, sizes).turned());
    convolve(set, gradient, &panels, (Tiles::new(sizes), (sizes.outputs, sizes.inputs)))
}

/// The gradient for the weight, given that for the output.
pub(crate) fn backward_weight(x: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    /// The number of parts that are summed separately, and the tiles that are worth a part.
    const GROUPS: usize = 8;
    const GROUP: usize = 256;
    let set = InstructionSet::detect().in_fp32();
    let tiles = Tiles::new(sizes);
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    let (x, gradient) = (Source::new(x, inputs, tiles), Source::new(gradient, outputs, tiles));
    let count = tiles.count();
    if count * inputs * outputs == 0 {
        return vec![0.0; TAPS * inputs * outputs];
    }
    let groups = (count / GROUP).clamp(1, GROUPS);
    let block = tiles.block(inputs + outputs);
    let work = |task: usize, to: Shared| {
        let (group, plane) = (task / PLANES, task % PLANES);
        let (mut left, mut right) = (Positions::new(block, inputs), PackedPositions::new(set));
        let (start, end) = (group * count / groups, (group + 1) * count / groups);
        for first in (start..end).step_by(block) {
            let range = first..end.min(first + block);
            // SAFETY: the sources have the tiles; the positions of a plane in a group are this task's.
            unsafe {
                carry_input(set, x, (range.clone(), plane), &mut left);
                carry_gradient(set, gradient, (range.clone(), plane), &mut right);
                for position in 0..PLANE {
                    let place = (group * PLANES + plane) * PLANE + position;
                    let output = to.at(place * inputs * outputs);
                    let product = Product {
                        left: left.matrix(position).transposed(),
                        rows: inputs,
                        right: right.panels(position),
                        output,
                        output_stride: outputs,
                        onto: (first > start).then_some(output.cast_const()),
                    };
                    multiply(set, &product);
                }
            }
        }
    };
    let all = |to: Shared| (0..groups * PLANES).into_par_iter().for_each(|task| work(task, to));
    // SAFETY: there are at least as many tiles as groups, so that each position of each group is written.
    let sums = unsafe { build_scattered(groups * POSITIONS * inputs * outputs, all) };
    weights::collect(set, &sums, sizes)
}

/// Multiplies what the tiles see by the weights of each position, `[inputs, outputs]`.
fn convolve(
    set: InstructionSet,
    x: &[f32],
    panels: &[Panels],
    (tiles, (inputs, outputs)): (Tiles, (usize, usize)),
) -> Vec<f32> {
    let source = Source::new(x, inputs, tiles);
    let (count, block) = (tiles.count(), tiles.block(inputs + outputs));
    let scratch = || (Positions::new(block, inputs), Positions::new(block, outputs));
    let work = |to: Shared| {
        (0..count.div_ceil(block)).into_par_iter().for_each_init(scratch, |(carried, products), index| {
            let range = index * block..count.min((index + 1) * block);
            for plane in 0..PLANES {
                // SAFETY: the source has the tiles; the voxels of these tiles of the output are this task's.
                unsafe {
                    carry_input(set, source, (range.clone(), plane), carried);
                    for position in 0..PLANE {
                        let product = Product {
                            left: carried.matrix(position),
                            rows: range.len(),
                            right: &panels[plane * PLANE + position],
                            output: products.at(position),
                            output_stride: outputs,
                            onto: None,
                        };
                        multiply(set, &product);
                    }
                    collect(set, products, (range.clone(), plane), (to, tiles));
                }
            }
        });
    };
    // SAFETY: every voxel of the output is one tile's, and each tile one task's.
    unsafe { build_scattered(tiles.voxels() * outputs, work) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::conv;
    use super::*;

    fn values(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + salt * 17) % 101) as f32 / 50.0 - 1.0).collect()
    }

    /// Asserts that two results differ by no more than 3e-5 of the largest value: tiles are rounded twice more than taps.
    fn assert_close(got: &[f32], expected: &[f32], what: &str) {
        assert_eq!(got.len(), expected.len(), "length of {what}");
        let largest = expected.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
        for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
            assert!((got - expected).abs() <= 3e-5 * largest, "{what} at {at}: {got}, not {expected}");
        }
    }

    fn check(batch: usize, size: [usize; 3], inputs: usize, outputs: usize) {
        let sizes = Sizes { batch, size, inputs, outputs, kernel: 3, stride: 1 };
        let voxels = batch * size.iter().product::<usize>();
        let (x, gradient) = (values(voxels * inputs, 1), values(voxels * outputs, 2));
        let weight = values(27 * inputs * outputs, 3);
        assert_close(&forward(&x, &weight, sizes), &conv::forward(&x, &weight, sizes), "output");
        let expected = conv::backward_input(&gradient, &weight, sizes);
        assert_close(&backward_input(&gradient, &weight, sizes), &expected, "gradient of input");
        let expected = conv::backward_weight(&x, &gradient, sizes);
        assert_close(&backward_weight(&x, &gradient, sizes), &expected, "gradient of weight");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn agrees_with_taps(
            (batch, d, h, w) in (1usize..3, 1usize..8, 1usize..8, 1usize..12),
            (inputs, outputs) in (1usize..40, 1usize..70),
        ) {
            check(batch, [d, h, w], inputs, outputs);
        }
    }

    /// Several groups and blocks of tiles.
    #[test]
    fn agrees_with_taps_where_work_is_split() {
        check(1, [19, 21, 17], 33, 18);
    }
}
