//! Dense convolutions of 3 taps along each axis with few channels and stride 1, such as the first layers of networks and the last
//! of decoders.
//!
//! Gathering all that a row of voxels sees would take many short copies, and Winograd's method gains less than its transforms
//! cost if there are less than four channels, or few tiles. The [register kernels](super::sliding) read the padded volume in
//! place. Products are in fp32: there are too few to be worth rounding. The partition of the work depends only on the sizes, so results are the same for every number of threads.

use rayon::prelude::*;

use super::buffer::{Shared, build_scattered};
use super::conv::Sizes;
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::InstructionSet;
use super::sliding::{Packed, Padded, TAPS, add_weight_row, output_row, panel_of};

/// With no more input channels than this, the input's gradient is computed slice by slice of the kernel.
const VERY_FEW: usize = 8;

/// Whether this way is used for so many channels, where Winograd's does not suit.
pub(crate) fn suits(sizes: Sizes) -> bool {
    /// Of the input or the output, fewer than this.
    const FEW: usize = 32;
    /// Of the other. With more than this, a weight is too large for the first-level cache.
    const MANY: usize = 64;
    let (least, most) = (sizes.inputs.min(sizes.outputs), sizes.inputs.max(sizes.outputs));
    let few = (1..=VERY_FEW).contains(&sizes.inputs) || (1..FEW).contains(&least) && most <= MANY;
    sizes.stride == 1 && sizes.kernel == TAPS && few
}

fn panel(set: InstructionSet, outputs: usize) -> usize {
    let mut panel = 0;
    panel_of(set, outputs, &mut panel);
    panel
}

/// The convolution: `weight` is `[3, 3, 3, inputs, outputs]`.
pub(crate) fn forward(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let set = InstructionSet::detect().in_fp32();
    let padded = Padded::of(x, sizes);
    let weight = &Packed::of(weight, sizes.inputs, sizes.outputs, panel(set, sizes.outputs));
    let width = sizes.size[2];
    let row = width * sizes.outputs;
    let fill = |to: Shared| {
        (0..padded.rows()).into_par_iter().for_each(|index| {
            // SAFETY: the row is this task's.
            unsafe { output_row(set, padded.seen_by(index), weight, to.at(index * row), width) };
        });
    };
    // SAFETY: the rows are the whole output.
    unsafe { build_scattered(padded.rows() * row, fill) }
}

/// The gradient for the input, given that for the output: a convolution with the weight reversed and transposed.
pub(crate) fn backward_input(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { inputs, outputs, .. } = sizes;
    if inputs <= VERY_FEW {
        return backward_of_very_few(gradient, weight, sizes);
    }
    let turned: Vec<f32> = weight
        .chunks_exact((inputs * outputs).max(1))
        .rev()
        .flat_map(|tap| (0..outputs * inputs).map(|at| tap[at % inputs * outputs + at / inputs]))
        .collect();
    forward(gradient, &turned, Sizes { inputs: outputs, outputs: inputs, ..sizes })
}

/// The same where a row of voxels of the input is narrower than a vector: a row of the gradient contributes to a row of the
/// input through each tap.
fn backward_of_very_few(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { batch, size: [depth, height, width], inputs, outputs, kernel, .. } = sizes;
    let set = InstructionSet::detect().in_fp32();
    let slice = kernel * kernel * inputs;
    assert!(
        gradient.len() == batch * depth * height * width * outputs
            && weight.len() == kernel * slice * outputs
    );
    let pack = |slice_weight: &[f32]| {
        let turned = Matrix::new(slice_weight, outputs).transposed();
        // SAFETY: the weight of a slice of the kernel has a row for each tap and channel.
        unsafe { Panels::packed(set, turned, (outputs, slice), &[]) }
    };
    let slices: Vec<Panels> = weight.chunks_exact((slice * outputs).max(1)).map(pack).collect();
    let margin = kernel / 2;
    let [_, padded_height, padded_width] = sizes.size.map(|size| size + 2 * margin);
    let plane = padded_height * padded_width;
    let scratch = || (vec![0.0; inputs * plane], vec![0.0; width * slice]);
    let add_row = |gradient: &[f32],
                   right: &Panels,
                   h: usize,
                   (sums, products): &mut (Vec<f32>, Vec<f32>)| {
        let (left, output) = (Matrix::new(gradient, outputs), products.as_mut_ptr());
        // SAFETY: the gradient has a row of voxels, and the products room for what they give.
        unsafe {
            multiply(set, &Product { left, rows: width, right, output, output_stride: slice, onto: None });
        }
        for tap in 0..kernel * kernel {
            for channel in 0..inputs {
                let start = channel * plane + (h + tap / kernel) * padded_width + tap % kernel;
                let from = products.iter().skip(tap * inputs + channel).step_by(slice);
                sums[start..start + width].iter_mut().zip(from).for_each(|(sum, product)| *sum += product);
            }
        }
    };
    let mut input = vec![0.0; batch * depth * height * width * inputs];
    let planes = input.par_chunks_mut((height * width * inputs).max(1)).enumerate();
    planes.for_each_init(scratch, |scratch, (index, to)| {
        let (batch, d) = (index / depth, index % depth);
        scratch.0.fill(0.0);
        for (tap, right) in slices.iter().enumerate() {
            let Some(d) = (d + margin).checked_sub(tap).filter(|&d| d < depth) else { continue };
            for h in 0..height {
                let row = ((batch * depth + d) * height + h) * width * outputs;
                add_row(&gradient[row..], right, h, scratch);
            }
        }
        for (voxel, to) in to.chunks_exact_mut(inputs).enumerate() {
            let (h, w) = (voxel / width, voxel % width);
            let place = (h + margin) * padded_width + w + margin;
            to.iter_mut().enumerate().for_each(|(channel, to)| *to = scratch.0[channel * plane + place]);
        }
    });
    input
}

/// The gradient for the weight, given that for the output.
pub(crate) fn backward_weight(x: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    /// The target number of tasks, each with sums of its own.
    const TASKS: usize = 32;
    let set = InstructionSet::detect().in_fp32();
    let padded = Padded::of(x, sizes);
    let row = sizes.size[2] * sizes.outputs;
    assert_eq!(gradient.len(), padded.rows() * row);
    let zeros = || Packed::zeros(sizes.inputs, sizes.outputs, panel(set, sizes.outputs));
    let tasks = TASKS.min(padded.rows());
    let sum = |task: usize| {
        let (mut sums, mut memory) = (zeros(), Vec::new());
        for index in task * padded.rows() / tasks..(task + 1) * padded.rows() / tasks {
            let gradient = &gradient[index * row..][..row];
            // SAFETY: the gradient has a row of voxels.
            unsafe { add_weight_row(set, padded.seen_by(index), gradient, &mut memory, &mut sums) };
        }
        sums
    };
    let sums: Vec<Packed> = (0..tasks).into_par_iter().map(sum).collect();
    let mut total = zeros();
    sums.iter().for_each(|sums| total.add(sums));
    total.unpacked()
}
