//! Dense convolutions with few channels and stride 1, such as the first layers of networks and the last of decoders.
//!
//! Gathering all that a row of voxels sees would take many short copies. If the volume is padded with zeros, each voxel of a
//! row sees, through each tap and channel, what is at the same offset from it. The matrix is then already in the padded
//! volume, with each row and each column at an offset of its own. So nothing is gathered, and weight gradients read the same
//! matrix transposed. Products are in fp32: there are too few to be worth rounding. The partition of the work depends only on
//! the sizes, so results are the same for every number of threads.

use rayon::prelude::*;

use super::buffer::{Shared, add, build, build_scattered};
use super::conv::Sizes;
use super::panels::Panels;
use super::product::{Gathered, Matrix, Product, multiply, multiply_gathered};
use super::simd::InstructionSet;

/// With no more input channels than this, the input's gradient is computed slice by slice of the kernel.
const VERY_FEW: usize = 8;

/// Whether this way is used for so many channels.
pub(crate) fn suits(sizes: Sizes) -> bool {
    /// Of the input or the output. With this many or more of both, Winograd's method is faster.
    const FEW: usize = 32;
    /// Of the other. With more than this, a weight is too large for the first-level cache.
    const MANY: usize = 64;
    let (least, most) = (sizes.inputs.min(sizes.outputs), sizes.inputs.max(sizes.outputs));
    let few = (1..=VERY_FEW).contains(&sizes.inputs) || (1..FEW).contains(&least) && most <= MANY;
    sizes.stride == 1 && sizes.kernel > 1 && few
}

/// The convolution: `weight` is `[K, K, K, inputs, outputs]`.
pub(crate) fn forward(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    let set = InstructionSet::detect().in_fp32();
    let padded = Padded::of(x, sizes);
    let (columns, rows) = (padded.offsets(), padded.voxels());
    assert_eq!(weight.len(), columns.len() * sizes.outputs);
    let shape = (columns.len(), sizes.outputs);
    // SAFETY: the weight has these sizes.
    let right = &unsafe { Panels::packed(set, Matrix::new(weight, sizes.outputs), shape, &[]) };
    let row = sizes.size[2] * sizes.outputs;
    let fill = |to: Shared| {
        (0..padded.rows()).into_par_iter().for_each(|index| {
            let left = Gathered { values: padded.row(index).as_ptr(), rows: &rows, columns: &columns };
            // SAFETY: the row is this task's; what it sees lies in the padded volume.
            unsafe {
                let (output, output_stride) = (to.at(index * row), sizes.outputs);
                let rows = sizes.size[2];
                multiply_gathered(set, &Product { left, rows, right, output, output_stride, onto: None });
            }
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
    let [_, padded_height, padded_width] = Padded::size(sizes);
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
    let margin = kernel / 2;
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
    let (rows, columns) = (padded.offsets(), padded.voxels());
    let (width, outputs) = (sizes.size[2], sizes.outputs);
    assert_eq!(gradient.len(), padded.rows() * width * outputs);
    let tasks = TASKS.min(padded.rows());
    let sum = |task: usize| {
        let (mut sums, mut right) = (vec![0.0; rows.len() * outputs], Panels::new(set));
        for index in task * padded.rows() / tasks..(task + 1) * padded.rows() / tasks {
            let gradient = Matrix::new(&gradient[index * width * outputs..], outputs);
            let left = Gathered { values: padded.row(index).as_ptr(), rows: &rows, columns: &columns };
            // SAFETY: the gradient has a row of voxels, which see what lies in the padded volume; the sums are this task's.
            unsafe {
                right.pack(gradient, (width, outputs), &[]);
                let output = sums.as_mut_ptr();
                let (rows, right, onto) = (rows.len(), &right, Some(output.cast_const()));
                multiply_gathered(set, &Product { left, rows, right, output, output_stride: outputs, onto });
            }
        }
        sums
    };
    let sums: Vec<Vec<f32>> = (0..tasks).into_par_iter().map(sum).collect();
    let mut total = vec![0.0; rows.len() * outputs];
    for sums in sums {
        add(&mut total, &sums);
    }
    total
}

/// A volume with zeros around it: `[B, D + 2 p, H + 2 p, W + 2 p, C]`.
struct Padded {
    values: Vec<f32>,
    sizes: Sizes,
}

impl Padded {
    fn of(x: &[f32], sizes: Sizes) -> Self {
        let Sizes { batch, size: [depth, height, width], inputs, kernel, .. } = sizes;
        assert_eq!(x.len(), batch * depth * height * width * inputs);
        let margin = kernel / 2;
        let [padded_depth, padded_height, padded_width] = Self::size(sizes);
        let row = padded_width * inputs;
        let plane = padded_height * row;
        let fill = |index: usize, [to]: [*mut f32; 1], count: usize| {
            // SAFETY: the plane is this task's, and every float of it is written here.
            let to = unsafe {
                to.write_bytes(0, count);
                std::slice::from_raw_parts_mut(to, count)
            };
            let (batch, d) = (index / padded_depth, index % padded_depth);
            let Some(d) = d.checked_sub(margin).filter(|&d| d < depth && width > 0) else { return };
            for (h, to) in to.chunks_exact_mut(row.max(1)).skip(margin).take(height).enumerate() {
                let from = &x[((batch * depth + d) * height + h) * width * inputs..];
                to[margin * inputs..][..width * inputs].copy_from_slice(&from[..width * inputs]);
            }
        };
        // SAFETY: every plane is written.
        let [values] = unsafe { build(batch * padded_depth * plane, plane, fill) };
        Self { values, sizes }
    }

    /// Voxels along D, H and W.
    fn size(sizes: Sizes) -> [usize; 3] {
        sizes.size.map(|size| size + sizes.kernel / 2 * 2)
    }

    /// Rows of voxels of the convolution's output.
    fn rows(&self) -> usize {
        self.sizes.batch * self.sizes.size[0] * self.sizes.size[1] * usize::from(self.sizes.size[2] > 0)
    }

    /// The offset of each voxel of a row.
    fn voxels(&self) -> Vec<usize> {
        (0..self.sizes.size[2]).map(|voxel| voxel * self.sizes.inputs).collect()
    }

    /// The voxels that a row sees through the first tap, and everything after them.
    fn row(&self, index: usize) -> &[f32] {
        let Sizes { size: [depth, height, _], inputs, .. } = self.sizes;
        let (slab, h) = (index / height, index % height);
        let (batch, d) = (slab / depth, slab % depth);
        let [padded_depth, padded_height, padded_width] = Self::size(self.sizes);
        &self.values[((batch * padded_depth + d) * padded_height + h) * padded_width * inputs..]
    }

    /// The offset of what a voxel sees through each tap and channel, relative to the first of both.
    fn offsets(&self) -> Vec<usize> {
        let Sizes { inputs, kernel, .. } = self.sizes;
        let [_, height, width] = Self::size(self.sizes);
        let taps =
            (0..kernel.pow(3)).map(|tap| [tap / (kernel * kernel), tap / kernel % kernel, tap % kernel]);
        let offset =
            |[d, h, w]: [usize; 3], channel: usize| ((d * height + h) * width + w) * inputs + channel;
        taps.flat_map(|tap| (0..inputs).map(move |channel| offset(tap, channel))).collect()
    }
}
