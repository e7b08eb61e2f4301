//! Attention within windows of a volume, one head of one window at a time.
//!
//! A head of a window is copied out of the volume and is then an attention over a few hundred tokens, whose matrices fit in a
//! core's cache. Windows of one head follow one another, so that its bias stays there too.

use rayon::prelude::*;

use super::added::Added;
use super::backward::{BackwardHead, BackwardScratch, BiasGradient};
use super::forward::{ForwardHead, QUERIES};
use super::{Head, KEYS, Sizes, blocks};
use crate::cpu::buffer::{Shared, add, build_scattered};
use crate::cpu::simd::{InstructionSet, WIDEST_LANES};
use crate::ops::WindowOptions;
use crate::ops::window::Windows;

/// The target number of tasks of the gradient, each of which has sums of its own.
const TASKS: usize = 64;
/// The head of a window, alone.
const ALONE: Head = Head { batch: 0, index: 0 };

/// Sizes of an attention within windows of `[batch, size.., 3, heads, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowSizes {
    pub(crate) batch: usize,
    /// Along D, H and W.
    pub(crate) size: [usize; 3],
    pub(crate) heads: usize,
    pub(crate) width: usize,
    pub(crate) options: WindowOptions,
}

impl WindowSizes {
    fn windows(&self) -> Windows {
        Windows::new(self.size, self.options)
    }

    fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// Number of floats of the output; of the input it is three times that.
    pub(crate) fn len(&self) -> usize {
        self.batch * self.windows().voxels() * self.channels()
    }

    /// The softmaxes: windows of all cases, heads, tokens.
    pub(crate) fn log_sums(&self) -> [usize; 3] {
        [self.batch * self.windows().count(), self.heads, self.options.tokens()]
    }

    /// One head of one window, as an attention of its own.
    fn alone(&self) -> Sizes {
        Sizes { batch: 1, tokens: self.options.tokens(), heads: 1, width: self.width }
    }
}

/// The windows of a volume: where their tokens are, and which are kept apart.
struct Layout {
    sizes: WindowSizes,
    /// For each window.
    voxels: Vec<Vec<Option<usize>>>,
    parts: Vec<Option<Vec<f32>>>,
}

impl Layout {
    fn new(sizes: WindowSizes) -> Self {
        let windows = sizes.windows();
        let voxels = (0..windows.count()).map(|window| windows.voxels_of(window)).collect();
        let parts = (0..windows.count()).map(|window| windows.parts_of(window)).collect();
        Self { sizes, voxels, parts }
    }

    /// What is added to the scores of a head in a window of all cases.
    fn added<'a>(&'a self, bias: &'a [f32], head: usize, window: usize) -> Added<'a> {
        let tokens = self.sizes.options.tokens();
        let parts = self.parts[window % self.parts.len()].as_deref();
        Added { bias: &bias[head * tokens * tokens..][..tokens * tokens], tokens, parts }
    }

    /// For each token of a window of all cases, where in a tensor of `stride` floats for each voxel it begins, or `None` beyond
    /// the end of the volume.
    fn places(&self, window: usize, stride: usize) -> impl Iterator<Item = Option<usize>> {
        let count = self.voxels.len();
        let first = window / count * self.sizes.windows().voxels();
        self.voxels[window % count].iter().map(move |voxel| voxel.map(|voxel| (first + voxel) * stride))
    }

    /// Copies parts of the channels of a window's tokens, `[tokens, parts, width]`; the parts of a voxel are all channels of a
    /// head apart, and beyond the end of the volume they are those of `outside`.
    fn gather<const PARTS: usize>(
        &self,
        (from, outside): (&[f32], &[f32]),
        (head, window): (usize, usize),
        to: &mut Vec<f32>,
    ) {
        let WindowSizes { width, .. } = self.sizes;
        let channels = self.sizes.channels();
        to.clear();
        for place in self.places(window, PARTS * channels) {
            let token = place.map_or(outside, |place| &from[place..][..PARTS * channels]);
            for part in 0..PARTS {
                to.extend_from_slice(&token[part * channels + head * width..][..width]);
            }
        }
    }

