//! Dense 3-D convolution on `[B, D, H, W, C]`, and its gradients, as matrix products.
//!
//! For a row of output voxels and a few taps of the kernel at a time, the input voxels that they depend on are gathered
//! into a matrix in a core's cache and multiplied by those taps' weights. We say that an output voxel "sees" an input
//! voxel through a tap. The input's gradient is computed in the same way with other taps: for stride 2, voxels of each
//! parity along each axis have taps of their own. The partition of the work depends only on the sizes, so results are
//! the same for every number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Shared, add, build_scattered};
use super::panels::Panels;
use super::product::{Matrix, Product, multiply};
use super::simd::{InstructionSet, Lanes, dispatch};

/// The depth of a product, in floats, whose panel stays in the first-level cache.
const DEPTH: usize = 128;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    /// D, H, W of the input.
    pub(crate) size: [usize; 3],
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
}

impl Sizes {
    /// D, H, W of the output.
    pub(crate) fn output(self) -> [usize; 3] {
        self.size.map(|size| size.div_ceil(self.stride))
    }

    fn input_volume(self) -> Volume {
        Volume { batch: self.batch, size: self.size, channels: self.inputs }
    }

    fn output_volume(self) -> Volume {
        Volume { batch: self.batch, size: self.output(), channels: self.outputs }
    }

    /// Elements of the weight of one tap.
    fn tap(self) -> usize {
        self.inputs * self.outputs
    }
}

/// Sizes of an activation.
#[derive(Clone, Copy)]
pub(crate) struct Volume {
    batch: usize,
    size: [usize; 3],
    channels: usize,
}

impl Volume {
    fn len(self) -> usize {
        self.batch * self.size.iter().product::<usize>() * self.channels
    }

    /// The float where a row along W starts.
    fn row(self, batch: usize, d: usize, h: usize) -> usize {
        ((batch * self.size[0] + d) * self.size[1] + h) * self.size[2] * self.channels
    }
}

/// Which voxels some voxels along an axis see: voxel `first + j * spacing` sees, through each tap, voxel `j * step +
/// shift`.
#[derive(Clone)]
struct Axis {
    /// The number of voxels.
    count: usize,
    first: usize,
    spacing: usize,
    step: usize,
    /// Index in the kernel, and shift.
    taps: Vec<(usize, isize)>,
}

impl Axis {
    /// The output's voxels, which see the input's.
    fn forward(sizes: Sizes, axis: usize) -> Self {
        let taps = (0..sizes.kernel).map(|tap| (tap, tap as isize - (sizes.kernel / 2) as isize)).collect();
        Self { count: sizes.output()[axis], first: 0, spacing: 1, step: sizes.stride, taps }
    }

    /// The input's voxels from `first` on, a stride apart, which see the output's.
    fn backward(sizes: Sizes, axis: usize, first: usize) -> Self {
        let stride = sizes.stride as isize;
        let taps = (0..sizes.kernel)
            .map(|tap| (tap, (first + sizes.kernel / 2) as isize - tap as isize))
            .filter(|(_, distance)| distance % stride == 0)
            .map(|(tap, distance)| (tap, distance / stride))
            .collect();
        let count = sizes.size[axis].saturating_sub(first).div_ceil(sizes.stride);
        Self { count, first, spacing: sizes.stride, step: 1, taps }
    }
}

/// A tap, and the voxel that is seen through it.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    /// Index in the kernel.
    index: usize,
    shift: [isize; 3],
}

/// Some voxels of one activation, which see those of another.
struct View {
    axes: [Axis; 3],
    taps: Vec<Tap>,
    /// The activation that is seen.
    from: Volume,
}

impl View {
    fn new(axes: [Axis; 3], from: Volume, kernel: usize) -> Self {
        let mut taps = Vec::new();
        for &(d, shift_d) in &axes[0].taps {
            for &(h, shift_h) in &axes[1].taps {
                for &(w, shift_w) in &axes[2].taps {
                    taps.push(Tap {
                        index: (d * kernel + h) * kernel + w,
                        shift: [shift_d, shift_h, shift_w],
                    });
                }
            }
        }
        Self { axes, taps, from }
    }

    fn forward(sizes: Sizes) -> Self {
        Self::new([0, 1, 2].map(|axis| Axis::forward(sizes, axis)), sizes.input_volume(), sizes.kernel)
    }

    /// The voxels of each parity (for stride 2) of the input.
    fn backward(sizes: Sizes) -> Vec<Self> {
        let stride = sizes.stride;
        (0..stride.pow(3))
            .map(|class| {
                let first = [class / (stride * stride), class / stride % stride, class % stride];
                let axes = [0, 1, 2].map(|axis| Axis::backward(sizes, axis, first[axis]));
                Self::new(axes, sizes.output_volume(), sizes.kernel)
            })
            .collect()
    }

