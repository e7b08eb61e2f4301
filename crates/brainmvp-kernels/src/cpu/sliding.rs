//! The register kernels of a convolution of 3 taps along each axis and stride 1, row by row of voxels.
//!
//! The input is padded with zeros, and the voxels of a row lie one after the other for each channel: `[B, D + 2, H + 2, C, W + 2]`.
//! A tile of output voxels in a row then sees, through the three taps along the row, overlapping runs of floats: each
//! float is loaded once and multiplied by the weights of up to three taps. So there are fewer loads than products, and all
//! addresses in a tile are at fixed distances from one pointer.

use rayon::prelude::*;

use super::buffer::add;
use super::conv::Sizes;
use super::simd::{Lanes, dispatch};
use super::tile::Tile;

/// Output voxels of a tile. As many sums as these are enough to hide the latency of a product.
const TILE: usize = 8;
/// Taps along an axis.
pub(crate) const TAPS: usize = 3;
/// Pairs of taps along D and H.
pub(crate) const PLANES: usize = TAPS * TAPS;

/// The input, padded with zeros.
pub(crate) struct Padded {
    values: Vec<f32>,
    sizes: Sizes,
}

impl Padded {
    pub(crate) fn of(x: &[f32], sizes: Sizes) -> Self {
        let Sizes { batch, size: [depth, height, width], inputs, .. } = sizes;
        assert_eq!(x.len(), batch * depth * height * width * inputs);
        let mut padded = Self { values: Vec::new(), sizes };
        let plane = (height + 2) * padded.row_len();
        padded.values = vec![0.0; batch * (depth + 2) * plane];
        let stride = padded.stride();
        padded.values.par_chunks_mut(plane.max(1)).enumerate().for_each(|(index, to)| {
            let (batch, d) = (index / (depth + 2), index % (depth + 2));
            let Some(d) = d.checked_sub(1).filter(|&d| d < depth && width * inputs > 0) else { return };
            for (h, to) in to.chunks_exact_mut(inputs * stride).skip(1).take(height).enumerate() {
                let from = &x[((batch * depth + d) * height + h) * width * inputs..][..width * inputs];
                for (voxel, from) in from.chunks_exact(inputs).enumerate() {
                    from.iter().enumerate().for_each(|(channel, x)| to[channel * stride + voxel + 1] = *x);
                }
            }
        });
        padded
    }

    /// Voxels of a row, in whole tiles.
    pub(crate) fn width(&self) -> usize {
        self.sizes.size[2].next_multiple_of(TILE)
    }

    /// Floats from a channel of a row to the next.
    fn stride(&self) -> usize {
        self.width() + TAPS - 1
    }

    fn row_len(&self) -> usize {
        self.sizes.inputs * self.stride()
    }

    /// Rows of voxels of the output.
    pub(crate) fn rows(&self) -> usize {
        let Sizes { batch, size: [depth, height, width], .. } = self.sizes;
        batch * depth * height * usize::from(width > 0)
    }

    /// What a row of output voxels sees.
    pub(crate) fn seen_by(&self, row: usize) -> Seen<'_> {
        let [depth, height, _] = self.sizes.size;
        let (slab, h) = (row / height, row % height);
        let (batch, d) = (slab / depth, slab % depth);
        let planes = std::array::from_fn(|plane| {
            let (d, h) = (d + plane / TAPS, h + plane % TAPS);
            &self.values[((batch * (depth + 2) + d) * (height + 2) + h) * self.row_len()..][..self.row_len()]
        });
        Seen { planes, channels: self.sizes.inputs, stride: self.stride() }
    }
}

/// The rows of the padded input that a row of output voxels sees through the taps along D and H.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// `[C, stride]` each.
    planes: [&'a [f32]; PLANES],
    channels: usize,
    stride: usize,
}

/// The vectors of output channels that are computed at a time, for so many channels: as few as fill them best.
fn vectors<L: Lanes>(outputs: usize) -> usize {
    if L::PANEL == 4 && outputs.div_ceil(L::N).is_multiple_of(2) { 2 } else { 1 }
}

/// Weights or their gradients, `[panels, 3 (D), 3 (H), C, 3 (W), panel]`, where a panel is some vectors of output channels.
pub(crate) struct Packed {
    values: Vec<f32>,
    inputs: usize,
    outputs: usize,
    /// Output channels of a panel.
    panel: usize,
}

impl Packed {
    /// Zeros, in panels of so many output channels.
    pub(crate) fn zeros(inputs: usize, outputs: usize, panel: usize) -> Self {
        let len = outputs.div_ceil(panel) * PLANES * inputs * TAPS * panel;
        Self { values: vec![0.0; len], inputs, outputs, panel }
    }