    /// The reverse, but for what is beyond the end.
    ///
    /// # Safety
    /// No other task writes this head of this window.
    unsafe fn scatter<const PARTS: usize>(&self, from: &[f32], (head, window): (usize, usize), to: Shared) {
        let WindowSizes { width, .. } = self.sizes;
        let channels = self.sizes.channels();
        let tokens = from.chunks_exact(PARTS * width);
        for (place, token) in self.places(window, PARTS * channels).zip(tokens) {
            let Some(place) = place else { continue };
            for (part, values) in token.chunks_exact(width).enumerate() {
                // SAFETY: the voxel lies in the volume, and the caller's promise.
                unsafe {
                    let to = to.at(place + part * channels + head * width);
                    to.copy_from_nonoverlapping(values.as_ptr(), width);
                }
            }
        }
    }
}

/// The working memory of a task of the forward pass.
#[derive(Default)]
struct ForwardScratch {
    qkv: Vec<f32>,
    output: Vec<f32>,
    scores: Vec<f32>,
}

/// The attention of `qkv`, with `outside` beyond the end of the volume, `[heads, tokens, tokens]` added to the scores:
/// `[batch, size.., heads, width]`; and the logarithm of each softmax's sum, `[batch, windows, heads, tokens]`.
pub(crate) fn forward(
    qkv: &[f32],
    outside: &[f32],
    bias: &[f32],
    sizes: WindowSizes,
) -> (Vec<f32>, Vec<f32>) {
    assert!(qkv.len() == 3 * sizes.len() && outside.len() == 3 * sizes.channels());
    let [windows, heads, tokens] = sizes.log_sums();
    if sizes.width == 0 {
        return (Vec::new(), vec![(tokens as f32).ln(); windows * heads * tokens]);
    }
    assert_eq!(bias.len(), heads * tokens * tokens);
    let (set, layout, alone) = (InstructionSet::detect(), Layout::new(sizes), sizes.alone());
    let mut log_sums = vec![0.0; windows * heads * tokens];
    let log_sums_to = Shared::new(&mut log_sums);
    let fill = |to: Shared| {
        let work = |scratch: &mut ForwardScratch, task: usize| {
            let (head, window) = (task / windows, task % windows);
            let ForwardScratch { qkv: own, output, scores } = scratch;
            layout.gather::<3>((qkv, outside), (head, window), own);
            output.resize(tokens * sizes.width, 0.0);
            scores.resize(QUERIES * tokens.next_multiple_of(WIDEST_LANES), 0.0);
            let added = layout.added(bias, head, window);
            let attention = ForwardHead::new(set, own, (alone, ALONE));
            // SAFETY: no other task has this head of this window.
            unsafe {
                let log_sums = log_sums_to.at((window * heads + head) * tokens);
                for block in blocks(tokens, QUERIES) {
                    let to = output.as_mut_ptr().add(block.0 * sizes.width);
                    let sums = attention.attend(block, scores, to, Some(&added));
                    for (row, sum) in sums[..block.1].iter().enumerate() {
                        *log_sums.add(block.0 + row) = sum.log();
                    }
                }
                layout.scatter::<1>(output, (head, window), to);
            }
        };
        (0..heads * windows).into_par_iter().for_each_init(ForwardScratch::default, work);
    };
    // SAFETY: all heads of all windows are the whole output.
    let output = unsafe { build_scattered(sizes.len(), fill) };
    (output, log_sums)
}

/// The gradients for the inputs of [`forward`].
pub(crate) struct WindowGradients {
    pub(crate) qkv: Vec<f32>,
    pub(crate) outside: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// What several windows of a head add up to.
#[derive(Clone)]
struct Sums {
    /// `[3, width]`
    outside: Vec<f32>,
    /// `[tokens, tokens]`
    bias: Vec<f32>,
}

/// What the gradient is computed from.
#[derive(Clone, Copy)]
pub(crate) struct WindowAttended<'a> {
    /// The inputs of [`forward`].
    pub(crate) qkv: &'a [f32],
    pub(crate) outside: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Its results.
    pub(crate) output: &'a [f32],
    pub(crate) log_sums: &'a [f32],
}

