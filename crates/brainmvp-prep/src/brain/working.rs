//! The grid on which the brain is searched for, and the images on it.

use brainmvp_volume::resample::{Interpolation, grid_at_spacing, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume, orientation};
use rayon::prelude::*;

/// The voxel size of the working grid: finer than the border of a brain needs to be known, coarse enough to take about
/// a second.
pub(crate) const WORKING_MM: f64 = 2.0;

/// Images on cubic voxels of [`WORKING_MM`] whose axes run to the right, to the front and up, scaled so that air is
/// about 0 and the brightest tissue about 1.
pub(super) struct Working {
    pub(super) grid: Grid,
    pub(super) images: Vec<Vec<f32>>,
}

impl Working {
    /// The images, the first of which determines the axes and the field of view; `None` if one has no contrast.
    pub(super) fn of(images: &[&Volume]) -> Option<Self> {
        let first = images.first()?;
        // Only the positions matter here, and bytes are cheap to reorient.
        let reference = orientation::to_ras(Volume::filled(*first.grid(), 0_u8));
        let grid = grid_at_spacing(reference.grid(), [WORKING_MM; 3]);
        let images = images.par_iter().map(|image| scaled(averaged(image), &grid));
        Some(Self { grid, images: images.collect::<Option<_>>()? })
    }
}

/// Averages over as many voxels along each axis as fit into one of the working grid: subsampling alone would alias.
fn averaged(image: &Volume) -> Volume {
    let spacing = image.grid().affine.spacing_mm();
    let block = spacing.map(|mm| ((WORKING_MM / mm + 0.2) as usize).max(1));
    if block == [1; 3] {
        return image.clone();
    }
    let shape: [usize; 3] = std::array::from_fn(|i| (image.shape()[i] / block[i]).max(1));
    let block: [usize; 3] = std::array::from_fn(|i| block[i].min(image.shape()[i]));
    let mut rows = image.grid().affine.rows();
    let origin = image.grid().affine.to_world(block.map(|n| (n as f64 - 1.0) / 2.0));
    for (row, origin) in rows.iter_mut().zip(origin) {
        (0..3).for_each(|i| row[i] *= block[i] as f64);
        row[3] = origin;
    }
    let grid = Grid::new(shape, Affine::from_rows(rows));
    let share = 1.0 / block.iter().product::<usize>() as f32;
    let mut voxels = vec![0.0; grid.len()];
    voxels.par_chunks_mut(shape[0]).enumerate().for_each(|(row, means)| {
        let (y, z) = (row % shape[1], row / shape[1]);
        for fine in 0..block[1] * block[2] {
            let from = [0, y * block[1] + fine % block[1], z * block[2] + fine / block[1]];
            let source = &image.voxels()[image.grid().offset(from)..][..shape[0] * block[0]];
            for (mean, values) in means.iter_mut().zip(source.chunks_exact(block[0])) {
                *mean += share * values.iter().sum::<f32>();
            }
        }
    });
    Volume::new(grid, voxels)
}

/// The image on `grid`, scaled so that its 2nd percentile is 0, and the 98th percentile of the values above that is 1.
fn scaled(image: Volume, grid: &Grid) -> Option<Vec<f32>> {
    let mut voxels = onto_grid(&image, grid, Interpolation::Trilinear, 0.0).into_voxels();
    voxels.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = 0.0);
    let [dark, _] = crate::percentiles(&voxels, [2.0, 98.0]).ok()?;
    let tissue: Vec<f32> = voxels.iter().copied().filter(|v| *v > dark).collect();
    let [_, bright] = crate::percentiles(&tissue, [2.0, 98.0]).ok()?;
    let range = bright - dark;
    (range > 0.0).then(|| voxels.iter().map(|v| ((v - dark) / range).clamp(0.0, 2.0)).collect())
}
