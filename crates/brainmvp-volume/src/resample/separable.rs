//! Resampling where the axes of both grids are parallel: one pass per axis, with weights from a table.

use rayon::prelude::*;

use super::{Interpolation, Voxel};
use crate::{Affine, Grid, Volume};

/// How far, in voxels, an axis may stray from its own direction over the whole grid.
const STRAY: f64 = 1e-3;

/// For each axis the index in the source of the result's first voxel, and the step.
pub(super) struct Axes {
    first: [f64; 3],
    step: [f64; 3],
}

impl Axes {
    /// The three maps of a map between voxel indices, or `None` if the axes mix.
    pub(super) fn of(to_source: &Affine, grid: &Grid) -> Option<Self> {
        let linear = to_source.linear();
        let strays = (0..3).any(|row| {
            let stray = |column: usize| linear[(row, column)].abs() * grid.shape[column] as f64;
            (0..3).filter(|column| *column != row).map(stray).sum::<f64>() > STRAY
        });
        // The small remainder is corrected for the middle of the grid, so that it is smallest overall.
        let middle = grid.shape.map(|length| (length as f64 - 1.0) / 2.0);
        let centre = to_source.to_world(middle);
        let step = std::array::from_fn(|axis| linear[(axis, axis)]);
        (!strays).then(|| Self {
            first: std::array::from_fn(|axis| centre[axis] - step[axis] * middle[axis]),
            step,
        })
    }

    /// The volume on `grid`.
    pub(super) fn resample<T: Voxel>(
        self,
        volume: &Volume<T>,
        grid: &Grid,
        method: Interpolation,
    ) -> Volume<T> {
        let tables: [Vec<Tap>; 3] =
            std::array::from_fn(|axis| self.taps(axis, volume.shape()[axis], grid.shape[axis]));
        let voxels = match method {
            Interpolation::Nearest => nearest(volume, grid, &tables),
            Interpolation::Trilinear => trilinear(volume, &tables),
        };
        Volume::new(*grid, voxels)
    }

    fn taps(&self, axis: usize, source_length: usize, length: usize) -> Vec<Tap> {
        let last = source_length.saturating_sub(1);
        (0..length)
            .map(|i| {
                let index = (self.first[axis] + self.step[axis] * i as f64).clamp(0.0, last as f64);
                let low = (index.floor() as usize).min(last);
                Tap {
                    low,
                    high: (low + 1).min(last),
                    weight: (index - low as f64) as f32,
                    nearest: index.round_ties_even() as usize,
                }
            })
            .collect()
    }
}

/// Where a value of the result comes from along one axis.
#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    /// The weight of `high`.
    weight: f32,
    nearest: usize,
}

impl Tap {
    #[inline]
    fn between<T: Voxel, U: Voxel>(self, low: T, high: T) -> U {
        let (low, high) = (low.to_f32(), high.to_f32());
        U::from_f32(low + (high - low) * self.weight)
    }
}

fn nearest<T: Voxel>(volume: &Volume<T>, grid: &Grid, tables: &[Vec<Tap>; 3]) -> Vec<T> {
    let [nx, ny, _] = grid.shape;
    let [source_nx, source_ny, _] = volume.shape();
    let mut result = vec![T::default(); grid.len()];
    result.par_chunks_mut(nx * ny).zip(&tables[2]).for_each(|(slab, z)| {
        for (row, y) in slab.chunks_exact_mut(nx).zip(&tables[1]) {
            let source = &volume.voxels()[(z.nearest * source_ny + y.nearest) * source_nx..][..source_nx];
            for (to, x) in row.iter_mut().zip(&tables[0]) {
                *to = source[x.nearest];
            }
        }
    });
    result
}

/// One pass per axis; the axes that shrink most come first, so that later passes have less to do.
fn trilinear<T: Voxel>(volume: &Volume<T>, tables: &[Vec<Tap>; 3]) -> Vec<T> {
    let mut shape = volume.shape();
    let stays = |table: &[Tap], length: usize| {
        table.len() == length && table.iter().enumerate().all(|(i, tap)| tap.low == i && tap.weight == 0.0)
    };
    let mut axes: Vec<usize> = (0..3).filter(|axis| !stays(&tables[*axis], shape[*axis])).collect();
    axes.sort_by_key(|axis| tables[*axis].len() * 1024 / shape[*axis].max(1));
    let Some((last, others)) = axes.split_last() else { return volume.voxels().to_vec() };
    // Between the passes values stay f32: only the last rounds to the type of the voxels.
    let mut between: Option<Vec<f32>> = None;
    for axis in others {
        between = Some(match between {
            None => along(*axis, volume.voxels(), shape, &tables[*axis]),
            Some(voxels) => along(*axis, &voxels, shape, &tables[*axis]),
        });
        shape[*axis] = tables[*axis].len();
    }
    match between {
        None => along(*last, volume.voxels(), shape, &tables[*last]),
        Some(voxels) => along(*last, &voxels, shape, &tables[*last]),
    }
}

/// Interpolates along one axis of voxels of the given shape.
fn along<T: Voxel, U: Voxel>(axis: usize, voxels: &[T], shape: [usize; 3], table: &[Tap]) -> Vec<U> {
    let [nx, ny, _] = shape;
    let mut resampled = shape;
    resampled[axis] = table.len();
    let mut result = vec![U::default(); resampled.iter().product()];
    let area = nx * ny;
    let slabs = result.par_chunks_mut(resampled[0] * resampled[1]);
    match axis {
        0 => slabs.zip(voxels.par_chunks(area)).for_each(|(slab, source)| {
            for (row, source) in slab.chunks_exact_mut(table.len()).zip(source.chunks_exact(nx)) {
                for (to, tap) in row.iter_mut().zip(table) {
                    *to = tap.between(source[tap.low], source[tap.high]);
                }
            }
        }),
        1 => slabs.zip(voxels.par_chunks(area)).for_each(|(slab, source)| {
            for (row, tap) in slab.chunks_exact_mut(nx).zip(table) {
                blend(row, &source[tap.low * nx..][..nx], &source[tap.high * nx..][..nx], *tap);
            }
        }),
        _ => slabs.zip(table).for_each(|(slab, tap)| {
            blend(slab, &voxels[tap.low * area..][..area], &voxels[tap.high * area..][..area], *tap);
        }),
    }
    result
}

#[inline]
fn blend<T: Voxel, U: Voxel>(to: &mut [U], low: &[T], high: &[T], tap: Tap) {
    for ((to, low), high) in to.iter_mut().zip(low).zip(high) {
        *to = tap.between(*low, *high);
    }
}