    /// The taps that are multiplied at a time.
    fn blocks(&self) -> std::slice::Chunks<'_, Tap> {
        self.taps.chunks((DEPTH / self.from.channels.max(1)).max(1))
    }

    /// Rows that have voxels.
    fn rows(&self) -> usize {
        if self.axes[2].count == 0 {
            return 0;
        }
        self.from.batch * self.axes[0].count * self.axes[1].count
    }

    /// Batch, and place along D and H, of a row.
    fn row(&self, index: usize) -> (usize, usize, usize) {
        let (slab, h) = (index / self.axes[1].count, index % self.axes[1].count);
        (slab / self.axes[0].count, slab % self.axes[0].count, h)
    }

    /// What a row sees through some taps: `[voxels along W, taps, channels]`.
    fn gather(&self, set: InstructionSet, x: &[f32], index: usize, taps: &[Tap], gathered: &mut Vec<f32>) {
        let (batch, d, h) = self.row(index);
        let depth = taps.len() * self.from.channels;
        let voxels = self.axes[2].count;
        gathered.resize(voxels * depth, 0.0);
        for (place, tap) in taps.iter().enumerate() {
            let seen = |axis: usize, j: usize| {
                let at = (j * self.axes[axis].step).checked_add_signed(tap.shift[axis])?;
                (at < self.from.size[axis]).then_some(at)
            };
            let row = seen(0, d).zip(seen(1, h)).map(|(d, h)| &x[self.from.row(batch, d, h)..]);
            let copy = Copy {
                row: row.map(|row| &row[..self.from.size[2] * self.from.channels]),
                step: self.axes[2].step,
                shift: tap.shift[2],
                voxels,
                channels: self.from.channels,
            };
            gather_on(set, &copy, &mut gathered[place * self.from.channels..], depth);
        }
    }

    /// Writes what the view's voxels see, multiplied by the weights that `weight` gives for taps.
    ///
    /// # Safety
    /// `to` has the view's voxels, of an activation of these sizes, and nobody else writes them.
    unsafe fn write(
        &self,
        set: InstructionSet,
        x: &[f32],
        weight: impl Fn(&[Tap]) -> Panels,
        (to, volume): (Shared, Volume),
    ) {
        let blocks: Vec<(&[Tap], Panels)> = self.blocks().map(|taps| (taps, weight(taps))).collect();
        (0..self.rows()).into_par_iter().for_each_init(Vec::new, |gathered, index| {
            let (batch, d, h) = self.row(index);
            let at = |axis: usize, j: usize| self.axes[axis].first + j * self.axes[axis].spacing;
            let start = volume.row(batch, at(0, d), at(1, h)) + at(2, 0) * volume.channels;
            for (number, (taps, right)) in blocks.iter().enumerate() {
                self.gather(set, x, index, taps, gathered);
                let left = Matrix::new(gathered, taps.len() * self.from.channels);
                // SAFETY: the row is this task's, by the caller's promise.
                unsafe {
                    let output = to.at(start);
                    multiply(
                        set,
                        &Product {
                            left,
                            rows: self.axes[2].count,
                            right,
                            output,
                            output_stride: self.axes[2].spacing * volume.channels,
                            onto: (number > 0).then_some(output.cast_const()),
                        },
                    );
                }
            }
        });
    }
}

/// The convolution: `weight` is `[K, K, K, inputs, outputs]`.
pub(crate) fn forward(x: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    check(x, weight, sizes);
    let set = InstructionSet::detect();
    let volume = sizes.output_volume();
    let pack = |taps: &[Tap]| {
        let rows: Vec<f32> =
            taps.iter().flat_map(|tap| &weight[tap.index * sizes.tap()..][..sizes.tap()]).copied().collect();
        let depth = taps.len() * sizes.inputs;
        // SAFETY: a tap has as many rows as inputs, of as many floats as outputs.
        unsafe { Panels::packed(set, Matrix::new(&rows, sizes.outputs), (depth, sizes.outputs), &[]) }
    };
    // SAFETY: the forward view has all voxels of the output.
    unsafe { build_scattered(volume.len(), |to| View::forward(sizes).write(set, x, pack, (to, volume))) }
}

/// The gradient for the input, given that for the output.
pub(crate) fn backward_input(gradient: &[f32], weight: &[f32], sizes: Sizes) -> Vec<f32> {
    assert!(gradient.len() == sizes.output_volume().len());
    let set = InstructionSet::detect();
    let volume = sizes.input_volume();
    let pack = |taps: &[Tap]| {
        let depth = taps.len() * sizes.outputs;
        let mut turned = vec![0.0; depth * sizes.inputs];
        for (place, tap) in taps.iter().enumerate() {
            for (at, &value) in weight[tap.index * sizes.tap()..][..sizes.tap()].iter().enumerate() {
                let (input, output) = (at / sizes.outputs, at % sizes.outputs);
                turned[(place * sizes.outputs + output) * sizes.inputs + input] = value;
            }
        }
        // SAFETY: a tap has as many rows as outputs, of as many floats as inputs.
        unsafe { Panels::packed(set, Matrix::new(&turned, sizes.inputs), (depth, sizes.inputs), &[]) }
    };
    let views = View::backward(sizes);
    // If the stride is larger than the kernel, some voxels are never seen.
    if views.iter().any(|view| view.taps.is_empty()) {
        let mut input = vec![0.0; volume.len()];
        let to = Shared::new(&mut input);
        for view in &views {
            // SAFETY: the views have different voxels of the input.
            unsafe { view.write(set, gradient, pack, (to, volume)) };
        }
        return input;
    }
    // SAFETY: the views together have all voxels of the input, each once.
    unsafe {
        build_scattered(volume.len(), |to| {
            for view in &views {
                view.write(set, gradient, pack, (to, volume));
            }
        })
    }
}