    /// Those of a weight `[3, 3, 3, inputs, outputs]`.
    pub(crate) fn of(weight: &[f32], inputs: usize, outputs: usize, panel: usize) -> Self {
        assert_eq!(weight.len(), PLANES * TAPS * inputs * outputs);
        let mut packed = Self::zeros(inputs, outputs, panel);
        let (values, places) = (&mut packed.values, Places { inputs, outputs, panel });
        places.each(|place, at, count| values[place..place + count].copy_from_slice(&weight[at..at + count]));
        packed
    }

    /// `[3, 3, 3, inputs, outputs]`.
    pub(crate) fn unpacked(&self) -> Vec<f32> {
        let Self { inputs, outputs, panel, .. } = *self;
        let mut weight = vec![0.0; PLANES * TAPS * inputs * outputs];
        Places { inputs, outputs, panel }.each(|place, at, count| {
            weight[at..at + count].copy_from_slice(&self.values[place..place + count]);
        });
        weight
    }

    pub(crate) fn add(&mut self, other: &Self) {
        add(&mut self.values, &other.values);
    }
}

/// Where weights are in their panels.
struct Places {
    inputs: usize,
    outputs: usize,
    panel: usize,
}

impl Places {
    /// For each run of output channels: its place in the panels, its place in the weight, and its length.
    fn each(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Self { inputs, outputs, panel } = *self;
        for (number, first) in (0..outputs).step_by(panel).enumerate() {
            let count = panel.min(outputs - first);
            for plane in 0..PLANES {
                for channel in 0..inputs {
                    for tap in 0..TAPS {
                        let place = (((number * PLANES + plane) * inputs + channel) * TAPS + tap) * panel;
                        visit(place, ((plane * TAPS + tap) * inputs + channel) * outputs + first, count);
                    }
                }
            }
        }
    }
}

dispatch! {
    /// The output channels of a panel of weights, for so many channels in all.
    fn panel_of(outputs: usize, panel: &mut usize) = panel_in
}

#[inline(always)]
unsafe fn panel_in<L: Lanes>(outputs: usize, panel: &mut usize) {
    *panel = vectors::<L>(outputs) * L::N;
}

dispatch! {
    /// Computes a row of output voxels, `[width, outputs]`.
    ///
    /// # Safety
    /// The output has `width` voxels of the weight's output channels; the weight was packed for the set.
    unsafe fn output_row(seen: Seen<'_>, weight: &Packed, output: *mut f32, width: usize) = output_row_in
}

#[inline(always)]
unsafe fn output_row_in<L: Lanes>(seen: Seen<'_>, weight: &Packed, output: *mut f32, width: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if L::PANEL == 4 && weight.panel == 2 * L::N {
            output_panels::<L, 2>(seen, weight, output, width);
        } else {
            output_panels::<L, 1>(seen, weight, output, width);
        }
    }
}

#[inline(always)]
unsafe fn output_panels<L: Lanes, const V: usize>(
    seen: Seen<'_>,
    weight: &Packed,
    output: *mut f32,
    width: usize,
) {
    let len = PLANES * weight.inputs * TAPS * weight.panel;
    for (number, first) in (0..weight.outputs).step_by(weight.panel).enumerate() {
        for voxel in (0..width).step_by(TILE) {
            // SAFETY: rows of the input have whole tiles and two voxels more; the panel has weights for each of its
            // channels and taps.
            unsafe {
                let sums = output_tile::<L, V>(seen, voxel, weight.values.as_ptr().add(number * len));
                let tile = Tile {
                    output: output.add(voxel * weight.outputs + first),
                    stride: weight.outputs,
                    rows: TILE.min(width - voxel),
                    columns: weight.panel.min(weight.outputs - first),
                };
                tile.store(sums);
            }
        }
    }
}

/// The sums of a tile of output voxels that begins at `voxel`.
#[inline(always)]
unsafe fn output_tile<L: Lanes, const V: usize>(
    seen: Seen<'_>,
    voxel: usize,
    mut weight: *const f32,
) -> [[L; V]; TILE] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[L::zero(); V]; TILE];
        for plane in seen.planes {
            let mut input = plane.as_ptr().add(voxel);
            for _ in 0..seen.channels {
                let mut taps = [[L::zero(); V]; TAPS];
                for tap in 0..TAPS {
                    for v in 0..V {
                        taps[tap][v] = L::load(weight.add((tap * V + v) * L::N));
                    }
                }
                for at in 0..TILE + TAPS - 1 {
                    let value = L::splat(*input.add(at));
                    for tap in 0..TAPS {
                        if at >= tap && at - tap < TILE {
                            for v in 0..V {
                                sums[at - tap][v] = sums[at - tap][v].mul_add(value, taps[tap][v]);
                            }
                        }
                    }
                }
                // The last ones may be one past the end.
                input = input.wrapping_add(seen.stride);
                weight = weight.wrapping_add(TAPS * V * L::N);
            }
        }
        sums
    }
}