/// The gradients for the inputs of [`forward`], given the gradient for its output.
pub(crate) fn backward(of: WindowAttended<'_>, gradient: &[f32], sizes: WindowSizes) -> WindowGradients {
    assert!(of.qkv.len() == 3 * sizes.len() && [of.output, gradient].map(<[f32]>::len) == [sizes.len(); 2]);
    let [windows, heads, tokens] = sizes.log_sums();
    if sizes.width == 0 {
        return WindowGradients { qkv: Vec::new(), outside: Vec::new(), bias: vec![0.0; of.bias.len()] };
    }
    assert_eq!(of.log_sums.len(), windows * heads * tokens);
    let (layout, set) = (Layout::new(sizes), InstructionSet::detect());
    let chunks = TASKS.div_ceil(heads.max(1)).min(windows).max(1);
    let mut sums: Vec<Sums> = Vec::new();
    let fill = |to: Shared| {
        let work = |scratch: &mut WindowScratch, task: usize| {
            let (head, chunk) = (task / chunks, task % chunks);
            let mut sums = Sums { outside: vec![0.0; 3 * sizes.width], bias: vec![0.0; tokens * tokens] };
            for window in chunk * windows / chunks..(chunk + 1) * windows / chunks {
                // SAFETY: no other task has this head of this window.
                unsafe { scratch.add(set, &layout, (of, gradient), (head, window), &mut sums, to) };
            }
            sums
        };
        let tasks = (0..heads * chunks).into_par_iter();
        sums = tasks.map_init(WindowScratch::default, work).collect();
    };
    // SAFETY: all heads of all windows are the whole gradient.
    let qkv = unsafe { build_scattered(3 * sizes.len(), fill) };
    let (mut outside, mut bias) = (vec![0.0; of.outside.len()], vec![0.0; of.bias.len()]);
    let totals: Vec<Sums> = sums.par_chunks(chunks).map(total).collect();
    for (head, total) in totals.iter().enumerate() {
        bias[head * tokens * tokens..][..tokens * tokens].copy_from_slice(&total.bias);
        for (part, values) in total.outside.chunks_exact(sizes.width).enumerate() {
            outside[part * sizes.channels() + head * sizes.width..][..sizes.width].copy_from_slice(values);
        }
    }
    WindowGradients { qkv, outside, bias }
}

/// The sums of a head, in order.
fn total(sums: &[Sums]) -> Sums {
    let mut total = sums[0].clone();
    for more in &sums[1..] {
        add(&mut total.outside, &more.outside);
        add(&mut total.bias, &more.bias);
    }
    total
}

/// The working memory of a task of the gradient.
#[derive(Default)]
struct WindowScratch {
    qkv: Vec<f32>,
    output: Vec<f32>,
    upstream: Vec<f32>,
    gradient: Vec<f32>,
    nothing: Vec<f32>,
    blocks: BackwardScratch,
}

impl WindowScratch {
    /// Writes the gradient of a head of a window, and adds to the sums.
    ///
    /// # Safety
    /// `to` is a gradient for the input, and no other task writes this head of this window.
    unsafe fn add(
        &mut self,
        set: InstructionSet,
        layout: &Layout,
        (of, gradient): (WindowAttended<'_>, &[f32]),
        place: (usize, usize),
        sums: &mut Sums,
        to: Shared,
    ) {
        let (sizes, alone, (head, window)) = (layout.sizes, layout.sizes.alone(), place);
        let tokens = alone.tokens;
        self.nothing.resize(sizes.channels(), 0.0);
        layout.gather::<3>((of.qkv, of.outside), place, &mut self.qkv);
        layout.gather::<1>((of.output, &self.nothing), place, &mut self.output);
        layout.gather::<1>((gradient, &self.nothing), place, &mut self.upstream);
        self.gradient.resize(3 * tokens * sizes.width, 0.0);
        let log_sums = &of.log_sums[(window * sizes.heads + head) * tokens..][..tokens];
        let attention =
            BackwardHead::new(set, &self.qkv, [&self.output, log_sums, &self.upstream], (alone, ALONE));
        let added = layout.added(of.bias, head, window);
        let mut bias = BiasGradient { added, sums: &mut sums.bias };
        let own = Shared::new(&mut self.gradient);
        // SAFETY: the gradient of the window is this task's, and so is this head of this window.
        unsafe {
            let queries = (own.at(0), 3 * sizes.width);
            attention.add(0..tokens.div_ceil(KEYS), &mut self.blocks, own, queries, Some(&mut bias));
            layout.scatter::<3>(&self.gradient, place, to);
        }
        let rows = self.gradient.chunks_exact(3 * sizes.width);
        for (place, row) in layout.places(window, 1).zip(rows) {
            if place.is_none() {
                add(&mut sums.outside, row);
            }
        }
    }
}