/// The gradient for the weight, given that for the output.
pub(crate) fn backward_weight(x: &[f32], gradient: &[f32], sizes: Sizes) -> Vec<f32> {
    /// Voxels whose inputs and gradients fit the last-level cache.
    const VOXELS: usize = 1 << 14;
    /// The target number of tasks.
    const TASKS: usize = 32;
    assert!(x.len() == sizes.input_volume().len() && gradient.len() == sizes.output_volume().len());
    let set = InstructionSet::detect();
    let view = View::forward(sizes);
    let blocks: Vec<&[Tap]> = view.blocks().collect();
    let groups = TASKS.div_ceil(blocks.len().max(1));
    let len = view.taps.len() * sizes.tap();
    let mut sums = vec![0.0; groups * len];
    let shared = Shared::new(&mut sums);
    let span = VOXELS.div_ceil(view.axes[2].count.max(1));
    for first in (0..view.rows()).step_by(span) {
        let rows = span.min(view.rows() - first);
        (0..groups * blocks.len()).into_par_iter().for_each(|task| {
            let (group, taps) = (task / blocks.len(), blocks[task % blocks.len()]);
            let rows = first + group * rows / groups..first + (group + 1) * rows / groups;
            // SAFETY: these taps of this group are this task's; taps of a forward view are in order.
            unsafe {
                let to = shared.at(group * len + taps[0].index * sizes.tap());
                add_taps(set, &view, [x, gradient], (rows, taps), (to, sizes.outputs));
            }
        });
    }
    let (total, others) = sums.split_at_mut(len);
    for group in others.chunks_exact(len.max(1)) {
        add(total, group);
    }
    sums.truncate(len);
    sums
}

/// Adds the contribution of some rows to the weight gradient of some taps, `[taps, inputs, outputs]`.
///
/// # Safety
/// `to` has that many floats, and nobody else writes them.
unsafe fn add_taps(
    set: InstructionSet,
    view: &View,
    [x, gradient]: [&[f32]; 2],
    (rows, taps): (Range<usize>, &[Tap]),
    (to, outputs): (*mut f32, usize),
) {
    let voxels = view.axes[2].count;
    let inputs = taps.len() * view.from.channels;
    let (mut gathered, mut right) = (Vec::new(), Panels::new(set));
    for row in rows {
        view.gather(set, x, row, taps, &mut gathered);
        let gradient = Matrix::new(&gradient[row * voxels * outputs..], outputs);
        // SAFETY: a row of the output's gradient has `voxels` voxels; `to` is the caller's promise.
        unsafe {
            right.pack(gradient, (voxels, outputs), &[]);
            multiply(
                set,
                &Product {
                    left: Matrix::new(&gathered, inputs).transposed(),
                    rows: inputs,
                    right: &right,
                    output: to,
                    output_stride: outputs,
                    onto: Some(to),
                },
            );
        }
    }
}

fn check(x: &[f32], weight: &[f32], sizes: Sizes) {
    assert_eq!(x.len(), sizes.input_volume().len());
    assert_eq!(weight.len(), sizes.kernel.pow(3) * sizes.tap());
}

/// Voxels to gather from a row: voxel `j` is `j * step + shift`, zero where there is none.
pub(crate) struct Copy<'a> {
    row: Option<&'a [f32]>,
    step: usize,
    shift: isize,
    voxels: usize,
    channels: usize,
}

dispatch! {
    /// Gathers voxels `stride` floats apart.
    fn gather_on(copy: &Copy<'_>, to: &mut [f32], stride: usize) = gather_voxels
}

#[inline(always)]
unsafe fn gather_voxels<L: Lanes>(copy: &Copy<'_>, to: &mut [f32], stride: usize) {
    let whole = copy.channels - copy.channels % L::N;
    for j in 0..copy.voxels {
        let to = &mut to[j * stride..][..copy.channels];
        let from = (j * copy.step)
            .checked_add_signed(copy.shift)
            .zip(copy.row)
            .and_then(|(voxel, row)| row.get(voxel * copy.channels..(voxel + 1) * copy.channels));
        let Some(from) = from else {
            to.fill(0.0);
            continue;
        };
        // SAFETY: both slices have `channels` floats.
        unsafe {
            for at in (0..whole).step_by(L::N) {
                L::load(from.as_ptr().add(at)).store(to.as_mut_ptr().add(at));
            }
        }
        to[whole..].copy_from_slice(&from[whole..]);
    }
}
