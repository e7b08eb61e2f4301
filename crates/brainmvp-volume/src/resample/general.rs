//! Resampling through any affine.

use rayon::prelude::*;

use super::{Interpolation, Voxel};
use crate::{Affine, Grid, Volume};

/// How values are computed, inside the volume and beyond it.
#[derive(Clone, Copy)]
pub(super) struct Sampling<T> {
    pub(super) interpolation: Interpolation,
    /// The value beyond half a voxel from the outermost centres; `None` takes the border voxel instead.
    pub(super) outside: Option<T>,
}

/// The volume on `grid`, whose voxel indices `to_source` maps to those of the volume.
pub(super) fn resample<T: Voxel>(
    volume: &Volume<T>,
    grid: &Grid,
    to_source: &Affine,
    sampling: Sampling<T>,
) -> Volume<T> {
    let fill = sampling.outside.unwrap_or_default();
    let mut result = vec![fill; grid.len()];
    let [nx, ny, _] = grid.shape;
    if volume.grid().is_empty() || grid.is_empty() {
        return Volume::new(*grid, result);
    }
    let step: [f64; 3] = to_source.linear().column(0).into_owned().into();
    result.par_chunks_mut(nx * ny).enumerate().for_each(|(z, slab)| {
        for (y, row) in slab.chunks_exact_mut(nx).enumerate() {
            let start = to_source.to_world([0.0, y as f64, z as f64]);
            let reached = match sampling.outside {
                Some(_) => reached(start, step, volume.shape(), nx),
                None => 0..nx,
            };
            for x in reached {
                let index = std::array::from_fn(|axis| start[axis] + step[axis] * x as f64);
                row[x] = match sampling.interpolation {
                    Interpolation::Nearest => nearest(volume, index),
                    Interpolation::Trilinear => trilinear(volume, index),
                };
            }
        }
    });
    Volume::new(*grid, result)
}

/// The part of a row that lies no further than half a voxel beyond the outermost centres.
fn reached(start: [f64; 3], step: [f64; 3], shape: [usize; 3], length: usize) -> std::ops::Range<usize> {
    /// Keeps a voxel that touches the border despite rounding.
    const SLACK: f64 = 1e-6;
    let (mut from, mut to) = (0.0, length as f64 - 1.0);
    for axis in 0..3 {
        let (low, high) = (-0.5 - SLACK - start[axis], shape[axis] as f64 - 0.5 + SLACK - start[axis]);
        if step[axis].abs() < 1e-12 {
            if low > 0.0 || high < 0.0 {
                return 0..0;
            }
            continue;
        }
        let (a, b) = (low / step[axis], high / step[axis]);
        from = f64::max(from, a.min(b));
        to = f64::min(to, a.max(b));
    }
    if from > to { 0..0 } else { from.ceil() as usize..to.floor() as usize + 1 }
}

fn nearest<T: Voxel>(volume: &Volume<T>, index: [f64; 3]) -> T {
    let shape = volume.shape();
    volume.at(std::array::from_fn(|axis| {
        (index[axis].max(0.0).round_ties_even() as usize).min(shape[axis] - 1)
    }))
}

fn trilinear<T: Voxel>(volume: &Volume<T>, index: [f64; 3]) -> T {
    let shape = volume.shape();
    let clamped: [f64; 3] = std::array::from_fn(|axis| index[axis].max(0.0).min((shape[axis] - 1) as f64));
    let low = clamped.map(|index| index as usize);
    let weight: [f32; 3] = std::array::from_fn(|axis| (clamped[axis] - low[axis] as f64) as f32);
    let high: [usize; 3] = std::array::from_fn(|axis| (low[axis] + 1).min(shape[axis] - 1));
    let mix = |a: f32, b: f32, weight: f32| a + (b - a) * weight;
    let row = |y: usize, z: usize| {
        let start = volume.grid().offset([0, y, z]);
        let voxels = volume.voxels();
        mix(voxels[start + low[0]].to_f32(), voxels[start + high[0]].to_f32(), weight[0])
    };
    let plane = |z: usize| mix(row(low[1], z), row(high[1], z), weight[1]);
    T::from_f32(mix(plane(low[2]), plane(high[2]), weight[2]))
}