dispatch! {
    /// Adds what a row of the output's gradient, `[width, outputs]`, contributes to the weight's. `row` is memory.
    ///
    /// # Safety
    /// The gradient has `width` voxels of the sums' output channels; the sums are packed for the set.
    unsafe fn add_weight_row(seen: Seen<'_>, gradient: &[f32], row: &mut Vec<f32>, sums: &mut Packed) = add_weight_row_in
}

#[inline(always)]
unsafe fn add_weight_row_in<L: Lanes>(
    seen: Seen<'_>,
    gradient: &[f32],
    row: &mut Vec<f32>,
    sums: &mut Packed,
) {
    // SAFETY: the caller's promise. Sums, gradients and a value are what the register file holds.
    unsafe {
        if L::PANEL != 4 {
            add_weight_panels::<L, 2, 2, 1>(seen, gradient, row, sums);
        } else if sums.panel == 2 * L::N {
            add_weight_panels::<L, 4, 2, 2>(seen, gradient, row, sums);
        } else {
            add_weight_panels::<L, 4, 4, 1>(seen, gradient, row, sums);
        }
    }
}

/// `C` input channels and `U` voxels at a time.
#[inline(always)]
unsafe fn add_weight_panels<L: Lanes, const C: usize, const U: usize, const V: usize>(
    seen: Seen<'_>,
    gradient: &[f32],
    row: &mut Vec<f32>,
    sums: &mut Packed,
) {
    let Packed { inputs, outputs, panel, .. } = *sums;
    let width = seen.stride - (TAPS - 1);
    for (number, first) in (0..outputs).step_by(panel).enumerate() {
        let count = panel.min(outputs - first);
        row.clear();
        row.resize(width * panel, 0.0);
        for (to, from) in row.chunks_exact_mut(panel).zip(gradient.chunks_exact(outputs)) {
            to[..count].copy_from_slice(&from[first..first + count]);
        }
        for (plane, input) in seen.planes.iter().enumerate() {
            let place = (number * PLANES + plane) * inputs * TAPS * panel;
            let sums = &mut sums.values[place..][..inputs * TAPS * panel];
            let many = inputs / C * C;
            // SAFETY: the row has `width` voxels, in whole tiles; the input two more for each channel; the sums are those of
            // the plane.
            unsafe {
                for channel in (0..many).step_by(C) {
                    let to = sums.as_mut_ptr().add(channel * TAPS * panel);
                    add_weight_tile::<L, C, U, V>(
                        (input.as_ptr().add(channel * seen.stride), seen.stride),
                        row,
                        to,
                    );
                }
                for channel in many..inputs {
                    let to = sums.as_mut_ptr().add(channel * TAPS * panel);
                    add_weight_tile::<L, 1, U, V>(
                        (input.as_ptr().add(channel * seen.stride), seen.stride),
                        row,
                        to,
                    );
                }
            }
        }
    }
}

/// Adds the products of `C` channels of a row of the input, `stride` floats apart, and a row of the gradient.
#[inline(always)]
unsafe fn add_weight_tile<L: Lanes, const C: usize, const U: usize, const V: usize>(
    (input, stride): (*const f32, usize),
    gradient: &[f32],
    to: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut channels = [input; C];
        for channel in 0..C {
            channels[channel] = input.add(channel * stride);
        }
        let mut sums = [[[L::zero(); V]; TAPS]; C];
        let place = |channel: usize, tap: usize, v: usize| ((channel * TAPS + tap) * V + v) * L::N;
        let step = U * V * L::N;
        for (number, gradient) in gradient.chunks_exact(step).enumerate() {
            let mut gradients = [[L::zero(); V]; U];
            for voxel in 0..U {
                for v in 0..V {
                    gradients[voxel][v] = L::load(gradient.as_ptr().add((voxel * V + v) * L::N));
                }
            }
            for channel in 0..C {
                for at in 0..U + TAPS - 1 {
                    let value = L::splat(*channels[channel].add(number * U + at));
                    for tap in 0..TAPS {
                        if at >= tap && at - tap < U {
                            for v in 0..V {
                                let sum = &mut sums[channel][tap][v];
                                *sum = sum.mul_add(value, gradients[at - tap][v]);
                            }
                        }
                    }
                }
            }
        }
        for channel in 0..C {
            for tap in 0..TAPS {
                for v in 0..V {
                    let to = to.add(place(channel, tap, v));
                    sums[channel][tap][v].add(L::load(to)).store(to);
                }
            }
        }
    }
}
