//! Points of the fixed image at which the two images are compared.

use nalgebra::Vector3;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::foreground::Margin;
use crate::pyramid::{Level, Pyramid};

/// Points and the fixed image's values at them. They lie anywhere between the voxels, so that transforms that align the
/// grids are not favoured.
#[derive(Debug, Clone)]
pub(crate) struct Points {
    /// The centre that positions are relative to, in mm.
    pub(crate) centre: Vector3<f64>,
    /// Positions relative to the centre, in mm.
    pub(crate) places: Vec<[f32; 3]>,
    /// The fixed image's values, 0 to 1.
    pub(crate) values: Vec<f32>,
}

impl Points {
    /// About `count` points, spread evenly over the foreground of the image; the same for the same seed.
    pub(crate) fn draw(image: &Pyramid, margin: Margin, level: usize, count: usize, seed: u64) -> Self {
        let foreground = image.foreground();
        let places = foreground.places(margin);
        let centre = foreground.centre;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(level as u64);
        let mut unit = || f64::from(random.next_u32()) / (f64::from(u32::MAX) + 1.0);
        let mut points = Self { centre, places: Vec::new(), values: Vec::new() };
        let share = places.len() as f64 / count as f64;
        // An empty mask has no points.
        for i in 0..if places.is_empty() { 0 } else { count } {
            let voxel = places[((i as f64 + unit()) * share) as usize];
            let index = voxel.map(|v| v as f64 + unit() - 0.5);
            let place = foreground.affine.to_world(index);
            let Some(value) = value_at(image.level(level), place) else { continue };
            points.places.push(std::array::from_fn(|axis| (place[axis] - centre[axis]) as f32));
            points.values.push(value);
        }
        points
    }
}

/// The trilinear value at a position in mm, or `None` beyond the outermost voxel centres.
fn value_at(level: &Level, place: [f64; 3]) -> Option<f32> {
    let index = level.to_voxel.to_world(place).map(|i| i as f32);
    Sampler::new(level).value_and_gradient(index).map(|(value, _)| value)
}

/// Trilinear interpolation in a level.
#[derive(Clone, Copy)]
pub(crate) struct Sampler<'a> {
    voxels: &'a [f32],
    last: [f32; 3],
    lowest: [usize; 3],
    strides: [usize; 2],
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(level: &'a Level) -> Self {
        let shape = level.volume.shape();
        Self {
            voxels: level.volume.voxels(),
            last: shape.map(|length| (length - 1) as f32),
            lowest: shape.map(|length| length - 2),
            strides: [shape[0], shape[0] * shape[1]],
        }
    }

    /// The value at a voxel index and its gradient per voxel, or `None` beyond the outermost voxel centres.
    #[inline(always)]
    pub(crate) fn value_and_gradient(&self, index: [f32; 3]) -> Option<(f32, [f32; 3])> {
        if !(0..3).all(|axis| index[axis] >= 0.0 && index[axis] <= self.last[axis]) {
            return None;
        }
        let low: [usize; 3] = std::array::from_fn(|axis| (index[axis] as usize).min(self.lowest[axis]));
        let [u, v, w]: [f32; 3] = std::array::from_fn(|axis| index[axis] - low[axis] as f32);
        let [row, slab] = self.strides;
        let start = low[0] + low[1] * row + low[2] * slab;
        // One bounds check for all eight.
        let near = &self.voxels[start..start + slab + row + 2];
        let (a, b, c, d) = (near[0], near[1], near[row], near[row + 1]);
        let far = &near[slab..];
        let (e, f, g, h) = (far[0], far[1], far[row], far[row + 1]);
        let (ab, cd, ef, gh) = (a + (b - a) * u, c + (d - c) * u, e + (f - e) * u, g + (h - g) * u);
        let (abcd, efgh) = (ab + (cd - ab) * v, ef + (gh - ef) * v);
        let along_x =
            |p: f32, q: f32, r: f32, s: f32| p + (q - p) * v + ((r + (s - r) * v) - (p + (q - p) * v)) * w;
        let gradient =
            [along_x(b - a, d - c, f - e, h - g), (cd - ab) + ((gh - ef) - (cd - ab)) * w, efgh - abcd];
        Some((abcd + (efgh - abcd) * w, gradient))
    }
}
