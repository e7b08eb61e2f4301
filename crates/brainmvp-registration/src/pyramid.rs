//! An image at several resolutions.

use std::borrow::Cow;

use brainmvp_volume::{Affine, Grid, Volume};
use rayon::prelude::*;

use crate::foreground::Foreground;
use crate::{Error, Result};

/// The resolutions of the levels in mm, finest first.
pub(crate) const RESOLUTIONS_MM: [f64; 3] = [2.0, 4.0, 8.0];

/// The level in which the foreground is found.
const FOREGROUND_LEVEL: usize = 1;

/// An image prepared for registration: smoothed copies at 2, 4 and 8 mm, and the location of the head or brain.
///
/// Each axis is smoothed only as much as its own spacing is finer than the resolution: an axis of thick slices stays as
/// it is, while the finer axes become as coarse as the level. Both images are then equally sharp, whatever their
/// voxels, as far as their slices allow.
#[derive(Debug, Clone)]
pub struct Pyramid {
    levels: Vec<Level>,
    foreground: Foreground,
}

/// One resolution: intensities from 0 to 1.
#[derive(Debug, Clone)]
pub(crate) struct Level {
    pub(crate) volume: Volume,
    /// From RAS+ mm to voxel indices.
    pub(crate) to_voxel: Affine,
}

impl Pyramid {
    /// Prepares an image. Voxels that are not finite count as 0.
    ///
    /// # Errors
    /// [`Error::Image`] if it has fewer than four voxels along an axis, no usable affine, or no contrast.
    pub fn new(image: &Volume) -> Result<Self> {
        let shape = image.shape();
        if shape.iter().any(|length| *length < 4) {
            return Err(Error::image(format!(
                "the image has {shape:?} voxels; give 4 or more along each axis"
            )));
        }
        if !image.grid().affine.is_usable() {
            return Err(Error::image("the affine of the image is singular or not finite"));
        }
        let mut volumes = Vec::with_capacity(RESOLUTIONS_MM.len());
        for resolution in RESOLUTIONS_MM {
            let finer = volumes.last().unwrap_or(image);
            volumes.push(reduced(finer, resolution));
        }
        let foreground = Foreground::find(&volumes[FOREGROUND_LEVEL])?;
        let [low, high] = foreground.window;
        let scale = 1.0 / (high - low);
        let levels = volumes.into_iter().map(|mut volume| {
            volume.voxels_mut().par_iter_mut().with_min_len(1 << 14).for_each(|voxel| {
                *voxel = ((*voxel - low) * scale).clamp(0.0, 1.0);
            });
            let to_voxel = volume.grid().affine.inverse();
            let to_voxel = to_voxel.ok_or_else(|| Error::image("the affine of the image is singular"))?;
            Ok(Level { volume, to_voxel })
        });
        Ok(Self { levels: levels.collect::<Result<_>>()?, foreground })
    }

    pub(crate) fn level(&self, index: usize) -> &Level {
        &self.levels[index]
    }

    pub(crate) fn foreground(&self) -> &Foreground {
        &self.foreground
    }
}

/// The image smoothed to a resolution, with no more voxels than that needs.
fn reduced(image: &Volume, resolution_mm: f64) -> Volume {
    let spacing = image.grid().affine.spacing_mm();
    let mut voxels = Cow::Borrowed(image.voxels());
    let mut grid = *image.grid();
    for axis in 0..3 {
        let taps = Taps::new(grid.shape[axis], spacing[axis], resolution_mm);
        voxels = Cow::Owned(along(axis, &voxels, grid.shape, &taps));
        grid = taps.grid(&grid, axis);
    }
    Volume::new(grid, voxels.into_owned())
}

/// A Gaussian along one axis, at every `stride`-th voxel.
struct Taps {
    first: usize,
    stride: usize,
    count: usize,
    /// Weights of the middle voxel and of those at increasing distance from it; they sum to 1 over both sides.
    weights: Vec<f32>,
}

impl Taps {
    fn new(length: usize, spacing_mm: f64, resolution_mm: f64) -> Self {
        // A box of the width s and a Gaussian of deviation s / 2 are about equally sharp; variances add.
        let lacking = (resolution_mm * resolution_mm - spacing_mm * spacing_mm).max(0.0);
        let deviation = 0.5 * lacking.sqrt() / spacing_mm;
        let reach = if deviation > 0.1 { (2.5 * deviation).ceil() as usize } else { 0 };
        let mut weights: Vec<f64> = (0..=reach)
            .map(|k| if k == 0 { 1.0 } else { (-0.5 * (k as f64 / deviation).powi(2)).exp() })
            .collect();
        let total = 2.0 * weights.iter().sum::<f64>() - weights[0];
        for weight in &mut weights {
            *weight /= total;
        }
        // An axis keeps at least four voxels, so that there is something to interpolate.
        let stride = ((resolution_mm / spacing_mm + 0.05) as usize).clamp(1, (length - 1) / 3);
        let count = (length - 1) / stride + 1;
        let first = (length - 1 - (count - 1) * stride) / 2;
        Self { first, stride, count, weights: weights.into_iter().map(|w| w as f32).collect() }
    }

