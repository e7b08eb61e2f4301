//! Adds up windows, plane by plane along z.

use std::ops::Range;

use rayon::prelude::*;

use crate::Result;

/// Finished planes of a blended volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Slab {
    /// The range of planes along z.
    pub planes: Range<usize>,
    /// Voxels along x, y and z of the whole volume.
    pub shape: [usize; 3],
    /// The number of values per voxel.
    pub classes: usize,
    /// `[planes, Y, X, classes]`, row-major.
    pub values: Vec<f32>,
}

/// Adds up windows that arrive in ascending order along z. Only as many planes as a window is high are in memory.
pub(crate) struct Blender {
    /// Voxels of the volume, and, along each axis, the padding before it that makes it as large as a window.
    inner: [usize; 3],
    padding: [usize; 3],
    /// Voxels of the volume with its padding.
    shape: [usize; 3],
    /// Voxels of a window.
    size: [usize; 3],
    classes: usize,
    /// The weights of a window's voxels, x fastest.
    importance: Vec<f32>,
    /// `[planes, Y, X, classes]` of the planes from `base` on, weighted.
    sum: Vec<f32>,
    /// `[planes, Y, X]`, the weights.
    weight: Vec<f32>,
    base: usize,
}

impl Blender {
    /// Nothing added yet, of `inner` voxels, by windows of `size` voxels with this `importance`.
    pub(crate) fn new(inner: [usize; 3], size: [usize; 3], classes: usize, importance: Vec<f32>) -> Self {
        let shape: [usize; 3] = std::array::from_fn(|axis| inner[axis].max(size[axis]));
        let padding = std::array::from_fn(|axis| (shape[axis] - inner[axis]) / 2);
        let voxels = shape[0] * shape[1] * size[2];
        let (sum, weight) = (vec![0.0; voxels * classes], vec![0.0; voxels]);
        Self { inner, padding, shape, size, classes, importance, sum, weight, base: 0 }
    }

    /// Adds a window, `[D, H, W, classes]`, that starts at voxel `start` of the volume, not below the last one along z.
    /// Planes that are finished then go to `consume`.
    pub(crate) fn add(
        &mut self,
        start: [isize; 3],
        window: &[f32],
        consume: &mut impl FnMut(Slab) -> Result<()>,
    ) -> Result<()> {
        let start: [usize; 3] =
            std::array::from_fn(|axis| start[axis].saturating_add_unsigned(self.padding[axis]) as usize);
        self.advance(start[2], consume)?;
        let ([nx, ny, _], [wx, wy, _], classes) = (self.shape, self.size, self.classes);
        let planes = self.sum.par_chunks_mut(nx * ny * classes).zip(self.weight.par_chunks_mut(nx * ny));
        let inputs = window.par_chunks(wx * wy * classes).zip(self.importance.par_chunks(wx * wy));
        planes.zip(inputs).for_each(|((sum, weight), (window, importance))| {
            let rows = window.chunks_exact(wx * classes).zip(importance.chunks_exact(wx));
            for (y, (window, importance)) in rows.enumerate() {
                let first = (start[1] + y) * nx + start[0];
                let sum = &mut sum[first * classes..(first + wx) * classes];
                let values = sum.chunks_exact_mut(classes).zip(window.chunks_exact(classes));
                for ((sum, window), weight) in values.zip(importance) {
                    sum.iter_mut().zip(window).for_each(|(sum, value)| *sum += weight * value);
                }
                let weights = weight[first..first + wx].iter_mut().zip(importance);
                weights.for_each(|(sum, weight)| *sum += weight);
            }
        });
        Ok(())
    }

    /// Passes the planes below `plane`, which no further window covers, to `consume`.
    fn advance(&mut self, plane: usize, consume: &mut impl FnMut(Slab) -> Result<()>) -> Result<()> {
        // If windows are skipped, the next one may be further away than the buffer is high.
        while self.base < plane {
            let next = plane.min(self.base + self.size[2]);
            let first = self.base.max(self.padding[2]);
            let last = next.min(self.padding[2] + self.inner[2]);
            if first < last {
                consume(Slab {
                    planes: first - self.padding[2]..last - self.padding[2],
                    shape: self.inner,
                    classes: self.classes,
                    values: self.finished(first - self.base..last - self.base),
                })?;
            }
            self.free(next - self.base);
            self.base = next;
        }
        Ok(())
    }

    /// Passes the remaining planes to `consume`.
    pub(crate) fn finish(mut self, consume: &mut impl FnMut(Slab) -> Result<()>) -> Result<()> {
        self.advance(self.shape[2], consume)
    }

    /// Reuses the first planes of the buffer as new ones at its end.
    fn free(&mut self, planes: usize) {
        let area = self.shape[0] * self.shape[1];
        for (buffer, per_plane) in [(&mut self.sum, area * self.classes), (&mut self.weight, area)] {
            buffer.copy_within(planes * per_plane.., 0);
            let kept = buffer.len() - planes * per_plane;
            buffer[kept..].fill(0.0);
        }
    }

    /// Weighted means of planes in the buffer; 0 if there was no window.
    fn finished(&self, planes: Range<usize>) -> Vec<f32> {
        let ([nx, ny, _], inner, padding, classes) = (self.shape, self.inner, self.padding, self.classes);
        let mut values = vec![0.0; planes.len() * inner[0] * inner[1] * classes];
        values.par_chunks_mut(inner[0] * inner[1] * classes).zip(planes).for_each(|(plane, z)| {
            for (y, row) in plane.chunks_exact_mut(inner[0] * classes).enumerate() {
                let first = (z * ny + padding[1] + y) * nx + padding[0];
                let sums = self.sum[first * classes..].chunks_exact(classes);
                for ((mean, sum), weight) in
                    row.chunks_exact_mut(classes).zip(sums).zip(&self.weight[first..])
                {
                    let scale = if *weight > 0.0 { weight.recip() } else { 0.0 };
                    mean.iter_mut().zip(sum).for_each(|(mean, sum)| *mean = sum * scale);
                }
            }
        });
        values
    }
}