    fn grid(&self, grid: &Grid, axis: usize) -> Grid {
        let mut rows = [[0.0; 4]; 3];
        for (i, row) in rows.iter_mut().enumerate() {
            row[i] = 1.0;
        }
        rows[axis][axis] = self.stride as f64;
        rows[axis][3] = self.first as f64;
        let mut shape = grid.shape;
        shape[axis] = self.count;
        Grid::new(shape, grid.affine.after(&Affine::from_rows(rows)))
    }

    /// The voxels that output `index` is computed from, with their weights; beyond the ends the last voxel is repeated.
    fn of(&self, index: usize, length: usize) -> impl Iterator<Item = (usize, f32)> {
        let middle = (self.first + index * self.stride) as isize;
        let reach = self.weights.len() as isize - 1;
        (-reach..=reach).map(move |k| {
            let place = (middle + k).clamp(0, length as isize - 1) as usize;
            (place, self.weights[k.unsigned_abs()])
        })
    }
}

fn along(axis: usize, voxels: &[f32], shape: [usize; 3], taps: &Taps) -> Vec<f32> {
    let [nx, ny, _] = shape;
    let mut reduced = shape;
    reduced[axis] = taps.count;
    let mut result = vec![0.0_f32; reduced.iter().product()];
    let slab_length = reduced[0] * reduced[1];
    let slabs = result.par_chunks_mut(slab_length).enumerate();
    match axis {
        0 => slabs.for_each(|(z, slab)| {
            let reach = taps.weights.len() - 1;
            let mut padded = vec![0.0_f32; nx + 2 * reach];
            for (y, row) in slab.chunks_exact_mut(taps.count).enumerate() {
                let source = &voxels[(z * ny + y) * nx..][..nx];
                pad(source, reach, &mut padded);
                smooth_row(&padded, taps, row);
            }
        }),
        1 => slabs.for_each(|(z, slab)| {
            for (index, row) in slab.chunks_exact_mut(nx).enumerate() {
                for (y, weight) in taps.of(index, ny) {
                    add(row, &voxels[(z * ny + y) * nx..][..nx], weight);
                }
            }
        }),
        _ => slabs.for_each(|(index, slab)| {
            for (z, weight) in taps.of(index, shape[2]) {
                add(slab, &voxels[z * nx * ny..][..nx * ny], weight);
            }
        }),
    }
    result
}

/// A row with its ends repeated; values that are not finite become 0.
fn pad(row: &[f32], reach: usize, padded: &mut [f32]) {
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    for (to, from) in padded[reach..].iter_mut().zip(row) {
        *to = finite(*from);
    }
    let (first, last) = (padded[reach], padded[reach + row.len() - 1]);
    padded[..reach].fill(first);
    padded[reach + row.len()..].fill(last);
}

fn smooth_row(padded: &[f32], taps: &Taps, row: &mut [f32]) {
    let reach = taps.weights.len() - 1;
    for (index, to) in row.iter_mut().enumerate() {
        let middle = taps.first + index * taps.stride + reach;
        let mut sum = padded[middle] * taps.weights[0];
        for (k, weight) in taps.weights.iter().enumerate().skip(1) {
            sum += (padded[middle - k] + padded[middle + k]) * weight;
        }
        *to = sum;
    }
}

fn add(to: &mut [f32], from: &[f32], weight: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from * weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_stays_a_ramp_at_its_place() {
        let affine =
            Affine::from_rows([[-0.9, 0.0, 0.3, 50.0], [0.0, 0.9, -0.4, -40.0], [0.1, 0.1, 5.4, 10.0]]);
        let grid = Grid::new([64, 48, 12], affine);
        let ramp = |p: [f64; 3]| (3.0 * p[0] - 2.0 * p[1] + p[2]) as f32;
        let at = |grid: &Grid, i: usize| grid.affine.to_world(grid.voxel(i).map(|v| v as f64));
        let image = Volume::new(grid, (0..grid.len()).map(|i| ramp(at(&grid, i))).collect());
        for resolution in RESOLUTIONS_MM {
            let small = reduced(&image, resolution);
            let middle = small.grid().offset(small.shape().map(|n| n / 2));
            let found = small.voxels()[middle];
            assert!((found - ramp(at(small.grid(), middle))).abs() < 0.5, "{resolution} mm: {found}");
            assert_eq!(small.shape()[2], 12);
        }
    }

    #[test]
    fn what_cannot_be_registered_is_refused() {
        let grid = |shape| Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3]));
        assert!(Pyramid::new(&Volume::filled(grid([20, 20, 1]), 1.0)).is_err());
        assert!(Pyramid::new(&Volume::filled(grid([20; 3]), 7.0)).is_err());
        assert!(Pyramid::new(&Volume::filled(grid([20; 3]), f32::NAN)).is_err());
    }
}
